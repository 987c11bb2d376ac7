"""The guards that foreign results allow: what shows in scores, responses and settings alone.

Thresholds are those of `bitparity.validity`. Two variants of run directories get all of its guards besides.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bitparity.benchmarks.registry import benchmark_class
from bitparity.compare.pairing import Pairing, few_large_groups
from bitparity.compare.records import ItemResult, Results, Source
from bitparity.results.guards.completions import (
    EMPTY_ERROR,
    EMPTY_WARNING,
    ENOUGH,
    LONG,
    NO_ANSWER_ERROR,
    NO_ANSWER_GAP,
    NO_ANSWER_GAP_ERROR,
    NO_ANSWER_WARNING,
)
from bitparity.results.guards.facts import guard, level, shown
from bitparity.results.guards.scores import CEILING, FLOOR, GUESSING_SIGMAS, SMALL, UNSCORED_ERROR
from bitparity.results.schema import Guard, Level

BOXED = 0.05  # share of responses with a box above which a score of 0 throughout is the grader's doing as likely as not


def find(
    pairing: Pairing, results: tuple[Results, Results], names: tuple[str, str], margin: float, known: str | None
) -> list[Guard]:
    """All guards that speak on one pairing; `known` is the benchmark of ours that it is, if any; errors first."""
    found = [*_pairing(pairing, names), *_settings(results, names)]
    for index, name in enumerate(names):
        found += _responses([pair[index] for pair in pairing.both], name)
    found += _no_answer_difference(pairing, names)
    found += _same_responses(pairing, names)
    if pairing.scores is not None:
        found += [*_scores(pairing, names, margin), *_guessing(pairing, names, known), *_groups(pairing)]
    return sorted(found, key=lambda each: each.level != "error")


def same_source(baseline: Source, candidate: Source) -> Guard | None:
    """The same results given twice."""
    if _place(baseline) != _place(candidate):
        return None
    return guard(
        "same_results",
        candidate.label,
        "error",
        None,
        "baseline and candidate are one and the same set of results, so that there is no difference shows nothing; "
        "give two",
    )


def _place(source: Source) -> tuple[Path, str | None]:
    if source.run is None:
        return Path(source.given).expanduser().resolve(), None
    return source.run.run.path.resolve(), source.run.name


def _pairing(pairing: Pairing, names: tuple[str, str]) -> Iterator[Guard]:
    alone = [len(side.alone) for side in (pairing.baseline, pairing.candidate)]
    if any(alone):
        share = sum(alone) / pairing.union
        examples = ", ".join([*pairing.baseline.alone[:3], *pairing.candidate.alone[:3]][:5])
        yield guard(
            "subset",
            names[1],
            level(share, UNSCORED_ERROR),
            share,
            f"{alone[0]} items stand only in '{names[0]}' and {alone[1]} only in '{names[1]}' (for example "
            f"{examples}); {len(pairing.both)} are compared. If the missing ones are the hard ones, the rest says too "
            "much: complete both",
        )
    for name, side in zip(names, (pairing.baseline, pairing.candidate), strict=True):
        if side.unscored:
            share = len(side.unscored) / side.items
            yield guard(
                "unscored",
                name,
                level(share, UNSCORED_ERROR),
                share,
                f"{len(side.unscored)} of {side.items} items lack a score for some sample (for example "
                f"{', '.join(side.unscored[:3])}); they are left out of the comparison",
            )
    counts = (pairing.baseline.samples, pairing.candidate.samples)
    if counts[0] != counts[1]:
        yield guard(
            "samples_differ",
            names[1],
            "warning",
            None,
            f"'{names[0]}' has {counts[0]} samples an item and '{names[1]}' {counts[1]}: the first {min(counts)} "
            "of each are compared",
        )


def _settings(results: tuple[Results, Results], names: tuple[str, str]) -> Iterator[Guard]:
    one, other = (each.settings for each in results)
    if one is None or other is None:
        return
    keys = sorted(key for key in {**one, **other} if one.get(key) != other.get(key))
    if keys:
        said = "; ".join(f"{key}: {one.get(key, 'unset')} -> {other.get(key, 'unset')}" for key in keys[:4])
        yield guard(
            "sampling_differs",
            names[1],
            "error",
            None,
            f"'{names[1]}' was generated with other settings than '{names[0]}' ({said}): the difference may come from "
            "that alone. Run both with the same",
        )
    items = len(results[0].items)
    if _sampled(one) and items <= SMALL:
        yield guard(
            "one_sample",
            None,
            "warning",
            one["temperature"],
            f"one sample an item at temperature {one['temperature']} on {items} items: chance alone flips many answers",
        )


def _sampled(settings: Mapping[str, Any]) -> bool:
    temperature = settings.get("temperature")
    return isinstance(temperature, int | float) and temperature > 0 and settings.get("do_sample", True) is not False


def _responses(items: Sequence[ItemResult], name: str) -> Iterator[Guard]:
    texts = [item.text for item in items if item.text is not None]
    if not texts:
        return
    boxed = [item for item in items if item.boxed is not None]
    share = len(boxed) / len(texts)
    if share >= BOXED and not any(score for item in items for score in item.scores.values()):
        right = sum(bool(item.boxed) for item in boxed)
        known = f", in {right} of them with exactly the reference answer in it" if right else ""
        yield guard(
            "answers_not_read",
            name,
            "error",
            share,
            f"{len(boxed)} of {len(texts)} responses hold a \\boxed answer{known}, yet every one is scored 0: the "
            "grader may not read boxed answers (lm-eval's hendrycks_math500 takes what stands between the first and "
            "the last dollar sign). Grade again with another task, filter or metric",
        )
    empty = sum(not text.strip() for text in texts) / len(texts)
    if empty > EMPTY_WARNING:
        yield guard(
            "empty",
            name,
            level(empty, EMPTY_ERROR),
            empty,
            f"{shown(empty)} of the responses are empty; check the chat template, the stop strings and the weights",
        )
    silent = _silent(items)
    if silent > NO_ANSWER_WARNING:
        yield guard(
            "no_answer",
            name,
            level(silent, NO_ANSWER_ERROR),
            silent,
            f"the filter found no answer in {shown(silent)} of the responses, which count as wrong; read some of them",
        )
    yield from _identical(texts, name)


def _identical(texts: Sequence[str], name: str) -> Iterator[Guard]:
    text, times = Counter(texts).most_common(1)[0]
    if len(texts) >= ENOUGH and text.strip() and times / len(texts) > 0.95:
        yield guard(
            "identical",
            name,
            "error",
            times / len(texts),
            f"{shown(times / len(texts))} of the responses are the same text ({text[:40]!r}), whatever the question: "
            "the model is broken or the questions did not reach it",
        )


def _silent(items: Sequence[ItemResult]) -> float:
    told = [item.no_answer for item in items if item.no_answer is not None]
    return sum(told) / len(told) if told else 0.0


def _no_answer_difference(pairing: Pairing, names: tuple[str, str]) -> Iterator[Guard]:
    shares = [_silent([pair[index] for pair in pairing.both]) for index in (0, 1)]
    gap = shares[1] - shares[0]
    if abs(gap) > NO_ANSWER_GAP:
        yield guard(
            "no_answer_difference",
            names[1],
            level(abs(gap), NO_ANSWER_GAP_ERROR),
            gap,
            f"the filter found no answer in {shown(shares[1])} of the responses against {shown(shares[0])} of the "
            "baseline's: part of the difference is the form of the answers, not their content",
        )


def _same_responses(pairing: Pairing, names: tuple[str, str]) -> Iterator[Guard]:
    texts = [(a.text, b.text) for a, b in pairing.both if a.text is not None and b.text is not None]
    long = [pair for pair in texts if max(map(len, pair)) >= LONG]
    if len(long) >= ENOUGH and all(a == b for a, b in texts):
        yield guard(
            "same_answers",
            names[1],
            "error",
            1.0,
            f"all {len(texts)} responses of '{names[0]}' and '{names[1]}' are the same to the letter, which other "
            "weights do not do: most likely one model ran under both names",
        )


def _means(pairing: Pairing) -> tuple[float, float]:
    assert pairing.scores is not None
    return float(pairing.scores.baseline.mean()), float(pairing.scores.candidate.mean())


def _scores(pairing: Pairing, names: tuple[str, str], margin: float) -> Iterator[Guard]:
    before, after = _means(pairing)
    if max(before, after) <= FLOOR:
        yield guard(
            "floor",
            None,
            "error",
            max(before, after),
            f"{_against(before, after)}: the questions are too hard for both, or their answers are not read. Scores at "
            "the floor cannot fall, so no difference shows nothing",
        )
    elif before <= margin:
        yield guard(
            "floor",
            names[0],
            "error",
            before,
            f"the baseline's {shown(before)} is not above the margin of {100 * margin:g} points, so no candidate could "
            "lose more than the margin, and that none does shows nothing",
        )
    elif min(before, after) >= CEILING:
        yield guard(
            "ceiling",
            None,
            "warning",
            min(before, after),
            f"{_against(before, after)}: the questions are too easy to show a loss that harder ones may",
        )


def _against(before: float, after: float) -> str:
    return f"{100 * before:.3g} % against {100 * after:.3g} %"


def _guessing(pairing: Pairing, names: tuple[str, str], known: str | None) -> Iterator[Guard]:
    """Scores that are not above guessing, where the options are known."""
    told = [item.chance for item, _ in pairing.both if item.chance is not None]
    chance = sum(told) / len(told) if len(told) == len(pairing.both) else known and benchmark_class(known).info.chance
    if not chance or pairing.scores is None:
        return
    graded = pairing.scores.baseline.size
    line = chance + GUESSING_SIGMAS * (chance * (1 - chance) / graded) ** 0.5
    severities: tuple[Level, Level] = ("error", "warning")
    for name, mean, severity in zip(names, _means(pairing), severities, strict=True):
        if mean <= line:
            yield guard(
                "guessing",
                name,
                severity,
                mean,
                f"{shown(mean)} is not above the {shown(chance)} of guessing: "
                + (
                    "no loss can be seen from there"
                    if severity == "error"
                    else "this variant knows nothing any more, or its answers are not read"
                ),
            )


def _groups(pairing: Pairing) -> Iterator[Guard]:
    assert pairing.scores is not None
    pairs = pairing.scores
    if few_large_groups(pairs):
        clusters, items = len(pairs.sums), int(np.median(pairs.sizes))
        yield guard(
            "few_groups",
            None,
            "warning",
            clusters,
            f'{clusters} groups of about {items} items: "group" names items that share a problem and widens the '
            'interval to that number of groups; for subjects or categories use "subgroup"',
        )
