"""Fieller's interval by what defines it, and the cases without one."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import compare_pairs, difference_intervals
from bitparity.stats.ratios import at_margin, fieller_interval, recovery
from bitparity.stats.verdicts import WITHIN


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
    ratio, interval = recovery(pairs, (pairs.difference - 0.01, pairs.difference + 0.01))
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


def proportional(rng: np.random.Generator, n: int, k: int, base: float, recovery: float, flips: float):
    """A study whose true loss is just what the margin allows: all but `recovery` of the baseline's score."""
    loss, right, u = (1 - recovery) * base, rng.random((n, k)) < base, rng.random((n, k))
    turned = np.where(right, u < (flips + loss) / 2 / base, u < (flips - loss) / 2 / (1 - base))
    return pair_scores(right.astype(float), (right ^ turned).astype(float))


@pytest.mark.parametrize(
    ("n", "k", "base", "recovery", "flips"),
    [(500, 1, 0.07, 0.9, 0.04), (500, 1, 0.8, 0.98, 0.06), (198, 4, 0.5, 0.9, 0.1), (500, 1, 0.07, 0.6, 0.04)],
)
def test_a_margin_in_proportion_is_judged_as_rarely_wrong(n, k, base, recovery, flips):
    rng, studies = np.random.default_rng(4), 300
    within = beyond = 0
    for _ in range(studies):
        verdict = compare_pairs(proportional(rng, n, k, base, recovery, flips), margin=1.0, recovery=recovery).verdict
        within += verdict in WITHIN
        beyond += verdict == "worse_beyond_margin"
    assert within / studies <= 0.05 + 3 * (0.05 * 0.95 / studies) ** 0.5
    assert beyond / studies <= 0.025 + 3 * (0.025 * 0.975 / studies) ** 0.5


def test_a_margin_in_proportion_is_the_rest_of_the_baselines_score():
    base = np.r_[np.ones(140), np.zeros(1860)]
    same = compare_pairs(pair_scores(base, base), margin=1.0, recovery=0.9)
    assert (same.margin, same.verdict) == (pytest.approx(0.007), "equivalent")
    worse = compare_pairs(pair_scores(base, np.r_[np.zeros(50), base[50:]]), margin=1.0, recovery=0.9)
    assert worse.verdict == "worse_beyond_margin"
    # 2.5 points are within 3 points, and a third of a score of 7 %
    assert (
        compare_pairs(pair_scores(base, np.r_[np.zeros(40), base[40:]]), margin=0.03).verdict == "worse_within_margin"
    )
    nothing = compare_pairs(pair_scores(np.zeros(500), np.zeros(500)), margin=1.0, recovery=0.9)
    assert nothing.verdict == "inconclusive"


def test_the_measured_score_widens_the_interval_at_the_margin():
    rng = np.random.default_rng(3)
    pairs = proportional(rng, 500, 1, 0.5, 0.7, 0.2)
    ci = (pairs.difference - 0.03, pairs.difference + 0.03)
    low, _ = at_margin(pairs, ci, 0.7, 0.1)
    # the difference falls where the baseline is high, so the two errors cancel in part
    assert low != pytest.approx(ci[0], abs=1e-4)
    assert at_margin(pairs, ci, 0.999999, 0.1) == pytest.approx(ci, abs=1e-5)
    # candidate - recovery x baseline as a plain mean, by Student
    e = pairs.candidate[:, 0] - 0.7 * pairs.baseline[:, 0]
    d = pairs.candidate[:, 0] - pairs.baseline[:, 0]
    quantile = 1.6479
    own = quantile * d.std(ddof=1) / 500**0.5
    low, high = at_margin(pairs, (pairs.difference - own, pairs.difference + own), 0.7, 0.1, beyond=True)
    shift = 0.3 * pairs.baseline.mean()
    assert low + shift == pytest.approx(e.mean() - quantile * e.std(ddof=1) / 500**0.5, abs=1e-4)
    assert high + shift == pytest.approx(e.mean() + quantile * e.std(ddof=1) / 500**0.5, abs=1e-4)


@pytest.mark.parametrize("items", [30, 198, 500])
@pytest.mark.parametrize("score", [0.2, 0.5, 0.9])
def test_the_interval_holds_one_where_that_of_the_difference_holds_zero(items, score):
    right = round(score * items)
    for lost in range(0, min(right, 24) + 1, 2):
        for gained in range(0, min(items - right, lost) + 1):
            before, after = np.zeros(items), np.zeros(items)
            before[:right], after[lost : right + gained] = 1, 1
            pairs = pair_scores(before, after)
            ci95 = difference_intervals(pairs)[1]
            _, interval = recovery(pairs, ci95)
            assert interval is not None
            if abs(ci95[1]) > 1e-6:
                assert (interval[1] < 1) == (ci95[1] < 0), (lost, gained)
