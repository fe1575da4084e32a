"""Writes the figures and tables of a report for a paper: PDF and SVG at column and page width, LaTeX, CSV, Markdown."""
