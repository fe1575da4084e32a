"""The search space: its file, its settings, its rules, its configurations as points. No Ray."""
