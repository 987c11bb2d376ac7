"""Evidence: a run sealed in one file, and what a stranger can recompute from that file alone."""
