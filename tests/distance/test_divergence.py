"""Divergence from the likeliest tokens: known values, and what must hold for any two distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr

from bitparity.distance.divergence import Likeliest, distances, lumped_divergence

P, Q = np.log([[0.5, 0.3, 0.2]]), np.log([[0.4, 0.4, 0.2]])
IDS = np.array([[0, 1, 2]], dtype=np.int32)


def likeliest(logits: np.ndarray, top: int, answer: np.ndarray) -> Likeliest:
    """A reading of rows of logits, sorted by hand."""
    scores = log_softmax(logits, axis=1)
    order = np.argsort(-scores, axis=1)[:, :top].astype(np.int32)
    chosen = scores[np.arange(len(answer)), answer]
    return Likeliest(order, np.take_along_axis(scores, order, 1).astype(np.float32), chosen.astype(np.float32))


def test_known_values() -> None:
    whole, covered = lumped_divergence(IDS, P, IDS, Q)
    assert whole == pytest.approx(0.5 * np.log(1.25) + 0.3 * np.log(0.75), abs=1e-7)
    assert covered == pytest.approx(1.0)
    lumped, covered = lumped_divergence(IDS[:, :1], P[:, :1], IDS[:, :1], Q[:, :1])
    assert lumped == pytest.approx(0.5 * np.log(1.25) + 0.5 * np.log(0.5 / 0.6), abs=1e-9)
    assert covered == pytest.approx(0.5)


def test_a_token_that_only_one_side_tells_is_lumped() -> None:
    others = np.array([[0, 2, 7]], dtype=np.int32)
    found, covered = lumped_divergence(IDS, P, others, np.log([[0.4, 0.2, 0.1]]))
    assert covered == pytest.approx(0.7)
    assert found == pytest.approx(0.5 * np.log(0.5 / 0.4) + 0.3 * np.log(0.3 / 0.4), abs=1e-7)


@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.floats(0, 3))
def test_it_is_a_bound_of_the_divergence(seed: int, top: int, apart: float) -> None:
    rng = np.random.default_rng(seed)
    base = rng.normal(0, 3, (5, 50))
    other = base + apart * rng.normal(0, 1, base.shape)
    answer = rng.integers(0, 50, 5)
    found = distances(likeliest(base, top, answer), likeliest(other, top, answer))
    exact = rel_entr(np.exp(log_softmax(base, axis=1)), np.exp(log_softmax(other, axis=1))).sum(axis=1)
    assert (found.divergence >= 0).all()
    assert (found.divergence <= exact + 1e-5).all()
    lost = log_softmax(base, axis=1) - log_softmax(other, axis=1)
    assert found.lost == pytest.approx(lost[np.arange(5), answer], abs=1e-4)
    assert (found.differs == (base.argmax(axis=1) != other.argmax(axis=1))).all()


def test_all_tokens_give_the_whole_divergence() -> None:
    rng = np.random.default_rng(3)
    base, other = rng.normal(0, 2, (2, 9, 30))
    answer = np.zeros(9, dtype=int)
    found = distances(likeliest(base, 30, answer), likeliest(other, 30, answer))
    exact = rel_entr(np.exp(log_softmax(base, axis=1)), np.exp(log_softmax(other, axis=1))).sum(axis=1)
    assert found.divergence == pytest.approx(exact, abs=1e-5)


def test_the_same_reading_is_at_zero_and_a_missing_number_is_told() -> None:
    reading = likeliest(np.random.default_rng(0).normal(0, 5, (4, 40)), 20, np.arange(4))
    assert not distances(reading, reading).divergence.any()
    lost = np.array([np.nan, 0, 0, 0], dtype=np.float32)
    broken = Likeliest(reading.ids, reading.logprobs + lost[:, np.newaxis], reading.chosen + lost)
    found = distances(reading, broken)
    assert np.isnan(found.divergence).tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="4 and 3 positions"):
        distances(reading, Likeliest(reading.ids[1:], reading.logprobs[1:], reading.chosen[1:]))
