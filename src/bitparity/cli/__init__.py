"""Command line: the commands, detached runs, and output streams."""
