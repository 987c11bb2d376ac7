"""What an examination says: one line each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warning", "error"]


GB = 10**9


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it stands, and what to do where it does not stand well."""

    level: Level
    topic: str
    message: str
    remedy: str = ""


def ok(topic: str, message: str) -> Finding:
    """Nothing to do."""
    return Finding("ok", topic, message)


def warning(topic: str, message: str, remedy: str) -> Finding:
    """The run will work, but perhaps not as it is meant."""
    return Finding("warning", topic, message, remedy)


def error(topic: str, message: str, remedy: str) -> Finding:
    """The run, or a part of it, would fail or measure something else."""
    return Finding("error", topic, message, remedy)


def gigabytes(count: float | None) -> str:
    """Bytes for people, in GB of 10**9 bytes, as disks and checkpoints are sold; None is not known."""
    return "size unknown" if count is None else f"{count / GB:.1f} GB"
