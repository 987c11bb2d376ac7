"""Ratios of sums: against a bootstrap and by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from bitparity.stats.ratios import ratio_of_sums, times_as_much


def test_equal_sizes_give_the_plain_mean_and_its_standard_error() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    found = ratio_of_sums(values, np.ones(4))
    assert found is not None
    assert found.value == pytest.approx(4.0)
    assert found.error == pytest.approx(values.std(ddof=1) / 2)
    assert found.low is not None
    assert found.high is not None
    assert found.high - found.value > found.value - found.low  # skewed to the right: so is the interval


def test_entries_of_one_unit_count_as_one() -> None:
    above, below = np.array([1.0, 3.0, 5.0, 2.0]), np.array([2.0, 2.0, 4.0, 1.0])
    joined = ratio_of_sums(np.array([4.0, 7.0]), np.array([4.0, 5.0]))
    assert ratio_of_sums(above, below, np.array([0, 0, 1, 1])) == joined


def test_without_a_spread_or_a_divisor() -> None:
    assert ratio_of_sums(np.array([1.0]), np.array([0.0])) is None
    alone = ratio_of_sums(np.array([1.0]), np.array([2.0]))
    assert alone is not None
    assert alone.ci95 is None
    assert alone.value == 0.5
    same = ratio_of_sums(np.array([1.0, 2.0]), np.array([2.0, 4.0]))
    assert same is not None
    assert same.ci95 == (0.5, 0.5)
    assert times_as_much(np.array([1.0, 2.0]), np.zeros(2)) is None


@pytest.mark.parametrize("function", [ratio_of_sums, times_as_much])
def test_intervals_cover_skewed_ratios(function: object) -> None:
    rng = np.random.default_rng(21)
    covered = 0
    for _ in range(600):
        sizes = rng.integers(20, 400, 60).astype(float)
        sums = sizes * rng.lognormal(0.0, 0.8, 60)
        truth = np.exp(0.32)
        found = function(sums, sizes)  # type: ignore[operator]
        covered += found.low <= truth <= found.high
    assert 0.92 <= covered / 600 <= 0.985
