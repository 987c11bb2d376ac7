"""Divergence from the likeliest tokens: known values, and what must hold for any two distributions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import log_softmax, rel_entr

from bitparity.distance.figures import distances, estimated, lumped_divergence
from bitparity.engines.readings import Arrays

P, Q = np.log([[0.5, 0.3, 0.2]]), np.log([[0.4, 0.4, 0.2]])
IDS = np.array([[0, 1, 2]], dtype=np.int32)


def likeliest(logits: np.ndarray, top: int, answer: np.ndarray) -> Arrays:
    """A reading of rows of logits, sorted by hand."""
    scores = log_softmax(logits, axis=1)
    order = np.argsort(-scores, axis=1)[:, :top].astype(np.int32)
    logprobs, chosen = np.take_along_axis(scores, order, 1), scores[np.arange(len(answer)), answer]
    return {"ids": order, "logprobs": logprobs.astype(np.float32), "chosen": chosen.astype(np.float32)}


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
    broken = {**reading, "logprobs": reading["logprobs"] + lost[:, np.newaxis], "chosen": reading["chosen"] + lost}
    found = distances(reading, broken)
    assert np.isnan(found.divergence).tolist() == [True, False, False, False]
    with pytest.raises(ValueError, match="4 and 3 positions"):
        distances(reading, {name: values[1:] for name, values in reading.items()})


def drawn(base: np.ndarray, other: np.ndarray, top: int, token: np.ndarray) -> tuple[Arrays, Arrays]:
    """Both readings of rows of log-probabilities, where the baseline has drawn these tokens, (positions, draws)."""
    ids = np.argsort(-base, axis=1)[:, :top].astype(np.int32)
    inside = np.zeros(base.shape, dtype=bool)
    np.put_along_axis(inside, ids, values=True, axis=1)
    rest = [np.log(np.where(inside, 0.0, np.exp(scores)).sum(axis=1)) for scores in (base, other)]
    told = [[np.take_along_axis(scores, each, 1) for each in (ids, token)] for scores in (base, other)]
    first = {"ids": ids, "logprobs": told[0][0], "chosen": base[:, 0], "rest": rest[0], "drawn": told[0][1]}
    own = {"ids": other.argmax(axis=1)[:, np.newaxis].astype(np.int32), "logprobs": other.max(axis=1)[:, np.newaxis]}
    return first, {**own, "chosen": other[:, 0], "rest": rest[1], "named": np.concatenate(told[1], axis=1)}


@given(st.integers(0, 2**32 - 1), st.integers(1, 11), st.floats(0, 3))
def test_over_all_draws_the_estimate_is_the_whole_divergence(seed: int, top: int, apart: float) -> None:
    rng = np.random.default_rng(seed)
    base, noise = rng.normal(0, 3, (2, 5, 12))
    p, q = log_softmax(base, axis=1), log_softmax(base + apart * noise, axis=1)
    exact = rel_entr(np.exp(p), np.exp(q)).sum(axis=1)
    order = np.argsort(-p, axis=1)
    expected = np.zeros(5)
    outside = np.exp(np.take_along_axis(p, order[:, top:], 1))
    for number in range(top, 12):
        found, bound = estimated(*drawn(p, q, top, order[:, number : number + 1]))
        assert (bound <= exact + 1e-12).all()
        assert (found.divergence >= bound).all()
        expected += outside[:, number - top] / outside.sum(axis=1) * found.divergence
    assert expected == pytest.approx(exact, rel=1e-9, abs=1e-12)
    assert found.covered == pytest.approx(1 - outside.sum(axis=1))
    assert (found.differs == (p.argmax(axis=1) != q.argmax(axis=1))).all()


def test_estimates_of_equal_and_of_missing_numbers() -> None:
    p = log_softmax(np.random.default_rng(1).normal(0, 9, (6, 12)), axis=1).astype(np.float32)
    first, same = drawn(p, p, 3, np.argsort(-p, axis=1)[:, 5:7])
    found, bound = estimated(first, same)
    assert not found.divergence.any()
    assert not bound.any()
    assert not found.differs.any()
    nowhere = {"rest": np.full(6, -np.inf), "drawn": np.full((6, 2), -np.inf)}  # a vocabulary that has no others
    outside = {"rest": nowhere["rest"], "named": with_outside(same, nowhere["drawn"])}
    assert not estimated({**first, **nowhere}, {**same, **outside})[0].divergence.any()
    unknown = {**same, "named": with_outside(same, np.full((6, 2), -np.inf, dtype=np.float32))}
    assert not estimated(first, unknown)[0].divergence.any()
    lost = {**same, "named": with_outside(same, same["named"][:, 3:] * np.float32(np.nan))}
    assert np.isnan(estimated(first, lost)[0].divergence).all()
    undrawn = {name: values for name, values in first.items() if name != "drawn"}
    for one, other in ((undrawn, same), (first, {**same, "named": same["named"][:, :2]})):
        with pytest.raises(ValueError, match="not of the same tokens"):
            estimated(one, other)


def with_outside(reading: Arrays, drawn: np.ndarray) -> np.ndarray:
    """The named tokens' numbers with others for the drawn ones, which come after the three likeliest."""
    return np.concatenate([reading["named"][:, :3], drawn], axis=1)


def test_a_tie_is_no_other_likeliest_token() -> None:
    p, q = np.log([[0.5, 0.3, 0.2]]), np.log([[0.4, 0.4, 0.2]])
    first, other = drawn(p, q, 2, np.array([[2]]))
    assert not estimated(first, {**other, "ids": np.array([[1]], dtype=np.int32)})[0].differs.any()
