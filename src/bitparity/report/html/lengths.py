"""Distribution of the lengths of the answers, which only the page shows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bitparity.report.html.svg import Scale

BINS = 36


def count(value: float) -> str:
    """A number of things, with thousands apart."""
    return f"{value:,.0f}"


class Lengths(NamedTuple):
    """Lengths of a variant's completions: counts in bins, the median's place in per cent, tokens."""

    bins: list[int]
    place: float
    median: str
    p90: str
    longest: str


def length_scale(by_variant: Mapping[str, Sequence[int]]) -> Scale:
    """The scale of all lengths of a benchmark: from the logarithm of the shortest to that of the longest."""
    ends = [end for tokens in by_variant.values() if len(tokens) for end in (min(tokens), max(tokens))]
    low = max(1, min(ends, default=1))
    # lengths span three powers of ten, from a letter to a long reasoning: hence logarithms
    return Scale(math.log(low), math.log(max([low + 1, *ends])) + 1e-9)


def length_ticks(on: Scale) -> list[int]:
    """Round numbers of tokens on that scale: 1, 2 and 5 times the powers of ten; at most six of them."""
    low, high = math.exp(on.low), math.exp(on.high)
    powers = [10**power for power in range(int(on.high / math.log(10)) + 1)]
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * power for power in powers for factor in factors if low <= factor * power <= high]
        if len(found) <= 6:
            return found
    return found


def length_rows(by_variant: Mapping[str, Sequence[int]]) -> dict[str, Lengths]:
    """The distribution of each variant's lengths, all on one logarithmic scale; variants without any stay out."""
    found = {name: np.asarray(tokens) for name, tokens in by_variant.items() if len(tokens)}
    on = length_scale(by_variant)
    low = round(math.exp(on.low))
    edges = np.linspace(on.low, on.high, BINS + 1)
    rows = {}
    for name, tokens in found.items():
        logs = np.log(np.maximum(tokens, low))
        median, p90 = (float(np.percentile(tokens, share)) for share in (50, 90))
        place = on.at(math.log(max(median, low)))
        bins = [int(n) for n in np.histogram(np.clip(logs, on.low, on.high), edges)[0]]
        rows[name] = Lengths(bins, place, count(median), count(p90), count(int(tokens.max())))
    return rows
