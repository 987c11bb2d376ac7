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


@pytest.mark.parametrize("part", [0.1, 0.08])
def test_a_tenth_of_the_answers_at_other_questions(part: float) -> None:
    items = questions()
    texts, cut = texts_of(items), int(part * ITEMS)
    (guard,) = told(answers(items, texts[1 : cut + 1] + texts[cut:], [None] * ITEMS))
    assert (guard.name, guard.level) == ("misaligned", "error")
    rows = random.Random(5).sample(range(ITEMS), cut)
    for row, text in zip(rows, [texts[r] for r in rows[1:] + rows[:1]], strict=True):
        texts[row] = text
    (guard,) = told(answers(items, texts, [None] * ITEMS))  # in no order
    assert guard.value == pytest.approx(cut / ITEMS, abs=0.02)


def test_a_candidates_answers_at_others_are_told_beside_the_baselines() -> None:
    """The questions share too few words with their answers; the baseline's answers share more."""
    items, rng, words = questions(), random.Random(8), vocabulary()
    own = [" ".join(rng.sample(words, 30)) for _ in items]
    first, second = ([f"{text} {rng.choice(words)}" for text in own] for _ in range(2))
    sheets = {"a": answers(items, first, [None] * ITEMS).first, "b": answers(items, second, [None] * ITEMS).first}
    found = Answers("a", sheets, [i.id for i in items], 0.02, asked=items)
    assert list(alignment.misplaced(found)) == []
    cut = ITEMS // 10
    rows = rng.sample(range(ITEMS), cut)
    for row, text in zip(rows, [second[r] for r in rows[1:] + rows[:1]], strict=True):
        second[row] = text
    moved = {**sheets, "b": answers(items, second, [None] * ITEMS).first}
    (guard,) = alignment.misplaced(Answers("a", moved, [i.id for i in items], 0.02, asked=items))
    assert (guard.variant, guard.level) == ("b", "error")


def test_what_stands_behind_the_end_of_the_turn_is_no_answer() -> None:
    items = questions()
    texts = texts_of(items)
    ran_on = [f"{own}<|im_end|>\n{other}" for own, other in zip(texts, texts[1:] + texts[:1], strict=True)]
    assert told(answers(items, ran_on, [None] * ITEMS)) == []
    swapped = [f"{other}<|im_end|>\n{own}" for own, other in zip(texts, texts[1:] + texts[:1], strict=True)]
    assert told(answers(items, swapped, [None] * ITEMS))


def test_code_is_told_by_the_function_that_it_defines() -> None:
    items = [Item(f"q{n}", (Prompt(text=f"Write a function countWays{n}x(n) that counts."),), "") for n in range(ITEMS)]
    codes = [f"def countWays{n}x(n):\n    return n" for n in range(ITEMS)]
    assert told(answers(items, codes, [None] * ITEMS)) == []
    (guard,) = told(answers(items, codes[1:40] + codes[39:], [None] * ITEMS))
    assert guard.value == pytest.approx(39 / ITEMS)


def numbered(count: int, share: float, moved: int, seed: int) -> tuple[list[Item], Sheet]:
    """Items with numbers as keys, of whose answers a share is right and the first `moved` are the next question's."""
    rng = random.Random(seed)
    items = [Item(f"q{n}", (Prompt(text="?"),), str(n % 37 + n % 11)) for n in range(count)]
    said = [str(i.reference) if rng.random() < share else str(rng.randint(0, 47)) for i in items]
    said = said[1 : moved + 1] + said[moved:]
    grades = {(i.id, 0): Grade(1.0, "answered", s) for i, s in zip(items, said, strict=True)}
    samples = {(i.id, 0): Sample("b", i.id, 0, "So", "stop", 1, 1, 0.0) for i in items}
    return items, Sheet(np.ones((count, 1)), samples, grades)


@pytest.mark.parametrize("moved", [50, 150])
def test_a_part_of_bare_answers_fits_the_next_key(moved: int) -> None:
    items, first = numbered(500, 0.6, 0, 1)
    sheets = {"a": first, "b": numbered(500, 0.6, moved, 2)[1]}
    found = Answers("a", sheets, [i.id for i in items], 0.02, asked=items)
    (guard,) = alignment.shifted(found)
    assert (guard.variant, guard.level) == ("b", "error")
    assert "where chance gives" in guard.message


def test_like_questions_side_by_side_are_no_shift() -> None:
    """Signs that all variants lack come from the data set."""
    items, first = numbered(500, 0.6, 150, 1)
    sheets = {"a": first, "b": numbered(500, 0.6, 150, 2)[1]}
    assert not list(alignment.shifted(Answers("a", sheets, [i.id for i in items], 0.02, asked=items)))
    clean = {"a": numbered(500, 0.6, 0, 1)[1], "b": numbered(500, 0.3, 0, 2)[1]}
    assert not list(alignment.shifted(Answers("a", clean, [i.id for i in items], 0.02, asked=items)))
