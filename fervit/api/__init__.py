"""What a notebook calls, and the commands of `launch/` call, too: a module a function, named as the commands are.

`fervit.encode`, `fervit.train`, `fervit.tune` and `fervit.evaluate` are the functions of these modules. Their arguments
are named as the flags. They raise UserError and JobError rather than end the process, and tell what they do through
`say`: with `say=None` they are silent.
"""

from __future__ import annotations

import logging
import warnings

# In a notebook without ipywidgets, the import of Ray asks for them. What fervit shows needs none.
warnings.filterwarnings("ignore", message="IProgress not found")
logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
