"""Commands around a sweep, and the one that submits jobs to Slurm."""
