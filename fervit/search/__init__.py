"""A sweep over hyperparameters, from the space file to the model that it exports."""
