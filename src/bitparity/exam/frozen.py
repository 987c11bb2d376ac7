"""The exam: the frozen items of a benchmark with their final prompts. Every variant sits the same one.

The first run builds it with the baseline's tokenizer and chat template and stores, for each item, the
messages, the prompt's text and the hash of its tokens. Any later rendering, by another variant or by a
later process, must give the same tokens or is refused with the difference shown.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from bitparity.errors import StoreError
from bitparity.records import Item, Prompt, Sampling
from bitparity.schema import BenchmarkSpec
from bitparity.store.jsonl import read_lines, write_atomically
from bitparity.store.run import Run

SCHEMA = "bitparity/exam/1"


@dataclass(frozen=True, slots=True)
class ExamItem:
    """One item with what each of its prompts became: text and SHA-256 of the tokens (None: no tokenizer)."""

    item: Item
    texts: tuple[str, ...] | None = None
    hashes: tuple[str, ...] | None = None
    prompt_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Exam:
    """The exam of one benchmark.

    `available` is how many items the data set has, before any limit; `notes` says what of the protocol the
    model's chat template did not take; `sha256` is the hash of the items once they are frozen.
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

    @property
    def rendered(self) -> bool:
        """Whether a tokenizer has turned the prompts into tokens."""
        return bool(self.items) and self.items[0].hashes is not None


def save_exam(exam: Exam, path: Path) -> Exam:
    """Freeze an exam in the run directory: a header line with the hash of all item lines, then the items.

    Returns it with that hash.
    """
    lines = [json.dumps(_item_row(entry), ensure_ascii=False) + "\n" for entry in exam.items]
    exam = replace(exam, sha256=_lines_hash(lines))
    header = {
        "schema": SCHEMA,
        "benchmark": exam.benchmark,
        "metric": exam.metric,
        "sampling": asdict(exam.sampling),
        "seed": exam.seed,
        "reasoning_end": exam.reasoning_end,
        "items": len(lines),
        "available": exam.available,
        "provenance": exam.provenance,
        "notes": list(exam.notes),
        "sha256": exam.sha256,
    }
    write_atomically(path, [json.dumps(header, ensure_ascii=False) + "\n", *lines])
    return exam


def load_exam(path: Path) -> Exam:
    """Read a frozen exam. Raises StoreError where it is not what was frozen."""
    try:
        return _load(path)
    except (KeyError, TypeError):
        raise StoreError(f"{path} is not an exam of this version of bitparity; start a new run with --out") from None


def _load(path: Path) -> Exam:
    rows = read_lines(path)
    header = next(rows, None)
    if header is None or header.get("schema") != SCHEMA:
        raise StoreError(f"{path} is not an exam of this version of bitparity; start a new run with --out")
    entries = []
    digest = hashlib.sha256()
    for row in rows:
        digest.update((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8", "surrogatepass"))
        entries.append(_item_from_row(row))
    if digest.hexdigest() != header["sha256"] or len(entries) != header["items"]:
        raise StoreError(f"{path} was changed after it was frozen; start a new run with --out")
    sampling = Sampling(**{**header["sampling"], "stop": tuple(header["sampling"]["stop"])})
    return Exam(
        benchmark=header["benchmark"],
        metric=header["metric"],
        sampling=sampling,
        seed=header["seed"],
        reasoning_end=header["reasoning_end"],
        items=tuple(entries),
        available=header["available"],
        provenance=header["provenance"],
        notes=tuple(header["notes"]),
        sha256=header["sha256"],
    )


def load_if_frozen(run: Run, benchmark: str) -> Exam | None:
    """The exam of a benchmark where the run has one."""
    path = run.exam_path(benchmark)
    return load_exam(path) if path.exists() else None


def samples_asked(exam: Exam, spec: BenchmarkSpec) -> int:
    """Samples of each item: one where every answer is a log-likelihood, which repeats exactly."""
    scored = all(any(prompt.continuations for prompt in entry.item.prompts) for entry in exam.items)
    return 1 if scored else spec.samples


def groups_of(exam: Exam) -> list[str] | None:
    """The group of each item, itself where it has none; None where no item has one."""
    if all(entry.item.group is None for entry in exam.items):
        return None
    return [entry.item.group or entry.item.id for entry in exam.items]


def _lines_hash(lines: Iterable[str]) -> str:
    digest = hashlib.sha256()
    for line in lines:
        digest.update(line.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _item_row(entry: ExamItem) -> dict[str, Any]:
    item = entry.item
    prompts = [
        {
            "messages": prompt.messages and list(prompt.messages),
            "text": prompt.text,
            "continuations": list(prompt.continuations),
            "prompt": entry.texts[index] if entry.texts else None,
            "tokens_sha256": entry.hashes[index] if entry.hashes else None,
        }
        for index, prompt in enumerate(item.prompts)
    ]
    return {
        "id": item.id,
        "prompts": prompts,
        "prompt_tokens": entry.prompt_tokens,
        "reference": item.reference,
        "group": item.group,
        "subgroup": item.subgroup,
        "metadata": item.metadata,
        "after": item.after,
    }


def _item_from_row(row: dict[str, Any]) -> ExamItem:
    rendered = row["prompt_tokens"] is not None
    prompts = tuple(
        Prompt(
            messages=None if p["messages"] is None else tuple(p["messages"]),
            text=p["text"],
            continuations=tuple(p["continuations"]),
        )
        for p in row["prompts"]
    )
    item = Item(row["id"], prompts, row["reference"], row["group"], row["subgroup"], row["metadata"], row["after"])
    if not rendered:
        return ExamItem(item)
    return ExamItem(
        item,
        tuple(p["prompt"] for p in row["prompts"]),
        tuple(p["tokens_sha256"] for p in row["prompts"]),
        row["prompt_tokens"],
    )
