"""Typed model of results.json (schema `bitparity/results/1`).

Rates, differences, margins and intervals are fractions; times are seconds, lengths tokens. None means "not measured"
or "not defined", never zero. docs/files.md explains every field. The order of the fields is the order in the file.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from bitparity.distance.schema import DistancePair, VariantDistance
from bitparity.stats.looks import By
from bitparity.stats.verdicts import Interval, Verdict
from bitparity.store.document import JsonObject, Part, Whole
from bitparity.store.environment import Generation

SCHEMA: Literal["bitparity/results/1"] = "bitparity/results/1"
# the reason of a benchmark whose answers are there and lack grades of this version
NOT_GRADED_AGAIN = "another version of the grader graded its answers, and they could not be graded again"

FinalVerdict = Verdict | Literal["invalid"]
Level = Literal["error", "warning"]
Choice = Literal["deploy", "deploy_if", "not_decided", "do_not_deploy"]
# of a benchmark in a decision; `results.decision` says when it is which
LossSeen = Literal["beyond", "loss", "loss_likely"]  # a loss is shown, or an interval below zero
Undecided = Literal["invalid", "incomplete", "not_run", "not_graded"]
Standing = Literal["fine", "loss_within", "open", "too_hard", LossSeen, Undecided]
Why = Literal["correction", "test", "looks", "few", "proportion", "reach"]


class Guard(Part):
    """A sign that a figure measures something else than the loss of precision.

    `variant` None concerns all variants. `value` is the figure that was looked at, a fraction if it is a share. Level
    "error" makes the comparisons of the variant invalid. `if_right`, where there can be one, is the interval of each
    candidate's difference with every answer right, in both variants, that the guard doubts.
    """

    name: str
    variant: str | None
    level: Level
    value: int | float | str | None
    message: str
    if_right: dict[str, Interval] = Field(default_factory=dict)

    def forbids(self, *variants: str) -> bool:
        """True if it makes the figures of one of these variants invalid."""
        return self.level == "error" and (self.variant is None or self.variant in variants)


class StudyHeader(Part):
    """Name, fingerprint and protocol of the study. `limit` has the items asked of each benchmark with a limit.

    `date` is the day on which its last engine was started (YYYY-MM-DD), `version` that of the bitparity that ran it.
    `command` is the one that compared results which existed already; None for a run.
    """

    name: str
    fingerprint: str
    profile: str
    limit: dict[str, int]
    date: str | None = None
    version: str | None = None
    command: str | None = None


class VariantEntry(Part):
    """A variant as it ran. `engine` are the facts of the engine that ran last, `earlier_engines` of those before."""

    model: str
    revision: str | None
    baseline: bool
    control: bool
    identity: JsonObject | None
    engine: JsonObject | None
    generation: Generation | None
    earlier_engines: list[JsonObject]

    @property
    def recorded(self) -> bool:
        """True if its answers were recorded elsewhere, so that nothing is known of its speed."""
        return (self.engine or {}).get("engine") == "replay"

    @property
    def tokens_per_second(self) -> float | None:
        """Output tokens a second over all of its generation; None where none was timed, as with recordings."""
        timed = self.generation
        # a replay reads recorded answers from disk: its seconds say nothing of a model
        if timed is None or self.recorded or not timed.seconds or not timed.output_tokens:
            return None
        return timed.output_tokens / timed.seconds

    @property
    def weights_gb(self) -> float | None:
        """The size of the checkpoint's weight files in GB (10^9 bytes); None where it is not known."""
        weights = (self.identity or {}).get("weights")
        size = weights.get("bytes") if isinstance(weights, dict) else None
        return size / 1e9 if isinstance(size, int) and size > 0 else None

    @property
    def role(self) -> Literal["baseline", "control", "candidate"]:
        """The role of the variant; the control is the baseline's second run."""
        return "baseline" if self.baseline else "control" if self.control else "candidate"


class Score(Part):
    """A variant's score on one benchmark. `seconds` is the mean of one completion inside the engine."""

    mean: float | None
    ci95: Interval | None
    no_answer: float | None
    cut_off: float | None
    unscored: int
    errors: dict[str, int]
    output_tokens: int | None
    seconds: float | None
    metrics: dict[str, float | None]


class Stopped(Part):
    """A comparison that ended before all items were asked: at which look of how many, after how many of the items.

    `by` is what was certain by then: a loss within the margin, one beyond it, or (futility) that neither would be
    shown. `baseline` and `candidate` are the mean scores of both on the items asked.
    """

    look: int
    looks: int
    items: int
    of: int
    by: By
    baseline: float
    candidate: float


class Comparison(Part):
    """A candidate, or the control, against the baseline on one benchmark; see `stats.paired.Comparison`.

    `flips` is the share of items lost or gained. `p_adjusted` is None where the verdict is invalid. `invalid_by`, there
    only then, names the guards that say so. Where a loss stands in spite of such guards, `doubted_by` names them,
    `bound_ci95` is the interval with every answer they doubt counted for the candidate, and `p_adjusted` is its.
    `reference` names the runs of the baseline whose mean the candidate is compared with, where the study has two and
    takes both; `lost`, `gained` and `flips` are against the first alone. Where the benchmark may stop early,
    `difference` and `ci95` are the median-unbiased ones, the verdict is that of `repeated_ci95`, p-values are repeated
    ones, and `stopped` is there if it did.
    """

    items: int
    difference: float
    ci95: Interval
    interval: str
    rerun_ci95: Interval | None
    p_value: float
    p_adjusted: float | None
    test: str
    lost: int
    gained: int
    flips: float | None = None
    recovery: float | None
    recovery_ci95: Interval | None
    mde: float | None
    provable_margin: float | None
    loss_shown: bool
    verdict: FinalVerdict
    control: bool = False
    invalid_by: tuple[str, ...] = ()
    doubted_by: tuple[str, ...] = ()
    bound_ci95: Interval | None = None
    reference: tuple[str, ...] = ()
    repeated_ci95: Interval | None = None
    stopped: Stopped | None = None


class Subset(Part):
    """Part of a benchmark's items, such as a subject or a contest platform, and each variant's mean on it."""

    items: int
    means: dict[str, float | None]


class LeftOut(Part):
    """Items that no variant counts for, of how many, since the time of the run was over."""

    items: int
    of: int
    reason: str


class SpotCheck(Part):
    """Answers that the baseline's second run, `variant`, must have in common with its first, and whether it has.

    So many were `asked`; `answered` are those that are there in both runs; `differing` names those with another text.
    """

    variant: str
    asked: int
    answered: int
    differing: list[str]


class Benchmark(Part):
    """One benchmark's figures, by variant.

    `margin_recovery` is the share of the baseline's score that must be kept, where the margin is given so; `margin` is
    then the rest of the measured score. A benchmark without an exam has `status` "not_run", `reason` and `margin` only.
    `execution` (how programs were confined), `verdicts` (programs by how they ended) and `rates` are there for
    benchmarks that run code, `platforms` for those of them whose items name one. `left_out` is there where the run's
    time was over before all was asked: `items` are then those that every variant has answered. `spot_check` is there
    where the baseline's second run is one.
    """

    status: Literal["measured", "not_run"]
    reason: str | None
    metric: str = ""
    items: int = 0
    available: int = 0
    samples: int = 0
    margin: float
    margin_recovery: float | None = None
    data: JsonObject = Field(default_factory=dict)
    scores: dict[str, Score] = Field(default_factory=dict)
    comparisons: dict[str, Comparison] = Field(default_factory=dict)
    subgroups: dict[str, Subset] = Field(default_factory=dict)
    guards: list[Guard] = Field(default_factory=list)
    execution: dict[str, JsonObject | None] = Field(default_factory=dict)
    verdicts: dict[str, dict[str, int]] = Field(default_factory=dict)
    rates: dict[str, dict[str, float]] = Field(default_factory=dict)
    platforms: dict[str, Subset] = Field(default_factory=dict)
    left_out: LeftOut | None = None
    spot_check: SpotCheck | None = None

    @property
    def measured(self) -> bool:
        """True if some variant has a score."""
        return self.status == "measured"

    @property
    def answered(self) -> bool:
        """True if there are answers, with or without grades that count."""
        return self.measured or self.reason == NOT_GRADED_AGAIN


class Overall(Part):
    """A candidate's valid benchmarks pooled, each counting the same; see `stats.pooled.Pooled`.

    `of` is how many benchmarks the study has. `hidden` names those that the average must not hide: invalid ones, and
    those with a loss that may exceed the margin; while there is one, the verdict is not "within".
    """

    benchmarks: list[str]
    of: int | None = None
    hidden: tuple[str, ...] = ()
    control: bool = False
    difference: float
    ci95: Interval
    p_value: float
    p_adjusted: float
    recovery: float | None
    recovery_ci95: Interval | None
    margin: float
    loss_shown: bool
    verdict: Verdict
    within_margin_on_all: bool = False


class Needs(Part):
    """The size that would settle an open benchmark: so many items, or so many samples an item.

    `samples` is there only where more samples do what the benchmark has not enough items for (`available`). `hours` are
    those of the further answers of candidate and baseline at the run's own rates; None where none was measured.
    """

    items: int
    samples: int | None
    available: int | None
    hours: float | None


class Finding(Part):
    """The part of one benchmark in a decision; see `results.decision`.

    `why` says what leaves it open. `guards` are those that make it invalid or doubted. `up_to` is the largest loss that
    is not ruled out, a fraction, where it may exceed the margin; `wide`: it is more than a decision can rest on.
    """

    benchmark: str
    standing: Standing
    why: Why | None
    guards: tuple[str, ...]
    unscored: int
    up_to: float | None
    wide: bool
    needs: Needs | None


class Decision(Part):
    """The decision on a candidate: its benchmarks that are not plainly fine, the gravest first, and those that are.

    `valid` of the `of` benchmarks have a valid figure. `blocked_by` names guards by which the checkpoint is broken.
    """

    decision: Choice
    valid: int
    of: int
    findings: list[Finding]
    fine: list[str]
    blocked_by: tuple[str, ...]


class Distance(Part):
    """The distances of a run. `noise_floor` is the baseline's second reading of its own answers.

    `drawn` is the number of tokens at each position from which the KL of all tokens outside the likeliest is estimated;
    None where none was drawn, or not of every reading.
    """

    top_k: int | Literal["all"] | None
    drawn: int | None = None
    noise_floor: VariantDistance
    variants: dict[str, VariantDistance]
    pairs: list[DistancePair]
    guards: list[Guard]

    @property
    def broken(self) -> bool:
        """True if a guard says that some variant is broken, or none could be compared."""
        return any(guard.level == "error" for guard in self.guards)


class DistanceDocument(Whole):
    """The whole of distance.json. `variants` has each variant's model; `texts`: the user's own texts were read."""

    schema_: Literal["bitparity/distance/1"] = Field(alias="schema")
    study: str
    baseline: str
    variants: dict[str, str]
    texts: bool
    distance: Distance


class Results(Whole):
    """The whole document. `overall` has the candidates, and the control, that have a valid benchmark.

    A document of an earlier version has no `decisions`.
    """

    schema_: Literal["bitparity/results/1"] = Field(alias="schema")
    study: StudyHeader
    variants: dict[str, VariantEntry]
    benchmarks: dict[str, Benchmark]
    overall: dict[str, Overall]
    distance: Distance | None = None
    decisions: dict[str, Decision] = Field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The document as plain dictionaries; where nothing was read there is no `distance` in it."""
        absent = {key for key in ("distance", "decisions") if not getattr(self, key)}
        return {key: value for key, value in super().document().items() if key not in absent}

    @property
    def baseline(self) -> str:
        """The name of the variant that the others are compared with."""
        return next(name for name, variant in self.variants.items() if variant.baseline)

    @property
    def measured(self) -> dict[str, Benchmark]:
        """The benchmarks of which some variant has a score."""
        return {name: entry for name, entry in self.benchmarks.items() if entry.measured}

    @property
    def complete(self) -> bool:
        """True if every benchmark was run, or left out by the clock, and every sample has a score."""
        entries = self.benchmarks.values()
        checks = [entry.spot_check for entry in entries if entry.spot_check is not None]
        return (
            all(entry.measured or entry.left_out for entry in entries)
            and not any(score.unscored for entry in entries for score in entry.scores.values())
            and all(check.answered == check.asked for check in checks)
        )

    @property
    def candidates(self) -> list[str]:
        """The variants that are compared with the baseline; the control is none of them."""
        return [name for name, variant in self.variants.items() if not variant.baseline and not variant.control]

    @property
    def control(self) -> str | None:
        """The name of the baseline's second run; None where there is none."""
        return next((name for name, variant in self.variants.items() if variant.control), None)
