"""report.html: one file that shows what a sweep, a run or an evaluation found. Reads what they left; starts nothing."""
