"""A sweep over hyperparameters: the space, the sampler, trials on Ray Tune, the rule for the best."""
