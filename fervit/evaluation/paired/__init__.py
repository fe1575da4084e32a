"""Comparisons on the same rows: what a model loses without a part of the codes, and what simpler models reach."""
