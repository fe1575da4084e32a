"""A line of an examination."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found about one thing."""

    topic: str
    """What it is about, such as "memory"."""
    text: str
    """What was found, in one line."""
    problem: str = ""
    """What would fail later, and what to do about it; "" if nothing would."""

    def __str__(self) -> str:
        """The line, and below it the problem."""
        lines = [f"{self.topic:<15}{self.text}"]
        if self.problem:
            lines.append(f"{'':<15}PROBLEM: {self.problem}")
        return "\n".join(lines)
