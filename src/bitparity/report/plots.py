"""Plots for report.md as SVG files beside it: differences with intervals and margins, scores with intervals.

Shape and fill say what colour says, so the plots read in grey and for colour-blind eyes (colours: Okabe and Ito). One
result gives the same bytes everywhere, and every figure in a plot is formatted by `words` like those in the tables.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence

from jinja2 import Template

from bitparity.report import words
from bitparity.report.distance import Row, log_scale
from bitparity.report.distance import Scale as LogScale
from bitparity.report.distance import rows as distance_rows
from bitparity.report.html.svg import Scale, plots_template, scale
from bitparity.report.language import Lang, guards, points, text
from bitparity.report.templates import spoken
from bitparity.results.schema import Results

LONGEST = 24  # characters of a name
LEFT, RIGHT = 220, 600  # pixels: the plot lies between them, words on both sides


def draw(results: Results, lang: Lang = "en") -> dict[str, str]:
    """The plots by file name; none where there is nothing to show."""
    rows = [
        (bench, name, entry.margin, comparison)
        for bench, entry in results.benchmarks.items()
        for name, comparison in entry.comparisons.items()
    ]
    drawn = {}
    if rows:
        valid = [(margin, c) for _, _, margin, c in rows if c.verdict != "invalid"]
        on = scale([0.0, *(bound for margin, c in valid for bound in (*c.ci95, -margin, margin))])
        drawn["differences.svg"] = _drawn("differences", on, lang, rows=rows)
    if results.measured:
        # the highest bound of a score, rounded up to tens of per cent: to 100, low scores would all lie on the left
        found = [score for entry in results.measured.values() for score in entry.scores.values()]
        bounds = [max(score.ci95 or [score.mean]) for score in found if score.mean is not None]
        on = Scale(0.0, math.ceil(10 * max(bounds, default=1.0) - 1e-9) / 10 or 1.0)
        drawn["scores.svg"] = _drawn("scores", on, lang, measured=results.measured, variants=list(results.variants))
    shown = [] if results.distance is None else distance_rows(results.distance, lang)
    if shown:
        drawn["distance.svg"] = distance_plot(shown, lang)
    return drawn


def distance_plot(shown: Sequence[Row], lang: Lang = "en") -> str:
    """The noise floor and the candidates on a logarithmic scale."""
    return _drawn("distance", log_scale(shown), lang, rows=shown)


def _drawn(plot: str, on: Scale | LogScale, lang: Lang, **shown: object) -> str:
    phrases = spoken(lang, text, words.difference, words.score, guards, words.verdict_words)
    return _template().render(plot=plot, on=on, **shown, **phrases)


def _place(on: Scale | LogScale, value: float) -> float:
    return LEFT + (RIGHT - LEFT) * on.at(value) / 100


def _fitted(name: str) -> str:
    """A name without its middle where it is too long."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"


@functools.cache
def _template() -> Template:
    return plots_template(__package__, place=_place, fitted=_fitted, points=points, LEFT=LEFT, RIGHT=RIGHT)
