"""Replay of recorded completions: for tests, and to grade answers that were made elsewhere.

A variant's `model` is a JSONL file (also .gz) or a folder of such files, like a run's `samples/<variant>/`.
A row: {"item", "text"} and, where known, "sample" (default 0), "benchmark" (default: the file's name in a
folder, any benchmark in a single file), "finish" (default "stop"), "tokens", "prompt_tokens", "seconds",
"logprobs" [[sum, is_greedy], ...], "error".
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, get_args

from bitparity import __version__
from bitparity.engines.contract import Engine
from bitparity.errors import ModelError
from bitparity.records import Finish, Request, Sample
from bitparity.schema import EngineSpec, Variant

_SUFFIXES = (".jsonl", ".jsonl.gz")
_FINISHES = get_args(Finish)

RecordedKey = tuple[str | None, str, int]  # benchmark (None: any), item, sample


class ReplayEngine(Engine):
    """Recorded samples by benchmark, item and sample number. Raises ModelError for a file it cannot read.

    A sample that was never recorded comes back with finish "error": unscored, never wrong.
    """

    has_local_weights = False
    recorded = True
    takes = tuple(EngineSpec.model_fields)  # they may be meant for the study's other variants

    def __init__(self, variant: Variant) -> None:
        self._place = Path(variant.model)
        self._rows: dict[RecordedKey, dict[str, Any]] = {}
        digest = hashlib.sha256()
        for path in _files(self._place):
            content = _content(path)
            digest.update(content)
            self._add(path, content)
        self._sha256 = digest.hexdigest()

    def _add(self, path: Path, content: bytes) -> None:
        default = None if path == self._place else _benchmark_of(path)
        for where, row in _parsed(path, content):
            key = (row.get("benchmark", default), row["item"], row.get("sample", 0))
            known = self._rows.get(key)
            if known is None or known.get("finish") == "error":
                self._rows[key] = row
            elif known != row and row.get("finish") != "error":
                raise ModelError(f"{where}: item {key[1]!r}, sample {key[2]} was recorded before, differently")

    def facts(self) -> dict[str, object]:
        """Where the recordings come from, and the SHA-256 of their content (uncompressed, in name order)."""
        return {
            "engine": "replay",
            "version": __version__,
            "model": {"path": str(self._place), "sha256": self._sha256, "samples": len(self._rows)},
        }

    async def stream(self, requests: AsyncIterator[Request]) -> AsyncIterator[Sample]:
        """The recorded samples, in the order asked for."""
        async for request in requests:
            yield self._answer(request)

    def _answer(self, request: Request) -> Sample:
        item = (request.item, request.sample)
        row = self._rows.get((request.benchmark, *item)) or self._rows.get((None, *item))
        if row is None:
            message = (
                f"no recorded sample {request.sample} of item '{request.item}' of {request.benchmark} in {self._place}"
            )
            return Sample(request.benchmark, *item, "", "error", 0, 0, 0.0, error=message)
        logprobs = row.get("logprobs")
        return Sample(
            request.benchmark,
            *item,
            row.get("text", ""),
            row.get("finish", "stop"),
            row.get("tokens"),
            row.get("prompt_tokens"),
            row.get("seconds") or 0.0,
            logprobs=None if logprobs is None else tuple((total, greedy) for total, greedy in logprobs),
            error=row.get("error"),
        )


def _files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    if not place.is_dir():
        raise ModelError(f"recorded samples {place} do not exist; give a .jsonl file or a folder of them")
    found = sorted(p for p in place.iterdir() if p.name.endswith(_SUFFIXES))
    if not found:
        raise ModelError(f"folder {place} has no .jsonl or .jsonl.gz file with recorded samples")
    return found


def _benchmark_of(path: Path) -> str:
    """The benchmark that a file of a run's samples belongs to; ':' cannot stand in every file name."""
    return path.name.removesuffix(".gz").removesuffix(".jsonl").replace("__", ":", 1)


def _content(path: Path) -> bytes:
    try:
        raw = path.read_bytes()
        return gzip.decompress(raw) if path.name.endswith(".gz") else raw
    except (OSError, EOFError) as error:
        raise ModelError(f"recorded samples {path} cannot be read: {error}") from None


def _parsed(path: Path, content: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
    """(place, row) of each line that is not blank; raises ModelError naming file and line."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            try:
                row = json.loads(line)
            except (json.JSONDecodeError, UnicodeDecodeError) as error:
                raise ModelError(f"{where} is not valid JSON: {error}") from None
            if problem := _problem(row):
                raise ModelError(f"{where}: {problem}")
            yield where, row


def _problem(row: Any) -> str | None:
    """The fault of a row in words; None where it can be used."""
    if not isinstance(row, dict):
        return "a recorded sample is a JSON object"
    if not isinstance(row.get("item"), str):
        return "'item' is missing or no text"
    if not isinstance(row.get("text", ""), str):
        return "'text' is no text"
    if "text" not in row and row.get("logprobs") is None and row.get("finish") != "error":
        return "it has neither 'text' nor 'logprobs'"
    if row.get("finish", "stop") not in _FINISHES:
        return f"'finish' is {row['finish']!r}; it is one of {', '.join(_FINISHES)}"
    if not isinstance(row.get("benchmark", ""), str):
        return "'benchmark' is no text"
    for name in ("sample", "tokens", "prompt_tokens", "seconds"):
        value = row.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            return f"'{name}' is no number"
    if isinstance(row.get("sample", 0), float) or row.get("sample", 0) is None:
        return "'sample' is no whole number"
    return _logprobs_problem(row.get("logprobs"))


def _logprobs_problem(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list) and all(
        isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], int | float) and isinstance(pair[1], bool)
        for pair in value
    ):
        return None
    return "'logprobs' is no list of [sum of log-probabilities, is_greedy]"


ENGINE = ReplayEngine
