"""Distances in words, as rows of a table, and on a logarithmic scale."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bitparity.report.language import Lang, reason, text
from bitparity.report.words import with_interval
from bitparity.results.schema import Distance, DistancePair, Estimate, VariantDistance

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


def number(value: float) -> str:
    """A figure of any size with three digits."""
    return f"{value:.3g}" if value == 0 or abs(value) >= 1e-4 else f"{value:.1e}"


def estimated(found: Estimate, lang: Lang = "en", times: float = 1.0) -> str:
    """A figure with its interval."""
    return with_interval(found.value, found.ci95, lambda value: number(times * value), lang)


def ratio(found: Estimate, lang: Lang = "en") -> str:
    """A ratio near 1 with its interval, to four decimals."""
    return with_interval(found.value, found.ci95, "{:.4f}".format, lang)


def sentences(distance: Distance, lang: Lang = "en") -> list[str]:
    """One sentence a candidate, one for each two of them, and what the figures are not."""
    found = [_sentence(name, each, distance, lang) for name, each in distance.variants.items()]
    found += [said for pair in distance.pairs if (said := _pair(pair, lang))]
    floor = distance.noise_floor.overall
    noise = text("distance.no_floor", lang) if floor is None else number(floor.divergence.value)
    return [*found, text("distance.note", lang, floor=noise)]


def _sentence(name: str, found: VariantDistance, distance: Distance, lang: Lang) -> str:
    if found.overall is None:
        return text("distance.none", lang, name=name, reason=reason(found.reason, lang) or text("dash", lang))
    return text(
        "distance.of" if distance.top_k == "all" else "distance.estimated" if distance.drawn else "distance.bound",
        lang,
        name=name,
        drawn=distance.drawn,
        divergence=estimated(found.overall.divergence, lang),
        differs=number(100 * found.overall.differs.value),
        perplexity=ratio(found.overall.perplexity_ratio, lang),
    )


def _pair(pair: DistancePair, lang: Lang) -> str | None:
    if pair.times is None or pair.times.ci95 is None or not pair.farther:
        return None
    low, high = pair.times.ci95
    figures = {"times": f"{pair.times.value:.3g}", "low": f"{low:.3g}", "high": f"{high:.3g}"}
    return text("distance.pair", lang, far=pair.variant, near=pair.than, **figures)


def rows(distance: Distance, lang: Lang = "en") -> list[Row]:
    """The noise floor and the candidates that were measured, in the order in which they are shown."""
    return list(_rows(distance, lang))


def _rows(distance: Distance, lang: Lang) -> Iterator[Row]:
    named = [(text("noise_floor", lang), True, distance.noise_floor)]
    named += [(name, False, found) for name, found in distance.variants.items()]
    for name, floor, found in named:
        if (figures := found.overall) is None:
            continue
        texts = (
            estimated(figures.divergence, lang),
            estimated(figures.differs, lang, 100),
            estimated(figures.lost, lang),
            ratio(figures.perplexity_ratio, lang),
            number(figures.median.value),
            number(figures.p99.value),
            number(figures.largest),
            f"{figures.answers} / {figures.tokens}",
        )
        yield Row(name, floor, figures.divergence, texts)


def log_scale(shown: Sequence[Row]) -> Scale:
    """The scale on which all of the rows lie."""
    ends = [end for row in shown for end in (row.divergence.value, *(row.divergence.ci95 or ())) if end > LEAST]
    low, high = math.floor(math.log10(min(ends, default=1e-3))), math.ceil(math.log10(max(ends, default=1.0)))
    return Scale(low, max(high, low + 1))
