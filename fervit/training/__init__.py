"""How LatentViT is trained, an epoch at a time: configuration, data, step, optimizer, `Trainer`. No Ray, no files."""
