"""Stored form of samples and grades: one JSON object a line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, NamedTuple, get_type_hints

from pydantic import BaseModel, ConfigDict, create_model

from bitparity.records import Grade, Sample, SampleKey
from bitparity.store.jsonl import broken_line, parsed_line, whole_lines

Row = dict[str, Any]  # one JSON object of a file, not checked yet

# of every line
_SAMPLE_FIELDS = [f.name for f in fields(Sample) if f.name not in ("benchmark", "served_model", "arrays")]
_MOST_SAMPLES = 10**6  # of one item; a larger number is a damaged line


def _row_model(kind: type[Sample] | type[Grade], **others: Any) -> type[BaseModel]:
    """The fields of a record, each of them there and of its own type: a text that holds a number is none."""
    types = {name: (hint, ...) for name, hint in get_type_hints(kind).items()} | others
    return create_model(kind.__name__, __config__=ConfigDict(strict=True), **types)


# one validation a row, in compiled code: what a damaged or edited line holds is known here and nowhere later
_SAMPLE = _row_model(Sample, served_model=(str | None, None), arrays=(None, None))
_GRADE = _row_model(Grade)

# The start and the end of a sample's line as `AppendLog` writes it. A quote inside a string is escaped, so
# `, "finish": "` can stand in no text, and the first `", "sample": ` ends the item.
_START = re.compile(rb'\{"item": "([^"\\\x00-\x1f]*)", "sample": (\d{1,6}), "text": "')
_FINISH = b', "finish": "'
_FAILED = _FINISH + b'error"'


def sample_to_row(sample: Sample) -> dict[str, object]:
    """The stored form of a sample; the benchmark is the file's name."""
    row = {name: getattr(sample, name) for name in _SAMPLE_FIELDS}
    return row if sample.served_model is None else {**row, "served_model": sample.served_model}


def sample_from_row(row: Row, benchmark: str) -> Sample:
    """A sample from its stored form. Raises ValueError where it is none."""
    # JSON has lists only, and a strict model takes none for a tuple
    typed = {name: _tuples(value) for name, value in row.items()} | {"benchmark": benchmark}
    sample = Sample(**_SAMPLE.model_validate(typed).__dict__)
    if not 0 <= sample.sample < _MOST_SAMPLES or (sample.tokens or 0) < 0:
        raise ValueError("a number is out of range")
    return sample


def _tuples(value: object) -> object:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def sample_from_line(line: bytes, path: Path, number: int, benchmark: str) -> Sample:
    """A sample from its line in a file. Raises StoreError where it is none."""
    try:
        return sample_from_row(parsed_line(line, path, number), benchmark)
    except ValueError:
        raise broken_line(path, number) from None


def grade_to_row(key: SampleKey, grade: Grade) -> dict[str, object]:
    """The stored form of a grade."""
    return {"item": key[0], "sample": key[1], **asdict(grade)}


def grade_from_row(row: Row) -> tuple[SampleKey, Grade]:
    """A grade from its stored form. Raises ValueError where it is none."""
    item, number, grade = row.get("item"), row.get("sample"), Grade(**_GRADE.model_validate(row).__dict__)
    if not isinstance(item, str) or type(number) is not int:  # isinstance would take true for 1
        raise ValueError("no grade")
    if not 0 <= (grade.score or 0) <= 1:
        raise ValueError("a score beyond [0, 1]")
    return (item, number), grade


class SampleLine(NamedTuple):
    """One line of a file of samples. The item is in UTF-8 where it could be read without parsing the line."""

    item: bytes | str
    sample: int
    failed: bool
    line: bytes

    @property
    def key(self) -> SampleKey:
        """The item's id and the sample's number."""
        item = self.item if isinstance(self.item, str) else self.item.decode("utf-8", "surrogatepass")
        return item, self.sample


def scan_samples(path: Path) -> Iterator[SampleLine]:
    """The lines of a file of samples, without parsing the answers; a torn last line is left out.

    A line that is not as `AppendLog` writes it is parsed whole. Raises StoreError with the line number where that
    fails.
    """
    for number, line in whole_lines(path):
        found = _START.match(line)
        at = line.rfind(_FINISH)
        # zeros are what some disks leave of a block that was never written
        if found and at > 0 and line.endswith(b"}\n") and b"\0" not in line:
            yield SampleLine(found[1], int(found[2]), line.startswith(_FAILED, at), line)
            continue
        row = parsed_line(line, path, number)
        item, sample = row.get("item"), row.get("sample")
        if not isinstance(item, str) or type(sample) is not int or not 0 <= sample < _MOST_SAMPLES:
            raise broken_line(path, number)
        yield SampleLine(item, sample, row.get("finish") == "error", line)
