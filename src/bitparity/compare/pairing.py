"""Pairing of two variants' results of one benchmark by item, and what the guards look at of it.

Two that were not asked the same are refused. Whatever their source, they fill the sheets that the guards read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

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


def gather(
    sources: tuple[Source, Source],
    results: tuple[Results, Results],
    pairing: Pairing,
    margin: float,
    control: str | None,
) -> tuple[Answers, Facts | None]:
    """The facts for the guards: both sides' answers, and the conditions of runs. `margin` is a fraction.

    The baseline's second run, `control`, may be the same as the baseline in what other candidates may not.
    """
    names = [item.name for item, _ in pairing.both]
    items = zip(*pairing.both, strict=True)
    sides = zip(sources, results, (pairing.baseline, pairing.candidate), items, strict=True)
    sheets = {source.label: _sheet(source, part, side, names, own) for source, part, side, own in sides}
    facts = _facts(
        [(source.label, source.run, part.benchmark) for source, part in zip(sources, results, strict=True)], control
    )
    answers = Answers("", {}, names, margin, asked=list(_asked(pairing))) if facts is None else facts.answers
    answers = replace(answers, baseline=sources[0].label, sheets=sheets, items=names, margin=margin, control=control)
    answers = replace(
        answers,
        pairs=pairing.scores,
        samples=pairing.baseline.samples,
        chance=answers.chance or _chance(results[0].benchmark, [item for item, _ in pairing.both]),
        temperature=answers.temperature or _temperature(results[0]),
        budget=answers.budget or _budget(results[0]),
    )
    return answers, facts


def _asked(pairing: Pairing) -> Iterator[Item]:
    """The questions that the baseline's source tells, without their keys."""
    for item, _ in pairing.both:
        if item.question is not None:
            yield Item(item.name, (Prompt(text=item.question),), None)


def _sheet(source: Source, results: Results, side: Side, names: Sequence[str], items: Sequence[ItemResult]) -> Sheet:
    """One variant's answers to the items of both, under the names of the baseline's."""
    numbers, about = results.sample_numbers(), {"settings": results.settings, "origin": _origin(source)}
    return sheet_of(names, items, numbers, len(numbers), alone=side.alone, **about)


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


def _temperature(results: Results) -> float | None:
    """The temperature that the source notes; None where it notes none or nothing is drawn."""
    settings = results.settings or {}
    value = settings.get("temperature")
    return value if isinstance(value, int | float) and settings.get("do_sample", True) is not False else None


def _budget(results: Results) -> int | None:
    """The token budget that the source notes; None where it notes none."""
    value = (results.settings or {}).get("max_tokens")
    return value if isinstance(value, int) else None


def _facts(sides: Sequence[tuple[str, RunVariant | None, str]], control: str | None) -> Facts | None:
    """The conditions of those that are variants of runs, each (label, variant, benchmark in its run).

    Two are looked at on the items that they share, as if they were variants of one study under the first one's
    protocol: what differs between their engines, prompts and sampling shows.
    """
    runs = [(label, run, benchmark) for label, run, benchmark in sides if run is not None]
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
    own = run.exams[benchmark]
    if [entry.item.id for entry in own.items] == [entry.item.id for entry in exam.items]:
        return run.sheets[benchmark]
    row = {entry.item.id: number for number, entry in enumerate(own.items)}
    kept = [row[entry.item.id] for entry in exam.items]
    ids, sheet = {entry.item.id for entry in exam.items}, run.sheets[benchmark]
    samples = {key: sample for key, sample in sheet.samples.items() if key[0] in ids}
    grades = {key: grade for key, grade in sheet.grades.items() if key[0] in ids}
    return replace(sheet, scores=sheet.scores[kept], samples=samples, grades=grades)
