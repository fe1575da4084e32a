"""The records of a sweep: its folder, its journal, its trials and how trials are ranked. Does not use Ray."""
