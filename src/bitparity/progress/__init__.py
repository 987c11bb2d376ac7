"""Progress of a run: events, counts, files and tasks that show how far it is."""
