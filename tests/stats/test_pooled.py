"""Pooling over benchmarks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import compare_pairs
from bitparity.stats.pooled import average_interval, pool, stratified_sign_flip_test


def benchmark(seed: int, items: int, loss: float, samples: int = 1):
    rng = np.random.default_rng(seed)
    right = rng.random((items, samples)) < 0.6
    flips = rng.random((items, samples)) < np.where(right, 0.05 + loss, 0.05)
    return pair_scores(right, right ^ flips)


def test_one_benchmark_pooled_is_that_benchmark():
    pairs = benchmark(1, 400, 0.1)
    alone, pooled = compare_pairs(pairs, margin=0.02), pool([pairs], margin=0.02)
    assert pooled.difference == pytest.approx(alone.difference)
    assert pooled.ci95 == pytest.approx(alone.ci95)
    assert pooled.recovery == pytest.approx(alone.recovery)
    assert pooled.recovery_ci95 == pytest.approx(alone.recovery_ci95)
    assert pooled.p_value == pytest.approx(alone.p_value, abs=0.01)


def test_benchmarks_count_the_same_and_differences_average():
    parts = [benchmark(2, 5_000, 0.0), benchmark(3, 100, 0.3, samples=4)]
    pooled = pool(parts, margin=0.02)
    assert pooled.benchmarks == 2
    assert pooled.difference == pytest.approx(np.mean([p.difference for p in parts]))
    assert pooled.recovery == pytest.approx(np.mean([p.candidate.mean() / p.baseline.mean() for p in parts]))


def test_pooled_recovery_interval_is_near_a_bootstrap_within_benchmarks():
    parts = [benchmark(4, 900, 0.05), benchmark(5, 600, 0.1), benchmark(6, 1200, 0.0)]
    rng = np.random.default_rng(7)
    ratios = np.zeros(3000)
    for pairs in parts:
        picked = rng.integers(0, pairs.items, (3000, pairs.items))
        ratios += pairs.candidate[:, 0][picked].mean(axis=1) / pairs.baseline[:, 0][picked].mean(axis=1) / 3
    assert pool(parts, margin=0.02).recovery_ci95 == pytest.approx(
        tuple(np.quantile(ratios, [0.025, 0.975])), abs=0.004
    )


def test_average_interval_adds_in_squares():
    low, high = average_interval([0.0, 0.1], [(-0.3, 0.3), (-0.3, 0.3)])
    assert high == pytest.approx(0.05 + math.hypot(0.3, 0.2) / 2)
    assert low == pytest.approx(0.05 - math.hypot(0.3, 0.4) / 2)


def test_agreement_over_benchmarks_shows_what_none_shows_alone():
    parts = [benchmark(seed, 300, 0.05) for seed in range(20, 26)]
    assert max(compare_pairs(p, margin=0.02).p_value for p in parts) > 0.05
    pooled = pool(parts, margin=0.02)
    assert pooled.p_value < 0.01
    assert pooled.loss_shown


def test_stratified_test_keeps_its_level():
    rejected = 0
    for seed in range(400):
        rng = np.random.default_rng(seed)
        parts = []
        for items in (60, 200):
            right = rng.random(items) < 0.6
            lost, gained = rng.random((2, items)) < 0.06
            parts.append(pair_scores(right, np.where(right, ~(lost & right), gained & (rng.random(items) < 1))))
        parts = [p if rng.random() < 0.5 else pair_scores(p.candidate, p.baseline) for p in parts]
        rejected += stratified_sign_flip_test(parts, 1, 400) < 0.05
    assert rejected <= 400 * 0.05 + 3 * math.sqrt(400 * 0.05 * 0.95)


def test_a_benchmark_at_zero_leaves_no_recovery():
    pooled = pool([benchmark(1, 100, 0.0), pair_scores(np.zeros(30), np.zeros(30))], margin=0.02)
    assert pooled.recovery is None
    assert pooled.recovery_ci95 is None
    assert pooled.ci95[1] > pooled.ci95[0]


def test_nothing_to_pool_is_refused():
    with pytest.raises(ValueError, match="no benchmark"):
        pool([], margin=0.02)
