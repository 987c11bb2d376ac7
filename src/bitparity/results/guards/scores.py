"""Guards on the scores: missing, at guessing, at the floor or ceiling, graders that disagree, too few items."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from bitparity.grading.rules import ALL_EQUAL, NOT_FINITE
from bitparity.results.guards.facts import Answers, guard, level, shown, text
from bitparity.results.schema import Guard, Level
from bitparity.results.sheet import Sheet
from bitparity.stats.arrays import PairedScores

# Thresholds, as fractions.
UNSCORED_ERROR = 0.01
TWO_SCORES_WARNING, TWO_SCORES_ERROR = 0.002, 0.02  # of the answers that both variants have given alike
GRADER_GAP = 0.05  # two graders of one benchmark that differ by more disagree about what is right
FLOOR, CEILING = 0.01, 0.99
LARGE_MARGIN = 0.25  # of the baseline's score: a loss within it is a large part of what the model can do

GUESSING_SIGMAS = 2.0  # standard errors above guessing under which a score is not told from guessing
FEW_GROUPS = 60  # fewer groups, each of many items, are most likely categories
SMALL = 500  # items; up to here one sampled answer an item leaves too much to chance


def same_results(answers: Answers) -> Iterator[Guard]:
    """The same results given twice."""
    for name, sheet in answers.others():
        if sheet.origin is not None and sheet.origin == answers.first.origin:
            yield guard("same_results", name, "error")


def unscored(answers: Answers) -> Iterator[Guard]:
    """Samples without a score."""
    for name, sheet in answers.sheets.items():
        if sheet.unscored:
            share = sheet.unscored / sheet.expected
            figures = {"unscored": sheet.unscored, "expected": sheet.expected, "missing": sheet.missing}
            words = {"items": _some(answers, ~sheet.whole()[: sheet.asked]), "reason": _reason(sheet)}
            yield guard("unscored", name, level(share, UNSCORED_ERROR), share, answers.source, **figures, **words)


def two_scores(answers: Answers) -> Iterator[Guard]:
    """One and the same answer to one question with two scores, in results from elsewhere: no grader gives that."""
    for name, sheet in answers.others():
        shared = ((answers.first.grades.get(key), grade) for key, grade in sheet.grades.items() if grade.extracted)
        scores = [
            (ours.score, theirs.score)
            for ours, theirs in (shared if sheet.origin is not None else ())
            if ours is not None and ours.extracted == theirs.extracted and None not in (ours.score, theirs.score)
        ]
        differing = sum(one != other for one, other in scores)
        if differing > 1 and (share := differing / len(scores)) > TWO_SCORES_WARNING:
            figures = {"baseline": answers.baseline, "differing": differing, "answers": len(scores)}
            yield guard("two_scores", name, level(share, TWO_SCORES_ERROR), share, **figures)


def _reason(sheet: Sheet) -> str:
    """The commonest reason, as an addition to a message; not in others' words, which may hold a text of the data."""
    told = Counter(str(grade.details.get("error")) for grade in sheet.grades.values())
    told = Counter({reason: told[reason] for reason in (NOT_FINITE, ALL_EQUAL) if told[reason]})
    return "".join(text("unscored", "reason", reason=reason) for reason, _ in told.most_common(1))


def subset(answers: Answers) -> Iterator[Guard]:
    """Items that only one of the two variants has a score for."""
    first = answers.first
    for name, sheet in answers.others():
        ours, theirs = (each.whole()[: sheet.asked] for each in (first, sheet))
        lost, gained = int((ours & ~theirs).sum()) + len(first.alone), int((theirs & ~ours).sum()) + len(sheet.alone)
        if lost or gained:
            share = (lost + gained) / (len(ours) + len(first.alone) + len(sheet.alone))
            examples = [*first.alone[:3], *sheet.alone[:3]] or [_some(answers, ours ^ theirs)]
            figures = {"baseline": answers.baseline, "lost": lost, "gained": gained, "both": int((ours & theirs).sum())}
            items = ", ".join(examples[:5])
            yield guard("subset", name, level(share, UNSCORED_ERROR), share, **figures, items=items)


def _some(answers: Answers, rows: NDArray[np.bool_]) -> str:
    """The names of the first of these items."""
    return ", ".join(answers.items[row] for row in np.flatnonzero(rows)[:3])


def samples_differ(answers: Answers) -> Iterator[Guard]:
    """Variants with another number of samples an item."""
    ours = answers.first.scores.shape[1]
    for name, sheet in answers.others():
        if (theirs := sheet.scores.shape[1]) != ours:
            figures = {"ours": ours, "theirs": theirs, "used": min(ours, theirs)}
            yield guard("samples_differ", name, "warning", baseline=answers.baseline, **figures)


def guessing(answers: Answers) -> Iterator[Guard]:
    """Scores that are not above guessing: no loss can be seen below the baseline's, no knowledge in a candidate's."""
    chance = answers.chance
    if not chance:
        return
    for name, sheet in answers.sheets.items():
        mean = sheet.mean()
        if mean is None or mean > chance + GUESSING_SIGMAS * (chance * (1 - chance) / sheet.graded) ** 0.5:
            continue
        found: Level = "error" if name == answers.baseline else "warning"
        yield guard("guessing", name, found, mean, found, chance=shown(chance))


def floor_or_ceiling(answers: Answers) -> Iterator[Guard]:
    """Scores so low or so high that variants cannot differ."""
    means = [mean for sheet in answers.sheets.values() if (mean := sheet.mean()) is not None]
    baseline = answers.first.mean()
    if means and max(means) <= FLOOR:
        said = " against ".join(f"{100 * mean:.3g} %" for mean in means)
        yield guard("floor", None, "error", max(means), "all", floor=shown(FLOOR), means=said)
    elif baseline is not None and baseline <= answers.margin:
        yield guard("floor", answers.baseline, "error", baseline, "baseline", margin=f"{100 * answers.margin:.3g}")
    elif baseline is not None and answers.margin > LARGE_MARGIN * baseline:
        figures = {"margin": f"{100 * answers.margin:.3g}", "part": shown(answers.margin / baseline)}
        yield guard("floor", answers.baseline, "warning", baseline, "large_margin", **figures)
    elif means and min(means) >= CEILING:
        yield guard("ceiling", None, "warning", min(means), ceiling=shown(CEILING))


def graders_disagree(answers: Answers) -> Iterator[Guard]:
    """Two graders of one benchmark that differ on the same completions, those that both have scored."""
    for name, sheet in answers.started():
        metrics = sorted({metric for grade in sheet.grades.values() for metric in grade.metrics})
        for one, other in (pair for pair in combinations(metrics, 2) if answers.metric in pair):
            both = {k: g.metrics for k, g in sheet.grades.items() if one in g.metrics and other in g.metrics}
            gap = sum(m[one] - m[other] for m in both.values()) / len(both) if both else 0.0
            if abs(gap) > GRADER_GAP:
                items = [item for (item, _), m in both.items() if m[one] != m[other]]
                figures = {"points": f"{100 * abs(gap):.1f}", "differing": len(items), "items": ", ".join(items[:3])}
                yield guard("graders_disagree", name, "warning", gap, one=one, other=other, **figures)


def limit(answers: Answers) -> Iterator[Guard]:
    """Only part of the benchmark was asked."""
    asked, available = len(answers.items), answers.available
    if available is not None and asked < available:
        yield guard("limit", None, "warning", asked / available, asked=asked, available=available)


def time_over(answers: Answers) -> Iterator[Guard]:
    """The time of the run was over before all was asked."""
    asked, of = answers.first.asked, len(answers.items)
    if answers.first.end is not None:
        yield guard("time_over", None, "warning", asked / of, asked=f"{asked:,}", of=f"{of:,}", left=f"{of - asked:,}")


def fewer_items(answers: Answers) -> Iterator[Guard]:
    """The data set that was read is not as large as the benchmark."""
    published, available = answers.published, answers.available
    if published is not None and available is not None and available < published:
        yield guard("fewer_items", None, "warning", available / published, available=available, published=published)


def one_sample(answers: Answers) -> Iterator[Guard]:
    """Sampled decoding with one sample on a small benchmark."""
    items, temperature = len(answers.items), answers.temperature
    if temperature and answers.samples == 1 and items <= SMALL:
        yield guard("one_sample", None, "warning", temperature, items=items)


def few_groups(answers: Answers) -> Iterator[Guard]:
    """Groups of the rows that look like categories."""
    if answers.pairs is not None and few_large_groups(answers.pairs):
        yield guard("few_groups", None, "warning", len(answers.pairs.sums), size=int(np.median(answers.pairs.sizes)))


def few_large_groups(pairs: PairedScores) -> bool:
    """True if the groups look like categories (subjects) and not like items that share a problem."""
    return pairs.clustered and len(pairs.sums) < FEW_GROUPS and pairs.items >= 20 * len(pairs.sums)
