"""Writes report.html, one file that shows the results of a sweep, a run or an evaluation. It only reads files."""
