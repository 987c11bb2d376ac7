"""Spot check: the few answers that the baseline's second run gives where both runs must give the same ones."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set

from bitparity.exam.build import digest
from bitparity.exam.frozen import Exam, samples_asked
from bitparity.records import SampleKey
from bitparity.schema import BenchmarkSpec, Study

SPOT_CHECK = 100  # answers, over all benchmarks
_SALT = "spot check\0"

Drawn = Mapping[str, Set[SampleKey]]  # by benchmark


def drawn_for(study: Study, variant: str, asked: Iterable[tuple[BenchmarkSpec, Exam]]) -> Drawn | None:
    """The answers that a variant is asked: for a spot check so many of each benchmark; None, which is all, for others.

    Drawn by the protocol's seed from the answers that are written and do not build on earlier ones. The fewer
    benchmarks there are, the more of each: what was drawn of one is drawn again when another is left out.
    """
    if variant != study.spot_check:
        return None
    ranked = {exam.benchmark: _ranked(exam, spec) for spec, exam in asked}
    taken = shares({name: len(keys) for name, keys in ranked.items()}, SPOT_CHECK)
    return {name: frozenset(ranked[name][:count]) for name, count in taken.items()}


def _ranked(exam: Exam, spec: BenchmarkSpec) -> list[SampleKey]:
    written = [
        entry.item.id
        for entry in exam.items
        if entry.item.after is None and not any(prompt.continuations for prompt in entry.item.prompts)
    ]
    keys = [(item, sample) for item in written for sample in range(samples_asked(exam, spec))]
    return sorted(keys, key=lambda key: digest(f"{_SALT}{exam.seed}\0{exam.benchmark}\0{key[0]}\0{key[1]}"))


def answers_of_items(exam: Exam, spec: BenchmarkSpec, drawn: Drawn | None, items: int | None = None) -> int:
    """The number of answers that are asked of the first `items`, or of all."""
    first = exam.items[:items]
    if drawn is None:
        return len(first) * samples_asked(exam, spec)
    ids = {entry.item.id for entry in first}
    return sum(item in ids for item, _ in drawn[exam.benchmark])


def shares(available: Mapping[str, int], most: int) -> dict[str, int]:
    """The answers to take of each benchmark, `most` together: as equal as what there is allows."""
    taken = dict.fromkeys(available, 0)
    left = most
    while left > 0 and (open_ := [name for name in available if taken[name] < available[name]]):
        step = max(1, left // len(open_))
        for name in open_:
            more = min(step, available[name] - taken[name], left)
            taken[name] += more
            left -= more
    return taken
