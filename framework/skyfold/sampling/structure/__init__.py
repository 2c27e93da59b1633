"""Whether there is more than the known."""
