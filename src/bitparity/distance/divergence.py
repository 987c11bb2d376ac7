"""Divergence of two distributions of the next token, position by position, from each one's likeliest tokens.

Pure functions on arrays of shape (positions, k): token ids, and log-probabilities in nats.
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
class Likeliest:
    """One model's reading of one answer: at each position its likeliest tokens, and the answer's own token.

    `ids` and `logprobs` have shape (positions, k), the likeliest first; `chosen` is the log-probability of the token
    that the answer has there.
    """

    ids: Ids
    logprobs: NDArray[np.float32]
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
    total_p, total_q = covered + rest_p, q.sum(axis=1) + rest_q
    terms = np.where(shared, p * np.where(shared, ours - theirs, 0.0), 0.0).sum(axis=1)
    divergence = (terms + rest_p * np.log(rest_p / rest_q)) / total_p + np.log(total_q / total_p)
    divergence = np.where(np.isnan(logprobs).any(axis=1), np.nan, np.maximum(divergence, 0.0))
    return divergence, covered
