"""Readings of a run: one checked line an answer, appended, and the numbers of its tokens in a compressed file beside.

```
distance/<variant>/<benchmark>.jsonl    sums, counts, quantiles; where the arrays lie
distance/<variant>/<benchmark>.arrays   one .npz document after another
```
The baseline's second reading, the noise floor, stands under `<variant>+again`. The arrays of an answer are on disk
before its line is: a line that is there has them whole, and what no line points to was in flight when a process died.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from bitparity.distance.figures import TokenDistances
from bitparity.distance.texts import Answer
from bitparity.engines.readings import Arrays, pack, unpack
from bitparity.errors import StoreError
from bitparity.records import SampleKey
from bitparity.store.faults import storage_error
from bitparity.store.jsonl import AppendFile, AppendLog, broken_line, file_stem, parsed_line, whole_lines
from bitparity.store.run import Run

AGAIN = "+again"  # no name of a variant can end so


@dataclass(frozen=True, slots=True)
class Reading:
    """The line of one answer. Sums and quantiles are over its tokens that were told, in nats; see docs/files.md.

    `answer` is the hash of the tokens that were read; `top` the likeliest tokens told, None where the whole vocabulary
    was compared. The fields from `divergence` to `first_differs` are None for the baseline's first reading, which all
    others are compared with; it alone has `drawn`, the tokens that it drew at each position beside the likeliest.
    `error` says why there is no reading.
    """

    item: str
    sample: int
    answer: str
    top: int | None = None
    drawn: int | None = None
    tokens: int = 0
    nan: int = 0
    surprise: float | None = None
    covered: float | None = None
    divergence: float | None = None
    lost: float | None = None
    differs: int | None = None
    median: float | None = None
    high: float | None = None
    largest: float | None = None
    first_differs: int | None = None
    seconds: float = 0.0
    start: int = 0
    size: int = 0
    crc: int = 0
    error: str | None = None

    @property
    def key(self) -> SampleKey:
        """The item's id and the sample's number."""
        return self.item, self.sample


_READING = TypeAdapter(Reading)
_FIRST = ("ids", "logprobs", "chosen", "drawn_ids", "drawn", "rest")  # arrays of the baseline's first reading


def readings_path(run: Run, reader: str, benchmark: str) -> Path:
    """The lines of one reader, a variant's name or the baseline's with AGAIN, on one benchmark."""
    return run.path / "distance" / reader / f"{file_stem(benchmark)}.jsonl"


def load_readings(run: Run, reader: str, benchmark: str) -> dict[SampleKey, Reading]:
    """The latest reading of each answer, a whole one before a failed one. Raises StoreError for a broken line.

    Where the file of arrays is absent (a directory copied without it), whole readings are as good as not made.
    """
    path = readings_path(run, reader, benchmark)
    whole = path.with_suffix(".arrays").exists()
    found: dict[SampleKey, Reading] = {}
    for number, line in whole_lines(path):
        try:
            reading = _READING.validate_python(parsed_line(line, path, number))
        except ValidationError:
            raise broken_line(path, number, "no reading of an answer") from None
        if reading.error is None and not whole:
            continue
        if reading.error is None or reading.key not in found or found[reading.key].error is not None:
            found[reading.key] = reading
    return found


def load_arrays(run: Run, reader: str, benchmark: str, readings: Sequence[Reading]) -> list[Arrays]:
    """The numbers by token of whole readings. Raises StoreError where the file is not what was written."""
    path = readings_path(run, reader, benchmark).with_suffix(".arrays")
    found = []
    try:
        with path.open("rb") as file:
            for reading in readings:
                file.seek(reading.start)
                content = file.read(reading.size)
                if len(content) != reading.size or zlib.crc32(content) != reading.crc:
                    raise ValueError("its checksum does not fit")
                found.append(unpack(content))
    except OSError as error:
        raise storage_error(error, path) from None
    except ValueError as error:
        raise StoreError(
            f"{path}: {error}; the file was edited or the disk is faulty. Delete it with its .jsonl file and run again"
        ) from None
    return found


class ReadingLog:
    """The only writer of one reader's readings on one benchmark; `append` returns once they are durable."""

    def __init__(self, run: Run, reader: str, benchmark: str) -> None:
        path = readings_path(run, reader, benchmark)
        self._lines = AppendLog(path, run.write)
        self._arrays = AppendFile(path.with_suffix(".arrays"), run.write)

    def append(self, pairs: Sequence[tuple[Reading, Arrays | None]]) -> None:
        """Write readings with their arrays (None: a failed one has none)."""
        at, rows, parts = self._arrays.end, [], []
        for reading, arrays in pairs:
            row: dict[str, Any] = _READING.dump_python(reading)
            if arrays is not None:
                content = pack(arrays, compressed=True)
                row |= {"start": at, "size": len(content), "crc": zlib.crc32(content)}
                parts.append(content)
                at += len(content)
            rows.append({name: value for name, value in row.items() if value is not None})
        # before the lines, which say where the arrays are
        self._arrays.append_bytes(b"".join(parts))
        self._lines.append(rows)

    def close(self) -> None:
        """Close both files."""
        self._lines.close()
        self._arrays.close()


def first_reading(answer: Answer, arrays: Arrays, top: int | None, seconds: float) -> tuple[Reading, Arrays]:
    """The baseline's reading of its own answer, which others are compared with."""
    chosen, drawn = arrays["chosen"], arrays.get("drawn")
    told = np.isfinite(chosen)
    reading = Reading(
        *(answer.item, answer.sample, answer.fingerprint, top),
        drawn=None if drawn is None else drawn.shape[1],
        tokens=int(told.sum()),
        nan=int((~told).sum()),
        surprise=-float(chosen[told].sum(dtype=np.float64)),
        covered=float(np.exp(arrays["logprobs"][told].astype(np.float64)).sum()),
        seconds=round(seconds, 3),
    )
    return reading, {name: arrays[name] for name in _FIRST if name in arrays}


def compared_reading(
    answer: Answer, found: TokenDistances, surprise: Arrays, top: int | None, seconds: float
) -> tuple[Reading, Arrays]:
    """A reading with its distances; `surprise` holds further arrays to keep, "surprise" and perhaps "bound"."""
    told = np.isfinite(found.divergence) & np.isfinite(found.lost)
    values, differing = found.divergence[told], np.flatnonzero(found.differs & told)
    some = len(values) > 0
    reading = Reading(
        *(answer.item, answer.sample, answer.fingerprint, top),
        tokens=len(values),
        nan=int((~told).sum()),
        surprise=float(surprise["surprise"][told].sum(dtype=np.float64)),
        covered=float(found.covered[told].sum()),
        divergence=float(values.sum()),
        lost=float(found.lost[told].sum()),
        differs=len(differing),
        median=float(np.median(values)) if some else None,
        high=float(np.quantile(values, 0.99)) if some else None,
        largest=float(values.max()) if some else None,
        first_differs=int(differing[0]) if len(differing) else None,
        seconds=round(seconds, 3),
    )
    kept = {name: getattr(found, name).astype(np.float32) for name in ("divergence", "lost", "covered")}
    return reading, {**kept, "differs": found.differs, **surprise}
