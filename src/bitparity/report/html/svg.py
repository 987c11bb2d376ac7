"""Small SVG plots without a viewBox: positions across are percentages, so a plot fits any width undistorted.

Shape and fill tell what colour tells: a diamond is a loss that is shown, a hollow circle the control, a cross invalid.
Colours come from the page's style sheet, for light, dark and print.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple

from markupsafe import Markup, escape

from bitparity.report.plain import shortened
from bitparity.report.words import tone
from bitparity.results.schema import Comparison, Overall

ROW = 32  # pixels of a one-line plot
SHAPES = {
    "diamond": "M0-7 7 0 0 7-7 0z",
    "cross": "M-5-5 5 5M-5 5 5-5",
    "square": "M-5-5H5V5H-5z",
    "triangle": "M0-6.5 6 5H-6z",
    "circle": "M-5 0a5 5 0 1 0 10 0a5 5 0 1 0-10 0z",
}
MARKS = {"invalid": "cross", "loss": "diamond"}  # of a comparison, by its look; any other is a circle
SERIES = ("square", "circle", "triangle", "diamond")  # of the variants in a strip; the control is a cross


class Scale(NamedTuple):
    """A linear scale from values to per cent of the width."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """The position, in per cent, kept within the plot."""
        return min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low)))


def scale(values: Iterable[float], pad: float = 0.06) -> Scale:
    """A scale over all values with some room on both sides."""
    found = list(values) or [0.0]
    low, high = min(found), max(found)
    room = (high - low) * pad or 0.01  # a single value, too, has a scale of some width
    return Scale(low - room, high + room)


def ticks(on: Scale, most: int = 6) -> list[float]:
    """Round values inside a scale, at most so many."""
    span = on.high - on.low
    step = 10 ** math.floor(math.log10(span / most))
    step *= next(factor for factor in (1, 2, 5, 10, 20) if span / (step * factor) <= most)
    # the 1e-9 keep a tick that lies on the edge, whatever rounding made of it
    first = math.ceil(on.low / step - 1e-9)
    return [number * step for number in range(first, math.floor(on.high / step + 1e-9) + 1)]


def tag(name: str, content: Markup | str = "", /, **attributes: object) -> Markup:
    """An element; a trailing underscore of an attribute's name goes away, others become hyphens."""
    said = Markup("").join(
        Markup(' {}="{}"').format(key.rstrip("_").replace("_", "-"), plain(value)) for key, value in attributes.items()
    )
    inner = content if isinstance(content, Markup) else escape(shortened(content))
    return Markup("<{0}{1}>{2}</{0}>").format(Markup(name), said, inner)


def plain(value: object) -> str:
    """A figure with at most two decimals, or any other value as harmless text."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else shortened(str(value))


def percent(value: float) -> str:
    """A position across."""
    return plain(float(value)) + "%"


def row(*content: Markup, height: int = ROW) -> Markup:
    """A plot that says nothing beyond the figures in its table row, and so is hidden from screen readers."""
    return tag("svg", Markup("").join(content), class_="plot", height=height, width="100%", aria_hidden="true")


def line(x1: float, y1: float, x2: float, y2: float, class_: str) -> Markup:
    """A line; x in per cent, y in pixels."""
    return tag("line", x1=percent(x1), x2=percent(x2), y1=y1, y2=y2, class_=class_)


def rect(x1: float, x2: float, y: float, height: float, class_: str) -> Markup:
    """A filled box from x1 to x2."""
    return tag("rect", x=percent(min(x1, x2)), width=percent(abs(x2 - x1)), y=y, height=height, class_=class_)


def mark(shape: str, x: float, y: float, class_: str) -> Markup:
    """A marker around a point."""
    path = tag("path", d=SHAPES[shape], class_=class_)
    return tag("svg", path, x=percent(x), y=y, overflow="visible", class_="at")


def text(x: float, y: float, words: str, class_: str = "", anchor: str = "middle") -> Markup:
    """Words at a point."""
    return tag("text", words, x=percent(x), y=y, text_anchor=anchor, class_=class_)


def edge(x: float) -> str:
    """The anchor that keeps words at this position inside the plot."""
    return "start" if x < 6 else "end" if x > 94 else "middle"


def kind(comparison: Comparison | Overall) -> Literal["invalid", "control", "loss", "plain"]:
    """The look of a comparison's mark."""
    found = tone(comparison)
    if found == "invalid":
        return "invalid"
    return "control" if comparison.control else "loss" if found == "loss" else "plain"


def interval_row(comparison: Comparison | Overall, margin: float, on: Scale) -> Markup:
    """One line of the forest plot: the margin as a band, zero, the interval, the difference."""
    middle, look = ROW / 2, kind(comparison)
    low, high = (on.at(bound) for bound in comparison.ci95)
    edges = (on.at(-margin), on.at(margin))
    return row(
        rect(*edges, 0, ROW, "band"),
        *(line(x, 0, x, ROW, "edge") for x in edges),
        line(on.at(0), 0, on.at(0), ROW, "zero"),
        line(low, middle, high, middle, f"span {look}"),
        *(line(x, middle - 5, x, middle + 5, f"span {look}") for x in (low, high)),
        mark(MARKS.get(look, "circle"), on.at(comparison.difference), middle, f"mark {look}"),
    )


def axis(on: Scale, label: Callable[[float], str], at: Iterable[float] | None = None) -> Markup:
    """The ticks of a scale with their labels; `label` turns a value into words, `at` are other ticks than `ticks`."""
    parts = []
    for value in ticks(on) if at is None else at:
        x = on.at(value)
        parts += [line(x, 0, x, 5, "tick"), text(x, 18, label(value), "label", edge(x))]
    return row(line(0, 0.5, 100, 0.5, "tick"), *parts, height=22)


def flips_row(comparison: Comparison, noise: Comparison | None, most: float) -> Markup:
    """Lost to the left, gained to the right, as shares of the items; dashed, what the control lost and gained."""
    lost, gained = (50 * count / comparison.items / most for count in (comparison.lost, comparison.gained))
    look = "control" if comparison.control else "bar"
    parts = [rect(50 - lost, 50, 8, 16, f"{look} lost"), rect(50, 50 + gained, 8, 16, f"{look} gained")]
    if noise is not None and not comparison.control:
        for x in (50 + 50 * count / noise.items / most for count in (-noise.lost, noise.gained)):
            parts.append(line(x, 2, x, ROW - 2, "floor"))
    return row(*parts, line(50, 0, 50, ROW, "zero"))


def bar(share: float | None) -> Markup:
    """A share as a bar."""
    filled = rect(0, 100 * (share or 0.0), 9, 14, "bar")
    return row(rect(0, 100, 9, 14, "rail"), filled)


def histogram(counts: Sequence[int], middle: float | None) -> Markup:
    """Counts in bins of equal width as bars, the largest in full; `middle` is the median's position in per cent.

    Heights are square roots, so that the tower of cut-off answers does not flatten all else.
    """
    top = max(counts, default=0) or 1
    width = 100 / max(1, len(counts))
    heights = [26 * math.sqrt(count / top) for count in counts]
    bars = [
        rect(width * n, width * (n + 1), ROW - 2 - height, height, "bins") for n, height in enumerate(heights) if height
    ]
    median = [] if middle is None else [line(middle, 2, middle, ROW, "median")]
    return row(*bars, line(0, ROW - 1.5, 100, ROW - 1.5, "tick"), *median)


def series(number: int, control: bool) -> tuple[str, str]:
    """Shape and class of a variant's mark in a strip."""
    return (
        ("cross", "mark invalid") if control else (SERIES[number % len(SERIES)], f"mark series{number % len(SERIES)}")
    )


def strip(means: Sequence[tuple[float | None, bool]], most: float) -> Markup:
    """The mean of each variant, with whether it is the control, on a line from 0 to `most`, one shape a variant."""
    middle = ROW / 2
    found = [
        mark(shape, 2 + 96 * mean / most, middle, class_)
        for number, (mean, control) in enumerate(means)
        if mean is not None
        for shape, class_ in [series(number, control)]
    ]
    return row(line(2, middle, 98, middle, "tick"), *reversed(found))


class Spot(NamedTuple):
    """A variant in the plot of accuracy against speed."""

    label: str
    x: float
    y: float
    low: float
    high: float
    shape: str
    kind: str


class Field(NamedTuple):
    """The field of a scatter plot: `across` and `up` are its scales; values to per cent across, pixels down."""

    across: Scale
    up: Scale

    def x(self, value: float) -> float:
        """The place of a value across, in per cent."""
        return 14 + 0.84 * self.across.at(value)

    def y(self, value: float) -> float:
        """The place of a value down, in pixels."""
        return TOP + (FLOOR - TOP) * (1 - self.up.at(value) / 100)


HEIGHT, TOP, FLOOR = 240, 16, 200  # pixels of the scatter plot: its whole height, the field's upper and lower edge


def scatter(
    spots: Sequence[Spot], title: str, x_label: str, y_words: Callable[[float], str], x_words: Callable[[float], str]
) -> Markup:
    """Scores with intervals against a quantity from 0 on; `y_words` and `x_words` turn values into words."""
    bounds = [bound for spot in spots for bound in (spot.low, spot.high)]
    field = Field(Scale(0, max(spot.x for spot in spots) * 1.15), scale(bounds, 0.12))
    parts = [*_grid(field, y_words, x_words), text(56, HEIGHT - 4, x_label, "label")]
    for spot in spots:
        x = field.x(spot.x)
        parts += [
            line(x, field.y(spot.low), x, field.y(spot.high), f"span {spot.kind}"),
            mark(spot.shape, x, field.y(spot.y), f"mark {spot.kind}"),
        ]
    said = f"{title}: " + "; ".join(f"{s.label}: {y_words(s.y)}, {x_words(s.x)}" for s in spots)
    content = Markup("").join([*parts, *_names(field, spots)])
    return tag("svg", content, class_="scatter", height=HEIGHT, width="100%", role="img", aria_label=said)


def _grid(field: Field, y_words: Callable[[float], str], x_words: Callable[[float], str]) -> Iterable[Markup]:
    """The lines of the ticks with their labels."""
    for value in ticks(field.up, 5):
        y = field.y(value)
        yield from (line(14, y, 98, y, "grid"), text(12.5, y + 4, y_words(value), "label", "end"))
    yield line(14, FLOOR, 98, FLOOR, "tick")
    for value in ticks(field.across, 4):
        x = field.x(value)
        yield from (line(x, FLOOR, x, FLOOR + 5, "tick"), text(x, FLOOR + 18, x_words(value), "label"))


def _names(field: Field, spots: Sequence[Spot]) -> Iterable[Markup]:
    """The variants' names beside their marks, from below; a name that would cover another moves up."""
    taken: list[tuple[float, float]] = []
    for spot in sorted(spots, key=lambda spot: -field.y(spot.y)):
        x, height = field.x(spot.x), min(field.y(spot.y) + 4, FLOOR - 6)
        while any(abs(height - other) < 16 and abs(x - at) < 25 for at, other in taken):
            height -= 3
        taken.append((x, height))
        place, anchor = (-12, "end") if x > 72 else (12, "start")
        name = tag("text", spot.label, x=place, y=0, text_anchor=anchor, class_="name")
        yield tag("svg", name, x=percent(x), y=height, overflow="visible", class_="at")
