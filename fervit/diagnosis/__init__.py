"""Examines this machine and the paths of a job for what would fail later: the sections of `launch/doctor.py`."""
