"""Study files: reading, defaults, and the resolved study."""
