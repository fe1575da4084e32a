"""Reads PyTorch files of others, which are untrusted."""

from __future__ import annotations

import re
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from fervit.errors import UserError
from fervit.io.files import first_line, recognise_download
from fervit.io.numpy_pickles import SAFE_GLOBALS

HEAD_BYTES = 512
StateDict = dict[str, Any]
"""What `state_dict()` of a module, an optimizer or a scheduler returns: names -> tensors and plain values."""


def load_untrusted(path: Path, *, mmap: bool = False) -> Any:
    """Reads what `torch.save` wrote, onto the CPU. Nothing in the file is executed.

    Args:
        path: the file, in the zip format of PyTorch or in the format before PyTorch 1.6.
        mmap: whether to memory-map tensors rather than read them, which the zip format allows. They must then be
            copied before the file may be replaced.

    Raises:
        UserError: the file is no PyTorch file, is cut off, or holds something other than tensors and plain values.
    """
    wrong = _recognise(path)
    if wrong:
        raise UserError(f"{path}: {wrong}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, which do not concern users
            with torch.serialization.safe_globals(SAFE_GLOBALS):
                return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap and zipfile.is_zipfile(path))
    except Exception as error:  # torch and pickle raise a dozen kinds on bytes that they did not write
        raise UserError(f"{path}: {_explain(error)}") from None


def _recognise(path: Path) -> str:
    """Says what is wrong with a file, as far as its first bytes and its end show it; "" if nothing is."""
    wrong = recognise_download(path)
    if wrong:
        return wrong
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if re.match(rb"\x80[\x03-\x05]", head):
        return (
            "is a bare pickle, which may run code when it is loaded; refused, and nothing was executed: a checkpoint "
            "must be what torch.save writes"
        )
    if head.startswith(b"PK") and not zipfile.is_zipfile(path):
        size = path.stat().st_size
        return f"is cut off: {size:,} bytes, and the zip's directory at the end is missing; download it again"
    if head and not head.startswith((b"PK", b"\x80")):
        return "is no PyTorch checkpoint: it does not begin as what torch.save writes; give that file"
    return ""


def _explain(error: Exception) -> str:
    """Says what is wrong with a file that `torch.load` refuses."""
    text = str(error)
    if isinstance(error, EOFError) or "unexpected EOF" in text or "Ran out of input" in text:
        return "is cut off: it ends in the middle of its data; download it again"
    if "TorchScript" in text:
        return "is a TorchScript archive; a checkpoint that torch.save wrote is needed"
    wanted = re.search(r"(?:Unsupported global: GLOBAL|Trying to load unsupported GLOBAL) (\S+)", text)
    if wanted or "Unsupported class" in text or "Trying to call reduce" in text:
        what = f" ({wanted[1]})" if wanted else ""
        return (
            f"wants to run code when it is loaded{what}; refused, and nothing was executed: a checkpoint must hold "
            "tensors and plain values only"
        )
    unpickler = re.search(r"WeightsUnpickler error:\s*(\S.*)", text)  # what stands before it is torch's advice
    why = unpickler[1] if unpickler else first_line(error)
    return f"is no PyTorch checkpoint, or is cut off ({why}); download it again"
