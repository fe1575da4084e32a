"""The encoders' networks in forms that compute the same in less time: for all devices, for CPUs, and for GPUs."""
