"""Divergence of two distributions of the next token, position by position, from some of their tokens.

Pure functions on arrays of shape (positions, k): token ids, and log-probabilities in nats. From the likeliest tokens
alone a divergence has a lower bound; with tokens drawn from all others it is estimated without bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ids = NDArray[np.int32]

LEAST_REST = 2.0**-23  # mass of what is lumped, at least: float32 log-probabilities tell no less apart
_STEP = 4096  # positions compared at once: k * k comparisons each


@dataclass(frozen=True, slots=True)
class Outside:
    """A model's probabilities of the tokens outside the baseline's likeliest ones.

    `rest` (positions,) is the logarithm of their mass, `drawn` (positions, draws) the log-probability of each token
    that was drawn from the baseline's distribution within them.
    """

    rest: NDArray[np.float32]
    drawn: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Likeliest:
    """One model's reading of one answer: at each position its likeliest tokens, and the answer's own token.

    `ids` and `logprobs` have shape (positions, k), the likeliest first; `chosen` is the log-probability of the token
    that the answer has there. `outside` is there where the model has drawn tokens from its others.
    """

    ids: Ids
    logprobs: NDArray[np.float32]
    chosen: NDArray[np.float32]
    outside: Outside | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """One model's reading of one answer, told of the baseline's tokens.

    `logprobs` has the baseline's likeliest tokens, in its order; `likeliest` and `best` (positions,) are the model's
    own likeliest token and its log-probability.
    """

    logprobs: NDArray[np.float32]
    outside: Outside
    likeliest: Ids
    best: NDArray[np.float32]
    chosen: NDArray[np.float32]


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


def distances(baseline: Likeliest, other: Likeliest) -> TokenDistances:
    """The distances of one answer's positions, from both readings. Raises ValueError where they differ in length."""
    if len(baseline.chosen) != len(other.chosen):
        raise ValueError(f"readings of {len(baseline.chosen)} and {len(other.chosen)} positions")
    parts = [slice(start, start + _STEP) for start in range(0, len(baseline.chosen), _STEP)] or [slice(0, 0)]
    found = [
        lumped_divergence(baseline.ids[at], baseline.logprobs[at], other.ids[at], other.logprobs[at]) for at in parts
    ]
    divergence, covered = (np.concatenate(each) for each in zip(*found, strict=True))
    lost = baseline.chosen.astype(np.float64) - other.chosen
    divergence[~np.isfinite(lost)] = np.nan
    return TokenDistances(divergence, lost, baseline.ids[:, 0] != other.ids[:, 0], covered)


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


def estimated(baseline: Likeliest, other: Named) -> tuple[TokenDistances, Floats]:
    """The distances of one answer's positions with KL over the whole vocabulary, and its lower bound.

    By the chain rule (T. Cover and J. Thomas, theorem 2.5.3) KL is that of the baseline's likeliest tokens one by one
    and the rest as one cell, which is the bound, and the rest's mass times the KL within the rest. That is estimated by
    the mean of r - 1 - log r over the tokens drawn there, r being how many times as likely the other model makes one
    within the rest. Its expectation is the KL, since that of r is 1; it is never negative, and zero where the models
    agree (J. Schulman, "Approximating KL divergence", 2020, http://joschu.net/blog/kl-approx.html, k3). A token that
    the other model has not counts nothing. Raises ValueError where the readings do not belong together.
    """
    if baseline.outside is None or baseline.logprobs.shape != other.logprobs.shape:
        raise ValueError("the readings are not of the same tokens")
    ours, theirs = baseline.logprobs.astype(np.float64), other.logprobs.astype(np.float64)
    rest_p, rest_q = baseline.outside.rest.astype(np.float64), other.outside.rest.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # nothing outside, or NaN: told below
        parts = [np.exp(each) for each in (ours, theirs, rest_p, rest_q)]
        covered, outside = parts[0].sum(axis=1), parts[2]
        terms = (parts[0] * (ours - theirs)).sum(axis=1) + np.where(outside > 0, outside * (rest_p - rest_q), 0.0)
        bound = _normalized(terms, covered + outside, parts[1].sum(axis=1) + parts[3])
        ratio = (other.outside.drawn - rest_q[:, np.newaxis]) - (baseline.outside.drawn - rest_p[:, np.newaxis])
        within = np.where(np.isneginf(other.outside.drawn), 0.0, np.expm1(ratio) - ratio).mean(axis=1)
        divergence = bound + np.where(outside > 0, outside * within, 0.0)
    lost = baseline.chosen.astype(np.float64) - other.chosen
    divergence[~np.isfinite(lost)] = np.nan
    differs = (baseline.ids[:, 0] != other.likeliest) & (other.best > other.logprobs[:, 0])  # a tie is no difference
    return TokenDistances(divergence, lost, differs, covered), bound
