"""Diagnosis of an engine that failed: likely cause and remedy, from its log."""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, TypeAdapter

from bitparity.errors import EngineError
from bitparity.inputs.packaged import packaged_toml

_TAIL_BYTES = 1 << 16  # of a log that are looked at
_TELLING = re.compile(r"\b\w*(Error|Exception|Killed|Aborted|Fatal|Segmentation)\b", re.IGNORECASE)
_RAISED = re.compile(r"(?:^|\s)(\w*(?:Error|Exception): .+)")
_HARMLESS = re.compile(r"^\s*(?:\([^)]*\) ?)*(?:DEBUG|INFO|WARNING)\b")  # vLLM puts its processes before the level
_HEARSAY = re.compile(r"See (?:root cause|stack trace)|initialization failed", re.IGNORECASE)


def telling_lines(text: str, count: int = 2) -> list[str]:
    """The first error that was raised and not only passed on; else the last lines that name one, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not _HARMLESS.search(line)] or lines
    raised = [match[1] for line in lines if not _HEARSAY.search(line) and (match := _RAISED.search(line))]
    found = raised[:1] or [line for line in lines if _TELLING.search(line)] or lines
    return [line[:300] for line in found[-count:]]


# Not of its own accord: another start may do better. Other signals are an engine's own faults.
# The second form is how vLLM says it of its own process.
_KILLED_FROM_OUTSIDE = re.compile(r"killed by signal (9|15)\b|Failed core proc\(s\): .*: -(9|15)\b")


class Cause(BaseModel):
    """A likely cause of an engine's end; `pattern` finds it in the log, `memory`: fewer sequences at once may help."""

    pattern: str = ""
    told: str = ""
    """The cause in words, and the remedy."""
    memory: bool = False


_CAUSES = TypeAdapter(list[Cause]).validate_python(packaged_toml(__package__, "causes.toml")["cause"])


def likely_cause(text: str) -> Cause:
    """The likely cause, from what the engine wrote; one without words where nothing is known."""
    said = "\n".join(line for line in text.splitlines() if not _HARMLESS.search(line))
    return next((cause for cause in _CAUSES if re.search(cause.pattern, said)), Cause())


def engine_error(text: str, log: Path, start: int, *, died: bool, had_loaded: bool) -> EngineError:
    """The error `text` with what the log tells from byte `start` on: its last lines, the likely cause, the remedy."""
    tail = ""
    with suppress(OSError), log.open("rb") as file:
        file.seek(max(start, log.stat().st_size - _TAIL_BYTES))
        tail = file.read().decode("utf-8", errors="replace")
    cause = likely_cause(text + "\n" + tail)
    unsaid = died or "root cause" in text  # vLLM's own process keeps the cause to its log
    last = "; ".join(telling_lines(tail)) if unsaid else ""
    told = f"likely cause: {cause.told}" if cause.told else ""
    parts = [text, f"last lines: {last}" if last else "", told, f"log: {log}"]
    message = ". ".join(part.rstrip(".") for part in parts if part)
    again = had_loaded or _KILLED_FROM_OUTSIDE.search(text) is not None
    return EngineError(message, out_of_memory=cause.memory, again=again)
