"""Trains LatentViT an epoch at a time: hyperparameters, data, step, optimizer and `Trainer`. No Ray, no files."""
