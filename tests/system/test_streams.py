from __future__ import annotations

import io

import pytest

from fervit.system.streams import Steady

LINE = "Confirmed: f1_macro 0.345 ± 0.012 (95 %) over 3 fresh seeds; a tie with trial 11 (0.344), trial 14 (0.341)"
COMMAND = "Evaluate: python launch/evaluate.py --checkpoint_path runs/latent_vit_2026 --latent_test_dir latents/test"


class Screen(io.StringIO):
    """What a terminal of 80 columns or a file gets."""

    def __init__(self, *, terminal: bool) -> None:
        super().__init__()
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def shown(text: str, *, terminal: bool, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen(terminal=terminal)
    print(text, file=Steady(screen))
    return screen.getvalue().splitlines()


def test_a_terminal_gets_lines_that_break_between_words(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = shown(f"short\n  {LINE}", terminal=True, monkeypatch=monkeypatch)
    assert (len(lines), lines[0]) == (3, "short")
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines[1:]) == LINE
    assert [len(line) - len(line.lstrip()) for line in lines[1:]] == [2, 4]


@pytest.mark.parametrize("text", [COMMAND, f"\x1b[1m{LINE}", f"\r{LINE}", "x" * 100])
def test_commands_colours_and_long_words_stay_whole(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "".join(shown(text, terminal=True, monkeypatch=monkeypatch)) == text.replace("\r", "")


def test_a_file_gets_each_line_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shown(LINE, terminal=False, monkeypatch=monkeypatch) == [LINE]
