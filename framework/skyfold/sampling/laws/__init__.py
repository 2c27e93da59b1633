"""What a component is like before its counts are seen, and how it is drawn once they are known."""
