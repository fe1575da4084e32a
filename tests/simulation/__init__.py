"""Whole sweeps in virtual time on machines that fail, drawn from one seed; `show.py` shows one step by step."""
