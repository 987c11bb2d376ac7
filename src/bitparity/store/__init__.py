"""Run directory: the files of one run, and how they are read and written."""
