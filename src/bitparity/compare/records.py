"""Per-item results of one variant, benchmark by benchmark, as every reader gives them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from pydantic import BaseModel, ValidationError

from bitparity.benchmarks.dataset import read_jsonl
from bitparity.errors import DataError
from bitparity.exam.frozen import Exam
from bitparity.grading.rules import unscored
from bitparity.records import Finish, Grade, Sample, SampleKey
from bitparity.results.sheet import Sheet
from bitparity.schema import BenchmarkSpec, Study
from bitparity.store.run import Run


class Given:
    """A command-line argument that names results: its text, the path, what follows the colon, and the options.

    `part` names one of several variants or models that lie there; `filter_name` and `metric` choose among several
    scores of the same answers.
    """

    def __init__(self, text: str, path: Path, part: str | None, filter_name: str | None, metric: str | None) -> None:
        self.text, self.path, self.part = text, path, part
        self._asked = {"filter": filter_name, "metric": metric}
        self._seen: dict[str, list[str]] = {"filter": [], "metric": []}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The rows of a JSONL file. Raises DataError."""
        return read_jsonl(self.path)

    def first_row(self) -> dict[str, Any]:
        """The first row of a JSONL file; empty for a folder. Raises DataError."""
        return {} if self.path.is_dir() else self.rows[0]

    def chosen(self, names: Iterable[str]) -> str:
        """The model that was asked for, or the only one there is. Raises DataError, listing what there is."""
        listed = sorted(set(names))
        if self.part in listed:
            return str(self.part)
        if self.part is None and len(listed) == 1:
            return listed[0]
        fault = f"has {len(listed)} models" if self.part is None else f"has no model '{self.part}'"
        shown = " or ".join(f"{self.path}:{name}" for name in listed[:8])
        raise DataError(f"{self.path} {fault}; choose one: {shown}")

    def choose(self, what: str, names: Sequence[str], file: Path) -> str:
        """The filter or metric of one log: the one asked for, or the only one there is.

        Raises DataError where the one asked for is not there, or where several metrics leave it open.
        """
        asked = self._asked[what]
        self._seen[what] += names
        if asked in names:
            return str(asked)
        if len(names) == 1 or (asked is None and what == "filter" and names):
            return names[0]  # lm-eval's own order: its primary filter first
        hint = f"has no {what} '{asked}' but" if asked else "has"
        raise DataError(f"{file} {hint} {len(names)} {what}s; choose one with --{what} {'|'.join(names)}")

    def asks(self, what: str) -> bool:
        """True where a filter or metric was asked for by name."""
        return self._asked[what] is not None

    def check_used(self) -> None:
        """Raises DataError where what was asked for has not been seen in any log."""
        for what, asked in self._asked.items():
            if asked is not None and asked not in self._seen[what]:
                names = ", ".join(dict.fromkeys(self._seen[what]))
                raise DataError(f"{self.path} has no {what} '{asked}'; there is: {names}")


@dataclass(slots=True)
class ItemResult:
    """One item of one variant. `scores` has one entry a sample, in [0, 1]; None where it is unscored.

    `checks` holds what must not differ between variants, by name ("prompt", "target"), as hashes. The guards look at
    `samples` and `grades`, by the number of the sample, empty where the source does not tell, at `chance`, the score of
    guessing, and at `question`, the prompt. `reference` is the expected answer as a text and `row` the item's row of
    the data set, None where the source does not tell.
    """

    name: str
    scores: dict[int, float | None]
    checks: Mapping[str, str] = field(default_factory=dict)
    group: str | None = None
    subgroup: str | None = None
    samples: dict[int, Sample] = field(default_factory=dict)
    grades: dict[int, Grade] = field(default_factory=dict)
    chance: float | None = None
    question: str | None = None
    reference: str | None = None
    row: Mapping[str, Any] | None = None

    def add(
        self,
        number: int,
        score: float | None,
        text: str | None = None,
        *,
        cut_off: bool = False,
        answered: bool = True,
        fault: str | None = None,
    ) -> None:
        """Add a sample. `fault` says why it has no score through no fault of the model; `text` None: not told."""
        self.scores[number] = None if fault else score
        known = Grade(score, "answered" if answered else "no_answer")
        self.grades[number] = unscored(fault or "no score") if self.scores[number] is None else known
        if fault or text is not None:
            finish: Finish = "error" if fault else "length" if cut_off else "stop"
            self.samples[number] = Sample("", self.name, number, text or "", finish, None, None, 0.0, error=fault)


@dataclass(frozen=True, slots=True)
class Results:
    """One variant's results of one benchmark, by item key.

    `metric` names what the scores are, None where the source does not tell; `margin` is a fraction, where the
    source is a run whose study fixed one (`recovery` where it is in proportion to the score); `settings` are the
    sampling values that the source notes. `view_of` names the benchmark whose answers another filter reads here.
    """

    benchmark: str
    items: Mapping[str, ItemResult]
    metric: str | None = None
    margin: float | None = None
    settings: Mapping[str, object] | None = None
    recovery: float | None = None
    view_of: str | None = None

    def sample_numbers(self) -> list[int]:
        """The numbers of the samples that some item has, in order."""
        return sorted({number for item in self.items.values() for number in item.scores})


@dataclass(frozen=True, slots=True)
class Source:
    """One variant's results. `given` is the argument as the user wrote it, `label` what people read.

    `groups` tells which benchmarks are subtasks of a group, as task -> group; `run` is set where the source is a run
    directory.
    """

    label: str
    given: str
    kind: str
    benchmarks: Mapping[str, Results]
    groups: Mapping[str, str] = field(default_factory=dict)
    run: RunVariant | None = None


def sheet_of(
    names: Sequence[str], items: Sequence[ItemResult | None], numbers: Sequence[int], count: int, **about: Any
) -> Sheet:
    """The sheet of these items (None: of such an item there is nothing), with the samples of these numbers.

    Samples stand by their place among the numbers, in `count` columns; `about` are further fields of the sheet.
    """
    scores = np.full((len(items), count), np.nan)
    samples: dict[SampleKey, Sample] = {}
    grades: dict[SampleKey, Grade] = {}
    for row, (name, item) in enumerate(zip(names, items, strict=True)):
        if item is None:
            continue
        for column, number in enumerate(numbers[:count]):
            if (score := item.scores.get(number)) is not None:
                scores[row, column] = score
            if number in item.samples:
                samples[name, column] = item.samples[number]
            if number in item.grades:
                grades[name, column] = item.grades[number]
    return Sheet(scores, samples, grades, **about)


def gathered(
    given: Given, kind: str, files: str, of: str, read: Iterable[tuple[str, str, Callable[[], Results]]]
) -> Source:
    """Files of one model as one source: `read` gives (benchmark, model, its results once they are wanted) of each.

    `files` and `of` are the words for such files and for what each is of. Raises DataError where two are of one
    benchmark, or of several models.
    """
    found: dict[str, Results] = {}
    models = set()
    for name, model, results in read:
        if name in found:
            raise DataError(f"{given.path} holds two {files} of {of} '{name}'; give the file of the one you mean")
        found[name] = results()
        models.add(model)
    if len(models) > 1:
        raise DataError(
            f"{given.path} holds {files} of {len(models)} models ({', '.join(sorted(models))}); give the files of one"
        )
    given.check_used()
    return Source(models.pop(), given.text, kind, found)


def unit_score(value: Any, where: str) -> float | None:
    """A score as a fraction; None where it is null or NaN. Raises DataError for anything outside [0, 1]."""
    if value is None:
        return None
    if not isinstance(value, bool | int | float):
        raise DataError(f"{where} is {str(value)[:40]!r}, no number; give a score in [0, 1], true or false, or null")
    if math.isnan(value):
        return None
    if not 0 <= value <= 1:
        raise DataError(f"{where} is {value:g}, outside [0, 1]; give fractions (percentages divided by 100)")
    return float(value)


@dataclass(frozen=True, slots=True)
class RunVariant:
    """A variant of a run as it was read: its study, and the exam and the sheet of each benchmark by name."""

    run: Run
    study: Study
    name: str
    exams: Mapping[str, Exam]
    sheets: Mapping[str, Sheet]

    def spec(self, benchmark: str) -> BenchmarkSpec:
        """The study's entry of a benchmark."""
        return next(spec for spec in self.study.benchmarks if spec.name == benchmark)


SAMPLING = ("temperature", "top_p", "top_k", "max_tokens", "seed", "do_sample", "reasoning_effort", "system_message")
"""The generation settings that logs of others note and that change answers."""


def sampling(*told: Mapping[str, Any] | None) -> dict[str, object]:
    """The sampling values of one or more sets of settings, later ones first."""
    return {name: each[name] for each in told if each for name in SAMPLING if each.get(name) is not None}


Parsed = TypeVar("Parsed", bound=BaseModel)


def parsed(model: type[Parsed], value: object, where: str, what: str) -> Parsed:
    """A value of a JSON file as its model. Raises DataError, naming the place and what it should be."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"])) or "the row"
        raise DataError(f"{where}: {field}: {first['msg'].lower():.100}; so it is no {what}") from None


def parsed_rows(model: type[Parsed], path: Path, what: str) -> list[Parsed]:
    """The rows of a JSONL file as models. Raises DataError, naming the line."""
    return [parsed(model, row, f"{path}, line {number}", what) for number, row in enumerate(read_jsonl(path), 1)]


def text_hash(text: str) -> str:
    """SHA-256 of a text, as lm-eval's logs have it."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest(told: object) -> str:
    """The hash of what was asked, as `ItemResult.checks` holds it."""
    return hashlib.sha256(json.dumps(told, ensure_ascii=True, sort_keys=True, default=str).encode()).hexdigest()


def until_answer(messages: Iterable[Any]) -> list[object]:
    """Role and text of the messages before the model's first."""
    before = itertools.takewhile(lambda each: isinstance(each, dict) and each.get("role") != "assistant", messages)
    return [[message.get("role"), message.get("content")] for message in before]
