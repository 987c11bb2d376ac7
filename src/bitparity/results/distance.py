"""Distance of each variant's next token from the baseline's, as results.json has it, with the guards on it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bitparity.distance.figures import against, figures
from bitparity.distance.readings import Readings, drawn_tokens, read_back
from bitparity.distance.schema import DistancePair, VariantDistance
from bitparity.distance.store import AGAIN, load_readings
from bitparity.distance.texts import OWN_TEXTS
from bitparity.errors import RunError
from bitparity.results.guards.distance import NOT_READ, check_distance
from bitparity.results.schema import Distance, DistanceDocument
from bitparity.schema import Study
from bitparity.store.environment import ReadRecord, RunRecord
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run


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
    readers = {name: read_back(run, name, base) for name in (study.baseline + AGAIN, *study.candidates)}
    tops = {reading.top for readings in base.values() for reading in readings.values() if reading.error is None}
    drawn = None if None in tops else drawn_tokens(base, readers.values())
    if drawn is None and None not in tops:
        readers = {name: reader.bounded for name, reader in readers.items()}
    floor, records = readers.pop(study.baseline + AGAIN), environment.distance
    found = {name: _variant(reader, floor, records.get(name)) for name, reader in readers.items()}
    noise = _variant(floor, None, records.get(study.baseline + AGAIN) or records.get(study.baseline))
    return Distance(
        top_k=None if not tops else "all" if None in tops else max(filter(None, tops)),
        drawn=drawn,
        noise_floor=noise,
        variants=found,
        pairs=list(_pairs(readers)),
        guards=sorted(check_distance(found, noise), key=lambda each: each.level != "error"),
    )


def _variant(reader: Readings, floor: Readings | None, record: ReadRecord | None) -> VariantDistance:
    whole, nan = figures(reader.tokens, reader.bound(reader.rows)), int((~reader.tokens.told).sum())
    reason = None if record is None else record.reason
    if whole is None:
        said = "the model gave no number at all" if nan else reason or NOT_READ
        return VariantDistance(status="not_run", reason=said, nan=nan)
    benchmarks = {}
    for name in dict.fromkeys(name for name, *_ in reader.rows):
        keys = [key for key in reader.rows if key[0] == name]
        if (part := figures(reader.part(keys), reader.bound(keys))) is not None:
            benchmarks[name] = part
    return VariantDistance(
        status="measured",
        reason=reason,
        nan=nan,
        overall=whole,
        benchmarks=benchmarks,
        against_floor=None if floor is None else _compared(reader, floor),
        seconds=None if record is None else record.seconds,
    )


def _compared(one: Readings, other: Readings) -> DistancePair | None:
    """One reader against another on the answers that both have; None where these are none."""
    keys = [key for key in one.rows if key in other.rows]
    return against(one.part(keys), other.part(keys))


def _pairs(readers: Mapping[str, Readings]) -> Iterator[DistancePair]:
    """Every two candidates that have read, the farther one first."""
    read = [(name, reader) for name, reader in readers.items() if reader.tokens.told.any()]
    ranked = sorted(read, key=lambda each: -float(np.nanmean(each[1].tokens.divergence)))
    for (far, one), (near, other) in itertools.combinations(ranked, 2):
        if (found := _compared(one, other)) is not None:
            yield found.model_copy(update={"variant": far, "than": near})
