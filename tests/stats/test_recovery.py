"""Fieller's interval by what defines it, and the cases without one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bitparity.stats.arrays import pair_scores
from bitparity.stats.recovery import fieller_interval, recovery


@given(st.integers(20, 300), st.floats(0.5, 1.2), st.integers(0, 1000))
@settings(max_examples=50)
def test_fieller_bounds_are_where_the_t_test_turns(n, ratio, seed):
    rng = np.random.default_rng(seed)
    bottom = rng.normal(0.6, 0.3, n)
    top = ratio * bottom + rng.normal(0, 0.2, n)
    low, high = fieller_interval(top.mean(), bottom.mean(), np.cov(top, bottom) / n, scipy_stats.t.ppf(0.975, n - 1))
    assert low < top.mean() / bottom.mean() < high
    for bound in (low, high):
        if bound > 0:
            assert scipy_stats.ttest_1samp(top - bound * bottom, 0).pvalue == pytest.approx(0.05, abs=1e-6)


def test_recovery_of_binary_scores_is_near_a_paired_bootstrap():
    rng = np.random.default_rng(3)
    baseline = (rng.random(800) < 0.6).astype(float)
    candidate = np.where(rng.random(800) < 0.08, 1 - baseline, baseline)
    pairs = pair_scores(baseline, candidate)
    ratio, interval = recovery(pairs, (-0.01, 0.01))
    picked = rng.integers(0, 800, (4000, 800))
    drawn = candidate[picked].mean(axis=1) / baseline[picked].mean(axis=1)
    assert ratio == pytest.approx(candidate.mean() / baseline.mean())
    assert interval == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.006)


def test_recovery_without_flips_keeps_the_width_of_the_difference():
    scores = np.arange(100) < 50
    ratio, (low, high) = recovery(pair_scores(scores, scores), (-0.038, 0.038))
    assert ratio == 1
    assert high - low == pytest.approx(0.076 / 0.5, rel=0.05)


def test_recovery_of_a_baseline_at_zero_is_absent():
    assert recovery(pair_scores(np.zeros(30), np.ones(30)), (0.8, 1.0)) == (None, None)


def test_recovery_of_a_baseline_near_zero_has_no_bounds():
    baseline, candidate = np.arange(100) == 0, np.arange(100) < 2
    ratio, interval = recovery(pair_scores(baseline, candidate), (-0.03, 0.05))
    assert ratio == 2
    assert interval is None


def test_one_cluster_gives_no_interval():
    assert recovery(pair_scores([1, 1], [1, 0], ["a", "a"]), (-1, 1)) == (0.5, None)
