"""Runs commands as jobs of Slurm: the batch script, a Ray for one job alone, its requeues, and its state."""
