"""What decides in a search: the sampler, the rules that stop trials, and replays of recorded sweeps."""
