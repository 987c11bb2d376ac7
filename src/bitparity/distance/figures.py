"""Figures of a variant's distance from the baseline: of every token, and with intervals over all answers.

The first half compares two distributions of the next token, position by position, from some of their tokens: pure
functions on the arrays of `engines/readings.py`, which has their names: token ids, and log-probabilities in nats. From
the likeliest tokens alone a divergence has a lower bound; with tokens drawn from all others it is estimated without
bias. In the second half answers to one item are one unit: tokens of an answer, and answers to one question, tell of
each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from bitparity.distance.schema import DistanceFigures, DistancePair, DistancePart
from bitparity.engines.readings import Arrays
from bitparity.stats.ratios import Ratio, ratio_of_sums, sums_by, times_as_much

Floats = NDArray[np.float64]
Ids = NDArray[np.int32]

LEAST_REST = 2.0**-23  # mass of what is lumped, at least: float32 log-probabilities tell no less apart
_STEP = 4096  # positions compared at once: k * k comparisons each
POSITIONS = (0, 16, 64, 256, 1024, 4096, 16384)  # first positions of the parts of an answer that are told apart
RESOLUTION = 1e-6  # nats a token: what float32 log-probabilities cannot tell from zero
FARTHER = 3.0  # standard errors: of 100 readings of the baseline itself, 95 % intervals call two or three another model
BROKEN_SHARE = 0.3  # of positions with another likeliest token: no sane quantization gives so many

Numbers = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class TokenDistances:
    """A model's distance from the baseline at each position of one answer.

    `divergence` is KL(baseline || model) in nats, `lost` the log-probability that the answer's own token lost,
    `differs` whether the likeliest token is another, `covered` the baseline's mass on the tokens that were compared one
    by one (1 where that is the whole vocabulary). A position is NaN where the model gave no number.
    """

    divergence: Floats
    lost: Floats
    differs: NDArray[np.bool_]
    covered: Floats


def distances(baseline: Arrays, other: Arrays) -> TokenDistances:
    """The distances of one answer's positions, from both models' likeliest tokens.

    Raises ValueError where the readings differ in length.
    """
    count = len(baseline["chosen"])
    if count != len(other["chosen"]):
        raise ValueError(f"readings of {count} and {len(other['chosen'])} positions")
    told = (baseline["ids"], baseline["logprobs"], other["ids"], other["logprobs"])
    parts = [slice(start, start + _STEP) for start in range(0, count, _STEP)] or [slice(0, 0)]
    found = [lumped_divergence(*(each[at] for each in told)) for at in parts]
    divergence, covered = (np.concatenate(each) for each in zip(*found, strict=True))
    return _told(divergence, baseline, other, baseline["ids"][:, 0] != other["ids"][:, 0], covered)


def exact(told: Arrays) -> tuple[TokenDistances, Floats]:
    """The distances with KL over the whole vocabulary, where an engine had both models, and its lower bound."""
    baseline = {name.removeprefix("base_"): values for name, values in told.items() if name.startswith("base_")}
    bound = distances(baseline, told)
    return TokenDistances(told["divergence"], bound.lost, bound.differs, np.ones(len(bound.lost))), bound.divergence


def _told(
    divergence: Floats, baseline: Arrays, other: Arrays, differs: NDArray[np.bool_], covered: Floats
) -> TokenDistances:
    """The distances, with what the answer's own tokens lost; a divergence is NaN where that is no number."""
    lost = baseline["chosen"].astype(np.float64) - other["chosen"]
    divergence[~np.isfinite(lost)] = np.nan
    return TokenDistances(divergence, lost, differs, covered)


def lumped_divergence(
    base_ids: Ids, base_logprobs: NDArray[np.floating], ids: Ids, logprobs: NDArray[np.floating]
) -> tuple[Floats, Floats]:
    """(KL(baseline || other), the baseline's mass on the tokens compared) at each position: a lower bound of the KL.

    The tokens that are among the likeliest of both count one by one; all others are lumped into one cell. Lumping only
    lowers a divergence (data processing: T. Cover and J. Thomas, Elements of Information Theory, 2nd edition,
    theorem 2.7.1). A cell has at least LEAST_REST, on both sides, so that rounding makes no divergence.
    """
    same = base_ids[:, :, np.newaxis] == ids[:, np.newaxis, :]
    shared = same.any(axis=2) & (base_ids >= 0)
    theirs = np.take_along_axis(logprobs, same.argmax(axis=2), axis=1).astype(np.float64)
    ours = base_logprobs.astype(np.float64)
    p, q = (np.where(shared, np.exp(each), 0.0) for each in (ours, theirs))
    covered = p.sum(axis=1)
    rest_p, rest_q = (np.maximum(1 - each.sum(axis=1), LEAST_REST) for each in (p, q))
    terms = np.where(shared, p * np.where(shared, ours - theirs, 0.0), 0.0).sum(axis=1)
    terms += rest_p * np.log(rest_p / rest_q)
    divergence = _normalized(terms, covered + rest_p, q.sum(axis=1) + rest_q)
    return np.where(np.isnan(logprobs).any(axis=1), np.nan, divergence), covered


def _normalized(terms: Floats, total_p: Floats, total_q: Floats) -> Floats:
    """The divergence of distributions from the sum of p log(p / q) over all cells, and from what p and q sum to.

    Rounding makes the sums differ from 1, and the divergence negative where it is zero.
    """
    return np.maximum(terms / total_p + np.log(total_q / total_p), 0.0)


def estimated(baseline: Arrays, other: Arrays) -> tuple[TokenDistances, Floats]:
    """The distances of one answer's positions with KL over the whole vocabulary, and its lower bound.

    By the chain rule (T. Cover and J. Thomas, theorem 2.5.3) KL is that of the baseline's likeliest tokens one by one
    and the rest as one cell, which is the bound, and the rest's mass times the KL within the rest. That is estimated by
    the mean of r - 1 - log r over the tokens drawn there, r being how many times as likely the other model makes one
    within the rest. Its expectation is the KL, since that of r is 1; it is never negative, and zero where the models
    agree (J. Schulman, "Approximating KL divergence", 2020, http://joschu.net/blog/kl-approx.html, k3). A token that
    the other model has not counts nothing. `other` tells of the baseline's tokens (`named`): its likeliest ones, then
    those that it has drawn. Raises ValueError where the readings do not belong together.
    """
    top = baseline["logprobs"].shape[1]
    named, drawn = other["named"][:, :top], other["named"][:, top:]
    if "drawn" not in baseline or baseline["logprobs"].shape != named.shape:
        raise ValueError("the readings are not of the same tokens")
    ours, theirs = baseline["logprobs"].astype(np.float64), named.astype(np.float64)
    rest_p, rest_q = baseline["rest"].astype(np.float64), other["rest"].astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # nothing outside, or NaN: told below
        parts = [np.exp(each) for each in (ours, theirs, rest_p, rest_q)]
        covered, outside = parts[0].sum(axis=1), parts[2]
        terms = (parts[0] * (ours - theirs)).sum(axis=1) + np.where(outside > 0, outside * (rest_p - rest_q), 0.0)
        bound = _normalized(terms, covered + outside, parts[1].sum(axis=1) + parts[3])
        ratio = (drawn - rest_q[:, np.newaxis]) - (baseline["drawn"] - rest_p[:, np.newaxis])
        within = np.where(np.isneginf(drawn), 0.0, np.expm1(ratio) - ratio).mean(axis=1)
        divergence = bound + np.where(outside > 0, outside * within, 0.0)
    # a tie is no difference
    differs = (baseline["ids"][:, 0] != other["ids"][:, 0]) & (other["logprobs"][:, 0] > named[:, 0])
    return _told(divergence, baseline, other, differs, covered), bound


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


def figures(tokens: Tokens, bound: float | None = None) -> DistanceFigures | None:
    """All figures, with the `bound` beside the whole divergence; None where no token was told."""
    told = tokens.told
    if not told.any():
        return None
    lost, values = _mean(tokens, tokens.lost), np.sort(tokens.divergence[told])
    found = {
        "answers": int((tokens.sizes > 0).sum()),
        "tokens": int(told.sum()),
        "divergence": _within(_mean(tokens, tokens.divergence), math.inf),
        "differs": _within(_mean(tokens, tokens.differs), 1.0),
        "lost": lost,
        "median": _quantile(tokens, values, 0.5),
        "p99": _quantile(tokens, values, 0.99),
        "largest": float(values[-1]),
        "covered": float(tokens.covered[told].mean()),
        "perplexity": _exponential(_mean(tokens, tokens.surprise)),
        "perplexity_ratio": _exponential(lost),
        "divergence_by_answer": _within(_by_answer(tokens, tokens.divergence), math.inf),
        "lost_by_answer": _by_answer(tokens, tokens.lost),
        "positions": _positions(tokens),
    }
    return DistanceFigures.pick(found, bound=bound)


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


def _positions(tokens: Tokens) -> list[DistancePart]:
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
            told = {"start": start, "end": end, "tokens": int(sizes[:, number].sum())}
            found.append(DistancePart.pick(told, divergence=apart, differs=other))
    return found


def against(one: Tokens, other: Tokens) -> DistancePair | None:
    """Compare two variants that have read the same answers, token by token; None where no token was told in both.

    The one is farther beyond all noise: its interval, FARTHER standard errors, and float32's rounding.
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
    if difference is None:
        return None
    value, error, low = difference.value, difference.error, difference.low
    return DistancePair.pick(
        {
            "difference": difference,
            "times": times_as_much(ours, theirs, one.unit),
            "standard_errors": value / error if error else None,
            "farther": low is not None and error is not None and low > 0 and value > max(RESOLUTION, FARTHER * error),
        }
    )
