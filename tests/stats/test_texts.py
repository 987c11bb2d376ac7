"""Statistics of texts: the question that one fits, where two part, loops, kinds of characters."""

from __future__ import annotations

import numpy as np
import pytest

from bitparity.stats.texts import character_kind, fitting, is_loop, parting_rate, shared_start

QUESTIONS = {
    "train": "A train leaves Boston at noon with ninety passengers aboard.",
    "tank": "A tank holds sixty gallons of water and leaks two gallons an hour.",
    "code": "Write a function def longest_common_prefix(words) that returns a string.",
}


@pytest.mark.parametrize(
    ("text", "own", "expected"),
    [
        ("The train from Boston has ninety passengers.", "tank", "train"),
        ("After an hour the tank leaks, so gallons of water are lost.", "tank", "tank"),
        ("return longest_common_prefix(words[1:])", "train", "code"),
        ("So the answer is 12.", "train", None),
    ],
)
def test_a_text_fits_the_question_whose_rare_words_it_uses(text: str, own: str, expected: str | None) -> None:
    assert fitting(QUESTIONS)(text, own) == expected


def test_a_text_that_fits_its_own_question_half_as_well_is_not_told_apart() -> None:
    text = "The train with passengers passes the tank, which leaks water."
    assert fitting(QUESTIONS)(text, "train") is None


@pytest.mark.parametrize(
    ("one", "other", "length"), [("abcd", "abxd", 2), ("ab", "abc", 2), ("", "a", 0), ("x", "y", 0)]
)
def test_the_shared_start(one: str, other: str, length: int) -> None:
    assert shared_start(one, other) == length


def test_the_parting_rate_is_that_of_texts_that_part_before_their_ends() -> None:
    rng = np.random.default_rng(1)
    lengths = rng.integers(200, 3000, 4000)
    places = [
        (int(at), int(length)) for at, length in zip(rng.exponential(800, 4000), lengths, strict=True) if at < length
    ]
    assert parting_rate(places, 0.0) == pytest.approx(1 / 800, rel=0.1)
    assert parting_rate(places, 3.0) < parting_rate(places, 0.0)


def test_texts_that_part_near_their_ends_tell_no_rate() -> None:
    assert parting_rate([(990, 1000)] * 50, 3.0) <= 0


@pytest.mark.parametrize(
    ("text", "times", "loop"),
    [
        ("Well. " + "and so on " * 40, 3, True),
        ("Well. " + "".join(f"{n}. and so on\n" for n in range(40)), 3, True),
        ("Well. " + "and so on " * 4, 3, False),  # under 200 characters
        ("".join(f"{n}\n" for n in range(200)), 3, False),  # numbers alone are a list
        ("Every sentence here says another thing, and none of them comes twice. " + "a" * 10, 3, False),
    ],
)
def test_a_loop_says_its_unit_up_to_the_end(text: str, times: int, loop: bool) -> None:
    assert is_loop(text, times) is loop


@pytest.mark.parametrize(
    ("character", "kind"),
    [("a", "SMALL letters"), ("Q", "CAPITAL letters"), ("中", "CJK letters"), ("7", "digits"), ("\r", "line ends")],
)
def test_the_kind_of_a_character(character: str, kind: str) -> None:
    assert character_kind(character) == kind
