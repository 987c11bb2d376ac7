"""Distance of each variant's next token from the baseline's, as results.json has it, with the guards on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from bitparity.distance.divergence import Floats, TokenDistances
from bitparity.distance.figures import Tokens, against, figures, join
from bitparity.distance.store import AGAIN, Reading, distances_of, load_arrays, load_readings
from bitparity.distance.texts import OWN_TEXTS
from bitparity.errors import RunError
from bitparity.results.guards.distance import NOT_READ, check_distance
from bitparity.results.schema import Distance, DistanceDocument, DistanceFigures, DistancePair, VariantDistance
from bitparity.schema import Study
from bitparity.store.environment import ReadRecord, RunRecord
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run

Key = tuple[str, str, int]  # benchmark, item, sample


@dataclass(frozen=True)
class _Reader:
    """The readings of one reader: by key the line, distances, surprise and the bound (None: no such)."""

    rows: Mapping[Key, tuple[Reading, TokenDistances, Floats, Floats | None]]

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
    def bounded(self) -> _Reader:
        """The same with the lower bound alone, also where the whole divergence is known."""
        return _Reader(
            {key: (line, _least(found, bound), told, None) for key, (line, found, told, bound) in self.rows.items()}
        )


def _least(found: TokenDistances, bound: Floats | None) -> TokenDistances:
    return found if bound is None else replace(found, divergence=bound.astype(np.float64))


def write_distance(run: Run, study: Study, *, of_texts: bool = False) -> DistanceDocument:
    """Write distance.json, of answers or of the user's own texts; returns its content."""
    names = [OWN_TEXTS] if of_texts else [spec.name for spec in study.benchmarks]
    found = build_distance(run, study, run.environment(), names)
    if found is None:
        raise RunError(f"{run.path}: its study asks for no distance; remove 'distance: off'")
    document = DistanceDocument(
        schema="bitparity/distance/1",
        study=study.name,
        baseline=study.baseline,
        variants={name: variant.model for name, variant in study.variants.items()},
        texts=of_texts,
        distance=found,
    )
    write_json(run.path / "distance.json", document.document())
    return document


def build_distance(run: Run, study: Study, environment: RunRecord, benchmarks: Sequence[str]) -> Distance | None:
    """The distances of a run's variants; None where the study asks for none. Raises StoreError for broken files."""
    if study.distance is None:
        return None
    base = {name: load_readings(run, study.baseline, name) for name in benchmarks}
    readers = {name: _read(run, name, base) for name in (study.baseline + AGAIN, *study.candidates)}
    tops = {reading.top for readings in base.values() for reading in readings.values() if reading.error is None}
    drawn = None if None in tops else _drawn(base, readers)
    if drawn is None and None not in tops:
        readers = {name: reader.bounded for name, reader in readers.items()}
    floor = readers.pop(study.baseline + AGAIN)
    found = {name: _variant(reader, floor, environment.distance.get(name)) for name, reader in readers.items()}
    noise = _variant(
        floor, None, environment.distance.get(study.baseline + AGAIN) or environment.distance.get(study.baseline)
    )
    return Distance(
        top_k=None if not tops else "all" if None in tops else max(filter(None, tops)),
        drawn=drawn,
        noise_floor=noise,
        variants=found,
        pairs=list(_pairs(readers)),
        guards=sorted(check_distance(found, noise), key=lambda each: each.level != "error"),
    )


def _drawn(base: Mapping[str, Mapping[tuple[str, int], Reading]], readers: Mapping[str, _Reader]) -> int | None:
    """The tokens drawn at each position, at least; None where any reading is without: figures are of one kind only."""
    rows = [(key, bound) for reader in readers.values() for key, (_, _, _, bound) in reader.rows.items()]
    draws = [base[name][item, sample].drawn for (name, item, sample), _ in rows]
    known = [count for count in draws if count is not None]
    estimated = len(known) == len(rows) and all(bound is not None for _, bound in rows)
    return min(known, default=None) if estimated else None


def _read(run: Run, reader: str, base: Mapping[str, Mapping[tuple[str, int], Reading]]) -> _Reader:
    """A reader's whole readings of the answers that the baseline has read, in the order in which it has."""
    rows = {}
    for name, firsts in base.items():
        stored = load_readings(run, reader, name)
        keys = [key for key, first in firsts.items() if _same(first, stored.get(key))]
        arrays = load_arrays(run, reader, name, [stored[key] for key in keys]) if keys else []
        for key, found in zip(keys, arrays, strict=True):
            surprise = found["surprise"].astype(np.float64)
            rows[name, *key] = stored[key], distances_of(found), surprise, found.get("bound")
    return _Reader(rows)


def _same(first: Reading, found: Reading | None) -> bool:
    """True for two whole readings of the same tokens, told of in the same way."""
    if found is None or found.error is not None or first.error is not None:
        return False
    return (found.answer, found.top) == (first.answer, first.top)


def _variant(reader: _Reader, floor: _Reader | None, record: ReadRecord | None) -> VariantDistance:
    whole = figures(reader.tokens)
    reason = None if record is None else record.reason
    if whole is None:
        nan = int((~reader.tokens.told).sum())
        said = "the model gave no number at all" if nan else reason or NOT_READ
        return VariantDistance(status="not_run", reason=said, nan=nan)
    names = dict.fromkeys(name for name, *_ in reader.rows)
    parts = {name: [key for key in reader.rows if key[0] == name] for name in names}
    by_name = {name: figures(reader.part(keys)) for name, keys in parts.items()}
    return VariantDistance(
        status="measured",
        reason=reason,
        nan=whole.nan,
        overall=DistanceFigures.made_from(whole, bound=reader.bound(reader.rows)),
        benchmarks={
            name: DistanceFigures.made_from(each, bound=reader.bound(parts[name]))
            for name, each in by_name.items()
            if each
        },
        against_floor=None if floor is None else _compared(reader, floor),
        seconds=None if record is None else record.seconds,
    )


def _compared(one: _Reader, other: _Reader) -> DistancePair | None:
    """One reader against another on the answers that both have; None where these are none."""
    keys = [key for key in one.rows if key in other.rows]
    found = against(one.part(keys), other.part(keys))
    return None if found is None else DistancePair.made_from(found)


def _pairs(readers: Mapping[str, _Reader]) -> Iterator[DistancePair]:
    """Every two candidates that have read, the farther one first."""
    read = [(name, reader) for name, reader in readers.items() if reader.tokens.told.any()]
    ranked = sorted(read, key=lambda each: -float(np.nanmean(each[1].tokens.divergence)))
    for (far, one), (near, other) in itertools.combinations(ranked, 2):
        if (found := _compared(one, other)) is not None:
            yield found.model_copy(update={"variant": far, "than": near})
