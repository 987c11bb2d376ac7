"""The comparison of two variants: invariances, refusals, small samples, many items."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import compare_scores

from bitparity.stats.verdicts import WITHIN


@st.composite
def paired_scores(draw):
    items, samples = draw(st.integers(1, 25)), draw(st.sampled_from([1, 2, 4]))
    kind = draw(st.sampled_from(["binary", "fractional"]))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    values = rng.random((2, items, samples))
    baseline, candidate = (values < draw(st.floats(0, 1))).astype(float) if kind == "binary" else np.round(values, 1)
    groups = [str(g) for g in rng.integers(0, items, items)] if draw(st.booleans()) else None
    return baseline, candidate, groups


@given(paired_scores())
@settings(max_examples=60)
def test_intervals_hold_the_estimate_and_have_width(scores):
    c = compare_scores(*scores[:2], margin=0.02, groups=scores[2], resamples=200)
    for low, high in (c.ci95, c.ci90, c.rerun_ci95 or (-1, 1)):
        assert low <= c.difference + 1e-9
        assert c.difference <= high + 1e-9
        assert high > low
    if c.recovery_ci95:
        assert c.recovery_ci95[0] <= c.recovery + 1e-9
        assert c.recovery <= c.recovery_ci95[1] + 1e-9
        assert c.recovery_ci95[1] > c.recovery_ci95[0]
    assert -1 <= c.ci95[0] <= c.ci90[0] + 1e-7
    assert c.ci90[1] - 1e-7 <= c.ci95[1] <= 1
    assert 0 < c.p_value <= 1


@given(paired_scores())
@settings(max_examples=40)
def test_swapping_the_variants_mirrors_the_comparison(scores):
    there = compare_scores(*scores[:2], margin=0.02, groups=scores[2], resamples=200)
    back = compare_scores(scores[1], scores[0], margin=0.02, groups=scores[2], resamples=200)
    assert back.difference == pytest.approx(-there.difference)
    assert (back.lost, back.gained) == (there.gained, there.lost)
    assert back.p_value == pytest.approx(there.p_value)
    assert back.ci95 == pytest.approx((-there.ci95[1], -there.ci95[0]), abs=1e-6)


@given(paired_scores(), st.integers(0, 100))
@settings(max_examples=30)
def test_the_order_of_the_items_does_not_matter(scores, seed):
    order = np.random.default_rng(seed).permutation(len(scores[0]))
    groups = scores[2] and [scores[2][i] for i in order]
    one = compare_scores(*scores[:2], margin=0.02, groups=scores[2], resamples=200)
    other = compare_scores(scores[0][order], scores[1][order], margin=0.02, groups=groups, resamples=200)
    assert other.ci95 == pytest.approx(one.ci95, abs=1e-6)
    assert (other.lost, other.gained, other.verdict) == (one.lost, one.gained, one.verdict)
    assert other.p_value == pytest.approx(one.p_value, abs=1e-9)


def flipped(n: int, right: int, lost: int, gained: int) -> tuple[np.ndarray, np.ndarray]:
    baseline = np.arange(n) < right
    candidate = baseline.copy()
    candidate[:lost] = False
    candidate[right : right + gained] = True
    return baseline.astype(float), candidate.astype(float)


def test_binary_scores_take_mcnemar_and_tango():
    c = compare_scores(*flipped(500, 56, 40, 21), margin=0.02)
    assert (c.test, c.interval, c.lost, c.gained) == ("mcnemar_exact", "tango", 40, 21)
    assert c.difference == pytest.approx(-0.038)
    assert c.ci95 == pytest.approx((-0.0698, -0.0076), abs=5e-5)
    assert c.recovery == pytest.approx(37 / 56)
    assert c.loss_shown
    assert c.verdict == "inconclusive"


@pytest.mark.parametrize(("lost", "gained"), [(21, 17), (14, 7)])
def test_what_the_recorded_runs_cannot_tell(lost, gained):
    c = compare_scores(*flipped(500, 56, lost, gained), margin=0.02)
    assert not c.loss_shown
    assert c.verdict == "inconclusive"


def test_the_margin_alone_changes_what_a_loss_means():
    verdicts = [compare_scores(*flipped(500, 56, 40, 21), margin=m).verdict for m in (0.005, 0.02, 0.08)]
    assert verdicts == ["worse_beyond_margin", "inconclusive", "worse_within_margin"]


def test_large_equal_variants_are_equivalent():
    c = compare_scores(*flipped(12_032, 8_000, 300, 300), margin=0.01)
    assert c.verdict == "equivalent"
    assert c.mde == pytest.approx(0.0057, abs=2e-4)
    assert c.provable_margin == pytest.approx(0.0051, abs=1e-4)


@pytest.mark.parametrize("shape", [(1,), (2,), (1, 8), (2, 8)])
@pytest.mark.parametrize("candidate", [0.0, 1.0])
def test_one_or_two_items_prove_nothing(shape, candidate):
    c = compare_scores(np.ones(shape), np.full(shape, candidate), margin=0.05)
    assert c.verdict == "inconclusive"
    assert c.ci95[1] - c.ci95[0] > 0.5
    assert c.p_value > 0.05


@pytest.mark.parametrize(("items", "samples"), [(30, 16), (30, 1), (198, 4)])
def test_zeros_against_zeros_cannot_tell(items, samples):
    c = compare_scores(np.zeros((items, samples)), np.zeros((items, samples)), margin=0.01)
    assert c.verdict == "inconclusive"
    assert (c.recovery, c.recovery_ci95, c.rerun_ci95, c.mde, c.provable_margin) == (None,) * 5


def test_flips_of_several_samples_go_by_the_majority():
    baseline = np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 0, 0]])
    candidate = np.array([[1, 0, 0], [1, 1, 1], [1, 1, 0], [0, 0, 1]])
    c = compare_scores(baseline, candidate, margin=0.02)
    assert (c.lost, c.gained) == (1, 1)
    assert c.test == "sign_flip_permutation"
    assert c.interval == "restricted_likelihood"


def test_groups_of_single_items_change_nothing():
    scores = flipped(200, 100, 12, 5)
    alone = compare_scores(*scores, margin=0.02)
    grouped = compare_scores(*scores, margin=0.02, groups=[f"{i:03}" for i in range(200)])
    assert grouped == alone


def test_many_items_of_several_samples_take_the_bootstrap_and_repeat_exactly():
    rng = np.random.default_rng(1)
    chance = rng.beta(0.6, 0.4, (2_000, 1))
    baseline, candidate = rng.random((2, 2_000, 4)) < chance
    c = compare_scores(baseline, candidate, margin=0.02)
    assert c.interval == "bca"
    assert c == compare_scores(baseline, candidate, margin=0.02)
    assert c != dataclasses.replace(c, ci95=(0, 0))
    assert c.verdict in WITHIN


@pytest.mark.parametrize(
    ("baseline", "candidate", "groups", "message"),
    [
        ([1, 0], [1], None, "pair them"),
        ([[1, 0]], [[1]], None, "pair them"),
        ([1, math.nan], [1, 0], None, "NaN"),
        ([1, 2], [1, 0], None, "outside"),
        ([], [], None, "shape"),
        ([[[1]]], [[[1]]], None, "shape"),
        ([1, 0], [1, 0], ["a"], "groups"),
    ],
)
def test_unpaired_or_impossible_scores_are_refused(baseline, candidate, groups, message):
    with pytest.raises(ValueError, match=message):
        compare_scores(baseline, candidate, margin=0.02, groups=groups)


def test_a_constant_loss_has_no_detectable_loss_of_rounding_errors():
    found = compare_scores(np.full((100, 1), 0.5), np.full((100, 1), 0.4), margin=0.05)
    assert (found.mde, found.provable_margin) == (None, None)
    assert found.verdict == "worse_beyond_margin"


@pytest.mark.parametrize("items", [1, 2, 7, 198])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("groups", [None, 3])
@pytest.mark.parametrize(("before", "after"), [(1, 1), (0, 0), (1, 0), (0, 1)])
def test_scores_that_are_all_alike(items, samples, groups, before, after):
    shape, names = (items, samples), None if groups is None else [str(row // groups) for row in range(items)]
    found = compare_scores(np.full(shape, before), np.full(shape, after), groups=names, margin=0.05)
    assert found.difference == after - before
    low, high = found.ci95
    assert -1 <= low <= found.ci90[0] <= found.difference <= found.ci90[1] <= high <= 1
    assert low < high
    assert found.verdict != "worse_beyond_margin" or (before > after and found.units >= 7)
    assert 0 < found.p_value <= 1
    assert (found.recovery is None) == (before == 0)
