"""The Python API: `fervit.encode`, `fervit.train`, `fervit.tune` and `fervit.evaluate`, one module for each.

Notebooks and the commands of `launch/` call these functions. Their arguments have the names of the flags. They raise
UserError and JobError and do not end the process. They print their progress through `say`, and `say=None` silences
them.
"""

from __future__ import annotations

import logging
import warnings

# Ray imports tqdm's notebook bars, which warn if widgets are missing; fervit's progress lines need no widgets.
warnings.filterwarnings("ignore", message="IProgress not found")
logging.getLogger("ray.widgets.util").setLevel(logging.WARNING)
