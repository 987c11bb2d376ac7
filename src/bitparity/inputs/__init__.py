"""Input files: regular ones of a bounded size, and the tables that lie beside the code."""
