"""Frozen exam: the items of a benchmark with their final prompts, stored once and asked of every variant alike.

The file is JSONL: a header line with a hash of all item lines, then one line an item.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from itertools import repeat
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from bitparity.errors import StoreError
from bitparity.records import Item, SampleKey, Sampling
from bitparity.schema import BenchmarkSpec, Study
from bitparity.stats.sequential import StopRule
from bitparity.store.jsonl import read_lines, write_atomically
from bitparity.store.run import Run

SCHEMA = "bitparity/exam/1"


@dataclass(frozen=True, slots=True)
class ExamItem:
    """One item with what each of its prompts became: text and SHA-256 of the tokens (None: no tokenizer).

    `prompt_tokens` is the length of the longest input, given continuations included.
    """

    item: Item
    texts: tuple[str, ...] | None = None
    hashes: tuple[str, ...] | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Exam:
    """The exam of one benchmark. The fields stand in the file's header in this order.

    `available` is how many items the data set has, before any limit; `notes` says what of the protocol the
    model's chat template did not take; `sha256` is the hash of the item lines, None until the exam is frozen. `stop` is
    the rule by which a comparison may stop before the end of the items; where there is one it stands in the header and
    is part of the hash.
    """

    benchmark: str
    metric: str
    sampling: Sampling
    seed: int
    reasoning_end: str | None
    items: tuple[ExamItem, ...]
    available: int
    provenance: dict[str, Any]
    notes: tuple[str, ...] = ()
    sha256: str | None = None
    stop: StopRule | None = None

    @property
    def rendered(self) -> bool:
        """True where a tokenizer has turned the prompts into tokens."""
        return bool(self.items) and self.items[0].hashes is not None

    @property
    def chained(self) -> bool:
        """True where items are asked after others, on whose answers they are built."""
        return any(entry.item.after is not None for entry in self.items)


_HEADER, _ITEM = TypeAdapter(Exam), TypeAdapter(Item)


def save_exam(exam: Exam, path: Path) -> Exam:
    """Write an exam in one step: the file is there whole or not at all. Returns the exam with its hash."""
    lines = [_line(_item_row(entry)) for entry in exam.items]
    stop = None if exam.stop is None else asdict(exam.stop)
    exam = replace(exam, sha256=_hash(lines, stop))
    header = {f.name: getattr(exam, f.name) for f in fields(Exam) if f.name != "stop"}
    header |= {"sampling": asdict(exam.sampling), "items": len(lines)} | ({} if stop is None else {"stop": stop})
    write_atomically(path, [_line({"schema": SCHEMA, **header}), *lines])
    return exam


def load_exam(path: Path) -> Exam:
    """Read a frozen exam. Raises StoreError where it is not what was frozen."""
    header, *rows = list(read_lines(path)) or [{}]
    try:
        if header["schema"] != SCHEMA:
            raise KeyError(SCHEMA)  # answered as a missing field is
        items = tuple(map(_item_from_row, rows))
        stop = header.get("stop")
        if _hash(map(_line, rows), stop) != header["sha256"] or len(rows) != header["items"]:
            raise StoreError(f"{path} was changed after it was frozen; start a new run with --out")
        names = [f.name for f in fields(Exam) if f.name != "stop" or stop is not None]
        values = {name: header[name] for name in names} | {"items": []}
        return replace(_HEADER.validate_json(json.dumps(values), strict=True), items=items)
    except (KeyError, TypeError, ValueError):
        raise StoreError(f"{path} is not an exam of this version of bitparity; start a new run with --out") from None


def load_if_frozen(run: Run, benchmark: str) -> Exam | None:
    """The exam of a benchmark where the run has one."""
    path = run.exam_path(benchmark)
    return load_exam(path) if path.exists() else None


def frozen_exams(run: Run, study: Study) -> Iterator[tuple[BenchmarkSpec, Exam]]:
    """The benchmarks of a study whose exam the run has, each with it."""
    for spec in study.benchmarks:
        if (exam := load_if_frozen(run, spec.name)) is not None:
            yield spec, exam


def samples_asked(exam: Exam, spec: BenchmarkSpec) -> int:
    """Samples of each item: one where every answer is a log-likelihood, which repeats exactly."""
    scored = all(any(prompt.continuations for prompt in entry.item.prompts) for entry in exam.items)
    return 1 if scored else spec.samples


def check_items(exam: Exam, keys: Iterable[SampleKey], path: Path) -> None:
    """Raise StoreError where a file of samples answers items that are not in the exam."""
    known = {entry.item.id for entry in exam.items}
    if strange := next((item for item, _ in keys if item not in known), None):
        raise StoreError(
            f"{path} has an answer to the item '{strange:.80}', which is not in the exam: the file was edited or is "
            "another run's. Restore it, or delete the lines of such items"
        )


def groups_of(exam: Exam) -> list[str] | None:
    """The group of each item, itself where it has none; None where no item has one."""
    if all(entry.item.group is None for entry in exam.items):
        return None
    return [entry.item.group or entry.item.id for entry in exam.items]


def _line(row: object) -> str:
    return json.dumps(row, ensure_ascii=False) + "\n"


def _hash(lines: Iterable[str], stop: dict[str, Any] | None) -> str:
    digest = hashlib.sha256(b"" if stop is None else json.dumps(stop, sort_keys=True).encode())
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _item_row(entry: ExamItem) -> dict[str, object]:
    values, none = asdict(entry.item), repeat(None)
    rendered = zip(values["prompts"], entry.texts or none, entry.hashes or none, strict=False)
    values["prompts"] = [{**prompt, "prompt": text, "tokens_sha256": sha256} for prompt, text, sha256 in rendered]
    return {"id": values["id"], "prompts": values["prompts"], "prompt_tokens": entry.prompt_tokens, **values}


def _item_from_row(row: dict[str, Any]) -> ExamItem:
    label = row["subgroup"]  # a data file may hold a number or a list where a label is expected
    item = _ITEM.validate_python(row | {"subgroup": None if label is None else str(label)})
    if row["prompt_tokens"] is None:
        return ExamItem(item)
    texts, hashes = (tuple(p[key] for p in row["prompts"]) for key in ("prompt", "tokens_sha256"))
    return ExamItem(item, texts, hashes, row["prompt_tokens"])
