"""Units behind a number: a closed list, with what they measure and their size.

The list is `units.csv`: kind, size in the kind's own unit, names of that size; names after a "+" take SI prefixes.

`unit_of("kg") == unit_of("1000 g")` does not hold, but `Unit.size` relates them: 5 kg is 5000 g. Degrees Celsius and
Fahrenheit are kinds of their own, since their zeros differ.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from fractions import Fraction
from functools import lru_cache
from importlib import resources
from typing import NamedTuple

from bitparity.benchmarks.patterns import compiled
from bitparity.inputs.packaged import packaged_toml

MOST_CHARS = 40  # no unit is so long, and a sentence need not be taken apart

_TABLES = packaged_toml(__package__, "units.toml")["tables"]
_PATTERNS = compiled("units")
_MARK_OF = {name: names.split("/")[0] for names in _TABLES["marks"] for name in names.split("/")}


class Unit(NamedTuple):
    """A unit: the powers of what it measures, and its size in their own units."""

    kinds: tuple[tuple[str, int], ...]
    size: Fraction


@lru_cache(maxsize=1)
def _known() -> dict[str, tuple[str, Fraction]]:
    """The kind and size of every name; a name of the table wins over a prefixed one (min is not a milli-inch)."""
    found: dict[str, tuple[str, Fraction]] = {}
    prefixed: dict[str, tuple[str, Fraction]] = {}
    rows = (resources.files(__package__) / "units.csv").read_text(encoding="utf-8").splitlines()
    for row in csv.DictReader(rows):
        kind, size = row["kind"], Fraction(row["size"])
        for name in row["names"].split():
            bare = name.removeprefix("+")
            found[bare] = kind, size
            table = _TABLES["prefix_names" if len(bare) > 3 else "prefixes"]
            for prefix, power in table.items() if bare != name else ():
                prefixed[prefix + bare] = kind, size * Fraction(10) ** power
    return prefixed | found


def _unmarked(text: str) -> str:
    return _PATTERNS["markup"].sub(lambda match: f" {match[1] or ''} ", text)


@lru_cache(maxsize=1024)
def unit_of(text: str) -> Unit | None:
    """The unit that a text behind a number is: "kg", "m/s^2", "\\text{ km}"; None for anything else."""
    bare = _unmarked(text).replace("^{\\circ}", "°").replace("^\\circ", "°").replace("°{", "{").strip(" {}.")
    if not bare or len(bare) > MOST_CHARS:
        return None
    kinds: Counter[str] = Counter()
    size, at = Fraction(1), 0
    while at < len(bare):
        match = _PATTERNS["factor"].match(bare, at)
        name = match and "".join(match["name"].split())
        if not match or name not in _known():
            return None
        kind, own = _known()[str(name)]
        raised = {"": 1, "s": 2, "c": 3}[(match["raised"] or "")[:1]]
        power = raised * int(match["power"] or 1) * (-1 if match["over"] else 1)
        kinds[kind] += power
        size *= own**power
        at = match.end()
    return Unit(tuple(sorted((kind, power) for kind, power in kinds.items() if power)), size)


def marks(text: str) -> tuple[tuple[str, ...], str]:
    """The words behind a number that tell it from an equal one, and the text without: (("pm",), "7") of "7 p.m."."""
    if len(text) > MOST_CHARS or not any(c.isdigit() for c in text):
        return (), text
    bare = _unmarked(text)
    found = list[str]()

    def without(match: re.Match[str]) -> str:
        name = "".join(c for c in match[0] if c.isalpha())
        if name.lower() in _MARK_OF:
            found.append(_MARK_OF[name.lower()])
            return match[0] if match[0] == name and len(name) == 1 else ""  # a bare N may be the newton
        return match[0]

    behind = _PATTERNS["behind"].search(bare)
    at = behind.start() if behind else len(bare)
    rest = _PATTERNS["mark"].sub(without, bare[at:])
    return tuple(found), (bare[:at] + rest).strip() if found else text


def is_counted(text: str) -> bool:
    """True for words behind a number that leave it as it is: a unit, or what is counted ("apples", "ways to go")."""
    if unit_of(text) is not None:
        return True
    words = _unmarked(text).strip(" {}.,;!").split()
    plain = all(w.isalpha() and w.isascii() and not _PATTERNS["operation"].fullmatch(w.lower()) for w in words)
    return plain and any(len(w) > 2 for w in words)
