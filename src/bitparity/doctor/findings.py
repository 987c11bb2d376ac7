"""Findings: the lines that the doctor prints, one for each thing it looked at. Their words are in `findings.toml`.

The figures in a finding may be words of another program or of an error, which stay as they are in every language.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from bitparity.inputs.packaged import packaged_toml

Level = Literal["ok", "warning", "error"]

TEXTS: dict[str, dict[str, str]] = packaged_toml(__package__, "findings.toml")
# read only where somebody reads Chinese
CHINESE = functools.cache(functools.partial(packaged_toml, __package__, "findings.zh.toml"))


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: the topic, how it stands, and the remedy where it does not stand well.

    `key` is that of its words in findings.toml, `figures` what they are filled in with.
    """

    level: Level
    topic: str
    message: str
    remedy: str = ""
    key: str = field(default="", compare=False)
    figures: Mapping[str, object] = field(default_factory=dict, compare=False, repr=False)

    def in_chinese(self, part: Callable[[str], str] = str) -> Finding:
        """The same finding with its words in Chinese; `part` puts figures that are words into Chinese too."""
        said = CHINESE()[self.key]
        # numbers stay numbers: the texts say how these are printed, like {budget:,}
        figures = {name: f if isinstance(f, int | float) else part(str(f)) for name, f in self.figures.items()}
        remedy = said["remedy"].format(**figures) if self.remedy else ""
        return replace(self, topic=part(self.topic), message=said["message"].format(**figures), remedy=remedy)


@dataclass(frozen=True, slots=True)
class Topic:
    """A thing that is looked at, like "device"; makes the findings on it: the words under a key, filled in."""

    name: str

    def ok(self, key: str, **figures: object) -> Finding:
        """A finding that asks for nothing."""
        return self._found("ok", key, figures)

    def warning(self, key: str, **figures: object) -> Finding:
        """A finding on something with which the run works, but perhaps not as intended."""
        return self._found("warning", key, figures)

    def error(self, key: str, **figures: object) -> Finding:
        """A finding on something with which the run, or a part of it, would fail or measure something else."""
        return self._found("error", key, figures)

    def _found(self, level: Level, key: str, figures: dict[str, object]) -> Finding:
        remedy = "" if level == "ok" else TEXTS[key]["remedy"].format(**figures)
        return Finding(level, self.name, TEXTS[key]["message"].format(**figures), remedy, key, figures)
