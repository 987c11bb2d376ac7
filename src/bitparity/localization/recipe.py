"""Modules to spare from quantization: in which order, how many, and as the quantizers want them named."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

SHARES = (0.02, 0.05, 0.1, 0.15, 0.25, 0.5)  # of the baseline's bytes, at which the curve is measured
MOST_SPARED = 0.15  # of the baseline's bytes: a recipe that spares more makes another precision
ENOUGH = 0.5  # of the distance, regained: more modules than that takes are not recommended

# Modules that vLLM joins into one (QKVParallelLinear, MergedColumnParallelLinear): it refuses to load a checkpoint in
# which they are quantized differently.
_JOINED = (r"(q|k|v)_proj", r"(gate|up)_proj", r"w[13]", r"(q_a|kv_a)_proj(_with_mqa)?")


class Unit(NamedTuple):
    """Modules that can only be spared together, and what they weigh in the baseline and in the candidate, in bytes."""

    modules: tuple[str, ...]
    baseline: int
    candidate: int


def units(sizes: Mapping[str, tuple[int, int]]) -> list[Unit]:
    """The units of all changed modules, from their bytes in the baseline and in the candidate."""
    together: defaultdict[str, list[str]] = defaultdict(list)
    for name in sorted(sizes):  # in one order, however the sizes were found
        parent, _, own = name.rpartition(".")
        joined = next((pattern for pattern in _JOINED if re.fullmatch(pattern, own)), own)
        together[f"{parent} {joined}"].append(name)
    return [Unit(tuple(names), *(sum(sizes[name][k] for name in names) for k in (0, 1))) for names in together.values()]


def greedy(found: Sequence[Unit], shares: Mapping[str, float]) -> list[Unit]:
    """The units in the order in which they are spared: the largest share of the KL for a byte first."""
    return sorted(found, key=lambda unit: -sum(shares.get(name, 0.0) for name in unit.modules) / unit.baseline)


def prefixes(order: Sequence[Unit], whole: int) -> list[list[Unit]]:
    """For each of SHARES of `whole` bytes the units that fit, taken in their order, each different set once."""
    found: list[list[Unit]] = []
    for share in SHARES:
        taken = _fitting(order, share * whole)
        if taken and (not found or taken != found[-1]):
            found.append(taken)
    return found


def in_fp8(order: Sequence[Unit], whole: int) -> list[Unit]:
    """The units that take MOST_SPARED of `whole` bytes in FP8, half of a 16-bit baseline's.

    None where the candidate has hardly fewer bytes than that.
    """
    return _fitting([unit for unit in order if 1.5 * unit.candidate < unit.baseline / 2], 2 * MOST_SPARED * whole)


def _fitting(order: Sequence[Unit], most: float) -> list[Unit]:
    """The units that fit into so many of the baseline's bytes, taken in their order."""
    taken: list[Unit] = []
    for unit in order:
        if sum(each.baseline for each in taken) + unit.baseline <= most:
            taken.append(unit)
    return taken


def bend(curve: Sequence[tuple[float, float]], end: float) -> int | None:
    """The number of the point at which a curve of (share of bytes, share regained) bends.

    It is the point farthest above the chord from nothing spared to everything spared, which is the share `end` and
    regains all (the knee of V. Satopää and others, "Finding a Kneedle in a Haystack", ICDCS workshops 2011). None where
    none is above.
    """
    above = [regained - share / end for share, regained in curve]
    best = max(range(len(above)), key=above.__getitem__, default=None)
    return None if best is None or above[best] <= 0 else best


def recommended(curve: Sequence[tuple[float, float]]) -> int | None:
    """The number of the point to recommend, from (share of bytes, lower end of the share regained) of each.

    It is the first one that surely regains ENOUGH, else the last one within MOST_SPARED; None where there is none.
    """
    allowed = [number for number, (share, _) in enumerate(curve) if share <= MOST_SPARED]
    return next((number for number in allowed if curve[number][1] >= ENOUGH), allowed[-1] if allowed else None)
