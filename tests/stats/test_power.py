"""Power against simulation, the design's figures and statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from bitparity.stats import power
from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import difference_intervals
from bitparity.stats.score_interval import tango_interval
from bitparity.stats.significance import mcnemar_exact

STUDIES = 4000


def flips(items: int, rate: float, loss: float) -> np.ndarray:
    """(lost, gained) of simulated studies, straight from the trinomial distribution."""
    rng = np.random.default_rng(11)
    return rng.multinomial(items, [(rate + loss) / 2, (rate - loss) / 2, 1 - rate], STUDIES)[:, :2]


@pytest.mark.parametrize(
    ("items", "rate", "loss"),
    [
        (30, 0.1, 0.1),
        (30, 0.2, 0.2),
        (198, 0.02, 0.02),
        (198, 0.05, 0.03),
        (198, 0.2, 0.06),
        (500, 0.1, 0.04),
        (12_032, 0.05, 0.005),
    ],
)
def test_mcnemar_power_is_what_simulation_gives(items, rate, loss):
    found = np.mean(
        [mcnemar_exact(*c) < 0.05 and tango_interval(*c, items)[1] < 0 for c in flips(items, rate, loss).tolist()]
    )
    assert power.mcnemar_power(items, rate, loss) == pytest.approx(found, abs=0.02)


@pytest.mark.parametrize(
    ("items", "rate", "margin"),
    [(30, 0.1, 0.15), (198, 0.05, 0.04), (198, 0.2, 0.07), (500, 0.1, 0.03), (500, 0.2, 0.05), (12_032, 0.1, 0.007)],
)
def test_margin_power_is_what_simulation_gives(items, rate, margin):
    found = np.mean([tango_interval(int(a), int(b), items, 0.10)[0] > -margin for a, b in flips(items, rate, 0.0)])
    assert power.margin_power(items, rate, margin) == pytest.approx(found, abs=0.02)


@pytest.mark.parametrize(
    ("items", "rate", "loss", "margin"),
    [
        (198, 0.05, 4.4, 4.0),
        (198, 0.10, 6.3, 5.6),
        (500, 0.05, 2.8, 2.5),
        (500, 0.10, 4.0, 3.5),
        (12_032, 0.05, 0.57, 0.51),
    ],
)
def test_smallest_detectable_loss_and_provable_margin(items, rate, loss, margin):
    # normal approximations of the same figures: the exact ones are a little larger for few flips
    assert 100 * power.detectable_loss(items, rate) == pytest.approx(loss, rel=0.05)
    assert 100 * power.provable_margin(items, rate) == pytest.approx(margin, rel=0.12)


def test_thirty_items_cannot_find_a_loss():
    assert power.detectable_loss(30, 0.05) is None
    assert power.detectable_loss(30, 0.20) is None
    assert power.mcnemar_power(30, 0.20, 0.20) == pytest.approx(0.57, abs=0.005)


def test_detectable_loss_has_the_power_asked_for():
    loss = power.detectable_loss(500, 0.1)
    assert power.mcnemar_power(500, 0.1, loss) >= 0.8
    assert power.mcnemar_power(500, 0.1, loss - 0.001) < 0.8


def test_normal_formula_agrees_with_statsmodels():
    effect = TTestPower().solve_power(nobs=200, alpha=0.05, power=0.8, alternative="two-sided")
    assert power.detectable_loss_normal(0.3 / 200**0.5, 200) == pytest.approx(0.3 * effect, rel=0.005)


def test_several_samples_have_the_power_of_the_normal_formula():
    rng, studies = np.random.default_rng(5), 800
    sd = 0.14  # of an item's difference
    loss, margin = (f(sd / 198**0.5, 198) for f in (power.detectable_loss_normal, power.provable_margin_normal))
    found = proved = 0
    draws = rng.choice([-1.5, -0.5, 0.5, 1.5], (studies, 198), p=[0.15, 0.35, 0.35, 0.15])
    for d in draws * sd / 0.85**0.5:
        equal = pair_scores(np.full(198, 0.5), 0.5 + d)
        proved += difference_intervals(equal, 0.05, 1, 100)[2][0] > -margin
        found += difference_intervals(pair_scores(np.full(198, 0.5), 0.5 + d - loss), 0.05, 1, 100)[1][1] < 0
    assert proved / studies == pytest.approx(0.8, abs=0.02 + 2 * (0.8 * 0.2 / studies) ** 0.5)
    assert found / studies == pytest.approx(0.8, abs=0.02 + 2 * (0.8 * 0.2 / studies) ** 0.5)


def test_items_needed_for_one_point():
    assert power.items_needed(0.01, 0.05) == pytest.approx(3_100, rel=0.03)
    assert power.items_needed(0.01, 0.10) == pytest.approx(6_200, rel=0.03)
    needed = power.items_needed(0.02, 0.08)
    assert power.provable_margin(needed, 0.08) <= 0.0201


def test_samples_shrink_the_noise_alone():
    assert power.standard_error(30, 0.2, 1, 0.15) == pytest.approx((0.2 / 30) ** 0.5)
    assert power.standard_error(30, 0.2, 10**9, 0.15) == pytest.approx((0.05 / 30) ** 0.5)
    needed = power.samples_needed(0.05, 60, 0.2, 0.195)
    assert power.provable_margin_normal(power.standard_error(60, 0.2, needed, 0.195), 60) <= 0.05
    assert power.provable_margin_normal(power.standard_error(60, 0.2, needed - 1, 0.195), 60) > 0.05
    assert power.samples_needed(0.05, 60, 0.2, 0.05) is None


def test_no_number_of_samples_replaces_items():
    """A loss of 5 points that sits on 1 item in 20 leaves no trace among 30 items in 21 % of the cases."""
    assert power.samples_needed(0.05, 30, 0.2, 0.2) is None
    assert power.provable_margin_normal(0.0001, 30) == pytest.approx(1 - 0.05 ** (1 / 30))
    assert power.margin_power(58, 0.0, 0.05) == 0.0
    assert power.margin_power(59, 0.0, 0.05) == 1.0


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match="flip rate"):
        power.mcnemar_power(30, 0.05, 0.1)
    with pytest.raises(ValueError, match="noise"):
        power.standard_error(30, 0.05, 4, 0.1)
