"""The search space: its file, its settings, its rules, and its configurations as points. Does not use Ray."""
