"""Findings: the lines that the doctor prints, one for each thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the topic, how it stands, and the remedy where it does not stand well."""

    level: Level
    topic: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """A thing that is looked at, like "device"; makes the findings on it."""

    name: str

    def ok(self, message: str) -> Finding:
        """Nothing to do."""
        return Finding("ok", self.name, message)

    def warning(self, message: str, remedy: str) -> Finding:
        """The run will work, but perhaps not as it is meant."""
        return Finding("warning", self.name, message, remedy)

    def error(self, message: str, remedy: str) -> Finding:
        """The run, or a part of it, would fail or measure something else."""
        return Finding("error", self.name, message, remedy)
