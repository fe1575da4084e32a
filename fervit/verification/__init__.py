"""Computes the numbers of a sweep that has ended again from its record, its models and its latents."""
