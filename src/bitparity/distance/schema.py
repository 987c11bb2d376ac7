"""Typed model of distances, as results.json and distance.json have them; docs/files.md explains every field."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from bitparity.stats.verdicts import Interval
from bitparity.store.document import Part


class Estimate(Part):
    """A figure with its 95 % interval over answers and its standard error, None where there is none."""

    value: float
    ci95: Interval | None
    error: float | None


class DistancePart(Part):
    """Tokens of the answers from position `start` to before `end`; None: to the answers' ends."""

    start: int
    end: int | None
    tokens: int
    divergence: Estimate
    differs: Estimate


class DistanceFigures(Part):
    """A variant's distance on some answers. `tokens` are those of which the model gave a number.

    `divergence` is the mean KL(baseline || variant) a token in nats: of the whole vocabulary, exact or estimated with
    `drawn` tokens, or else a lower bound from the `top_k` likeliest tokens; `bound` is that bound beside the whole.
    `lost` is in nats a token, `differs` a share. `median` and `p99` (the 99th percentile) are of the tokens'
    divergences, `largest` is one token's and has no interval. `covered` is the baseline's mass on the tokens compared
    one by one. `perplexity` is the variant's own on these answers, `perplexity_ratio` how many times the baseline's.
    The two `by_answer` are means over answers, each counting the same however long it is.
    """

    answers: int
    tokens: int
    divergence: Estimate
    differs: Estimate
    lost: Estimate
    perplexity: Estimate
    perplexity_ratio: Estimate
    median: Estimate
    p99: Estimate
    largest: float
    covered: float
    bound: float | None
    divergence_by_answer: Estimate
    lost_by_answer: Estimate
    positions: list[DistancePart]


class DistancePair(Part):
    """The distances of two readings compared on the same answers, as the one's mean divergence against the other's.

    `difference` is in nats a token, `standard_errors` is the difference in its own (None where it has none), `times`
    how many times as far the one is (None where the other is at zero). `farther`: the one is farther from the baseline
    than the other, beyond all noise.
    """

    variant: str | None = None
    than: str | None = None
    difference: Estimate
    times: Estimate | None
    standard_errors: float | None
    farther: bool


class VariantDistance(Part):
    """One variant's distance, over all benchmarks and by benchmark, and against the noise floor.

    `nan` counts the tokens of which the model gave no number.
    """

    status: Literal["measured", "not_run"]
    reason: str | None
    nan: int
    overall: DistanceFigures | None = None
    benchmarks: dict[str, DistanceFigures] = Field(default_factory=dict)
    against_floor: DistancePair | None = None
    seconds: float | None = None
