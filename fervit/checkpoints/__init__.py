"""Trained models on disk: checkpoints, exports and model cards. No Ray."""
