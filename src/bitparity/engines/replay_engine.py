"""Replay of recorded completions: for tests, and to grade answers that were made elsewhere.

A variant's `model` is a JSONL file (also .gz) or a folder of such files, like a run's `samples/<variant>/`.
A row: {"item", "text"} and, where known, "sample" (default 0), "benchmark" (default: the file's name in a
folder, any benchmark in a single file), "finish" (default "stop"), "tokens", "prompt_tokens", "seconds",
"logprobs" [[sum, is_greedy], ...], "error", "arrays" (numbers by token, base64 of the .npz of `readings.py`).
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Required

from pydantic import BeforeValidator, ConfigDict, Field, Strict, TypeAdapter, ValidationError
from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from bitparity import __version__
from bitparity.engines.contract import Engine
from bitparity.errors import ModelError
from bitparity.inputs.input_files import LARGEST_DATA, read_regular, unpacked
from bitparity.records import Finish, Request, Sample
from bitparity.schema import EngineSpec, Variant

_SUFFIXES = (".jsonl", ".jsonl.gz")


def _whole(count: object) -> object:
    """A count of tokens as an integer: some programs write 5.0."""
    return int(count) if isinstance(count, float) and count.is_integer() else count


Count = Annotated[int, Field(ge=0), BeforeValidator(_whole)]


class _Row(TypedDict, total=False):
    """A recorded answer; keys that are not in this list are left alone."""

    __pydantic_config__ = ConfigDict(strict=True, extra="allow")  # type: ignore[misc]

    item: Required[str]
    benchmark: str
    sample: int
    text: str
    finish: Finish
    tokens: Count | None
    prompt_tokens: Count | None
    seconds: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None
    logprobs: list[Annotated[tuple[int | float, bool], Strict(False)]] | None
    error: str | None
    arrays: str


_ROW = TypeAdapter(_Row)

RecordedKey = tuple[str | None, str, int]  # benchmark (None: any), item, sample


class ReplayEngine(Engine):
    """Recorded samples by benchmark, item and sample number. Raises ModelError for a file it cannot read.

    A sample that was never recorded comes back with finish "error": unscored, never wrong.
    """

    has_local_weights = False
    recorded = True
    reads = "likeliest"
    takes = tuple(EngineSpec.model_fields)  # they may be meant for the study's other variants

    def __init__(self, variant: Variant) -> None:
        self._place = Path(variant.model)
        self._rows: dict[RecordedKey, _Row] = {}
        digest = hashlib.sha256()
        for path in _files(self._place):
            try:
                content = unpacked(read_regular(path, LARGEST_DATA))
            except (OSError, EOFError, zlib.error) as error:
                why = getattr(error, "strerror", None) or error
                raise ModelError(f"recorded samples {path} cannot be read: {why}") from None
            digest.update(content)
            self._add(path, content)
        self._sha256 = digest.hexdigest()

    def _add(self, path: Path, content: bytes) -> None:
        # in a folder, a file of a run's samples is named as its benchmark; ':' cannot stand in every file name
        stem = path.name.removesuffix(".gz").removesuffix(".jsonl")
        default = None if path == self._place else stem.replace("__", ":", 1)
        for where, row in _parsed(path, content):
            key = (row.get("benchmark", default), row["item"], row.get("sample", 0))
            known = self._rows.get(key)
            # a failure gives way to an answer, wherever in the file
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
        if row is None or (request.reading is not None and "arrays" not in row):
            what = "sample" if request.reading is None else "numbers by token of sample"
            asked = f"{what} {request.sample} of item '{request.item}' of {request.benchmark}"
            why = f"no recorded {asked} in {self._place}"
            return Sample(request.benchmark, *item, "", "error", 0, 0, 0.0, error=why)
        logprobs = row.get("logprobs")
        return Sample(
            *(request.benchmark, *item, row.get("text", ""), row.get("finish", "stop")),
            *(row.get("tokens"), row.get("prompt_tokens"), row.get("seconds") or 0.0),
            logprobs=None if logprobs is None else tuple(logprobs),
            error=row.get("error"),
            arrays=None if request.reading is None else row.get("arrays"),
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


def _parsed(path: Path, content: bytes) -> Iterator[tuple[str, _Row]]:
    """(place, row) of each line that is not blank; raises ModelError naming file and line."""
    for number, line in enumerate(content.split(b"\n"), start=1):
        if line.strip():
            where = f"{path} line {number}"
            try:
                row = _ROW.validate_python(json.loads(line))  # pydantic's own parser refuses lone surrogates
            except ValidationError as error:
                fault = error.errors()[0]
                field = f"'{fault['loc'][0]}'" if fault["loc"] else "it"
                missing = len(fault["loc"]) == 1 and fault["type"] == "missing"
                said = "is missing" if missing else f"is wrong: {fault['msg']}"
                raise ModelError(f"{where} is no recorded sample: {field} {said}") from None
            except (ValueError, RecursionError) as error:
                raise ModelError(f"{where} is not valid JSON: {error}") from None
            if "text" not in row and row.get("logprobs") is None and row.get("finish") != "error":
                raise ModelError(f"{where}: it has neither 'text' nor 'logprobs'")
            yield where, row


ENGINE = ReplayEngine
