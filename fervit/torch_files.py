"""Reading PyTorch files that others have made: untrusted input."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from fervit.errors import UserError
from fervit.files import first_line


def load_untrusted(path: Path) -> Any:
    """What `torch.save` wrote, on the CPU; nothing in the file is executed.

    Raises:
        UserError: it is no PyTorch file, is cut off, or holds something other than tensors and plain values.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise a dozen kinds on bytes that they did not write
        raise UserError(
            f"{path}: is no PyTorch checkpoint, or is cut off ({first_line(error)}); a file of a few kilobytes is a "
            "download page: download it again"
        ) from None
