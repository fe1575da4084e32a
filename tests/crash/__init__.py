"""Every state that a power cut can leave of what fervit writes, and whether its own recovery copes with each.

After ALICE (Pillai et al., OSDI 2014) and CrashMonkey (Mohan et al., OSDI 2018): `recorder.py` records the changes of a
real, small run, `states.py` enumerates the states of the disk that a power cut can leave after any of them, and the
tests let the program recover from each.
"""
