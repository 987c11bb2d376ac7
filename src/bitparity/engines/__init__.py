"""Engines: programs that compute completions, one file each, behind one contract."""
