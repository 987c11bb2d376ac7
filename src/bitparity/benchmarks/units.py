"""Units behind a number: a closed list, with what they measure and their size.

`unit_of("kg") == unit_of("1000 g")` does not hold, but `Unit.size` relates them: 5 kg is 5000 g. Degrees Celsius and
Fahrenheit are kinds of their own, since their zeros differ.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

# kind: names with their size in the kind's own unit, the first of size 1; names after a "+" take SI prefixes
_TABLE = """
length: +m +meter +meters +metre +metres = 1 | in inch inches = 0.0254 | ft foot feet = 0.3048 | yd yard yards = 0.9144
length: mi mile miles = 1609.344 | Å angstrom angstroms = 1e-10 | ly light-year light-years = 9460730472580800
mass: +g +gram +grams = 1 | t ton tons tonne tonnes = 1e6 | lb lbs pound pounds = 453.59237
mass: oz ounce ounces = 28.349523125 | u amu Da = 1.66053906892e-24
time: +s +second +seconds sec secs = 1 | min mins minute minutes = 60 | h hr hrs hour hours = 3600 | d day days = 86400
time: week weeks = 604800 | month months = 2629746 | yr yrs year years = 31556952
current: +A +ampere +amperes +amp +amps = 1
temperature: K kelvin kelvins = 1
celsius: °C degC = 1
fahrenheit: °F degF = 1
amount: +mol +mole +moles = 1
angle: ° deg degree degrees = 1
radian: rad radian radians = 1
volume: +L +l +liter +liters +litre +litres = 1 | gal gallon gallons = 3.785411784
energy: +J +joule +joules = 1 | +eV = 1.602176634e-19 | +cal +calorie +calories = 4.184
force: +N +newton +newtons = 1
pressure: +Pa +pascal +pascals = 1 | atm = 101325 | +bar +bars = 100000 | mmHg torr Torr = 133.322
power: +W +watt +watts = 1
voltage: +V +volt +volts = 1
charge: +C +coulomb +coulombs = 1
resistance: +Ω +ohm +ohms = 1
capacitance: +F +farad +farads = 1
field: +T +tesla +teslas = 1
frequency: +Hz +hertz = 1
concentration: +M molar = 1
data: bit bits = 1 | B byte bytes = 8
money: $ dollar dollars USD = 1 | cent cents ¢ = 0.01
euro: € euro euros EUR = 1
sterling: £ GBP = 1
"""
_PREFIXES = {
    "": 0,
    "k": 3,
    "M": 6,
    "G": 9,
    "T": 12,
    "c": -2,
    "d": -1,
    "m": -3,
    "μ": -6,
    "µ": -6,
    "n": -9,
    "p": -12,
    "f": -15,
}
_WORDS = {"kilo": 3, "mega": 6, "giga": 9, "centi": -2, "deci": -1, "milli": -3, "micro": -6, "nano": -9, "pico": -12}
# words of mathematics, which change the value of a number before them
_OPERATION = re.compile(
    r"(?:sin|cos|tan|cot|sec|csc|log|exp|pi|squared|cubed|factorial|times|plus|minus|over|roots?|mod|modulo|powers?|choose"
    r"|hundred|thousand|million|billion|trillion|dozen|percent|and|or|not|infinity|infinite|theta|alpha|beta)"
)
_FACTOR = re.compile(
    r"(?P<over>/|\bper\b)?\s*(?P<name>[^\W\d_]+(?:-[^\W\d_]+)?|°\s?[CF]?|[$€£¢])(?:\s*\^?\{?(?P<power>-?\d)\}?)?\s*[*·.]?\s*"
)
_MARKUP = re.compile(r"\\(?:text(?:rm|bf)?|math(?:rm|bf)|mbox)\s*\{([^{}]*)\}|\\[,;: !]|~|\\(?:cdot|times)\b")


class Unit(NamedTuple):
    """A unit: the powers of what it measures, and its size in their own units."""

    kinds: tuple[tuple[str, int], ...]
    size: Fraction


@lru_cache(maxsize=1)
def _known() -> dict[str, tuple[str, Fraction]]:
    """The kind and size of every name; a name of the table wins over a prefixed one (min is not a milli-inch)."""
    found: dict[str, tuple[str, Fraction]] = {}
    prefixed: dict[str, tuple[str, Fraction]] = {}
    for line in _TABLE.strip().splitlines():
        kind, _, groups = line.partition(": ")
        for group in groups.split(" | "):
            names, size = group.split(" = ")
            for name in names.split():
                bare = name.removeprefix("+")
                found[bare] = kind, Fraction(size)
                for prefix, power in () if bare == name else (_WORDS if len(bare) > 3 else _PREFIXES).items():
                    prefixed[prefix + bare] = kind, Fraction(size) * Fraction(10) ** power
    return prefixed | found


@lru_cache(maxsize=1024)
def unit_of(text: str) -> Unit | None:
    """The unit that a text behind a number is: "kg", "m/s^2", "\\text{ km}"; None for anything else."""
    bare = (
        _MARKUP.sub(lambda match: f" {match[1] or ''} ", text)
        .replace("^{\\circ}", "°")
        .replace("^\\circ", "°")
        .replace("°{", "{")
        .strip(" {}.")
    )
    kinds: dict[str, int] = {}
    size, at = Fraction(1), 0
    if not bare or len(bare) > 40:
        return None
    while at < len(bare):
        match = _FACTOR.match(bare, at)
        name = match and "".join(match["name"].split())
        if not match or name not in _known():
            return None
        kind, own = _known()[str(name)]
        power = int(match["power"] or 1) * (-1 if match["over"] else 1)
        kinds[kind] = kinds.get(kind, 0) + power
        size *= own**power
        at = match.end()
    return Unit(tuple(sorted((kind, power) for kind, power in kinds.items() if power)), size)


def is_counted(text: str) -> bool:
    """True for words behind a number that leave it as it is: a unit, or what is counted ("apples", "ways to go")."""
    if unit_of(text) is not None:
        return True
    words = _MARKUP.sub(lambda match: f" {match[1] or ''} ", text).strip(" {}.,;!").split()
    return all(w.isalpha() and w.isascii() and not _OPERATION.fullmatch(w.lower()) for w in words) and any(
        len(w) > 2 for w in words
    )
