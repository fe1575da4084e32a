"""Where trials run: Ray Tune, the processes of a trial, and checks of the nodes."""
