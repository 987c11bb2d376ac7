"""Distances in words, as rows of a table, and on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from bitparity.distance.schema import Estimate, VariantDistance
from bitparity.report.language import Lang, estimate, number, ratio, reason, text
from bitparity.results.schema import Distance

LEAST = 1e-8  # nats: what is nearer to zero stands at the left end of the scale


class Scale(NamedTuple):
    """A logarithmic scale from 10^`low` to 10^`high`."""

    low: int
    high: int

    def at(self, value: float) -> float:
        """The position, in per cent, kept within the plot."""
        exponent = math.log10(value) if value > 0 else -math.inf
        return min(100.0, max(0.0, 100 * (exponent - self.low) / (self.high - self.low)))

    @property
    def decades(self) -> list[float]:
        """The powers of ten on it, at most five of them: more labels would touch each other."""
        step = math.ceil((self.high - self.low) / 4)
        return [10.0**exponent for exponent in range(self.low, self.high + 1, step)]


class Row(NamedTuple):
    """One reader's row: its name, whether it is the noise floor, its mean divergence, and its figures as texts."""

    name: str
    floor: bool
    divergence: Estimate
    figures: tuple[str, ...]


def sentences(distance: Distance, lang: Lang = "en") -> list[str]:
    """One sentence a candidate, one for each two of them, and what the figures are not."""
    found = [_sentence(name, each, distance, lang) for name, each in distance.variants.items()]
    pairs = [pair for pair in distance.pairs if pair.times is not None and pair.times.ci95 is not None and pair.farther]
    found += [text("distance.pair", lang, pair=pair) for pair in pairs]
    return [*found, text("distance.note", lang, floor=noise_floor(distance, lang))]


def noise_floor(distance: Distance, lang: Lang = "en") -> str:
    """The mean divergence of the baseline from itself, or that it was not measured."""
    floor = distance.noise_floor.overall
    return text("distance.no_floor", lang) if floor is None else number(floor.divergence.value)


def _sentence(name: str, found: VariantDistance, distance: Distance, lang: Lang) -> str:
    if (figures := found.overall) is None:
        return text("distance.none", lang, name=name, reason=reason(found.reason, lang) or text("dash", lang))
    key = "of" if distance.top_k == "all" else "estimated" if distance.drawn else "bound"
    differs = 100 * figures.differs.value
    return text(f"distance.{key}", lang, name=name, drawn=distance.drawn, differs=differs, figures=figures)


def rows(distance: Distance, lang: Lang = "en") -> list[Row]:
    """The noise floor and the candidates that were measured, in the order in which they are shown."""
    named = [(text("noise_floor", lang), True, distance.noise_floor)]
    named += [(name, False, found) for name, found in distance.variants.items()]
    shown = []
    for name, floor, found in named:
        if (figures := found.overall) is None:
            continue
        differs = estimate(figures.differs, lang, lambda value: number(100 * value))
        means = (estimate(figures.divergence, lang), differs, estimate(figures.lost, lang))
        most = map(number, (figures.median.value, figures.p99.value, figures.largest))
        read = f"{figures.answers} / {figures.tokens}"
        texts = (*means, ratio(figures.perplexity_ratio, lang), *most, read)
        shown.append(Row(name, floor, figures.divergence, texts))
    return shown


def log_scale(shown: Sequence[Row]) -> Scale:
    """The scale on which all of the rows lie."""
    ends = [end for row in shown for end in (row.divergence.value, *(row.divergence.ci95 or ())) if end > LEAST]
    low, high = math.floor(math.log10(min(ends, default=1e-3))), math.ceil(math.log10(max(ends, default=1.0)))
    return Scale(low, max(high, low + 1))
