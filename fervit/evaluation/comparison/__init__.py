"""Compares several models on the same faces, at a stated rate of error whatever their number."""
