"""Guards on two sets of results that are compared: whatever their source, they fill the sheets that the guards read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from bitparity.benchmarks.registry import benchmark_class, known_benchmark
from bitparity.compare.pairing import Pairing, Side
from bitparity.compare.records import ItemResult, Results, RunVariant, Source, sheet_of
from bitparity.exam.frozen import Exam
from bitparity.records import Item, Prompt
from bitparity.results.guards.facts import Answers, Facts
from bitparity.results.sheet import Sheet
from bitparity.store.environment import RunRecord


def gather(
    sources: tuple[Source, Source],
    results: tuple[Results, Results],
    pairing: Pairing,
    margin: float,
    control: str | None,
) -> tuple[Answers, Facts | None]:
    """What the guards look at: both sides' answers, and the conditions of runs. `margin` is a fraction.

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
