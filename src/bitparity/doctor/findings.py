"""Findings: the lines that the doctor prints, one for each thing it looked at. Their words are in `findings.toml`."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from importlib import resources
from typing import Literal

Level = Literal["ok", "warning", "error"]

TEXTS: dict[str, dict[str, str]] = tomllib.loads(
    (resources.files(__package__) / "findings.toml").read_text(encoding="utf-8")
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the topic, how it stands, and the remedy where it does not stand well."""

    level: Level
    topic: str
    message: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """A thing that is looked at, like "device"; makes the findings on it: the words under a key, filled in."""

    name: str

    def ok(self, key: str, **figures: object) -> Finding:
        """Nothing to do."""
        return Finding("ok", self.name, TEXTS[key]["message"].format(**figures))

    def warning(self, key: str, **figures: object) -> Finding:
        """The run will work, but perhaps not as it is meant."""
        return self._to_do("warning", key, figures)

    def error(self, key: str, **figures: object) -> Finding:
        """The run, or a part of it, would fail or measure something else."""
        return self._to_do("error", key, figures)

    def _to_do(self, level: Level, key: str, figures: dict[str, object]) -> Finding:
        said = TEXTS[key]
        return Finding(level, self.name, said["message"].format(**figures), said["remedy"].format(**figures))
