"""Guards on the alignment of answers with questions: answers that stand at other questions than their own."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from scipy.special import bdtr

from bitparity.records import Item, Sample
from bitparity.results.guards.facts import Answers, guard
from bitparity.results.schema import Guard
from bitparity.results.sheet import Sheet
from bitparity.stats.arrays import Floats

BELOW_GUESSING = 1e-6  # probability (exact binomial) that guesses are right so seldom
SHIFTED = 1e-5  # probability that so many more answers fit a neighbour's key by chance
KEY_CHARS = 200
LAGS = (-3, -2, -1, 1, 2, 3)  # how far an answer is looked for from its own question

# Of 28 recorded and published sets of answers, some with other questions in them, at most 2 % are misplaced by this
# measure, and of random words at most 6.5 %; of answers shifted by one 20 to 92 % are.
MISPLACED_ERROR, LEAST_MISPLACED = 0.10, 5
CLEARLY = 1.5  # an answer is told apart where its best question fits so many times better than the next
LOOKED_AT = 400  # answers of a variant
QUESTION_CHARS, ANSWER_CHARS = 2000, 10_000  # of a prompt the end is read: few-shot examples come before the question
LEAST_WORDS = 3  # that an answer shares with a question: "So it is 12" speaks of any that has a 12
COMMON = 0.05  # of the questions: words that stand in more of them tell nothing
_WORD = re.compile(r"[^\W\d_]{3,}|\d{2,}")


def misaligned(answers: Answers) -> Iterator[Guard]:
    """Readable answers that are right far less often than guesses: those of other questions, or another key's."""
    for name, sheet in answers.sheets.items():
        scores = [grade.score for grade in sheet.grades.values() if grade.status == "answered"]
        right = sum((score or 0.0) >= 0.5 for score in scores)
        if answers.chance and bdtr(right, len(scores), answers.chance) < BELOW_GUESSING:
            figures = {"right": right, "answered": len(scores), "chance": f"{100 * answers.chance:.1f} %"}
            yield guard("misaligned", name, "error", right / len(scores), "guessing", **figures)


def misplaced(answers: Answers) -> Iterator[Guard]:
    """Written answers that use the rare words of another question and not of their own."""
    started = [(name, sheet, written) for name, sheet in answers.started() if (written := _looked_at(answers, sheet))]
    if not started or len(answers.asked) < 2:
        return
    fit = _fitting(answers.asked)
    for name, _, written in started:
        found = [(sample.item, other) for sample in written if (other := fit(sample)) is not None]
        wrong = [(own, other) for own, other in found if own != other]
        if len(wrong) >= LEAST_MISPLACED and len(wrong) > MISPLACED_ERROR * len(written):
            figures = {"wrong": len(wrong), "texts": len(written), "own": wrong[0][0], "other": wrong[0][1]}
            yield guard("misaligned", name, "error", len(wrong) / len(written), "questions", **figures)


def _looked_at(answers: Answers, sheet: Sheet) -> list[Sample]:
    """Samples with a text, spread evenly over the sheet."""
    known = {item.id for item in answers.asked}
    written = [sample for sample in sheet.written() if sample.text.strip() and sample.item in known]
    return written[:: max(1, math.ceil(len(written) / LOOKED_AT))]


def _fitting(asked: Sequence[Item]) -> Callable[[Sample], str | None]:
    """The id of the question that a sample's text clearly fits, by the words that they share; None where none does.

    A word weighs by how rare it is among the questions (inverse document frequency, K. Sparck Jones 1972), a question
    by the root of its words' weights. Another question than the sample's own must fit twice as well as that.
    """
    where: dict[str, list[int]] = defaultdict(list)
    for row, item in enumerate(asked):
        for word in _words(_question(item)):
            where[word].append(row)
    most = max(2.0, COMMON * len(asked))
    rows = {word: np.array(found) for word, found in where.items() if len(found) <= most}
    weights = {word: math.log(len(asked) / len(found)) for word, found in rows.items()}
    total = np.full(len(asked), 1e-9)
    for word, found in rows.items():
        total[found] += weights[word]
    row_of = {item.id: row for row, item in enumerate(asked)}

    def fit(sample: Sample) -> str | None:
        scores, shared = np.zeros(len(asked)), np.zeros(len(asked))
        for word in _words(sample.text[:ANSWER_CHARS]) & rows.keys():
            scores[rows[word]] += weights[word]
            shared[rows[word]] += 1
        best = _best(scores / np.sqrt(total), row_of[sample.item])
        return None if best is None or shared[best] < LEAST_WORDS else asked[best].id

    return fit


def _best(scores: Floats, own: int) -> int | None:
    """The place of the best score where it is clear, and another's than `own` only where that is far below."""
    second, best = np.argsort(scores)[-2:]
    clear = scores[best] > 0 and scores[best] >= CLEARLY * scores[second]
    return int(best) if clear and (best == own or scores[best] > 2 * scores[own]) else None


def _question(item: Item) -> str:
    prompt = item.prompts[0]
    return (prompt.text or "\n".join(m["content"] for m in prompt.messages or ()))[-QUESTION_CHARS:]


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower()))


def shifted(answers: Answers) -> Iterator[Guard]:
    """Stated answers that fit the key of a question some places on, more often than their own.

    The order is the exam's, or that of the ids. Items count, however many samples each has.
    """
    keys = {item.id: _keys(item) for item in answers.asked if item.reference is not None}
    orders = [list(keys), sorted(keys, key=_natural)]
    for name, sheet in answers.started():
        said = _stated(sheet)
        hits = ((_more_hits(order, said, keys, lag), lag) for order in orders for lag in LAGS)
        if found := next(((won, lost, lag) for (won, lost), lag in hits if _unlikely(won, lost)), None):
            won, lost, lag = found
            figures = {"won": won, "lost": lost, "places": abs(lag), "way": "behind" if lag > 0 else "before"}
            yield guard("misaligned", name, "error", won / len(keys), "keys", **figures)


def _stated(sheet: Sheet) -> dict[str, list[tuple[int, str]]]:
    """By item the number of each sample with what it states; no code."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (item, sample), grade in sheet.grades.items():
        if grade.extracted is not None and len(grade.extracted) <= KEY_CHARS:
            found[item].append((sample, _plain(grade.extracted)))
    return found


def _more_hits(
    order: Sequence[str], said: Mapping[str, Sequence[tuple[int, str]]], keys: Mapping[str, Sequence[str]], lag: int
) -> tuple[int, int]:
    """The numbers of items whose answers fit the key `lag` places on more often than their own, and less often."""
    told: Counter[int] = Counter()
    for item, other in zip(order, np.roll(order, -lag).tolist(), strict=True):
        own, far = keys[item], keys[other]
        gap = sum((text == far[k % len(far)]) - (text == own[k % len(own)]) for k, text in said.get(item, ()))
        told[(gap > 0) - (gap < 0)] += 1
    return told[1], told[-1]


def _unlikely(won: int, lost: int) -> bool:
    return won > lost and float(bdtr(lost, won + lost, 0.5)) < SHIFTED


def _keys(item: Item) -> list[str]:
    """The item's key; of one that is asked in several orders the key of each."""
    reference = item.reference if isinstance(item.reference, list) and item.reference else [item.reference]
    return [_plain(str(key)[:KEY_CHARS]) for key in reference]


def _plain(text: str) -> str:
    return re.sub(r"[\s$]+", "", text).lower()


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts "q2" before "q10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
