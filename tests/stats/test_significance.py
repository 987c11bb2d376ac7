"""Exact McNemar and the sign-flip test against scipy, statsmodels and enumeration."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.contingency_tables import mcnemar

from bitparity.stats.significance import mcnemar_exact, sign_flip_test


@given(st.integers(0, 300), st.integers(0, 300))
def test_mcnemar_equals_statsmodels(lost, gained):
    expected = min(1.0, mcnemar([[7, lost], [gained, 5]], exact=True).pvalue) if lost + gained else 1.0
    assert mcnemar_exact(lost, gained) == pytest.approx(expected, rel=1e-9)


def test_mcnemar_of_the_recorded_math_runs():
    assert mcnemar_exact(40, 21) == pytest.approx(0.0204, abs=5e-5)
    assert mcnemar_exact(21, 17) == pytest.approx(0.627, abs=5e-4)
    assert mcnemar_exact(14, 7) == pytest.approx(0.189, abs=5e-4)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=12))
def test_exact_sign_flip_equals_enumeration(steps):
    values = np.array(steps) / 4
    signs = itertools.product((-1, 1), repeat=len(values))
    totals = np.array([float(np.dot(s, values)) for s in signs])
    expected = np.mean(np.abs(totals) >= abs(values.sum()) - 1e-9)
    assert sign_flip_test(values, 0.25, seed=1, resamples=10) == pytest.approx(expected, abs=1e-12)


@given(st.integers(0, 60), st.integers(0, 60))
def test_sign_flip_of_single_steps_is_mcnemar(lost, gained):
    values = np.array([-1.0] * lost + [1.0] * gained + [0.0] * 3)
    assert sign_flip_test(values, 1.0, seed=1, resamples=10) == pytest.approx(
        mcnemar_exact(lost, gained), rel=1e-6, abs=1e-14
    )


@pytest.mark.parametrize("seed", [0, 1])
def test_drawn_sign_flip_agrees_with_scipy(seed):
    values = np.random.default_rng(seed).normal(0.05, 0.2, 60)
    expected = scipy_stats.permutation_test(
        (values, np.zeros(60)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        n_resamples=20_000,
        vectorized=True,
        rng=np.random.default_rng(9),
    ).pvalue
    assert sign_flip_test(values, None, seed=3, resamples=20_000) == pytest.approx(expected, abs=0.015)


def test_drawn_p_value_is_never_zero_and_repeats():
    values = np.linspace(0.1, 0.9, 100)
    assert sign_flip_test(values, None, seed=3, resamples=999) == pytest.approx(0.001)
    mixed = values * np.where(np.arange(100) % 3, 1, -1)
    assert sign_flip_test(mixed, None, 3, 999) == sign_flip_test(mixed, None, 3, 999)


def test_exact_p_value_has_a_floor():
    assert sign_flip_test(np.ones(200), 1.0, seed=1, resamples=10) == 1e-15
    assert sign_flip_test(np.ones(20), 1.0, seed=1, resamples=10) == pytest.approx(2**-19)
