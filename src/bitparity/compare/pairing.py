"""Pairing of two variants' results of one benchmark by item, refused where they were not asked the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from bitparity.compare import schema
from bitparity.compare.records import ItemResult, Results
from bitparity.errors import DataError
from bitparity.results.guards.scores import few_large_groups
from bitparity.stats.arrays import PairedScores, pair_scores

EXAMPLES = 5

_MEANING = {
    "prompt": "another chat template, system prompt, number of worked examples or prompt style? Run both with the same",
    "question": "another prompt style or data revision? Run both with the same",
    "target": "another revision of the data set, or options in another order? Run both on the same data",
    "group": "the rows name other groups; write both files with the same",
    "subgroup": "the rows name other subgroups; write both files with the same",
}


@dataclass(frozen=True, slots=True)
class Side:
    """One variant's part of a pairing: how many items it has, and those that cannot be compared, by name.

    `alone` stand in this variant only; of `unscored` some sample has no score; `samples` are the samples an item.
    """

    items: int
    samples: int
    alone: Sequence[str]
    unscored: Sequence[str]

    def report(self) -> schema.Side:
        """As it stands in the file: counts and the first names."""
        alone, unscored = (
            schema.Named(count=len(names), examples=list(names[:EXAMPLES])) for names in (self.alone, self.unscored)
        )
        return schema.Side(items=self.items, samples=self.samples, alone=alone, unscored=unscored)


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two variants' results, item by item.

    `both` are the items that stand in both; `scores` are those of them where every sample has a score, None where
    there is none; `subgroups` names the subgroup of each scored item (None: the source tells none).
    """

    baseline: Side
    candidate: Side
    both: Sequence[tuple[ItemResult, ItemResult]]
    scores: PairedScores | None
    subgroups: Sequence[str] | None

    def groups(self) -> list[str] | None:
        """The group of each item of `both`; None where neither side tells any."""
        return _named(self.both, "group")


def pair_up(baseline: Results, candidate: Results, names: tuple[str, str]) -> Pairing:
    """Pair by item. `names` are the variants' labels, for messages.

    Samples of an item are exchangeable, so the first of each count, up to the smaller number of both sides. Raises
    DataError where nothing pairs, or where prompts, references, groups or metrics differ.
    """
    _check_metric(baseline, candidate, names)
    keys = [key for key in baseline.items if key in candidate.items]
    if not keys:
        raise DataError(_nothing_pairs(baseline, candidate, names))
    both = [(baseline.items[key], candidate.items[key]) for key in keys]
    _check_same(both, baseline.benchmark, names)
    orders = [results.sample_numbers() for results in (baseline, candidate)]
    sides = [
        Side(
            items=len(own.items),
            samples=len(order),
            alone=[item.name for key, item in own.items.items() if key not in other.items],
            unscored=[item.name for item in own.items.values() if not _whole(item, order)],
        )
        for own, other, order in ((baseline, candidate, orders[0]), (candidate, baseline, orders[1]))
    ]
    scored = [(a, b) for a, b in both if _whole(a, orders[0]) and _whole(b, orders[1])]
    if not scored:
        return Pairing(sides[0], sides[1], both, None, None)
    k = min(map(len, orders))
    arrays = [
        np.array([[item.scores[number] for number in order[:k]] for item in items], dtype=np.float64)
        for items, order in zip(zip(*scored, strict=True), orders, strict=True)
    ]
    pairs = pair_scores(arrays[0], arrays[1], _named(scored, "group"))
    return Pairing(sides[0], sides[1], both, pairs, _parts(scored, pairs))


def _whole(item: ItemResult, numbers: Sequence[int]) -> bool:
    return all(item.scores.get(number) is not None for number in numbers)


def _named(pairs: Sequence[tuple[ItemResult, ItemResult]], key: str) -> list[str] | None:
    """The group or subgroup of each item, from whichever side tells; None where none does."""
    found = [getattr(a, key) if getattr(a, key) is not None else getattr(b, key) for a, b in pairs]
    if all(name is None for name in found):
        return None
    return [name if name is not None else f"item {a.name}" for name, (a, _) in zip(found, pairs, strict=True)]


def _parts(pairs: Sequence[tuple[ItemResult, ItemResult]], scores: PairedScores) -> list[str] | None:
    found = _named(pairs, "subgroup")
    if found is None and few_large_groups(scores):
        return _named(pairs, "group")
    return found


def _check_metric(baseline: Results, candidate: Results, names: tuple[str, str]) -> None:
    if None not in (baseline.metric, candidate.metric) and baseline.metric != candidate.metric:
        raise DataError(
            f"{baseline.benchmark}: '{names[0]}' is scored by {baseline.metric} and '{names[1]}' by "
            f"{candidate.metric}; compare the same metric (of lm-eval's logs: --metric, --filter)"
        )


def _check_same(both: Sequence[tuple[ItemResult, ItemResult]], benchmark: str, names: tuple[str, str]) -> None:
    for what, meaning in _MEANING.items():
        differing = [a.name for a, b in both if _differ(a.checks, b.checks, what)]
        if differing:
            raise DataError(
                f"{benchmark}: '{names[0]}' and '{names[1]}' do not have the same {what} in {len(differing)} of "
                f"{len(both)} items (for example {', '.join(differing[:3])}), so scores cannot be compared: {meaning}"
            )


def _differ(one: Mapping[str, str], other: Mapping[str, str], what: str) -> bool:
    return what in one and what in other and one[what] != other[what]


def _nothing_pairs(baseline: Results, candidate: Results, names: tuple[str, str]) -> str:
    ours, theirs = ({item.name for item in results.items.values()} for results in (baseline, candidate))
    if ours & theirs:  # equal positions, other documents
        why = "the items at the same places differ: another revision of the data set, or options in another order"
    else:
        shown = [next(iter(results.items.values())).name for results in (baseline, candidate)]
        why = f"the items are other ones (first '{shown[0]}' and '{shown[1]}'): other benchmarks, or other ids"
    return f"no item of '{names[0]}' ({baseline.benchmark}) stands in '{names[1]}' ({candidate.benchmark}): {why}"
