"""Demo: a real small model in three precisions, compared on this machine."""
