"""Comparison of per-item results from anywhere, for `bitparity compare`: pairing, verdicts, guards.

The outcome (schema `bitparity/comparison/1`) has the shape of results.json: fractions throughout.
"""

from __future__ import annotations

import functools
import itertools
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from bitparity.benchmarks.registry import group_of, known_benchmark
from bitparity.compare.pairing import gather, named, pair_up
from bitparity.compare.records import ItemResult, Results, Source
from bitparity.compare.schema import SCHEMA, Benchmark, Compared, Comparison, Difference, Outcome, Overall
from bitparity.errors import DataError, UserInputError
from bitparity.results import verdicts
from bitparity.results.guards.check import check_answers
from bitparity.results.guards.suspects import counted_for_candidate
from bitparity.results.verdicts import ComparisonKey, Judged
from bitparity.schema import LM_EVAL_PREFIX
from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.intervals import mean_interval
from bitparity.stats.paired import difference_intervals
from bitparity.store.output_files import write_given
from bitparity.study.files import load_profile


def compare(
    baseline: Source, candidates: Sequence[Source], margin: float | None = None, control: Source | None = None
) -> Outcome:
    """Compare each candidate with the baseline, benchmark by benchmark. `margin` is a fraction, None the defaults.

    `control` is the baseline's second run: it shows the noise, and is corrected for as a family of its own.
    Raises DataError where nothing can be compared or where the variants were not asked the same.
    """
    if margin is not None and not 0 < margin <= 1:
        raise UserInputError(f"margin is {100 * margin:g}; it must be above 0 and at most 100 points")
    first, *others = arranged([baseline, *candidates, *([] if control is None else [control])])
    second_run = None if control is None else others[-1].label
    benchmarks = {name: _entry(results, margin) for name, results in first.benchmarks.items()}
    pairs: dict[ComparisonKey, PairedScores] = {}
    favourable: dict[ComparisonKey, PairedScores] = {}
    forbidden: dict[ComparisonKey, list[str]] = {}
    for source, (name, results) in itertools.product(others, first.benchmarks.items()):
        key, theirs = (name, source.label), counterpart(name, first, source)
        if theirs is None:
            benchmarks[name].not_compared[source.label] = f"'{source.label}' has no results of it"
            continue
        scores, forbidden[key], bound = _pair(benchmarks[name], (first, source), (results, theirs), second_run)
        pairs |= {} if scores is None else {key: scores}
        favourable |= {} if bound is None else {key: bound}
    if not pairs:
        raise DataError(_nothing(first, others, benchmarks))
    margins = {name: entry.margin for name, entry in benchmarks.items()}
    # the shares of the baseline's score that must be kept, of the benchmarks whose margin is given so
    shares = {name: results.recovery for name, results in first.benchmarks.items() if margin is None}
    recoveries = {name: share for name, share in shares.items() if share is not None}
    # the same answers read by another filter are no further comparison to correct for, nor a part of an average
    views = [name for name, entry in benchmarks.items() if entry.view_of is not None]
    own = {key: each for key, each in pairs.items() if key[0] not in views}
    judged: dict[ComparisonKey, Judged] = {}
    for part in (own, *({key: each for key, each in pairs.items() if key[0] == name} for name in views)):
        judged |= verdicts.judge(part, margins, forbidden, second_run, favourable, recoveries)
    for (name, label), each in judged.items():
        benchmarks[name].comparisons[label] = _comparison(each, pairs[name, label], label == second_run)
    pools = verdicts.pool_judged(own, margins, {key: judged[key] for key in own}, second_run, least=2)
    whole = len(benchmarks) - len(views)
    return Outcome(
        schema=SCHEMA,
        variants={source.label: _compared(source, source is first, second_run) for source in (first, *others)},
        benchmarks=benchmarks,
        only_in_candidates=_extra(first, others),
        overall={name: Overall.pick(each.values(), of=whole) for name, each in pools.items() if name != second_run},
    )


def arranged(given: Sequence[Source]) -> list[Source]:
    """The sources as they are compared: each with a label of its own, the tasks of a group as one benchmark.

    Raises DataError where the tasks of a group are scored by different metrics.
    """
    groups = _groups(given)
    return _labelled([_regrouped(source, groups) for source in given])


def _pair(
    entry: Benchmark, sources: tuple[Source, Source], results: tuple[Results, Results], second_run: str | None
) -> tuple[PairedScores | None, list[str], PairedScores | None]:
    """Pair one candidate's results of a benchmark with the baseline's, look at both with the guards, fill the entry.

    Gives the scores (None where no item has one in both), the guards against them, and the scores that favour it.
    """
    first, label = sources[0].label, sources[1].label
    pairing = pair_up(*results, (first, label))
    entry.pairing[label] = pairing.sides
    answers, facts = gather(sources, results, pairing, entry.margin, second_run)
    guards = check_answers(answers, facts)
    entry.guards.extend(each for each in guards if each not in entry.guards)
    forbidden = sorted({each.name for each in guards if each.level == "error"})
    if pairing.scores is None:
        entry.not_compared[label] = "no item has a score in both"
        return None, forbidden, None
    entry.subgroups[label] = _subgroups(pairing.scores, pairing.subgroups)
    bound = counted_for_candidate(answers.sheets[first], answers.sheets[label], answers.items, forbidden)
    favourable = None if bound is None else pair_scores(*bound, named(pairing.both, "group"))
    return pairing.scores, forbidden, favourable


def _compared(source: Source, baseline: bool, second_run: str | None) -> Compared:
    control = {"control": True} if source.label == second_run else {}
    return Compared(source=source.given, kind=source.kind, baseline=baseline, **control)


def _labelled(sources: Sequence[Source]) -> list[Source]:
    """Sources with labels of their own: the argument as it was given, where two would be called the same."""
    several = Counter(label for label, _ in {(source.label, source.given) for source in sources})
    found: list[Source] = []
    seen: Counter[str] = Counter()
    for source in sources:
        label = source.label if several[source.label] == 1 else source.given
        seen[label] += 1
        found.append(replace(source, label=label if seen[label] == 1 else f"{label} ({seen[label]})"))
    return found


def _groups(sources: Sequence[Source]) -> dict[str, str]:
    """task -> group: what the sources tell, and the subtasks of one of our benchmarks wherever several are named."""
    told = {task: group for source in sources for task, group in source.groups.items()}
    parts = {name: group for source in sources for name in source.benchmarks if (group := group_of(name))}
    several = [group for group, number in Counter(parts.values()).items() if number > 1]
    return {name: group for name, group in parts.items() if group in several} | told


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


def counterpart(name: str, baseline: Source, candidate: Source) -> Results | None:
    """The candidate's results of a benchmark: by name, or the only one on either side; of a view by its filter."""
    theirs = candidate.benchmarks
    if _only(baseline) and _only(candidate):
        own = baseline.benchmarks[name]
        wanted = [each for each in theirs.values() if each.view_of is None]
        if own.view_of is not None:
            wanted = [each for each in theirs.values() if each.view_of is not None and each.metric == own.metric]
        return next(iter(wanted), None)
    bare = name.removeprefix(LM_EVAL_PREFIX)
    return theirs.get(name) or theirs.get(bare) or theirs.get(LM_EVAL_PREFIX + bare)


def _only(source: Source) -> bool:
    return sum(results.view_of is None for results in source.benchmarks.values()) == 1


def _extra(baseline: Source, candidates: Sequence[Source]) -> dict[str, list[str]]:
    """The benchmarks that only a candidate has."""
    extra = {one.label: [name for name in one.benchmarks if not counterpart(name, one, baseline)] for one in candidates}
    return {label: names for label, names in extra.items() if names}


def _nothing(baseline: Source, candidates: Sequence[Source], entries: Mapping[str, Benchmark]) -> str:
    why = [f"{name}: {reason}" for name, entry in entries.items() for reason in entry.not_compared.values()]
    theirs = "; ".join(f"'{source.label}' has {', '.join(source.benchmarks)}" for source in candidates)
    return f"nothing can be compared ({'; '.join(why[:3])}). '{baseline.label}' has {', '.join(entries)}; {theirs}"


@functools.cache
def _defaults() -> tuple[dict[str, float], float]:
    """Margins as fractions: by benchmark, and for any other, from the default profile."""
    profile = load_profile("default")
    own = {name: entry.margin / 100 for name, entry in profile.benchmarks.items() if isinstance(entry.margin, float)}
    assert isinstance(profile.benchmark.margin, float)
    return own, profile.benchmark.margin / 100


def _entry(results: Results, margin: float | None) -> Benchmark:
    known, (own, general) = known_benchmark(results.benchmark), _defaults()
    margins = {
        "given": margin,
        "the baseline's study": results.margin,
        f"the default of {known}": own.get(known or ""),
        "the default where a benchmark has none of its own; set yours with --margin": general,
    }
    origin, used = next((why, value) for why, value in margins.items() if value is not None)
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
        **({} if results.view_of is None else {"view_of": results.view_of}),
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
        _, ci95, _ = difference_intervals(part)
        lost, gained = part.flips
        means = {"baseline": float(part.baseline.mean()), "candidate": float(part.candidate.mean())}
        found[name] = Difference.made_from(part, **means, ci95=ci95, lost=lost, gained=gained)
    return found


def write_document(path: Path, document: Mapping[str, object]) -> None:
    """Write a document as JSON. Raises UserInputError where it cannot be written."""
    write_given(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n", "--json")
