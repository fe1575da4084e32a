"""Runs trials on a cluster: Ray Tune, the processes of a trial, and checks of the nodes."""
