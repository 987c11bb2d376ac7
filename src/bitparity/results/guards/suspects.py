"""Suspect answers: those that guards doubt one by one, and scores with all of them counted for the candidate."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bitparity.benchmarks.answers import boxed_answers
from bitparity.records import Finish, SampleKey
from bitparity.results.sheet import Scores, Sheet

# a loop fills this many characters and says its unit this often; one that counts as finished more often
LOOP_TAIL, LOOP_REPEATS, FINISHED_REPEATS = 200, 3, 10
_NUMBER = re.compile(r"\d+")
Mask = NDArray[np.bool_]
Suspects = Callable[[Sheet, Sheet], set[SampleKey]]  # (the candidate's sheet, the baseline's)


def _cut_off(sheet: Sheet) -> set[SampleKey]:
    return {key for key, sample in sheet.samples.items() if sample.finish == "length"}


def _no_answer(sheet: Sheet) -> set[SampleKey]:
    return {key for key, grade in sheet.grades.items() if grade.status == "no_answer"}


def not_one_box(sheet: Sheet) -> set[SampleKey]:
    """The finished answers without a LaTeX box, or with different ones."""
    finished = (sample for sample in sheet.written() if sample.finish == "stop")
    return {(sample.item, sample.sample) for sample in finished if len(boxed_answers(sample.text)) != 1}


def looping(sheet: Sheet, finish: Finish) -> set[SampleKey]:
    """The answers with this end that repeat themselves up to it; before an end of their own more often."""
    times = FINISHED_REPEATS if finish == "stop" else LOOP_REPEATS
    return {key for key, sample in sheet.samples.items() if sample.finish == finish and is_loop(sample.text, times)}


def is_loop(text: str, times: int = LOOP_REPEATS) -> bool:
    """True if a text ends in one unit said over and over, at least so many times and over 200 characters.

    Numbers in it may differ, if it has letters: "12. And so on we see that".
    """
    return bool(_unit(text, times)) or any(map(str.isalpha, _unit(_NUMBER.sub("0", text), times)))


def _unit(text: str, times: int) -> str:
    """The unit that a text repeats at its end, "" where there is nothing.

    Its length is the distance between the text's last characters and where they stood before.
    """
    end = text[-50:]
    before = text.rfind(end, 0, len(text) - 1)
    unit = len(text) - len(end) - before
    tail = max(times * unit, LOOP_TAIL)
    found = before >= 0 and len(text) >= tail and text[-tail:-unit] == text[len(text) - tail + unit :]
    return text[-unit:] if found else ""


def _empty(sheet: Sheet) -> set[SampleKey]:
    return {key for key, sample in sheet.samples.items() if sample.logprobs is None and not sample.text.strip()}


def _identical(sheet: Sheet) -> set[SampleKey]:
    """The answers that are the most frequent text."""
    text, _ = Counter(sample.text for sample in sheet.samples.values()).most_common(1)[0]
    return {key for key, sample in sheet.samples.items() if sample.text == text}


# The guards that doubt single answers. Any other doubts the whole comparison: no loss stands against it. A guard on a
# difference doubts what is new in the candidate. What has no score is counted for the candidate whatever the guard.
BY_GUARD: Mapping[str, Suspects] = {
    "cut_off": lambda own, _: _cut_off(own),
    "cut_off_difference": lambda own, baseline: _cut_off(own) - _cut_off(baseline),
    "no_answer": lambda own, _: _no_answer(own),
    "no_answer_difference": lambda own, baseline: _no_answer(own) - _no_answer(baseline),
    "box_difference": lambda own, baseline: not_one_box(own) - not_one_box(baseline),
    "empty": lambda own, _: _empty(own),
    "loops": lambda own, _: looping(own, "stop"),
    "identical": lambda own, _: _identical(own),
    "unscored": lambda own, baseline: set(),
    "subset": lambda own, baseline: set(),
}


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
    row = {item: index for index, item in enumerate(items)}
    for item, sample in set().union(*(BY_GUARD[guard](candidate, baseline) for guard in guards)):
        if sample < k:
            after[row[item], sample] = 1.0
    return before, after


# what would be seen if every answer that such a guard doubts were right, in both variants
IF_RIGHT: Mapping[str, Callable[[Sheet], set[SampleKey]]] = {
    "cut_off": _cut_off,
    "no_answer": _no_answer,
    "empty": _empty,
}


def all_right(baseline: Sheet, candidate: Sheet, items: Sequence[str], guard: str) -> tuple[Scores, Scores, Mask]:
    """Scores (items, samples) of both with every answer right that the guard doubts, and which items have all scores.

    The items are those up to the candidate's stop; `items` names the rows.
    """
    k, asked = min(baseline.scores.shape[1], candidate.scores.shape[1]), candidate.asked
    row = {item: index for index, item in enumerate(items[:asked])}
    found = []
    for sheet in (baseline, candidate):
        scores = sheet.scores[:asked, :k].copy()
        for item, sample in IF_RIGHT[guard](sheet):
            if sample < k and item in row:
                scores[row[item], sample] = 1.0
        found.append(scores)
    before, after = found
    whole = ~np.isnan((before + after).sum(axis=1))
    return before, after, whole
