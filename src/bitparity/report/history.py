"""History of the runs of a folder: what each measured, and what changed from one run of the same exam to the next.

Every figure is made anew from samples and grades. A line joins the runs of one variant, by name and weights, on
one exam, by its hash: nothing else is comparable. A change between two runs is paired item by item, as by `compare`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple

from markupsafe import Markup
from pydantic import Field

from bitparity.compare.compare import compare
from bitparity.compare.readers import read
from bitparity.compare.records import Source
from bitparity.compare.schema import Comparison
from bitparity.errors import BitparityError, UserInputError
from bitparity.exam.frozen import frozen_exams
from bitparity.grading.passes import regrade_if_needed
from bitparity.progress.events import Events
from bitparity.report.language import Lang, interval, number, points, reason, text
from bitparity.report.plain import flat
from bitparity.report.templates import packaged_text, spoken, template
from bitparity.report.words import mean_score
from bitparity.results.build import build
from bitparity.results.schema import Benchmark, FinalVerdict, Results
from bitparity.stats.verdicts import Interval
from bitparity.store.document import Part, Whole
from bitparity.store.environment import RunRecord
from bitparity.store.run import Run

SCHEMA: Literal["bitparity/history/1"] = "bitparity/history/1"
# what a run directory holds and a folder with a study file alone does not
_OF_A_RUN = ("environment.json", "exam", "samples", "results.json")
# the facts of an engine that change answers, as `store/facts.py` has them
_FACTS = (
    *("engine", "version", "packages", "cuda", "device_name", "dtype", "quantization", "linear_kernels"),
    *("attention_backend", "kv_cache_dtype", "tensor_parallel_size", "enforce_eager", "batch_invariant"),
)


class Change(Part):
    """Changes since the run before: facts of the engine, and the scores paired by item, or why they are not.

    `flips` is the share of items lost or gained, `noise` the larger one of both runs' controls on the same items, None
    where neither has one. `guards` are those that make the difference invalid.
    """

    since: str
    facts: list[str]
    reason: str | None = None
    difference: float | None = None
    ci95: Interval | None = None
    lost: int | None = None
    gained: int | None = None
    flips: float | None = None
    noise: float | None = None
    guards: list[str] = Field(default_factory=list)


class Point(Part):
    """One run on a line. Difference and verdict are against its own baseline, None for the baseline itself.

    `distance` from the baseline and its floor are in nats a token, None where they were not read.
    """

    run: str
    date: str | None
    score: float | None
    ci95: Interval | None
    difference: float | None = None
    difference_ci95: Interval | None = None
    verdict: FinalVerdict | None = None
    distance: float | None = None
    distance_floor: float | None = None
    change: Change | None = None


class Line(Part):
    """The runs of one variant on one exam, the oldest first."""

    benchmark: str
    exam: str
    variant: str
    model: str
    points: list[Point]


class Ran(Part):
    """A variant of a run: what ran it, and its distance from the baseline in nats a token where that was read."""

    model: str
    role: Literal["baseline", "control", "candidate"]
    engine: str
    device: str
    distance: float | None


class Entry(Part):
    """A run: when it ended, its variants, the flips of its control by benchmark, and the floor of its distances."""

    run: str
    study: str
    date: str | None
    variants: dict[str, Ran]
    noise_flips: dict[str, float]
    distance_floor: float | None


class History(Whole):
    """The whole document. `left_out` has the runs that are broken or unfinished, each with the reason."""

    schema_: Literal["bitparity/history/1"] = Field(alias="schema")
    folder: str
    runs: list[Entry]
    lines: list[Line]
    left_out: dict[str, str]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A run that was read: its results, its conditions and the hashes of its exams."""

    path: Path
    name: str
    results: Results
    record: RunRecord
    exams: Mapping[str, str | None]

    @property
    def date(self) -> str | None:
        """When an engine was last loaded for it; None where that was not noted."""
        return max((at for each in self.record.variants.values() for at in each.sessions), default=None)

    def weights(self, variant: str) -> str:
        """The hash of a variant's weights, or its model's name where they were not looked at."""
        entry = self.results.variants[variant]
        told = (entry.identity or {}).get("weights")
        return str(told.get("sampled_sha256")) if isinstance(told, dict) else entry.model

    def facts(self, variant: str) -> dict[str, str]:
        """The facts of the engine that ran a variant, as flat texts."""
        facts = self.results.variants[variant].engine or {}
        return dict(flat({name: facts.get(name) for name in _FACTS}))

    def noise(self, benchmark: str) -> float | None:
        """The share of items that flip between the baseline and its second run."""
        control = self.results.control
        found = self.results.benchmarks[benchmark].comparisons.get(control or "")
        return None if found is None else found.flips

    def distance(self, variant: str | None) -> float | None:
        """A variant's mean distance from the baseline in nats a token, or (None) the floor; None where not read."""
        told = self.results.distance
        if told is None:
            return None
        found = told.noise_floor if variant is None else told.variants.get(variant)
        return None if found is None or found.overall is None else found.overall.divergence.value


def history(folder: Path, events: Events) -> History:
    """Read every run below a folder, graded again where another version of the graders has graded any of it.

    Raises UserInputError where there is none.
    """
    if not folder.is_dir():
        raise UserInputError(f"{folder} is no folder; give the one that holds the run directories")
    seen, left_out = [], {}
    places = [path.parent for path in sorted(folder.rglob("study.yaml"))]
    for path in places:
        if not any((path / name).exists() for name in _OF_A_RUN):
            continue
        name = str(path.relative_to(folder)) if path != folder else path.name
        try:
            regrade_if_needed(path, events)
            seen.append(_read(path, name))
        except BitparityError as error:
            left_out[name] = " ".join(str(error).split())
    if not seen and not left_out:
        raise UserInputError(
            f"{folder} holds no run (a folder with study.yaml and environment.json); give their folder"
        )
    seen.sort(key=lambda run: (run.date or "", run.name))
    runs, lines = [_entry(run) for run in seen], list(_lines(seen))
    return History(schema=SCHEMA, folder=str(folder), runs=runs, lines=lines, left_out=left_out)


def _read(path: Path, name: str) -> _Seen:
    run = Run(path)
    study = run.study()
    exams = {spec.name: exam.sha256 for spec, exam in frozen_exams(run, study)}
    results = build(run, with_texts=False)
    if not results.complete:
        raise UserInputError(f"it is unfinished: {'; '.join(_open(results))}")
    return _Seen(path, name, results, run.environment(), exams)


def _open(results: Results) -> Iterator[str]:
    """The missing parts of a run, in words."""
    for name, entry in results.benchmarks.items():
        lacking = {variant: score.unscored for variant, score in entry.scores.items() if score.unscored}
        if not entry.measured:
            yield f"{name} has not been run"
        elif lacking:
            yield f"{name} lacks {', '.join(f'{count:,} scores of {variant}' for variant, count in lacking.items())}"


def _entry(run: _Seen) -> Entry:
    variants = {}
    for name, each in run.results.variants.items():
        facts = each.engine or {}
        engine = " ".join(str(facts[key]) for key in ("engine", "version") if facts.get(key))
        device = str(facts.get("device_name") or facts.get("device") or "")
        variants[name] = Ran.made_from(each, engine=engine, device=device, distance=run.distance(name))
    noise = {bench: flips for bench in run.results.measured if (flips := run.noise(bench)) is not None}
    about = {"study": run.results.study.name, "date": run.date, "distance_floor": run.distance(None)}
    return Entry.pick(about, run=run.name, variants=variants, noise_flips=noise)


class _Key(NamedTuple):
    benchmark: str
    exam: str
    variant: str
    weights: str


def _lines(seen: Iterable[_Seen]) -> Iterator[Line]:
    """The lines in the order of their benchmarks; the control is noise and has none."""
    found: dict[_Key, list[_Seen]] = {}
    for run in seen:
        for bench, variant in ((b, v) for b in run.results.measured for v in run.results.variants):
            if variant != run.results.control:
                key = _Key(bench, run.exams.get(bench) or "", variant, run.weights(variant))
                found.setdefault(key, []).append(run)
    sources = functools.lru_cache(maxsize=64)(lambda path, variant: read(f"{path}:{variant}"))
    for key, runs in sorted(found.items(), key=lambda pair: pair[0]):
        points = []
        for before, run in zip((None, *runs), runs, strict=False):
            change = None if before is None else _change(before, run, key, sources)
            points.append(_point(run, run.results.benchmarks[key.benchmark], key.variant, change))
        model = runs[-1].results.variants[key.variant].model
        yield Line(benchmark=key.benchmark, exam=key.exam, variant=key.variant, model=model, points=points)


def _point(run: _Seen, entry: Benchmark, variant: str, change: Change | None) -> Point:
    score, comparison = entry.scores[variant], entry.comparisons.get(variant)
    about = {"run": run.name, "date": run.date, "score": score.mean, "ci95": score.ci95, "change": change}
    about |= {"distance": run.distance(variant), "distance_floor": run.distance(None)}
    return Point.made_from(comparison, difference_ci95=None if comparison is None else comparison.ci95, **about)


def _change(before: _Seen, now: _Seen, key: _Key, sources: Callable[[Path, str], Source]) -> Change:
    """One benchmark of two runs of a variant, paired by item, or why they cannot be compared; the facts that differ."""
    old, new = before.facts(key.variant), now.facts(key.variant)
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    facts = [f"{name}: {old.get(name, 'not told')} → {new.get(name, 'not told')}" for name in names]
    try:
        difference = _difference(sources(before.path, key.variant), sources(now.path, key.variant), key.benchmark)
    except BitparityError as error:
        return Change(since=before.name, facts=facts, reason=str(error))
    noise = [flips for run in (before, now) if (flips := run.noise(key.benchmark)) is not None]
    flips, guards = (difference.lost + difference.gained) / difference.items, list(difference.invalid_by)
    told = {"flips": flips, "noise": max(noise, default=None), "guards": guards}
    return Change.made_from(difference, since=before.name, facts=facts, **told)


def _difference(first: Source, second: Source, benchmark: str) -> Comparison:
    alone = [replace(each, benchmarks={benchmark: each.benchmarks[benchmark]}) for each in (first, second)]
    # as a second run of the first: the same weights are no fault here
    entry = compare(alone[0], [], control=alone[1]).benchmarks[benchmark]
    (found,) = entry.comparisons.values()
    return found


def render(found: History, lang: Lang = "en") -> str:
    """The page as HTML."""
    # the lines stand in the order of benchmark and exam
    exams = groupby(found.lines, lambda line: (line.benchmark, line.exam))
    groups = {exam: list(lines) for exam, lines in exams}
    style = Markup(packaged_text(__package__, "html/page.css"))
    said = spoken(lang, number, points, interval, mean_score, reason, text)
    return template(__package__, "history.html.j2").render(found=found, groups=groups, style=style, lang=lang, **said)
