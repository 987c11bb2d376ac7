"""Answers at other questions than their own: found by their words and by the keys; no alarm where they stand right."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest

from bitparity.records import Grade, Item, Prompt, Sample
from bitparity.results.guards import alignment
from bitparity.results.guards.facts import Answers
from bitparity.results.schema import Guard
from bitparity.results.sheet import Sheet

ITEMS, WORDS = 120, 3000


def vocabulary() -> list[str]:
    rng = random.Random(1)
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=7)) for _ in range(WORDS)]


def questions() -> list[Item]:
    """Questions of twelve words, few of them shared, keyed by letters."""
    rng, words = random.Random(2), vocabulary()
    return [
        Item(f"q{n}", (Prompt(text="Solve this. " + " ".join(rng.choices(words, k=12))),), rng.choice("ABCD"))
        for n in range(ITEMS)
    ]


def texts_of(items: Sequence[Item]) -> list[str]:
    """Answers that take up half of the question's words, and some others."""
    rng, words = random.Random(3), vocabulary()
    asked = [(item.prompts[0].text or "").split()[2:] for item in items]
    return [" ".join([*rng.sample(own, 6), *rng.choices(words, k=20)]) for own in asked]


def answers(items: Sequence[Item], texts: Sequence[str], said: Sequence[str | None]) -> Answers:
    samples = {(i.id, 0): Sample("b", i.id, 0, t, "stop", 1, 1, 0.0) for i, t in zip(items, texts, strict=True)}
    grades = {(i.id, 0): Grade(1.0, "answered", s) for i, s in zip(items, said, strict=True)}
    sheet = Sheet(np.ones((len(items), 1)), samples, grades)
    return Answers("a", {"a": sheet}, [i.id for i in items], 0.02, asked=items)


def told(found: Answers) -> list[Guard]:
    return [*alignment.misplaced(found), *alignment.shifted(found)]


def right(items: Sequence[Item], share: float) -> list[str]:
    rng = random.Random(4)
    return [item.reference if rng.random() < share else rng.choice("ABCD") for item in items]


def test_nothing_is_said_of_answers_at_their_own_questions() -> None:
    items = questions()
    for share in (0.0, 0.3, 1.0):
        assert told(answers(items, texts_of(items), right(items, share))) == []
    assert told(answers(items, ["The answer is (C)."] * ITEMS, right(items, 0.5))) == []


@pytest.mark.parametrize("part", [1.0, 0.5, 0.2])
def test_answers_that_speak_of_other_questions(part: float) -> None:
    items = questions()
    texts, cut = texts_of(items), int(part * ITEMS)
    mixed = random.Random(5).sample(texts[:cut], cut) + texts[cut:]
    (guard,) = told(answers(items, mixed, [None] * ITEMS))
    assert (guard.name, guard.level, guard.variant) == ("misaligned", "error", "a")
    assert guard.value == pytest.approx(part, abs=0.2 * part)
    assert "speak of another question" in guard.message


def test_words_at_random_speak_of_no_question() -> None:
    items, rng, words = questions(), random.Random(6), vocabulary()
    for length in (10, 100, 400):
        garbage = [" ".join(rng.choices(words, k=length)) for _ in items]
        assert told(answers(items, garbage, [None] * ITEMS)) == []


@pytest.mark.parametrize("lag", [-2, 1, 3])
def test_bare_answers_that_fit_a_neighbours_key(lag: int) -> None:
    items = questions()
    said = right(items, 0.7)
    moved = said[lag:] + said[:lag]
    (guard,) = told(answers(items, ["So: it is."] * ITEMS, moved))
    assert (guard.name, guard.level) == ("misaligned", "error")
    assert "the key of the question" in guard.message
    assert told(answers(random.Random(7).sample(items, ITEMS), ["So"] * ITEMS, said)) == []  # no order at all


def test_answers_shifted_in_the_order_of_the_ids() -> None:
    """Exams are asked in the order of a hash; a file that was shifted had another."""
    items = questions()
    said = right(items, 0.7)
    by_id = {item.id: answer for item, answer in zip(items, said[1:] + said[:1], strict=True)}
    hashed = random.Random(8).sample(items, ITEMS)
    (guard,) = told(answers(hashed, ["So"] * ITEMS, [by_id[item.id] for item in hashed]))
    assert "1 places behind" in guard.message


def test_keys_of_several_orders_are_each_samples_own() -> None:
    items = [Item(item.id, item.prompts, [item.reference, "D"]) for item in questions()]
    said = [item.reference[0] for item in items]
    (guard,) = told(answers(items, ["So"] * ITEMS, said[1:] + said[:1]))
    assert "fit the key" in guard.message
