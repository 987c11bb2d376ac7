"""Suspect answers: those that guards doubt one by one, and scores with all of them counted for the candidate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bitparity.benchmarks.answers import boxed_answers
from bitparity.records import Finish, SampleKey
from bitparity.results.sheet import Scores, Sheet
from bitparity.stats.texts import LOOP_REPEATS, is_loop

FINISHED_REPEATS = 10  # a loop that counts as finished says its unit more often than others
Mask = NDArray[np.bool_]
Suspects = Callable[[Sheet], set[SampleKey]]


def not_one_box(sheet: Sheet) -> set[SampleKey]:
    """The finished answers without a LaTeX box, or with different ones."""
    finished = (sample for sample in sheet.written() if sample.finish == "stop")
    return {(sample.item, sample.sample) for sample in finished if len(boxed_answers(sample.text)) != 1}


def looping(sheet: Sheet, finish: Finish) -> set[SampleKey]:
    """The answers with this end that repeat themselves up to it; before an end of their own more often."""
    times = FINISHED_REPEATS if finish == "stop" else LOOP_REPEATS
    return {key for key, sample in sheet.samples.items() if sample.finish == finish and is_loop(sample.text, times)}


def _identical(sheet: Sheet) -> set[SampleKey]:
    """The answers that are the most frequent text."""
    text, _ = Counter(sample.text for sample in sheet.samples.values()).most_common(1)[0]
    return {key for key, sample in sheet.samples.items() if sample.text == text}


# what would be seen if every answer that such a guard doubts were right, in both variants
IF_RIGHT: Mapping[str, Suspects] = {
    "cut_off": lambda sheet: {key for key, sample in sheet.samples.items() if sample.finish == "length"},
    "no_answer": lambda sheet: {key for key, grade in sheet.grades.items() if grade.status == "no_answer"},
    "empty": lambda sheet: {k for k, s in sheet.samples.items() if s.logprobs is None and not s.text.strip()},
}
# The guards that doubt single answers. Any other doubts the whole comparison: no loss stands against it. What has no
# score is counted for the candidate whatever the guard.
BY_GUARD: Mapping[str, Suspects] = {
    **IF_RIGHT,
    "loops": lambda sheet: looping(sheet, "stop"),
    "identical": _identical,
    "unscored": lambda sheet: set(),
    "subset": lambda sheet: set(),
    "cut_off_difference": IF_RIGHT["cut_off"],
    "no_answer_difference": IF_RIGHT["no_answer"],
    "box_difference": not_one_box,
}
# guards on a difference doubt only what is new in the candidate
ON_DIFFERENCES = frozenset({"cut_off_difference", "no_answer_difference", "box_difference"})


def counted_for_candidate(
    baseline: Sheet, candidate: Sheet, items: Sequence[str], guards: Collection[str]
) -> tuple[Scores, Scores] | None:
    """Scores (items, samples) of both with every answer that these guards doubt counted for the candidate.

    The items are those up to the candidate's stop; `items` names the rows. None without guards, and where one of them
    doubts the whole comparison or items that are not in the sheets. The candidate's suspects count as right; the
    baseline's score is 0 where it has none.
    """
    elsewhere = "subset" in guards and (baseline.alone or candidate.alone)
    if not guards or not BY_GUARD.keys() >= {*guards} or elsewhere:
        return None
    k, asked = min(baseline.scores.shape[1], candidate.scores.shape[1]), candidate.asked
    before = np.nan_to_num(baseline.scores[:asked, :k], nan=0.0)
    after = np.nan_to_num(candidate.scores[:asked, :k], nan=1.0)
    for guard in guards:
        old = BY_GUARD[guard](baseline) if guard in ON_DIFFERENCES else set()
        _set_right(after, BY_GUARD[guard](candidate) - old, items)
    return before, after


def _set_right(scores: Scores, keys: Collection[SampleKey], items: Sequence[str]) -> None:
    """Count these samples as right; `items` names the rows of the scores, and what these do not have is left out."""
    rows, samples = scores.shape
    row = {item: index for index, item in enumerate(items[:rows])}
    for item, sample in keys:
        if sample < samples and item in row:
            scores[row[item], sample] = 1.0


def all_right(baseline: Sheet, candidate: Sheet, items: Sequence[str], guard: str) -> tuple[Scores, Scores, Mask]:
    """Scores (items, samples) of both with every answer right that the guard doubts, and which items have all scores.

    The items are those up to the candidate's stop; `items` names the rows.
    """
    k, asked = min(baseline.scores.shape[1], candidate.scores.shape[1]), candidate.asked
    before, after = (sheet.scores[:asked, :k].copy() for sheet in (baseline, candidate))
    for sheet, scores in ((baseline, before), (candidate, after)):
        _set_right(scores, IF_RIGHT[guard](sheet), items)
    return before, after, ~np.isnan((before + after).sum(axis=1))
