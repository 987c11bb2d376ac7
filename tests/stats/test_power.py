"""Power against simulation, the design's figures and statsmodels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from statsmodels.stats.power import TTestPower

from bitparity.stats import power
from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import difference_intervals
from bitparity.stats.score_interval import tango_interval
from bitparity.stats.significance import mcnemar_exact, sign_flip_test

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
    assert power.Design(30, 0.2, 0.15).standard_error() == pytest.approx((0.2 / 30) ** 0.5)
    assert power.Design(30, 0.2, 0.15, 10**9).standard_error() == pytest.approx((0.05 / 30) ** 0.5)
    design = power.Design(100, 0.2, 0.195, 4)
    needed = power.samples_needed(design, 0.05, 256)
    assert needed is not None
    assert replace(design, samples=needed).provable() <= 0.05
    assert replace(design, samples=needed - 1).provable() > 0.05
    assert power.samples_needed(power.Design(100, 0.2, 0.05, 4), 0.05, 256) is None


def test_no_number_of_samples_replaces_items():
    """A loss of 5 points that sits on 1 item in 20 leaves no trace among 30 items in 21 % of the cases."""
    assert power.samples_needed(power.Design(30, 0.2, 0.2, 4), 0.05, 10_000) is None
    assert power.Design(30, 0.01, 0.01, 10**6).provable() == pytest.approx(1 - 0.05 ** (1 / 30), abs=1e-3)
    assert power.margin_power(58, 0.0, 0.05) == 0.0
    assert power.margin_power(59, 0.0, 0.05) == 1.0


def test_groups_and_losses_add_variance():
    alone, grouped = power.Design(288, 0.12), power.Design(288, 0.12, sizes=(4,) * 72, correlation=0.15)
    assert grouped.effect == pytest.approx(1.45)
    assert grouped.units == pytest.approx(72)
    assert grouped.provable() > alone.provable()
    assert grouped.detectable() > alone.detectable()
    assert replace(grouped, items=144).units == pytest.approx(36)
    several = power.Design(198, 0.155, 0.10, 4)
    assert several.standard_error(0.08) > several.standard_error()
    assert power.Design(30, 0.04, 0.02, sizes=(3,) * 10, correlation=0.5).detectable() is None


def sampled(design: power.Design, loss: float, rng: np.random.Generator):
    """One study as the design assumes it: changes for good, in whole groups at times, and items that waver."""
    n, noise = design.items, design.noise_flip_rate
    changed = max(design.flip_rate - noise, loss)
    u = rng.random(n)
    if design.sizes:
        shared = rng.random(n) < design.correlation**0.5
        u = np.where(shared, np.repeat(rng.random(len(design.sizes)), design.sizes), u)
    lost, gained = u < (changed + loss) / 2, u > 1 - (changed - loss) / 2
    before = np.where(lost, 1.0, np.where(gained, 0.0, rng.random(n) < 0.5))
    wavering = ~lost & ~gained & (rng.random(n) < 2 * noise / (1 - changed))
    chances = [np.where(wavering, 0.5, p) for p in (before, np.where(lost, 0.0, np.where(gained, 1.0, before)))]
    scores = [rng.random((n, design.samples)) < p[:, np.newaxis] for p in chances]
    groups = np.repeat(np.arange(len(design.sizes)), design.sizes).astype(str) if design.sizes else None
    return pair_scores(*scores, groups)


@pytest.mark.parametrize(
    "design",
    [
        power.Design(198, 0.155, 0.10, 4),
        power.Design(500, 0.155, 0.10, 16),
        power.Design(288, 0.12, 0.0, 1, (3, 4, 5, 4) * 18, 0.15),
    ],
    ids=["198 x 4", "500 x 16", "groups"],
)
def test_plans_promise_what_studies_give(design):
    """Within 3 points of 80 %, and the error of this small simulation; perf/statistics_power.py has the large one."""
    rng, studies = np.random.default_rng(8), 400
    loss, margin = design.detectable(), design.provable()
    found = proved = 0
    for _ in range(studies):
        pairs = sampled(design, loss, rng)
        _, ci95, _ = difference_intervals(pairs, 0.05, 1, 200)
        found += ci95[1] < 0 and sign_flip_test(pairs.sums, pairs.unit, 1, 200) < 0.05
        proved += difference_intervals(sampled(design, 0.0, rng), 0.05, 1, 200)[2][0] > -margin
    for hits in (found, proved):
        assert hits / studies == pytest.approx(0.8, abs=0.03 + 2 * (0.8 * 0.2 / studies) ** 0.5)


def test_more_items_in_unequal_groups_than_are_simulated(monkeypatch):
    """The promise stands on a smaller simulated study, and is what a simulation of all items gives."""
    design = power.Design(3200, 0.08, 0.04, 1, (1,) * 100 + (5,) * 100 + (20,) * 70, 0.2)
    loss, margin = design.detectable(), design.provable()
    assert not design.simulated
    monkeypatch.setattr(power, "FEW_UNEQUAL", 3200)
    assert design.simulated
    assert design.loss_power(loss) == pytest.approx(0.8, abs=0.03)
    assert design.margin_power(margin) == pytest.approx(0.8, abs=0.03)


def test_impossible_plans_are_refused():
    with pytest.raises(ValueError, match="flip rate"):
        power.mcnemar_power(30, 0.05, 0.1)
    with pytest.raises(ValueError, match="noise"):
        power.Design(30, 0.05, 0.1, 4)
