"""Figures of a variant's distance from the baseline, with intervals over answers, from the numbers of every token.

Answers to one item are one unit: tokens of an answer, and answers to one question, tell of each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitparity.distance.divergence import Floats, TokenDistances
from bitparity.stats.ratios import Ratio, ratio_of_sums, sums_by, times_as_much

POSITIONS = (0, 16, 64, 256, 1024, 4096, 16384)  # first positions of the parts of an answer that are told apart
RESOLUTION = 1e-6  # nats a token: what float32 log-probabilities cannot tell from zero
FARTHER = 3.0  # standard errors: of 100 readings of the baseline itself, 95 % intervals call two or three another model
BROKEN_SHARE = 0.3  # of positions with another likeliest token: no sane quantization gives so many

Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Tokens(TokenDistances):
    """The distances of many answers, one after another: arrays of shape (tokens,) but for `unit`, (answers,).

    `answer` numbers the answer of each token, `position` counts from the answer's first token, `unit` numbers the item
    of each answer; `told` marks the tokens of which the model gave a number. `surprise` is minus the variant's own
    log-probability of the answer's token, in nats.
    """

    surprise: Floats
    answer: Numbers
    position: Numbers
    unit: Numbers
    told: NDArray[np.bool_]

    def by_answer(self, values: NDArray[np.generic]) -> Floats:
        """Sums over the tokens of each answer that were told, of shape (answers,)."""
        return sums_by(self.answer, np.where(self.told, values, 0), len(self.unit))

    @property
    def sizes(self) -> Floats:
        """Tokens of each answer that were told."""
        return self.by_answer(self.told)


def join(answers: Sequence[tuple[str, TokenDistances, Floats]]) -> Tokens:
    """Answers as one: (item, its distances, its surprise) each. An empty sequence gives arrays without tokens."""
    lengths = [len(found.lost) for _, found, _ in answers]
    codes = {item: number for number, item in enumerate(dict.fromkeys(item for item, _, _ in answers))}
    rows = [(found.divergence, found.lost, found.covered, surprise, found.differs) for _, found, surprise in answers]
    parts = zip(*rows, strict=True) if rows else [()] * 5
    divergence, lost, covered, surprise, differs = (np.concatenate([np.zeros(0), *each]) for each in parts)
    return Tokens(
        divergence=divergence,
        lost=lost,
        differs=differs.astype(np.bool_),
        covered=covered,
        surprise=surprise,
        answer=np.repeat(np.arange(len(answers)), lengths),
        position=np.concatenate([np.zeros(0, np.intp), *map(np.arange, lengths)]).astype(np.intp),
        unit=np.array([codes[item] for item, _, _ in answers], dtype=np.intp),
        told=np.isfinite(divergence) & np.isfinite(lost),
    )


@dataclass(frozen=True, slots=True)
class PositionPart:
    """One part of the answers by position: from `start`, to before `end` (None: to their ends)."""

    start: int
    end: int | None
    tokens: int
    divergence: Ratio
    differs: Ratio


@dataclass(frozen=True, slots=True)
class Figures:
    """A variant's distance. `tokens` are those that were told; `nan` those of which the model gave no number.

    `divergence`, `lost` and `differs` are means a token (nats, nats, a share); `median` and `p99` (the 99th
    percentile) are of the tokens' divergences, `largest` is one token's and has no interval. `covered` is the
    baseline's mass on the tokens compared one by one. `perplexity` is the variant's own on these answers,
    `perplexity_ratio` how many times the baseline's. The two `by_answer` are means over answers, each counting the
    same however long it is.
    """

    answers: int
    tokens: int
    nan: int
    divergence: Ratio
    differs: Ratio
    lost: Ratio
    median: Ratio
    p99: Ratio
    largest: float
    covered: float
    perplexity: Ratio
    perplexity_ratio: Ratio
    divergence_by_answer: Ratio
    lost_by_answer: Ratio
    positions: tuple[PositionPart, ...]


def figures(tokens: Tokens) -> Figures | None:
    """All figures; None where no token was told."""
    told = tokens.told
    if not told.any():
        return None
    lost, values = _mean(tokens, tokens.lost), np.sort(tokens.divergence[told])
    return Figures(
        answers=int((tokens.sizes > 0).sum()),
        tokens=int(told.sum()),
        nan=int((~told).sum()),
        divergence=_within(_mean(tokens, tokens.divergence), math.inf),
        differs=_within(_mean(tokens, tokens.differs), 1.0),
        lost=lost,
        median=_quantile(tokens, values, 0.5),
        p99=_quantile(tokens, values, 0.99),
        largest=float(values[-1]),
        covered=float(tokens.covered[told].mean()),
        perplexity=_exponential(_mean(tokens, tokens.surprise)),
        perplexity_ratio=_exponential(lost),
        divergence_by_answer=_within(_by_answer(tokens, tokens.divergence), math.inf),
        lost_by_answer=_by_answer(tokens, tokens.lost),
        positions=tuple(_positions(tokens)),
    )


def _mean(tokens: Tokens, values: NDArray[np.generic]) -> Ratio:
    """A mean a token with its interval over items."""
    return _ratio(tokens.by_answer(values), tokens.sizes, tokens.unit)


def _by_answer(tokens: Tokens, values: NDArray[np.generic]) -> Ratio:
    """A mean of the answers' means, with its interval over items."""
    told = tokens.sizes > 0
    means = tokens.by_answer(values)[told] / tokens.sizes[told]
    return _ratio(means, np.ones(len(means)), tokens.unit[told])


def _ratio(above: Floats, below: Floats, unit: Numbers) -> Ratio:
    # numbered without gaps: a unit without any answer would count as one more
    found = ratio_of_sums(above, below, np.unique(unit, return_inverse=True)[1].astype(np.intp))
    assert found is not None  # asked only where some token was told
    return found


def _within(found: Ratio, most: float) -> Ratio:
    """The same with its interval cut to what the figure can be, from 0 on."""
    low, high = (None if end is None else min(max(end, 0.0), most) for end in (found.low, found.high))
    return replace(found, low=low, high=high)


def _exponential(found: Ratio) -> Ratio:
    value = _exp(found.value)
    low, high = (None if end is None else _exp(end) for end in (found.low, found.high))
    return Ratio(value, None if found.error is None else value * found.error, low, high)


def _exp(value: float) -> float:
    return math.exp(min(value, 700.0))


def _quantile(tokens: Tokens, values: Floats, share: float) -> Ratio:
    """A quantile of the tokens' divergences, with R. Woodruff's interval (JASA 47 (1952) 635-646).

    The share of tokens up to the quantile has an interval over items; the quantiles at its ends are the interval.
    """
    found = float(np.quantile(values, share))
    below = _mean(tokens, tokens.divergence <= found)
    if below.low is None or below.high is None:
        return Ratio(found, None, None, None)
    down, up = share - (below.value - below.low), share + (below.high - below.value)
    low, high = (float(np.quantile(values, min(max(each, 0.0), 1.0))) for each in (down, up))
    return Ratio(found, None, min(low, found), max(high, found))


def _positions(tokens: Tokens) -> list[PositionPart]:
    part = np.digitize(tokens.position, POSITIONS[1:])
    cell, cells = tokens.answer * len(POSITIONS) + part, len(tokens.unit) * len(POSITIONS)
    divergence, differs, sizes = (
        sums_by(cell, np.where(tokens.told, each, 0), cells).reshape(-1, len(POSITIONS))
        for each in (tokens.divergence, tokens.differs, np.ones(len(cell)))
    )
    found = []
    for number, (start, end) in enumerate(zip(POSITIONS, (*POSITIONS[1:], None), strict=True)):
        there = sizes[:, number] > 0  # answers that are so long
        if there.any():
            apart, other = (
                _within(_ratio(each[there, number], sizes[there, number], tokens.unit[there]), most)
                for each, most in ((divergence, math.inf), (differs, 1.0))
            )
            found.append(PositionPart(start, end, int(sizes[:, number].sum()), apart, other))
    return found


@dataclass(frozen=True, slots=True)
class Against:
    """One variant's mean divergence against another's on the same answers.

    `difference` is in nats a token, `times` how many times as far the one is (None where the other is at zero).
    """

    difference: Ratio
    times: Ratio | None

    @property
    def standard_errors(self) -> float | None:
        """The difference in its own standard errors; None where it has none."""
        return self.difference.value / self.difference.error if self.difference.error else None

    @property
    def farther(self) -> bool:
        """True if the one is farther from the baseline than the other, beyond all noise.

        That is its interval, FARTHER standard errors, and float32's rounding.
        """
        value, error, low = self.difference.value, self.difference.error, self.difference.low
        return low is not None and error is not None and low > 0 and value > max(RESOLUTION, FARTHER * error)


def against(one: Tokens, other: Tokens) -> Against | None:
    """Compare two variants that have read the same answers, token by token; None where no token was told in both.

    Raises ValueError where the answers are not the same.
    """
    if not (np.array_equal(one.answer, other.answer) and np.array_equal(one.unit, other.unit)):
        raise ValueError("the two variants have not read the same answers")
    both = one.told & other.told
    ours, theirs, sizes = (
        sums_by(one.answer[both], each[both], len(one.unit))
        for each in (one.divergence, other.divergence, np.ones(len(both)))
    )
    difference = ratio_of_sums(ours - theirs, sizes, one.unit)
    return None if difference is None else Against(difference, times_as_much(ours, theirs, one.unit))
