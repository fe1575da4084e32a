"""The machine and the process: CPUs, GPUs, memory, signals, streams, and side channels that may fail."""
