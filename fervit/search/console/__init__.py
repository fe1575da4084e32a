"""What a user sees of a sweep: before it, while it runs, after it; and its metrics for Prometheus."""
