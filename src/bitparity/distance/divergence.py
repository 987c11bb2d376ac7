"""Divergence of two distributions of the next token, position by position, from some of their tokens.

Pure functions on the arrays of `engines/readings.py`, which has their names: token ids, and log-probabilities in nats.
From the likeliest tokens alone a divergence has a lower bound; with tokens drawn from all others it is estimated
without bias.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitparity.engines.readings import Arrays

Floats = NDArray[np.float64]
Ids = NDArray[np.int32]

LEAST_REST = 2.0**-23  # mass of what is lumped, at least: float32 log-probabilities tell no less apart
_STEP = 4096  # positions compared at once: k * k comparisons each


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
