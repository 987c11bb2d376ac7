"""Readings read back: the whole readings of one reader, with the numbers of every token, to make figures of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bitparity.distance.figures import Floats, TokenDistances, Tokens, join
from bitparity.distance.store import Reading, load_arrays, load_readings
from bitparity.records import SampleKey
from bitparity.store.run import Run

Key = tuple[str, str, int]  # benchmark, item, sample
Row = tuple[Reading, TokenDistances, Floats, Floats | None]  # the line, distances, surprise, the bound (None: no such)
Firsts = Mapping[str, Mapping[SampleKey, Reading]]
"""The baseline's first readings, by benchmark."""


@dataclass(frozen=True)
class Readings:
    """The readings of one reader by their keys."""

    rows: Mapping[Key, Row]

    @cached_property
    def tokens(self) -> Tokens:
        """All of them as one."""
        return self.part(self.rows)

    def part(self, keys: Iterable[Key]) -> Tokens:
        """Those with these keys, in this order."""
        found = [(key, self.rows[key]) for key in keys]
        return join([(f"{key[0]}\0{key[1]}", distances, surprise) for key, (_, distances, surprise, _) in found])

    def bound(self, keys: Iterable[Key]) -> float | None:
        """The mean a token of the lower bound from the likeliest tokens, where the whole divergence is known too."""
        parts = [self.rows[key][3] for key in keys]
        known = [part for part in parts if part is not None]
        if not known or len(known) < len(parts):
            return None
        values: NDArray[np.float64] = np.concatenate(known)
        told = np.isfinite(values)
        return float(values[told].mean()) if told.any() else None

    @property
    def bounded(self) -> Readings:
        """The same with the lower bound alone, also where the whole divergence is known."""
        rows: dict[Key, Row] = {}
        for key, (line, found, told, bound) in self.rows.items():
            least = found if bound is None else replace(found, divergence=bound.astype(np.float64))
            rows[key] = line, least, told, None
        return Readings(rows)


def read_back(run: Run, reader: str, firsts: Firsts) -> Readings:
    """A reader's whole readings of the answers that the baseline has read, in the order in which it has."""
    rows = {}
    for name, of_baseline in firsts.items():
        stored = load_readings(run, reader, name)
        keys = [key for key, first in of_baseline.items() if _same(first, stored.get(key))]
        arrays = load_arrays(run, reader, name, [stored[key] for key in keys]) if keys else []
        for key, found in zip(keys, arrays, strict=True):
            divergence, lost, covered, surprise = (
                found[part].astype(np.float64) for part in ("divergence", "lost", "covered", "surprise")
            )
            distances = TokenDistances(divergence, lost, found["differs"].astype(np.bool_), covered)
            rows[name, *key] = stored[key], distances, surprise, found.get("bound")
    return Readings(rows)


def _same(first: Reading, found: Reading | None) -> bool:
    """True for two whole readings of the same tokens, told of in the same way."""
    if found is None or found.error is not None or first.error is not None:
        return False
    return (found.answer, found.top) == (first.answer, first.top)


def drawn_tokens(firsts: Firsts, readers: Iterable[Readings]) -> int | None:
    """The tokens drawn at each position, at least; None where any reading is without: figures are of one kind only."""
    rows = [(key, bound) for reader in readers for key, (_, _, _, bound) in reader.rows.items()]
    draws = [firsts[name][item, sample].drawn for (name, item, sample), _ in rows]
    known = [count for count in draws if count is not None]
    estimated = len(known) == len(rows) and all(bound is not None for _, bound in rows)
    return min(known, default=None) if estimated else None
