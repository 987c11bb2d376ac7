"""Types of a run's state as JSON (`bitparity/progress/1`): progress.json and `bitparity status --json`.

Counts are samples, times are seconds, points in time are seconds since 1970. None is what is not known.
"""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import Field
from typing_extensions import TypedDict  # typing's own cannot be validated before Python 3.12

SCHEMA = "bitparity/progress/1"
Number = Annotated[float, Field(allow_inf_nan=False)]
PointInTime = Annotated[float, Field(ge=0, le=1e11)]  # a date can be made of it


class Figures(TypedDict):
    """Preliminary accuracy of one variant on one benchmark: fractions, and items lost and gained to the baseline.

    `stopped` is there where the verdict is certain, or the time of the run over, and no more is asked: `total` counts
    up to there.
    """

    graded: int
    mean: Number | None
    ci95: list[Number] | None
    lost: int | None
    gained: int | None
    stopped: NotRequired[bool]


class Counts(TypedDict):
    """Fields that a variant and a cell share. Rates are those of the last seconds, or of this session."""

    done: int
    total: int | None
    failed: int
    rate: Number | None
    session_rate: Number | None
    output_tokens: int | None
    tokens_per_second: Number | None
    session_tokens_per_second: Number | None
    seconds_left: Number | None


class Cell(Counts, Figures):
    """One variant on one benchmark."""


class TimeLeft(TypedDict):
    """`seconds_at_most` is given where the other is unknown: for answers as long as their token budget."""

    seconds_left: Number | None
    seconds_at_most: Number | None


class Variant(Counts):
    """One variant, over all its benchmarks."""

    seconds_at_most: Number | None
    state: str
    reason: str | None
    phase: str | None
    benchmarks: dict[str, Cell]


class Note(TypedDict):
    """Something that people should know of."""

    time: PointInTime
    text: str


class Snapshot(TimeLeft):
    """The state of a run. `running` is false in the last one that a run leaves."""

    schema: str
    study: str
    baseline: str
    control: str | None
    host: str | None
    pid: int | None
    started: PointInTime
    updated: PointInTime
    running: bool
    phase: str | None
    not_run: dict[str, str]
    variants: dict[str, Variant]
    notes: list[Note]
    workers: dict[str, str]
