"""Guards on the scores: missing, at guessing, at the floor or ceiling, graders that disagree, too few items."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bitparity.results.guards.facts import Answers, guard, level, shown
from bitparity.results.schema import Guard
from bitparity.stats.arrays import PairedScores

if TYPE_CHECKING:
    from bitparity.results.sheet import Sheet

# Thresholds, as fractions.
UNSCORED_ERROR = 0.01


GRADER_GAP = 0.05  # two graders of one benchmark that differ by more disagree about what is right


GUESSING_SIGMAS = 2.0  # standard errors above guessing under which a score is not told from guessing


FLOOR, CEILING = 0.01, 0.99


FEW_GROUPS = 60  # fewer groups, each of many items, are most likely categories


SMALL = 500  # items; up to here one sampled answer an item leaves too much to chance


def same_results(answers: Answers) -> Iterator[Guard]:
    """The same results given twice."""
    for name, sheet in answers.others():
        if sheet.origin is not None and sheet.origin == answers.first.origin:
            message = (
                "baseline and candidate are one and the same set of results, so that there is no difference shows "
                "nothing; give two"
            )
            yield guard("same_results", name, "error", None, message)


def unscored(answers: Answers) -> Iterator[Guard]:
    """Samples without a score."""
    for name, sheet in answers.sheets.items():
        if sheet.unscored:
            share = sheet.unscored / sheet.expected
            never = f" ({sheet.missing} were never answered)" if answers.of_run else ""
            message = (
                f"{sheet.unscored} of {sheet.expected} samples have no score{never}, for example of "
                f"{_some(answers, ~sheet.whole())}; they are left out of the comparison"
                + (". Run the same command again to complete them" if answers.of_run else "")
            )
            yield guard("unscored", name, level(share, UNSCORED_ERROR), share, message)


def subset(answers: Answers) -> Iterator[Guard]:
    """Items that only one of the two variants has a score for."""
    first, ours = answers.first, answers.first.whole()
    for name, sheet in answers.others():
        theirs = sheet.whole()
        lost, gained = ours & ~theirs, theirs & ~ours
        counts = int(lost.sum()) + len(first.alone), int(gained.sum()) + len(sheet.alone)
        if any(counts):
            share = sum(counts) / (len(ours) + len(first.alone) + len(sheet.alone))
            examples = [*first.alone[:3], *sheet.alone[:3]] or [_some(answers, lost | gained)]
            message = (
                f"{counts[0]} items have a score only in '{answers.baseline}' and {counts[1]} only in '{name}' (for "
                f"example {', '.join(examples[:5])}); {int((ours & theirs).sum())} are compared. If the missing ones "
                "are the hard ones, the rest says too much: complete both"
            )
            yield guard("subset", name, level(share, UNSCORED_ERROR), share, message)


def _some(answers: Answers, rows: NDArray[np.bool_]) -> str:
    """The names of the first of these items."""
    return ", ".join(answers.items[row] for row in np.flatnonzero(rows)[:3])


def samples_differ(answers: Answers) -> Iterator[Guard]:
    """Variants with another number of samples an item."""
    ours = answers.first.scores.shape[1]
    for name, sheet in answers.others():
        if (theirs := sheet.scores.shape[1]) != ours:
            message = (
                f"'{answers.baseline}' has {ours} samples an item and '{name}' {theirs}: the first {min(ours, theirs)} "
                "of each are compared"
            )
            yield guard("samples_differ", name, "warning", None, message)


def guessing(answers: Answers) -> Iterator[Guard]:
    """Scores that are not above guessing: no loss can be seen below the baseline's, no knowledge in a candidate's."""
    chance = answers.chance
    if not chance:
        return
    for name, sheet in answers.sheets.items():
        mean = sheet.mean()
        if mean is None or mean > chance + GUESSING_SIGMAS * (chance * (1 - chance) / sheet.graded) ** 0.5:
            continue
        first = name == answers.baseline
        message = f"{shown(mean)} is not above the {shown(chance)} of guessing: " + (
            "no loss can be seen from there; the model cannot do this benchmark, or its answers are not read"
            if first
            else "this variant knows nothing any more, or its answers are not read; look at its completions"
        )
        yield guard("guessing", name, "error" if first else "warning", mean, message)


def floor_or_ceiling(answers: Answers) -> Iterator[Guard]:
    """Scores so low or so high that variants cannot differ."""
    means = [mean for sheet in answers.sheets.values() if (mean := sheet.mean()) is not None]
    baseline = answers.first.mean()
    margin = answers.margin
    if means and max(means) <= FLOOR:
        message = (
            f"no variant is above {shown(FLOOR)} ({' against '.join(f'{100 * mean:.3g} %' for mean in means)}): the "
            "questions are too hard, or their answers are not read. Scores at the floor cannot fall, so no difference "
            "shows nothing"
        )
        yield guard("floor", None, "error", max(means), message)
    elif baseline is not None and baseline <= margin:
        message = (
            f"the baseline's {shown(baseline)} is not above the margin of {100 * margin:g} points, so no "
            "candidate could lose more than the margin, and that none does shows nothing: choose an easier benchmark"
        )
        yield guard("floor", answers.baseline, "error", baseline, message)
    elif means and min(means) >= CEILING:
        message = f"all variants reach {shown(CEILING)}: the benchmark is too easy to show a loss that harder ones may"
        yield guard("ceiling", None, "warning", min(means), message)


def graders_disagree(answers: Answers) -> Iterator[Guard]:
    """Two graders of one benchmark that differ on the same completions."""
    for name, sheet in answers.started():
        metrics = sorted({metric for grade in sheet.grades.values() for metric in grade.metrics})
        for one, other in combinations(metrics, 2):
            if answers.metric in (one, other) and (said := _disagreement(sheet, one, other)):
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


def limit(answers: Answers) -> Iterator[Guard]:
    """Only part of the benchmark was asked."""
    asked, available = len(answers.items), answers.available
    if available is not None and asked < available:
        message = f"{asked} of {available} items: a fair subset, but not the benchmark's published figure"
        yield guard("limit", None, "warning", asked / available, message)


def fewer_items(answers: Answers) -> Iterator[Guard]:
    """The data set that was read is not as large as the benchmark."""
    published, available = answers.published, answers.available
    if published is not None and available is not None and available < published:
        message = (
            f"the data set has {available} items, the benchmark {published}: the score is not the benchmark's; "
            "check whether the file is whole"
        )
        yield guard("fewer_items", None, "warning", available / published, message)


def one_sample(answers: Answers) -> Iterator[Guard]:
    """Sampled decoding with one sample on a small benchmark."""
    items, temperature = len(answers.items), answers.temperature
    if temperature and answers.samples == 1 and items <= SMALL:
        message = (
            f"one sample an item at temperature {temperature} on {items} items: chance alone "
            "flips many answers; ask for more samples"
        )
        yield guard("one_sample", None, "warning", temperature, message)


def few_groups(answers: Answers) -> Iterator[Guard]:
    """Groups of the rows that look like categories."""
    if answers.pairs is not None and few_large_groups(answers.pairs):
        clusters, size = len(answers.pairs.sums), int(np.median(answers.pairs.sizes))
        message = (
            f'{clusters} groups of about {size} items: "group" names items that share a problem and widens the '
            'interval to that number of groups; for subjects or categories use "subgroup"'
        )
        yield guard("few_groups", None, "warning", clusters, message)


def few_large_groups(pairs: PairedScores) -> bool:
    """Whether the groups look like categories (subjects) and not like items that share a problem."""
    return pairs.clustered and len(pairs.sums) < FEW_GROUPS and pairs.items >= 20 * len(pairs.sums)


RULES = (
    same_results,
    unscored,
    subset,
    samples_differ,
    guessing,
    floor_or_ceiling,
    graders_disagree,
    limit,
    fewer_items,
    one_sample,
    few_groups,
)
