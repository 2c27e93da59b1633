"""Walks through the posterior: sweeps, other steps, what is written down, and how well they mix."""
