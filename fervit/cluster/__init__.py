"""Joins Ray clusters, describes their nodes, checks their shared folder, and handles the preemption of nodes."""
