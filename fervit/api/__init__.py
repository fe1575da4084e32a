"""What a notebook calls, and the commands of `launch/` call, too: a module a function, named as the commands are.

`fervit.encode`, `fervit.train`, `fervit.tune` and `fervit.evaluate` are the functions of these modules. Their arguments
are named as the flags. They raise UserError and JobError rather than end the process, and tell what they do through
`say`: with `say=None` they are silent.
"""

from __future__ import annotations

import warnings

# Ray imports tqdm's notebook bars, which ask for widgets; fervit's progress needs none.
warnings.filterwarnings("ignore", message="IProgress not found")
