"""What a user asks of a sweep while it runs: files in its folder, which the sweep takes up, records and removes."""

from __future__ import annotations

import secrets
import time
from dataclasses import asdict, dataclass, field
from typing import cast, get_args

from fervit.io.disk import remove
from fervit.io.files import read_object, write_json
from fervit.search.records.events import Action
from fervit.search.records.record import params_text
from fervit.search.records.sweep_folder import SweepFolder
from fervit.search.space.search_space import Params


@dataclass(frozen=True, kw_only=True)
class Request:
    """One request, which is carried out once, also if the sweep is killed in between."""

    action: Action
    name: str = ""
    """The name of the trial to stop or to keep, such as trial_0003."""
    params: Params = field(default_factory=dict)
    """The configuration to add."""
    request: str = ""
    """A name of the request that no other has. Those of later requests come later in alphabetical order."""

    @property
    def words(self) -> str:
        """What is asked, such as "add lr 0.0003, depth 2"."""
        return " ".join(filter(None, (self.action, self.name, params_text(self.params))))


def send(folder: SweepFolder, request: Request) -> None:
    """Writes a request into the folder of a sweep.

    Raises:
        OSError: the folder cannot be written to.
    """
    name = f"{time.time_ns():020d}_{secrets.token_hex(4)}"
    write_json(folder.requests / f"{name}.json", {k: v for k, v in asdict(request).items() if k != "request"})


def received(folder: SweepFolder) -> list[Request]:
    """Returns the requests that have not been taken up, in their order. A file that is none is left where it is."""
    found: list[Request] = []
    place = folder.requests
    if not place.is_dir():
        return found
    for path in sorted(place.glob("*.json")):
        content = read_object(path) or {}
        action, name, params = content.get("action"), content.get("name", ""), content.get("params", {})
        if action in get_args(Action) and isinstance(name, str) and isinstance(params, dict):
            found.append(Request(action=cast(Action, action), name=name, params=params, request=path.stem))
    return found


def done_with(folder: SweepFolder, request: Request) -> None:
    """Removes the file of a request that the journal has."""
    remove(folder.requests / f"{request.request}.json")
