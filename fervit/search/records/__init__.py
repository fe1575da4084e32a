"""What a sweep knows of its trials, and its folder: the journal, the records, the rule for the best. No Ray."""
