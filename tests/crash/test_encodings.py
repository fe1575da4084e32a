"""An encoding after a power cut at every step: its parts, and the lists of faces beside them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.crash import encodings
from tests.crash.explore import Found, explore, scratch
from tests.crash.recorder import Recording, recorded


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    encodings.write_sources(folder)
    return folder


def recorded_import(sources: Path) -> tuple[Recording, encodings.Result]:
    place = scratch()
    with recorded(place) as recording:
        encodings.command(sources, place, recording.promise)
    return recording, encodings.result_of(place)


def explored(sources: Path, recording: Recording, result: encodings.Result, **how: Any) -> Found:
    def recover(folder: Path) -> str:
        encodings.command(sources, folder)
        found = encodings.result_of(folder)
        return "" if found == result else f"ends otherwise: {[key for key in result if found[key] != result[key]]}"

    return explore(recording, encodings.broken_promises, recover, **how)


def test_an_encoding_ends_as_if_there_had_been_no_power_cut(sources: Path) -> None:
    found = explored(sources, *recorded_import(sources), every=5)
    assert found.states > 10
    assert not found.wrong


def test_a_part_is_there_once_its_faces_are_counted_as_encoded(sources: Path) -> None:
    recording, result = recorded_import(sources)
    before = [step for step in recording.steps if step.kind != "sync folder"]
    wrong = explored(sources, Recording(recording.folder, before), result, every=41).wrong
    assert any("said to be encoded, and not there" in line for line in wrong)


def test_faces_in_float32_are_listed_even_if_the_job_died_before_it_listed_them(sources: Path) -> None:
    place = scratch()
    encodings.command(sources, place)
    result = encodings.result_of(place)
    assert result["train float32"]
    (place / "latents" / "train" / "_float32.jsonl").unlink()
    encodings.command(sources, place)
    assert encodings.result_of(place) == result


@pytest.mark.chaos
def test_every_state_of_an_encoding(sources: Path, measured: Callable[[str], None]) -> None:
    found = explored(sources, *recorded_import(sources), sample=64, tears=64)
    measured(f"encoding: {found.states} states")
    assert not found.wrong
