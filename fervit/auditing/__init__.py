"""Looks through a data set before it is trained on: copies, pictures without a face, doubtful labels, odd codes."""
