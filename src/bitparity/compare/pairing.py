"""Pairing of two variants' results of one benchmark by item, and what the guards look at of it.

Two that were not asked the same are refused. Whatever their source, they fill the sheets that the guards read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bitparity.benchmarks.registry import benchmark_class, known_benchmark
from bitparity.compare import schema
from bitparity.compare.records import ItemResult, Results, RunVariant, Source, sheet_of
from bitparity.errors import DataError
from bitparity.exam.frozen import Exam
from bitparity.records import Item, Prompt
from bitparity.results.guards.facts import Answers, Facts
from bitparity.results.guards.scores import few_large_groups
from bitparity.results.sheet import Sheet
from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.store.environment import RunRecord

EXAMPLES = 5

_MEANING = {
    "prompt": "another chat template, system prompt, number of worked examples or prompt style? Run both with the same",
    "question": "another prompt style or data revision? Run both with the same",
    "target": "another revision of the data set, or options in another order? Run both on the same data",
    "group": "the rows name other groups; write both files with the same",
    "subgroup": "the rows name other subgroups; write both files with the same",
}


@dataclass(frozen=True, slots=True)
class Pairing:
    """Two variants' results, item by item.

    `both` are the items that stand in both, `alone` the names of those that stand in the baseline only and in the
    candidate only; `scores` are those of `both` where every sample has a score, None where there is none; `subgroups`
    names the subgroup of each scored item (None: the source tells none).
    """

    both: Sequence[tuple[ItemResult, ItemResult]]
    alone: Sequence[Sequence[str]]
    sides: schema.Sides
    scores: PairedScores | None = None
    subgroups: Sequence[str] | None = None


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
    alone = [
        [item.name for key, item in own.items.items() if key not in other.items]
        for own, other in ((baseline, candidate), (candidate, baseline))
    ]
    one, two = map(_side, (baseline, candidate), orders, alone)
    found = Pairing(both, alone, schema.Sides(baseline=one, candidate=two))
    scored = [(a, b) for a, b in both if _whole(a, orders[0]) and _whole(b, orders[1])]
    if not scored:
        return found
    k = min(map(len, orders))
    arrays = [
        np.array([[item.scores[number] for number in order[:k]] for item in items], dtype=np.float64)
        for items, order in zip(zip(*scored, strict=True), orders, strict=True)
    ]
    groups, subgroups = named(scored, "group"), named(scored, "subgroup")
    pairs = pair_scores(arrays[0], arrays[1], groups)
    if subgroups is None and few_large_groups(pairs):
        subgroups = groups
    return replace(found, scores=pairs, subgroups=subgroups)


def _side(results: Results, numbers: Sequence[int], alone: Sequence[str]) -> schema.Side:
    """One variant's part of a pairing as it stands in the file: counts, and the first names."""
    unscored = [item.name for item in results.items.values() if not _whole(item, numbers)]
    first = [schema.Named(count=len(names), examples=list(names[:EXAMPLES])) for names in (alone, unscored)]
    return schema.Side(items=len(results.items), samples=len(numbers), alone=first[0], unscored=first[1])


def _whole(item: ItemResult, numbers: Sequence[int]) -> bool:
    return all(item.scores.get(number) is not None for number in numbers)


def named(pairs: Sequence[tuple[ItemResult, ItemResult]], key: str) -> list[str] | None:
    """The group or subgroup of each item, from whichever side tells; None where none does."""
    found = [getattr(a, key) if getattr(a, key) is not None else getattr(b, key) for a, b in pairs]
    if all(name is None for name in found):
        return None
    return [name if name is not None else f"item {a.name}" for name, (a, _) in zip(found, pairs, strict=True)]


def _check_metric(baseline: Results, candidate: Results, names: tuple[str, str]) -> None:
    if None not in (baseline.metric, candidate.metric) and baseline.metric != candidate.metric:
        raise DataError(
            f"{baseline.benchmark}: '{names[0]}' is scored by {baseline.metric} and '{names[1]}' by "
            f"{candidate.metric}; compare the same metric (of lm-eval's logs: --metric, --filter)"
        )


def _check_same(both: Sequence[tuple[ItemResult, ItemResult]], benchmark: str, names: tuple[str, str]) -> None:
    for what, meaning in _MEANING.items():
        # None: where one side does not tell, nothing is known to differ
        told = [(a.name, a.checks.get(what), b.checks.get(what)) for a, b in both]
        differing = [name for name, one, other in told if None not in (one, other) and one != other]
        if differing:
            raise DataError(
                f"{benchmark}: '{names[0]}' and '{names[1]}' do not have the same {what} in {len(differing)} of "
                f"{len(both)} items (for example {', '.join(differing[:3])}), so scores cannot be compared: {meaning}"
            )


def _nothing_pairs(baseline: Results, candidate: Results, names: tuple[str, str]) -> str:
    ours, theirs = ({item.name for item in results.items.values()} for results in (baseline, candidate))
    if ours & theirs:  # equal positions, other documents
        why = "the items at the same places differ: another revision of the data set, or options in another order"
    else:
        shown = [next(iter(results.items.values())).name for results in (baseline, candidate)]
        why = f"the items are other ones (first '{shown[0]}' and '{shown[1]}'): other benchmarks, or other ids"
    return f"no item of '{names[0]}' ({baseline.benchmark}) stands in '{names[1]}' ({candidate.benchmark}): {why}"


def gather(
    sources: tuple[Source, Source],
    results: tuple[Results, Results],
    pair: Pairing,
    margin: float,
    control: str | None,
) -> tuple[Answers, Facts | None]:
    """The facts for the guards: both sides' answers, and the conditions of runs. `margin` is a fraction.

    The baseline's second run, `control`, may be the same as the baseline in what other candidates may not.
    """
    own = [item for item, _ in pair.both]
    names, sheets = [item.name for item in own], {}  # both sides under the names of the baseline's items
    parts = zip(sources, results, pair.alone, zip(*pair.both, strict=True), strict=True)
    for source, part, alone, items in parts:
        numbers, about = part.sample_numbers(), {"settings": part.settings, "origin": _origin(source)}
        sheets[source.label] = sheet_of(names, items, numbers, len(numbers), alone=alone, **about)
    # the questions that the baseline's source tells, without their keys
    asked = [Item(item.name, (Prompt(text=item.question),), None) for item in own if item.question is not None]
    facts = _facts(sources, results, control)
    known = Answers("", {}, names, margin, asked=asked) if facts is None else facts.answers
    answers = replace(known, baseline=sources[0].label, sheets=sheets, items=names, margin=margin, control=control)
    settings: Mapping[str, Any] = results[0].settings or {}
    heat, budget = settings.get("temperature"), settings.get("max_tokens")
    drawn = isinstance(heat, int | float) and settings.get("do_sample", True) is not False
    answers = replace(
        answers,
        pairs=pair.scores,
        samples=pair.sides.baseline.samples,
        chance=known.chance or _chance(results[0].benchmark, own),
        temperature=known.temperature or (heat if drawn else None),
        budget=known.budget or (budget if isinstance(budget, int) else None),
    )
    return answers, facts


def _origin(source: Source) -> str:
    """The place that results come from: equal for the same results given twice."""
    if source.run is None:
        return str(Path(source.given).expanduser().resolve())
    return f"{source.run.run.path.resolve()}:{source.run.name}"


def _chance(benchmark: str, items: Sequence[ItemResult]) -> float | None:
    """The score of guessing: as told of every item, or the least that the benchmark of this name allows."""
    told = [item.chance for item in items if item.chance is not None]
    if len(told) == len(items):
        return sum(told) / len(told)
    known = known_benchmark(benchmark)
    return None if known is None else benchmark_class(known).info.chance


def _facts(sources: Sequence[Source], results: Sequence[Results], control: str | None) -> Facts | None:
    """The conditions of those sources that are variants of runs.

    Two are looked at on the items that they share, as if they were variants of one study under the first one's
    protocol: what differs between their engines, prompts and sampling shows.
    """
    sides = zip(sources, results, strict=True)
    runs = [(source.label, source.run, part.benchmark) for source, part in sides if source.run is not None]
    if not runs:
        return None
    _, first, benchmark = runs[0]
    shared = set.intersection(*({entry.item.id for entry in run.exams[name].items} for _, run, name in runs))
    whole = first.exams[benchmark]
    exam = replace(whole, items=tuple(entry for entry in whole.items if entry.item.id in shared))
    if not exam.items:
        return None
    variants = {
        label: run.study.variants[run.name].model_copy(update={"baseline": run is first, "control": label == control})
        for label, run, _ in runs
    }
    environment = RunRecord(variants={label: run.run.environment().variant(run.name) for label, run, _ in runs})
    sheets = {label: _run_sheet(run, name, exam) for label, run, name in runs}
    study = first.study.model_copy(update={"variants": variants})
    return Facts(study, first.spec(benchmark), exam, sheets, environment)


def _run_sheet(run: RunVariant, benchmark: str, exam: Exam) -> Sheet:
    """The variant's sheet in the order of `exam`."""
    row = {entry.item.id: number for number, entry in enumerate(run.exams[benchmark].items)}
    kept, sheet = {entry.item.id: row[entry.item.id] for entry in exam.items}, run.sheets[benchmark]
    samples = {key: sample for key, sample in sheet.samples.items() if key[0] in kept}
    grades = {key: grade for key, grade in sheet.grades.items() if key[0] in kept}
    return replace(sheet, scores=sheet.scores[list(kept.values())], samples=samples, grades=grades)
