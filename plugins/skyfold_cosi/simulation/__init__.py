"""A simulated Compton telescope: its physics, orbit, skies and events, in COSI's formats."""
