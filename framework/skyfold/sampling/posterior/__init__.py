"""What the draws leave behind: numbers, files and pictures."""
