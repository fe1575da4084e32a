"""Commands that train, evaluate and use one model."""
