"""The five verdicts, against two one-sided t tests of statsmodels and by their meaning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as scipy_stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired
from support import compare_scores

from bitparity.stats.pooled import adjust_holm
from bitparity.stats.verdicts import WITHIN, decide, is_worse, within_margin_on_all

MARGIN = 0.02


@pytest.mark.parametrize(
    ("ci95", "ci90", "p", "verdict"),
    [
        ((-0.012, 0.012), (-0.01, 0.01), 1.0, "equivalent"),
        ((-0.012, 0.040), (-0.01, 0.035), 0.3, "non_inferior"),
        ((0.005, 0.060), (0.01, 0.055), 0.01, "non_inferior"),
        ((0.004, 0.016), (0.005, 0.015), 0.001, "equivalent"),
        ((-0.016, -0.004), (-0.015, -0.005), 0.001, "worse_within_margin"),
        ((-0.016, -0.001), (-0.015, -0.002), 0.06, "equivalent"),  # the test does not agree: no loss shown
        ((-0.090, -0.030), (-0.085, -0.035), 0.001, "worse_beyond_margin"),
        ((-0.070, -0.008), (-0.064, -0.013), 0.020, "inconclusive"),  # a loss, its size straddles the margin
        ((-0.060, 0.060), (-0.050, 0.050), 1.0, "inconclusive"),
        ((-0.021, 0.010), (-0.019, 0.009), 0.5, "equivalent"),  # two one-sided tests at 5 %: the 90 % interval
    ],
)
def test_verdict(ci95, ci90, p, verdict):
    assert decide(ci95, ci90, p, MARGIN) == verdict


@given(st.integers(5, 200), st.floats(-0.05, 0.05), st.floats(0.01, 0.1), st.integers(0, 10_000))
def test_equivalence_is_two_one_sided_tests(n, shift, margin, seed):
    d = np.random.default_rng(seed).normal(shift, 0.1, n)
    ci95, ci90 = (scipy_stats.t.interval(c, n - 1, loc=d.mean(), scale=d.std(ddof=1) / n**0.5) for c in (0.95, 0.90))
    p = scipy_stats.ttest_1samp(d, 0).pvalue
    tost = ttost_paired(d, np.zeros(n), -margin, margin)
    verdict = decide(ci95, ci90, p, margin)
    if verdict != "worse_within_margin":
        assert (verdict == "equivalent") == (tost[0] < 0.05)
    assert (verdict in WITHIN) == (tost[1][1] < 0.05)
    assert (verdict in ("worse_within_margin", "worse_beyond_margin")) <= (p < 0.05)


@pytest.mark.parametrize(("shift", "scale"), [(0.0, 0.05), (-0.013, 0.04), (-0.03, 0.05), (0.0, 0.12), (-0.06, 0.05)])
def test_the_whole_comparison_is_two_one_sided_tests(shift, scale):
    d = np.random.default_rng(3).normal(0, scale, 100)
    d = np.concatenate([d, -d]) + shift  # without skewness, which statsmodels does not reckon with
    c = compare_scores(np.full(200, 0.5), 0.5 + d, margin=MARGIN)
    (equivalence, (_, above, _), _) = ttost_paired(d, np.zeros(200), -MARGIN, MARGIN)
    assert (c.verdict in WITHIN) == (above < 0.05)
    assert (c.ci90[0] > -MARGIN and c.ci90[1] < MARGIN) == (equivalence < 0.05)
    assert c.p_value == pytest.approx(scipy_stats.ttest_1samp(d, 0).pvalue, abs=0.02)


@given(st.floats(-0.3, 0.3), st.floats(0.001, 0.2), st.floats(0.001, 0.3), st.floats(0.0, 0.3))
def test_a_wider_margin_never_turns_a_verdict_worse(centre, half, margin, more):
    ci95, ci90 = (centre - half, centre + half), (centre - 0.84 * half, centre + 0.84 * half)
    order = ["worse_beyond_margin", "inconclusive", "worse_within_margin", "non_inferior", "equivalent"]
    p = 0.01 if abs(centre) > half else 0.5
    assert order.index(decide(ci95, ci90, p, margin + more)) >= order.index(decide(ci95, ci90, p, margin))


def test_a_loss_needs_both_interval_and_test():
    assert is_worse((-0.07, -0.01), 0.02)
    assert not is_worse((-0.07, -0.01), 0.06)
    assert not is_worse((-0.07, 0.01), 0.02)
    assert not is_worse((0.01, 0.07), 0.02)


@pytest.mark.parametrize("margin", [0.0, -0.01, float("nan")])
def test_a_margin_must_be_positive(margin):
    with pytest.raises(ValueError, match="margin"):
        decide((-0.1, 0.1), (-0.05, 0.05), 1.0, margin)


def test_within_the_margin_on_all():
    assert within_margin_on_all(["equivalent", "non_inferior", "worse_within_margin"])
    assert not within_margin_on_all(["equivalent", "inconclusive"])
    assert not within_margin_on_all(["equivalent", "invalid"])
    assert not within_margin_on_all([])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
@settings(max_examples=15)
def test_holm_equals_statsmodels(p_values):
    assert adjust_holm(p_values) == pytest.approx(list(multipletests(p_values, method="holm")[1]))


def test_holm_refuses_what_is_no_p_value():
    assert adjust_holm([]) == []
    with pytest.raises(ValueError, match="p-values"):
        adjust_holm([0.1, 1.2])
    with pytest.raises(ValueError, match="p-values"):
        adjust_holm([float("nan")])
