"""Shows a sweep to the user: its progress, its summary, its failures, and its curves in TensorBoard."""
