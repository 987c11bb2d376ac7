"""Per-item results of one variant, benchmark by benchmark, as every reader gives them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from bitparity.errors import DataError
from bitparity.exam.frozen import Exam
from bitparity.records import Grade, Sample
from bitparity.results.sheet import Sheet
from bitparity.schema import BenchmarkSpec, Study
from bitparity.store.run import Run


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
    samples: Mapping[int, Sample] = field(default_factory=dict)
    grades: Mapping[int, Grade] = field(default_factory=dict)
    chance: float | None = None
    question: str | None = None
    reference: str | None = None
    row: Mapping[str, Any] | None = None


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
