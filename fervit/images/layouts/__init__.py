"""The layouts in which known data sets come, other than class folders."""
