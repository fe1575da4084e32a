"""One training of LatentViT: its configuration, the epoch-by-epoch `Trainer`, checkpoints. No Ray."""
