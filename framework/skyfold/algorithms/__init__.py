"""One loop per file. Which of them exist is known to the registry."""
