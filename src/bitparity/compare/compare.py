"""Comparison of per-item results from anywhere, for `bitparity compare`: pairing, verdicts, guards.

The outcome (schema `bitparity/comparison/1`) has the shape of results.json: fractions throughout.
"""

from __future__ import annotations

import functools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bitparity.benchmarks.registry import group_of, known_benchmark
from bitparity.compare.guarding import gather
from bitparity.compare.pairing import pair_up
from bitparity.compare.records import ItemResult, Results, Source
from bitparity.compare.schema import (
    SCHEMA,
    Benchmark,
    Compared,
    Comparison,
    Difference,
    Outcome,
    Overall,
    Sides,
)
from bitparity.errors import DataError, UserInputError
from bitparity.results import verdicts
from bitparity.results.guards.check import check_answers
from bitparity.results.guards.suspects import counted_for_candidate
from bitparity.results.verdicts import ComparisonKey, Judged
from bitparity.schema import LM_EVAL_PREFIX
from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.intervals import mean_interval
from bitparity.stats.paired import RESAMPLES, SEED, difference_intervals
from bitparity.study.files import load_profile

ALPHA = 0.05


def compare(
    baseline: Source, candidates: Sequence[Source], margin: float | None = None, control: Source | None = None
) -> Outcome:
    """Compare each candidate with the baseline, benchmark by benchmark. `margin` is a fraction, None the defaults.

    `control` is the baseline's second run: it shows the noise, and is corrected for as a family of its own.
    Raises DataError where nothing can be compared or where the variants were not asked the same.
    """
    if margin is not None and not 0 < margin <= 1:
        raise UserInputError(f"margin is {100 * margin:g}; it must be above 0 and at most 100 points")
    given = [baseline, *candidates, *([] if control is None else [control])]
    groups = _groups(given)
    first, *others = _labelled([_regrouped(source, groups) for source in given])
    second_run = None if control is None else others[-1].label
    benchmarks = {name: _entry(results, margin) for name, results in first.benchmarks.items()}
    pairs: dict[ComparisonKey, PairedScores] = {}
    favourable: dict[ComparisonKey, PairedScores] = {}
    forbidden: dict[ComparisonKey, list[str]] = {}
    for source in others:
        for name, results in first.benchmarks.items():
            theirs = _counterpart(name, first, source)
            entry = benchmarks[name]
            if theirs is None:
                entry.not_compared[source.label] = f"'{source.label}' has no results of it"
                continue
            pairing = pair_up(results, theirs, (first.label, source.label))
            sides = pairing.baseline.report(), pairing.candidate.report()
            entry.pairing[source.label] = Sides(baseline=sides[0], candidate=sides[1])
            answers, facts = gather((first, source), (results, theirs), pairing, entry.margin, second_run)
            found = check_answers(answers, facts)
            entry.guards.extend(guard for guard in found if guard not in entry.guards)
            forbidden[name, source.label] = sorted({guard.name for guard in found if guard.level == "error"})
            if pairing.scores is None:
                entry.not_compared[source.label] = "no item has a score in both"
            else:
                pairs[name, source.label] = pairing.scores
                two, guards = answers.sheets, forbidden[name, source.label]
                bound = counted_for_candidate(two[first.label], two[source.label], answers.items, guards)
                if bound is not None:
                    favourable[name, source.label] = pair_scores(*bound, pairing.groups())
                entry.subgroups[source.label] = _subgroups(pairing.scores, pairing.subgroups)
    if not pairs:
        raise DataError(_nothing(first, others, benchmarks))
    margins = {name: entry.margin for name, entry in benchmarks.items()}
    recoveries = {} if margin is not None else _recoveries(first)
    judged = verdicts.judge(pairs, margins, forbidden, second_run, favourable, recoveries)
    for (name, label), each in judged.items():
        benchmarks[name].comparisons[label] = _comparison(each, pairs[name, label], label == second_run)
    pools = verdicts.pool_judged(pairs, margins, judged, second_run, least=2)
    return Outcome(
        schema=SCHEMA,
        variants={source.label: _compared(source, source is first, second_run) for source in (first, *others)},
        benchmarks=benchmarks,
        only_in_candidates=_extra(first, others),
        overall={
            label: Overall.pick(pooled.values(), of=len(benchmarks))
            for label, pooled in pools.items()
            if label != second_run
        },
    )


def _compared(source: Source, baseline: bool, second_run: str | None) -> Compared:
    control = {"control": True} if source.label == second_run else {}
    return Compared(source=source.given, kind=source.kind, baseline=baseline, **control)


def _recoveries(baseline: Source) -> dict[str, float]:
    """The shares of the baseline's score that must be kept, of the benchmarks whose margin is given so."""
    return {name: found.recovery for name, found in baseline.benchmarks.items() if found.recovery is not None}


def _labelled(sources: Sequence[Source]) -> list[Source]:
    """Sources with labels of their own: the argument as it was given, where two would be called the same."""
    named = [source if _alone(source, sources) else replace(source, label=source.given) for source in sources]
    seen: list[str] = []
    for index, source in enumerate(named):
        again = sum(label == source.label for label in seen)
        seen.append(source.label)
        if again:
            named[index] = replace(source, label=f"{source.label} ({again + 1})")
    return named


def _groups(sources: Sequence[Source]) -> dict[str, str]:
    """task -> group: what the sources tell, and the subtasks of one of our benchmarks wherever several are named."""
    told = {task: group for source in sources for task, group in source.groups.items()}
    parts = {name: group for source in sources for name in source.benchmarks if (group := group_of(name))}
    several = [group for group, number in Counter(parts.values()).items() if number > 1]
    return {name: group for name, group in parts.items() if group in several} | told


def _alone(source: Source, sources: Sequence[Source]) -> bool:
    return len({other.given for other in sources if other.label == source.label}) == 1


def _regrouped(source: Source, groups: Mapping[str, str]) -> Source:
    """The source with the subtasks of a group as one benchmark, each a subgroup of it."""
    found: dict[str, Results] = {}
    for name, results in source.benchmarks.items():
        group = groups.get(name)
        if group is None:
            found[name] = results
            continue
        part = name.removeprefix(f"{group}_")
        items: dict[str, ItemResult] = {
            f"{name}/{key}": replace(item, name=f"{part}/{item.name}", subgroup=part)
            for key, item in results.items.items()
        }
        whole = found.get(group)
        if whole is None:
            found[group] = replace(results, benchmark=group, items=items)
        elif whole.metric != results.metric:
            raise DataError(
                f"{source.given}: the tasks of group '{group}' are scored by {whole.metric} and {results.metric}; "
                "give their files one by one, or choose with --metric and --filter"
            )
        else:
            found[group] = replace(whole, items={**whole.items, **items})
    return replace(source, benchmarks=found)


def _counterpart(name: str, baseline: Source, candidate: Source) -> Results | None:
    """The candidate's results of a benchmark: by name, or the only one on either side."""
    theirs = candidate.benchmarks
    if len(baseline.benchmarks) == len(theirs) == 1:
        return next(iter(theirs.values()))
    bare = name.removeprefix(LM_EVAL_PREFIX)
    return theirs.get(name) or theirs.get(bare) or theirs.get(LM_EVAL_PREFIX + bare)


def _extra(baseline: Source, candidates: Sequence[Source]) -> dict[str, list[str]]:
    """The benchmarks that only a candidate has."""
    found = {
        source.label: [name for name in source.benchmarks if _counterpart(name, source, baseline) is None]
        for source in candidates
    }
    return {label: names for label, names in found.items() if names}


def _nothing(baseline: Source, candidates: Sequence[Source], benchmarks: Mapping[str, Benchmark]) -> str:
    reasons = [f"{name}: {reason}" for name, entry in benchmarks.items() for reason in entry.not_compared.values()]
    theirs = "; ".join(f"'{source.label}' has {', '.join(source.benchmarks)}" for source in candidates)
    return (
        f"nothing can be compared ({'; '.join(reasons[:3])}). '{baseline.label}' has {', '.join(benchmarks)}; {theirs}"
    )


@functools.cache
def _defaults() -> tuple[dict[str, float], float]:
    """Margins as fractions: by benchmark, and for any other, from the default profile."""
    profile = load_profile("default")
    own = {name: entry.margin / 100 for name, entry in profile.benchmarks.items() if isinstance(entry.margin, float)}
    assert isinstance(profile.benchmark.margin, float)
    return own, profile.benchmark.margin / 100


def _entry(results: Results, margin: float | None) -> Benchmark:
    known = known_benchmark(results.benchmark)
    own, general = _defaults()
    if margin is not None:
        used, origin = margin, "given"
    elif results.margin is not None:
        used, origin = results.margin, "the baseline's study"
    elif known in own:
        used, origin = own[known], f"the default of {known}"
    else:
        used, origin = general, "the default where a benchmark has none of its own; set yours with --margin"
    return Benchmark(
        status="measured",
        metric=results.metric,
        items=len(results.items),
        margin=used,
        margin_from=origin,
        pairing={},
        not_compared={},
        comparisons={},
        subgroups={},
        guards=[],
    )


def _comparison(judged: Judged, pairs: PairedScores, control: bool) -> Comparison:
    groups = [str(code) for code in pairs.cluster] if pairs.clustered else None
    means = {
        "items": pairs.items,
        "baseline": float(pairs.baseline.mean()),
        "candidate": float(pairs.candidate.mean()),
        "baseline_ci95": mean_interval(pairs.baseline, groups=groups),
        "candidate_ci95": mean_interval(pairs.candidate, groups=groups),
    }
    return Comparison.pick(means | judged.values() | ({"control": True} if control else {}))


def _subgroups(pairs: PairedScores, subgroups: Sequence[str] | None) -> dict[str, Difference]:
    """Each subgroup's difference with its interval; no verdict, since the margin is for the whole."""
    labels = np.asarray(subgroups or (), dtype=object)
    found = {}
    for name in sorted(set(labels)):
        mask = labels == name
        groups = [str(code) for code in pairs.cluster[mask]]
        part = pair_scores(pairs.baseline[mask], pairs.candidate[mask], groups if len(set(groups)) > 1 else None)
        _, ci95, _ = difference_intervals(part, ALPHA, SEED, RESAMPLES)
        lost, gained = part.flips
        found[name] = Difference(
            items=part.items,
            baseline=float(part.baseline.mean()),
            candidate=float(part.candidate.mean()),
            difference=part.difference,
            ci95=ci95,
            lost=lost,
            gained=gained,
        )
    return found


def exit_code(found: Outcome) -> int:
    """0 fine, 1 a candidate is worse beyond its margin, 3 inconclusive, invalid or not compared everywhere."""
    entries, names = found.benchmarks.values(), found.candidates
    outcomes = [
        verdicts.outcome(each.verdict) for entry in entries for n, each in entry.comparisons.items() if n in names
    ]
    return verdicts.exit_code([*outcomes, *("open" for entry in entries if entry.not_compared.keys() & {*names})])


def write(path: Path, outcome: Outcome) -> None:
    """Write an outcome as JSON. Raises UserInputError where it cannot be written."""
    text = json.dumps(outcome.document(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserInputError(f"{path} cannot be written ({error.strerror}); give another path with --json") from None
