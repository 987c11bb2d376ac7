"""Checks of the host and of a study before anything runs, and the plan of its cost."""
