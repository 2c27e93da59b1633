"""Sampling from the posterior: laws of components, chains, and what they leave behind."""
