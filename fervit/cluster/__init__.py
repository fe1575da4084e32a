"""Ray clusters: joining one, its nodes, the folder that they share, and notices that a node will be taken away."""
