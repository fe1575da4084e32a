"""The commands of `launch/`, one module for each. `parser` defines the flags, and `main` runs the command."""
