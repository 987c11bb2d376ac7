"""Plots for report.md as SVG files beside it: differences with intervals and margins, scores with intervals.

Shape and fill say what colour says, so the plots read in grey and for colour-blind eyes (colours: Okabe and Ito). One
result gives the same bytes everywhere, and every figure in a plot is formatted by `words` like those in the tables.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from markupsafe import Markup

from bitparity.report.html.svg import MARKS, SERIES, SHAPES, Scale, kind, scale, tag, ticks
from bitparity.report.language import Lang, text
from bitparity.report.words import difference, points, score, verdict_words
from bitparity.results.schema import Comparison, Results, Score

INK, QUIET, BAND = "#1f2328", "#57606a", "#d8dee4"
LOSS, PLAIN = "#d55e00", "#0072b2"
TONES = ("#1f2328", "#0072b2", "#d55e00", "#009e73")  # one a variant, the baseline first; shapes differ as well
WIDTH, LEFT, RIGHT, TOP = 860, 220, 600, 64  # pixels: the plot lies between LEFT and RIGHT, words on both sides
ROW, LINE = 44, 24
SIZE, LONGEST = 13, 24  # pixels of the words; characters of a name


LOOKS = {  # colour and fill of a comparison's mark
    "invalid": (QUIET, "none"),
    "control": (INK, "#ffffff"),
    "loss": (LOSS, LOSS),
    "plain": (PLAIN, PLAIN),
}


def draw(results: Results, lang: Lang = "en") -> dict[str, str]:
    """The plots by file name; none where there is nothing to show."""
    found = {"differences.svg": _differences(results, lang), "scores.svg": _scores(results, lang)}
    return {name: f"{picture}\n" for name, picture in found.items() if picture}


def _differences(results: Results, lang: Lang) -> Markup | None:
    """One row a comparison: the margin as a band, the interval as a line, the difference as a mark."""
    rows = [
        (bench, name, entry.margin, comparison)
        for bench, entry in results.benchmarks.items()
        for name, comparison in entry.comparisons.items()
    ]
    if not rows:
        return None
    on = scale([bound for _, _, margin, c in rows for bound in (*c.ci95, -margin, margin, 0.0)])
    bottom = TOP + ROW * len(rows)
    parts: list[Markup] = []
    for number, (bench, name, margin, comparison) in enumerate(rows):
        top = TOP + ROW * number
        parts += _difference(top + ROW / 2, margin, comparison, on)
        parts += [_label(top + ROW / 2 - 2, bench, bold=True), _label(top + ROW / 2 + 15, name, QUIET)]
        parts.append(_words(RIGHT + 16, top + ROW / 2 - 2, difference(comparison, lang)))
        parts.append(_words(RIGHT + 16, top + ROW / 2 + 15, verdict_words(comparison, lang), colour=QUIET))
    parts += _axis(on, bottom, lambda value: points(value) if abs(value) > on.high * 1e-9 else "0")
    parts.append(_words(20, bottom + 44, text("plot.differences.note", lang), colour=QUIET))
    return _picture(text("plot.differences", lang), bottom + 72, parts)


def _difference(middle: float, margin: float, comparison: Comparison, on: Scale) -> list[Markup]:
    look = kind(comparison)
    colour, fill = LOOKS[look]
    left, right = _x(on, -margin), _x(on, margin)
    top = middle - ROW / 2
    return [
        tag("rect", x=left, y=top + 4, width=right - left, height=ROW - 8, fill=BAND, opacity=0.7),
        *(_line(edge, top + 4, edge, top + ROW - 4, QUIET, dashed=True) for edge in (left, right)),
        _line(_x(on, 0.0), top, _x(on, 0.0), top + ROW, INK),
        *_interval(comparison.ci95, on, middle, 5, colour),
        _mark(_x(on, comparison.difference), middle, MARKS.get(look, "circle"), colour, fill),
    ]


def _interval(bounds: Sequence[float], on: Scale, middle: float, height: int, colour: str) -> list[Markup]:
    """A line with an upright bar at each end."""
    low, high = (_x(on, bound) for bound in bounds)
    ends = (_line(end, middle - height, end, middle + height, colour, 2.5) for end in (low, high))
    return [_line(low, middle, high, middle, colour, 2.5), *ends]


def _scores(results: Results, lang: Lang) -> Markup | None:
    """A group of rows a benchmark, one row a variant, from 0 to the highest bound rounded up to tens."""
    if not results.measured:
        return None
    found = [score for entry in results.measured.values() for score in entry.scores.values() if score.mean is not None]
    # from 0 on, but not to 100: low scores would all lie on the left edge
    highest = max((max(score.ci95 or [score.mean or 0.0]) for score in found), default=1.0)
    on = Scale(0.0, math.ceil(10 * highest - 1e-9) / 10 or 1.0)
    top, parts = TOP, []
    for bench, entry in results.measured.items():
        parts += [_label(top + 16, bench, bold=True), _line(LEFT, top, RIGHT, top, BAND)]
        for number, name in enumerate(results.variants):
            parts += _score(top + 8 + LINE * (number + 1), number, name, entry.scores[name], on, lang)
        top += 16 + LINE * (len(results.variants) + 1)
    parts += _axis(on, top, lambda value: f"{100 * value:g}")
    return _picture(text("plot.scores", lang), top + 40, parts)


def _score(middle: int, number: int, name: str, found: Score, on: Scale, lang: Lang) -> list[Markup]:
    parts = [_label(middle + 4, name, QUIET), _words(RIGHT + 16, middle + 4, score(found, lang))]
    if found.mean is None:
        return parts
    colour = TONES[number % len(TONES)]
    if found.ci95:
        parts += _interval(found.ci95, on, middle, 4, colour)
    return [*parts, _mark(_x(on, found.mean), middle, SERIES[number % len(SERIES)], colour, colour)]


def _x(on: Scale, value: float) -> float:
    return LEFT + (RIGHT - LEFT) * on.at(value) / 100


def _axis(on: Scale, y: int, label: Callable[[float], str]) -> list[Markup]:
    parts = [_line(LEFT, y, RIGHT, y, QUIET)]
    for value in ticks(on):
        x = _x(on, value)
        parts += [_line(x, y, x, y + 5, QUIET), _words(x, y + 20, label(value), "middle", QUIET)]
    return parts


def _label(y: float, name: str, colour: str = INK, *, bold: bool = False) -> Markup:
    """A name on the left, without its middle where it is too long."""
    shown = name if len(name) <= LONGEST else f"{name[: LONGEST // 2]}…{name[-LONGEST // 2 + 1 :]}"
    return _words(LEFT - 16, y, shown, "end", colour, bold=bold)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1, dashed: bool = False) -> Markup:
    more = {"stroke_dasharray": "3 3"} if dashed else {}
    return tag("line", x1=x1, y1=y1, x2=x2, y2=y2, stroke=colour, stroke_width=width, **more)


def _mark(x: float, y: float, shape: str, colour: str, fill: str) -> Markup:
    place = f"translate({x:.1f} {y:.1f})"
    return tag("path", d=SHAPES[shape], transform=place, fill=fill, stroke=colour, stroke_width=2)


def _words(x: float, y: float, said: str, anchor: str = "start", colour: str = INK, *, bold: bool = False) -> Markup:
    weight = {"font_weight": 600} if bold else {}
    return tag("text", said, x=x, y=y, text_anchor=anchor, fill=colour, **weight)


def _picture(title: str, height: int, parts: Sequence[Markup]) -> Markup:
    """A whole picture on white, which a dark page does not make unreadable."""
    size = {"viewBox": f"0 0 {WIDTH} {height}", "width": WIDTH, "height": height}
    head = [
        tag("title", title),
        tag("rect", width=WIDTH, height=height, fill="#ffffff"),
        tag("text", title, x=20, y=30, fill=INK, font_weight=600, font_size=15),
    ]
    font = {"font_family": "system-ui, 'Noto Sans CJK SC', 'Microsoft YaHei', sans-serif", "font_size": SIZE}
    content = Markup("\n").join([Markup(""), *head, *parts, Markup("")])
    return tag("svg", content, xmlns="http://www.w3.org/2000/svg", role="img", **size, **font)
