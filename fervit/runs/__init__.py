"""One training from its start to its end: its session, its folder, what it records, and where it runs."""
