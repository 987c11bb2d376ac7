"""Group-sequential bounds against published and independently computed values."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from bitparity.stats.sequential import Look, StopRule, bounds, exits, repeated_p, spent, stagewise

SPENDINGS = ("power_2", "obrien_fleming")


def equal(looks: int) -> tuple[float, ...]:
    return tuple(look / looks for look in range(1, looks + 1))


@pytest.mark.parametrize(
    ("looks", "alpha", "spending", "expected"),
    [
        # Lan and DeMets's values, as published for five looks; the others by an independent integration
        (5, 0.025, "obrien_fleming", [4.877, 3.357, 2.680, 2.290, 2.031]),
        (5, 0.05, "obrien_fleming", [4.229, 2.888, 2.298, 1.962, 1.740]),
        (10, 0.05, "power_2", [3.291, 2.940, 2.721, 2.548, 2.401, 2.271, 2.154, 2.045, 1.944, 1.848]),
        (10, 0.025, "power_2", [3.481, 3.152, 2.951, 2.794, 2.661, 2.545, 2.441, 2.345, 2.257, 2.174]),
        (5, 0.05, "power_2", [2.878, 2.470, 2.201, 1.982, 1.790]),
        (5, 0.025, "power_2", [3.090, 2.714, 2.473, 2.280, 2.114]),
        (10, 0.025 / 21, "power_2", [4.226, 3.962, 3.81, 3.696, 3.601, 3.519, 3.447, 3.383, 3.323, 3.269]),
    ],
)
def test_bounds(looks, alpha, spending, expected):
    assert np.round(bounds(equal(looks), alpha, spending), 3).tolist() == expected


def test_nominal_levels():
    levels = [round(float(ndtr(-bound)), 5) for bound in bounds(equal(10), 0.05, "power_2")]
    assert levels == [0.0005, 0.00164, 0.00325, 0.00542, 0.00817, 0.01157, 0.01564, 0.02043, 0.02598, 0.03233]


def test_a_single_look_is_the_usual_test():
    for spending in SPENDINGS:
        assert bounds((1.0,), 0.025, spending)[0] == pytest.approx(1.959964, abs=1e-5)
        look = Look(StopRule((500,), spending, 0.02), 0)
        assert look.nominal(0.05) == pytest.approx(0.05, abs=1e-9)
        assert look.p_value(2.5) == pytest.approx(2 * float(ndtr(-2.5)), rel=1e-5)


@pytest.mark.parametrize(
    ("drift", "spending", "within", "items"),
    [
        (2.486, "power_2", 77.3, 71.6),
        (2.486, "obrien_fleming", 78.3, 75.1),
        (4.0, "power_2", 98.7, 47.0),
    ],
)
def test_power_and_items(drift, spending, within, items):
    up, down = exits(
        equal(10), bounds(equal(10), 0.05, spending), tuple(-b for b in bounds(equal(10), 0.025, spending)), drift
    )
    asked = sum((u + d) * t for u, d, t in zip(up, down, equal(10), strict=True)) + 1 - sum(up) - sum(down)
    assert (round(100 * sum(up), 1), round(100 * asked, 1)) == (within, items)


def test_repeated_p_values():
    none = -math.inf
    assert repeated_p([none] * 3 + [3.0], equal(10), "power_2") == pytest.approx(0.0134, abs=5e-5)
    assert repeated_p([4.0], equal(10), "power_2") == pytest.approx(0.0032, abs=5e-5)
    assert repeated_p([none] * 9 + [2.5], equal(10), "power_2") == pytest.approx(0.0114, abs=5e-5)
    assert repeated_p([0.0], equal(10), "power_2") == 1.0
    assert repeated_p([math.inf], equal(10), "power_2") > 0


def test_stagewise_estimate():
    times = equal(10)
    upper = bounds(times, 0.05, "obrien_fleming")[:6]
    lower = tuple(-bound for bound in bounds(times, 0.025, "obrien_fleming")[:6])
    assert [round(value, 2) for value in stagewise(times, upper, lower, 2.342)] == [0.42, 2.97, 5.52]


def test_stagewise_after_one_look_is_the_usual_interval():
    low, median, high = stagewise((1.0,), (1.645,), (-1.96,), 0.7)
    assert (low, median, high) == pytest.approx((0.7 - 1.959964, 0.7, 0.7 + 1.959964), abs=1e-4)


ascending = st.lists(st.integers(1, 40), min_size=1, max_size=8, unique=True).map(
    lambda looks: tuple(look / max(looks) for look in sorted(looks))
)


@settings(max_examples=40)
@given(ascending, st.floats(0.001, 0.2), st.sampled_from(SPENDINGS))
def test_the_bounds_spend_what_they_may(times, alpha, spending):
    found = bounds(times, alpha, spending)
    up, _ = exits(times, found, (-math.inf,) * len(times), 0.0)
    assert sum(up) == pytest.approx(alpha, abs=1e-6)
    for number, time in enumerate(times, start=1):
        assert sum(up[:number]) <= spent(alpha, time, spending) + 1e-6


@settings(max_examples=30)
@given(ascending, st.sampled_from(SPENDINGS), st.floats(1.2, 5.0), st.data())
def test_a_repeated_p_value_is_the_least_error_that_claims(times, spending, z, data):
    looks = data.draw(st.integers(1, len(times)))
    p = repeated_p([-math.inf] * (looks - 1) + [z], times, spending)
    if p < 0.5:
        assert bounds(times, p * 1.01, spending)[looks - 1] <= z + 1e-3
    assert p >= float(ndtr(-z)) - 1e-6  # never surer than a single look


@settings(max_examples=15)
@given(st.integers(0, 9), st.floats(-6, 6))
def test_the_stagewise_median_lies_in_its_interval(look, z):
    upper = bounds(equal(10), 0.05, "power_2")[: look + 1]
    lower = tuple(-bound for bound in bounds(equal(10), 0.025, "power_2")[: look + 1])
    low, median, high = stagewise(equal(10), upper, lower, z)
    assert low < median < high
    if look == 0:
        assert median == pytest.approx(z / math.sqrt(0.1), abs=1e-4)
