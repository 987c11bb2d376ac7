"""Scales and looks of the SVG plots; the shapes themselves are in the templates `plots.svg.j2`.

Shape and fill tell what colour tells: a diamond is a loss that is shown, a hollow circle the control, a cross invalid.
In the page, positions across are percentages, so a plot fits any width undistorted; its colours come from the style
sheet, for light, dark and print.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from jinja2 import Template
from markupsafe import Markup

from bitparity.inputs.packaged import packaged_toml
from bitparity.report.plain import finalize
from bitparity.report.templates import template
from bitparity.report.words import tone
from bitparity.results.schema import Comparison, Overall

SHAPES: Mapping[str, str] = packaged_toml(__package__, "shapes.toml")
MARKS = {"invalid": "cross", "loss": "diamond"}  # of a comparison, by its look; any other is a circle
SERIES = ("square", "circle", "triangle", "diamond")  # of the variants in a strip; the control is a cross
ROW = 32  # pixels: the height of a one-line plot


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


def kind(comparison: Comparison | Overall) -> Literal["invalid", "control", "loss", "plain"]:
    """The look of a comparison's mark."""
    found = tone(comparison)
    if found == "invalid":
        return "invalid"
    return "control" if comparison.control else "loss" if found == "loss" else "plain"


def series(number: int, control: bool) -> tuple[str, str]:
    """Shape and class of a variant's mark in a strip."""
    if control:
        return "cross", "mark invalid"
    return SERIES[number % len(SERIES)], f"mark series{number % len(SERIES)}"


def benchmark_mark(number: int) -> tuple[str, str]:
    """Shape and class of a benchmark's mark among those of other benchmarks: sixteen that differ."""
    return SERIES[number % len(SERIES)], f"mark series{(number + number // len(SERIES)) % len(SERIES)}"


def plots_template(package: str, **known: object) -> Template:
    """The template of the plots of a package; `known` are names that it knows. Floats get at most two decimals."""
    known |= {"SHAPES": SHAPES, "MARKS": MARKS, "SERIES": SERIES, "kind": kind, "ticks": ticks}
    return template(package, "plots.svg.j2", known, {"percent": _percent}, finalize=_printed)


def _percent(value: float) -> str:
    return f"{_printed(float(value))}%"


def _printed(value: object) -> object:
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else finalize(value)


@functools.cache
def plots() -> Template:
    """The plots of the page; its `module` has a macro for each."""
    return plots_template(__package__, ROW=ROW, series=series, benchmark_mark=benchmark_mark)


def plot(name: str, *given: object) -> Markup:
    """One plot of the page, by the name of its macro."""
    return Markup(getattr(plots().module, name)(*given))
