"""Guards on the alignment of answers with questions: answers that stand at other questions than their own."""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence

from scipy.special import bdtr

from bitparity.grading.reasoning import own_turn
from bitparity.records import Item, Sample
from bitparity.results.guards.facts import Answers, guard
from bitparity.results.schema import Guard
from bitparity.results.sheet import Sheet
from bitparity.stats.shifts import KeyFits
from bitparity.stats.texts import fitting

BELOW_GUESSING = 1e-6  # probability (exact binomial) that guesses are right so seldom
KEY_CHARS = 200
LAGS = (-3, -2, -1, 1, 2, 3)  # how far an answer is looked for from its own question

# Of 28 recorded and published sets of answers, some with other questions in them, at most 2 % are misplaced by this
# measure, and of random words at most 6.5 %; of answers shifted by one 20 to 92 % are.
MISPLACED_ERROR, MISPLACED_PART, LEAST_MISPLACED = 0.10, 0.05, 5
MISPLACED_BESIDE = 0.04  # beside the baseline's answers too; of 19 recorded sets at most 2.2 % are
LOOKED_AT = 1000  # answers of a variant
QUESTION_CHARS, ANSWER_CHARS = 2000, 10_000  # of a prompt the end is read: few-shot examples come before the question


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
    started = [(name, written) for name, sheet in answers.started() if (written := _looked_at(answers, sheet))]
    if not started or len(answers.asked) < 2:
        return
    questions = {item.id: _question(item) for item in answers.asked}
    fit, beside = fitting(questions), fitting(_with_answers(questions, answers.first))
    for name, written in started:
        # a question that the model asks itself is not graded either
        texts = [(sample.item, own_turn(sample.text)[0][:ANSWER_CHARS]) for sample in written]
        found = [(item, other) for item, text in texts if (other := fit(text, item)) is not None]
        wrong = [(own, other) for own, other in found if own != other]
        # most texts that speak of their own question are no random words, of which more would seem misplaced
        most = MISPLACED_PART if 2 * (len(found) - len(wrong)) >= len(written) else MISPLACED_ERROR
        many = len(wrong) >= LEAST_MISPLACED and (
            len(wrong) > most * len(written) or _move_together(wrong, answers.asked)
        )
        if not many and name != answers.baseline:
            wrong = [(item, other) for item, text in texts if (other := beside(text, item)) not in (None, item)]
            many = len(wrong) >= max(LEAST_MISPLACED, MISPLACED_BESIDE * len(written))
        if many:
            figures = {"wrong": len(wrong), "texts": len(written), "own": wrong[0][0], "other": wrong[0][1]}
            yield guard("misaligned", name, "error", len(wrong) / len(written), "questions", **figures)


def _with_answers(questions: Mapping[str, str], sheet: Sheet) -> dict[str, str]:
    """The questions, each with what a variant's first sample says: a text shares more words with its like than with a
    question, so that fewer misplaced ones are told."""
    first = {sample.item: sample.text for sample in sheet.written() if sample.sample == 0}
    return {
        item: f"{question}\n{own_turn(first.get(item, ''))[0][:QUESTION_CHARS]}" for item, question in questions.items()
    }


def _move_together(wrong: Sequence[tuple[str, str]], asked: Sequence[Item]) -> bool:
    """True where most misplaced answers lie equally far from their questions, in the exam's order or the ids'."""
    exam = [item.id for item in asked]
    for order in (exam, sorted(exam, key=_natural)):
        row = {name: number for number, name in enumerate(order)}
        ways = Counter(row[other] - row[own] for own, other in wrong)
        if ways.most_common(1)[0][1] >= max(LEAST_MISPLACED, len(wrong) / 2):
            return True
    return False


def _looked_at(answers: Answers, sheet: Sheet) -> list[Sample]:
    """Samples with a text, spread evenly over the sheet."""
    known = {item.id for item in answers.asked}
    written = [sample for sample in sheet.written() if sample.text.strip() and sample.item in known]
    return written[:: max(1, math.ceil(len(written) / LOOKED_AT))]


def _question(item: Item) -> str:
    prompt = item.prompts[0]
    return (prompt.text or "\n".join(m["content"] for m in prompt.messages or ()))[-QUESTION_CHARS:]


def shifted(answers: Answers) -> Iterator[Guard]:
    """Stated answers that fit the key of a question some places on: all of them, or a part.

    All: more often than their own. A part: more often than keys farther away, which is what chance gives, and than
    another variant's answers do, which is what like questions side by side give. The order is the exam's, or the ids'.
    """
    keys = {item.id: _keys(item) for item in answers.asked if item.reference is not None}
    orders = [list(keys), sorted(keys, key=_natural)]
    fits = {name: [KeyFits(order, _stated(sheet), keys) for order in orders] for name, sheet in answers.started()}
    for name, both in fits.items():
        rivals = [others for other, others in fits.items() if other != name]
        for own, *others in zip(both, *rivals, strict=True):
            all_or_part = ((lag, "keys" if own.all(lag) else "some_keys") for lag in LAGS)
            if found := next(((lag, key) for lag, key in all_or_part if key == "keys" or own.part(lag, others)), None):
                lag, key = found
                won, lost = own.won(lag), own.lost(lag)
                figures = {"won": won, "lost": lost, "places": abs(lag), "way": "behind" if lag > 0 else "before"}
                yield guard("misaligned", name, "error", won / len(keys), key, **figures, chance=f"{own.by_chance:.0f}")
                break


def _stated(sheet: Sheet) -> dict[str, list[tuple[int, str]]]:
    """By item the number of each sample with what it states; no code."""
    found: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for (item, sample), grade in sheet.grades.items():
        if grade.extracted is not None and len(grade.extracted) <= KEY_CHARS:
            found[item].append((sample, _plain(grade.extracted)))
    return found


def _keys(item: Item) -> list[str]:
    """The item's key; of one that is asked in several orders the key of each."""
    reference = item.reference if isinstance(item.reference, list) and item.reference else [item.reference]
    return [_plain(str(key)[:KEY_CHARS]) for key in reference]


def _plain(text: str) -> str:
    return re.sub(r"[\s$]+", "", text).lower()


def _natural(name: str) -> list[tuple[int, str]]:
    """A key that sorts "q2" before "q10"."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]
