"""Statistics of texts: which question one speaks of, where two part, what one repeats, which characters it has."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
from scipy.optimize import brentq

from bitparity.stats.arrays import Floats

CLEARLY = 1.5  # a text is told apart where its best question fits so many times better than the next
LEAST_WORDS = 3  # that a text shares with a question: "So it is 12" speaks of any that has a 12
COMMON = 0.05  # of the questions: words that stand in more of them tell nothing
_WORD = re.compile(r"[^\W\d_]{3,}|\d{2,}")
_NAME = re.compile(r"\b(?:[A-Za-z]+(?:_[A-Za-z0-9]+)+|[a-z]+(?:[A-Z][a-z0-9]*)+)(?=\()")  # of a function: it tells most
LOOP_TAIL, LOOP_REPEATS = 200, 3  # a loop fills so many characters and says its unit so often
_NUMBER = re.compile(r"\d+")


def fitting(questions: Mapping[str, str]) -> Callable[[str, str], str | None]:
    """A function that gives the id of the question that a text clearly fits, by shared words; None where none does.

    It takes the text and the id of its own question. A word weighs by how rare it is among the questions (inverse
    document frequency, K. Sparck Jones 1972), a question by the root of its words' weights. Another question than the
    text's own must fit twice as well as that.
    """
    where: dict[str, list[int]] = defaultdict(list)
    for row, question in enumerate(questions.values()):
        for word in _words(question):
            where[word].append(row)
    most = max(2.0, COMMON * len(questions))
    rows = {word: np.array(found) for word, found in where.items() if len(found) <= most}
    weights = {word: _words_in(word) * math.log(len(questions) / len(found)) for word, found in rows.items()}
    total = np.full(len(questions), 1e-9)
    for word, found in rows.items():
        total[found] += weights[word]
    ids = list(questions)
    row_of = {item: row for row, item in enumerate(ids)}

    def fit(text: str, own: str) -> str | None:
        scores, shared = np.zeros(len(ids)), np.zeros(len(ids))
        for word in _words(text) & rows.keys():
            scores[rows[word]] += weights[word]
            shared[rows[word]] += _words_in(word)
        best = _best(scores / np.sqrt(total), row_of[own])
        return None if best is None or shared[best] < LEAST_WORDS else ids[best]

    return fit


def _best(scores: Floats, own: int) -> int | None:
    """The place of the best score where it is clear, and another's than `own` only where that is far below."""
    second, best = np.argsort(scores)[-2:]
    clear = scores[best] > 0 and scores[best] >= CLEARLY * scores[second]
    return int(best) if clear and (best == own or scores[best] > 2 * scores[own]) else None


def _words(text: str) -> set[str]:
    return set(_WORD.findall(text.lower())) | {f"{name}()" for name in _NAME.findall(text)}


def _words_in(word: str) -> int:
    """The weight of a word in words: the name of a function counts as many as are needed."""
    return LEAST_WORDS if word.endswith("()") else 1


def shared_start(one: str, other: str) -> int:
    """The length of the beginning that two texts share."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == other[low:middle] else (low, middle - 1)
    return low


def parting_rate(places: Sequence[tuple[int, int]], sigmas: float) -> float:
    """The rate a character at which texts part, so many standard errors below; 0 or less where that is not told.

    `places` has for each text the characters after which it parted, and its length. The rate is that of an exponential
    distribution cut at each text's length (maximum likelihood).
    """
    at, length = 1 + np.array(places, float).T

    def slope(rate: float) -> float:
        return float((1 / rate - at - length / np.expm1(np.minimum(rate * length, 700))).sum())

    lowest, highest = 1e-7, 10.0
    if slope(lowest) <= 0:
        return 0.0
    rate = float(brentq(slope, lowest, highest))
    information = float((1 / rate**2 - (length / 2 / np.sinh(np.minimum(rate * length / 2, 350))) ** 2).sum())
    return float(rate - sigmas / max(information, 1e-12) ** 0.5)


def is_loop(text: str, times: int = LOOP_REPEATS) -> bool:
    """True if a text ends in one unit said over and over, at least so many times and over LOOP_TAIL characters.

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


@lru_cache(maxsize=4096)
def character_kind(character: str) -> str:
    """The kind of a character: letters by case or alphabet, digits, any other sign by its name."""
    if character in "\r\n":
        return "line ends"  # Windows has two characters, and grading takes both
    name = unicodedata.name(character, f"U+{ord(character):04X}")
    if character.isalpha():
        return f"{name.split()[1 if character.isascii() else 0]} letters"
    return "digits" if character.isdecimal() else name
