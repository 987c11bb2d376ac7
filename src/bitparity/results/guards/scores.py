"""Guards on the scores: missing, at guessing, at the floor or ceiling, graders that disagree, too few items."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

from bitparity.benchmarks.registry import benchmark_class, load_benchmark
from bitparity.results.guards.facts import Facts, guard, level, shown
from bitparity.results.schema import Guard
from bitparity.schema import LM_EVAL_PREFIX

if TYPE_CHECKING:
    from bitparity.results.sheet import Sheet

# Thresholds, as fractions.
UNSCORED_ERROR = 0.01


GRADER_GAP = 0.05  # two graders of one benchmark that differ by more disagree about what is right


GUESSING_SIGMAS = 2.0  # standard errors above guessing under which a score is not told from guessing


FLOOR, CEILING = 0.01, 0.99


SMALL = 500  # items; up to here one sampled answer an item leaves too much to chance


def unscored(facts: Facts) -> Iterator[Guard]:
    """Samples without a score."""
    for name, sheet in facts.sheets.items():
        if sheet.unscored:
            share = sheet.unscored / sheet.expected
            yield guard(
                "unscored",
                name,
                level(share, UNSCORED_ERROR),
                share,
                f"{sheet.unscored} of {sheet.expected} samples have no score ({sheet.missing} were never answered); "
                "they are left out of the comparison. Run the same command again to complete them",
            )


def subset(facts: Facts) -> Iterator[Guard]:
    """Items that only one of the two variants has a score for."""
    baseline = facts.baseline.whole()
    for name, sheet in facts.started():
        alone = int((baseline != sheet.whole()).sum())
        if name != facts.study.baseline and alone:
            share = alone / len(baseline)
            yield guard(
                "subset",
                name,
                level(share, UNSCORED_ERROR),
                share,
                f"{alone} of {len(baseline)} items have a score in only one of '{facts.study.baseline}' and '{name}' "
                "and are left out; if the missing ones are the hard ones, the rest says too much: complete both",
            )


def guessing(facts: Facts) -> Iterator[Guard]:
    """Scores that are not above guessing: no loss can be seen below the baseline's, no knowledge in a candidate's."""
    chance = _chance(facts)
    if not chance:
        return
    for name, sheet in facts.sheets.items():
        mean = sheet.mean()
        if mean is None or mean > chance + GUESSING_SIGMAS * (chance * (1 - chance) / sheet.graded) ** 0.5:
            continue
        first = name == facts.study.baseline
        yield guard(
            "guessing",
            name,
            "error" if first else "warning",
            mean,
            f"{shown(mean)} is not above the {shown(chance)} of guessing: "
            + (
                "no loss can be seen from there; the model cannot do this benchmark, or its answers are not read"
                if first
                else "this variant knows nothing any more, or its answers are not read; look at its completions"
            ),
        )


def _chance(facts: Facts) -> float | None:
    if facts.spec.name.startswith(LM_EVAL_PREFIX):
        return None
    return load_benchmark(facts.spec).chance([entry.item for entry in facts.exam.items])


def floor_or_ceiling(facts: Facts) -> Iterator[Guard]:
    """Scores so low or so high that variants cannot differ."""
    means = [mean for sheet in facts.sheets.values() if (mean := sheet.mean()) is not None]
    baseline = facts.baseline.mean()
    margin = facts.spec.margin / 100
    if means and max(means) <= FLOOR:
        yield guard(
            "floor",
            None,
            "error",
            max(means),
            f"no variant is above {shown(FLOOR)}: the benchmark is too hard for this model, or its answers "
            "are not read, and cannot tell the variants apart",
        )
    elif baseline is not None and baseline <= margin:
        yield guard(
            "floor",
            facts.study.baseline,
            "error",
            baseline,
            f"the baseline's {shown(baseline)} is not above the margin of {facts.spec.margin:g} points, so no "
            "candidate could lose more than the margin, and that none does shows nothing: choose an easier benchmark",
        )
    elif means and min(means) >= CEILING:
        yield guard(
            "ceiling",
            None,
            "warning",
            min(means),
            f"all variants reach {shown(CEILING)}: the benchmark is too easy to show a loss that harder ones may",
        )


def graders_disagree(facts: Facts) -> Iterator[Guard]:
    """Two graders of one benchmark that differ on the same completions."""
    for name, sheet in facts.started():
        metrics = sorted({metric for grade in sheet.grades.values() for metric in grade.metrics})
        for one, other in combinations(metrics, 2):
            if facts.exam.metric in (one, other) and (said := _disagreement(sheet, one, other)):
                yield guard("graders_disagree", name, "warning", *said)


def _disagreement(sheet: Sheet, one: str, other: str) -> tuple[float, str] | None:
    """The gap of two metrics as a fraction and what to say about it; None where it is small.

    Both are averaged over the completions that both have scored.
    """
    both = {k: g.metrics for k, g in sheet.grades.items() if one in g.metrics and other in g.metrics}
    if not both:
        return None
    gap = sum(m[one] - m[other] for m in both.values()) / len(both)
    if abs(gap) <= GRADER_GAP:
        return None
    differing = [item for (item, _), m in both.items() if m[one] != m[other]]
    return gap, (
        f"{one} and {other} differ by {100 * abs(gap):.1f} points on the same completions "
        f"({len(differing)} of them; for example {', '.join(differing[:3])}): read a few before you trust either"
    )


def limit(facts: Facts) -> Iterator[Guard]:
    """Only part of the benchmark was asked."""
    asked, available = len(facts.exam.items), facts.exam.available
    if asked < available:
        yield guard(
            "limit",
            None,
            "warning",
            asked / available,
            f"{asked} of {available} items: a fair subset, but not the benchmark's published figure",
        )


def fewer_items(facts: Facts) -> Iterator[Guard]:
    """The data set that was read is not as large as the benchmark."""
    if facts.spec.name.startswith(LM_EVAL_PREFIX):
        return
    published, available = benchmark_class(facts.spec.name).info.items, facts.exam.available
    if available < published:
        yield guard(
            "fewer_items",
            None,
            "warning",
            available / published,
            f"the data set has {available} items, the benchmark {published}: the score is not the benchmark's; "
            "check whether the file is whole",
        )


def one_sample(facts: Facts) -> Iterator[Guard]:
    """Sampled decoding with one sample on a small benchmark."""
    items, temperature = len(facts.exam.items), facts.exam.sampling.temperature
    writes = any(not prompt.continuations for prompt in facts.exam.items[0].item.prompts)
    if writes and temperature > 0 and facts.spec.samples == 1 and items <= SMALL:
        yield guard(
            "one_sample",
            None,
            "warning",
            temperature,
            f"one sample an item at temperature {temperature} on {items} items: chance alone "
            "flips many answers; ask for more samples",
        )


RULES = (
    unscored,
    subset,
    guessing,
    floor_or_ceiling,
    graders_disagree,
    limit,
    fewer_items,
    one_sample,
)
