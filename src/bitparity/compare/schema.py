"""Typed model of the outcome of `bitparity compare` (schema `bitparity/comparison/1`).

It has the shape of results.json: fractions throughout, and the order of the fields is the order in the file.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bitparity.results.schema import FinalVerdict, Guard, Interval, Part
from bitparity.stats.verdicts import Verdict

SCHEMA: Literal["bitparity/comparison/1"] = "bitparity/comparison/1"


class Compared(Part):
    """A set of results that was given: the argument, its kind ("run", "lm-eval", "jsonl"), true for the first."""

    source: str
    kind: str
    baseline: bool


class Named(Part):
    """How many items there are of a sort, and the names of the first."""

    count: int
    examples: list[str]


class Side(Part):
    """One variant's items and samples an item; the items that only it has; those that lack a score of a sample."""

    items: int
    samples: int
    alone: Named
    unscored: Named


class Sides(Part):
    """Both variants of a pairing."""

    baseline: Side
    candidate: Side


class Difference(Part):
    """A candidate against the baseline on the items of a subgroup. `baseline` and `candidate` are mean scores."""

    items: int
    baseline: float
    candidate: float
    difference: float
    ci95: Interval
    lost: int
    gained: int


class Comparison(Part):
    """A candidate against the baseline on one benchmark; see `stats.paired.Comparison`.

    `baseline` and `candidate` are mean scores. `p_adjusted` is None where the verdict is invalid. `invalid_by`, there
    only then, names the guards that say so.
    """

    items: int
    baseline: float
    candidate: float
    baseline_ci95: Interval
    candidate_ci95: Interval
    samples: int
    difference: float
    ci95: Interval
    ci90: Interval
    p_value: float
    test: str
    interval: str
    lost: int
    gained: int
    recovery: float | None
    recovery_ci95: Interval | None
    rerun_ci95: Interval | None
    mde: float | None
    provable_margin: float | None
    margin: float
    alpha: float
    loss_shown: bool
    verdict: FinalVerdict
    p_adjusted: float | None
    invalid_by: tuple[str, ...] = ()


class Benchmark(Part):
    """One benchmark's comparisons, by candidate. `margin_from` says in words where the margin comes from."""

    status: Literal["measured"]
    metric: str | None
    items: int
    margin: float
    margin_from: str
    pairing: dict[str, Sides]
    not_compared: dict[str, str]
    comparisons: dict[str, Comparison]
    subgroups: dict[str, dict[str, Difference]]
    guards: list[Guard]


class Overall(Part):
    """A candidate's valid benchmarks pooled, each counting the same; see `stats.pooled.Pooled`."""

    benchmarks: list[str]
    difference: float
    ci95: Interval
    ci90: Interval
    p_value: float
    recovery: float | None
    recovery_ci95: Interval | None
    margin: float
    alpha: float
    loss_shown: bool
    verdict: Verdict
    p_adjusted: float


class Outcome(Part):
    """The whole document. `only_in_candidates` names the benchmarks that the baseline does not have."""

    schema_: Literal["bitparity/comparison/1"] = Field(alias="schema")
    variants: dict[str, Compared]
    benchmarks: dict[str, Benchmark]
    only_in_candidates: dict[str, list[str]]
    overall: dict[str, Overall]

    @property
    def candidates(self) -> list[str]:
        """The sets of results that are compared with the first."""
        return [name for name, variant in self.variants.items() if not variant.baseline]
