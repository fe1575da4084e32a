"""Runs one training: its session, its folder, its records, its processes and its console output."""
