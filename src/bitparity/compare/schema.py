"""Typed model of the outcome of `bitparity compare` (schema `bitparity/comparison/1`).

It has the shape of results.json: fractions throughout, and a file has the fields in the order in which they were given.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bitparity.results import schema as results
from bitparity.results.schema import Guard
from bitparity.stats.verdicts import Interval
from bitparity.store.document import Part, Whole

SCHEMA: Literal["bitparity/comparison/1"] = "bitparity/comparison/1"


class Compared(Part):
    """A set of results: the argument, its kind ("run", "lm-eval", "inspect" and so on), true for the first.

    `control` is there only for the baseline's second run.
    """

    source: str
    kind: str
    baseline: bool
    control: bool = False


class Named(Part):
    """The number of items of a sort, and the names of the first."""

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


class Comparison(results.Comparison):
    """A candidate against the baseline on one benchmark. `baseline` and `candidate` are mean scores."""

    baseline: float
    candidate: float
    baseline_ci95: Interval
    candidate_ci95: Interval
    samples: int
    ci90: Interval
    margin: float
    alpha: float


class Benchmark(Part):
    """One benchmark's comparisons, by candidate. `margin_from` says in words where the margin comes from.

    `view_of` is the benchmark whose answers are read here by another filter: this entry decides nothing.
    """

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
    view_of: str | None = None


class Overall(results.Overall):
    """A candidate's valid benchmarks pooled, each counting the same."""

    ci90: Interval
    alpha: float


class Outcome(Whole):
    """The whole document. `only_in_candidates` names the benchmarks that the baseline does not have.

    `command` is the command line that made it, quoted for a shell; None where there was none.
    """

    schema_: Literal["bitparity/comparison/1"] = Field(alias="schema")
    variants: dict[str, Compared]
    benchmarks: dict[str, Benchmark]
    only_in_candidates: dict[str, list[str]]
    overall: dict[str, Overall]
    command: str | None = None

    @property
    def candidates(self) -> list[str]:
        """The sets of results that are compared with the first; the control is none of them."""
        return [name for name, variant in self.variants.items() if not variant.baseline and not variant.control]

    @property
    def control(self) -> str | None:
        """The baseline's second run, where one was given."""
        return next((name for name, variant in self.variants.items() if variant.control), None)
