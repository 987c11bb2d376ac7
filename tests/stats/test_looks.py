"""Stopping by the bounds: what a look says, error rates over simulated studies, figures after a stop."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from test_simulation import bound

from bitparity.stats.arrays import PairedScores, pair_scores
from bitparity.stats.looks import chance_of_stop, claim, follow, is_futile, unbiased
from bitparity.stats.paired import compare_pairs, difference_intervals
from bitparity.stats.pooled import pool
from bitparity.stats.sequential import Look, StopRule

MMLU_PRO = StopRule((1203, 2406, 3610, 4813, 6016, 7219, 8422, 9626, 10829, 12032), "power_2", 0.01)
STUDIES = 1_000


def counted(items: int, lost: int, gained: int) -> PairedScores:
    """Pairs of one binary sample with so many flips."""
    before, after = np.zeros(items), np.zeros(items)
    before[:lost], after[lost : lost + gained] = 1, 1
    return pair_scores(before, after)


def at(rule: StopRule, index: int, lost: int, gained: int) -> PairedScores:
    return replace(counted(rule.looks[index], lost, gained), look=Look(rule, index))


def test_go_on():
    pairs = at(MMLU_PRO, 3, 185, 182)
    low = difference_intervals(pairs, 0.05, 1, 100)[2][0]
    assert round(100 * low, 4) == -1.0845
    assert claim(pairs) is None


def test_a_large_loss_is_beyond_at_the_first_look():
    pairs = at(MMLU_PRO, 0, 96, 30)
    high = difference_intervals(pairs, 0.025, 1, 100)[1][1]  # of the level .00025 each side
    assert claim(pairs) == "beyond"
    assert high < -0.01


def test_beyond_among_many_comparisons_takes_more():
    alone, many = (replace(MMLU_PRO, family=family) for family in (1, 21))
    assert claim(at(alone, 0, 84, 30)) == "beyond"
    assert claim(at(many, 0, 84, 30)) is None


def test_few_flips_are_no_look():
    rule = StopRule((100, 500), "power_2", 0.2)
    reached = follow(rule, lambda items: counted(items, 0, 0))
    assert reached is not None
    assert (reached.look.index, reached.by) == (1, None)
    assert math.isnan(reached.look.before[0])


def test_where_answers_are_missing_nothing_is_known():
    assert follow(MMLU_PRO, lambda items: counted(items, 90, 90) if items < 2000 else None) is None


def test_futility():
    assert is_futile(at(MMLU_PRO, 8, 480, 372))  # just at the margin, nearly at the end
    assert not is_futile(at(MMLU_PRO, 1, 96, 96))


def test_one_look_says_what_a_comparison_without_looks_says():
    rng = np.random.default_rng(3)
    base, cand = rng.random((400, 3)) < 0.6, rng.random((400, 3)) < 0.55
    pairs = pair_scores(base.astype(float), cand.astype(float))
    plain = compare_pairs(pairs, margin=0.05)
    looked = compare_pairs(replace(pairs, look=Look(StopRule((400,), "power_2", 0.05), 0)), margin=0.05)
    for name in ("difference", "ci95", "ci90", "p_value", "recovery_ci95", "verdict"):
        assert getattr(looked, name) == pytest.approx(getattr(plain, name), abs=1e-5), name


def test_a_pool_with_looks_takes_their_wider_intervals():
    plain = [counted(3610, 190, 140), counted(500, 30, 20)]
    looked = [replace(plain[0], look=Look(MMLU_PRO, 2)), plain[1]]
    before, after = (pool(strata, margin=0.02) for strata in (plain, looked))
    assert after.difference == before.difference
    assert after.ci95[0] < before.ci95[0] < before.ci95[1] < after.ci95[1]
    assert after.p_value > before.p_value
    assert (after.ci95[1] < 0) == (after.p_value < 0.05)


class Cell:
    """Studies of one binary sample an item, with what each look says of each pair of counts kept."""

    def __init__(self, rule: StopRule, flips: float, loss: float) -> None:
        self.rule, self.rates = rule, [(flips + loss) / 2, (flips - loss) / 2, 1 - flips]
        self.known: dict[tuple[int, int, int], str | None] = {}

    def run(self, rng: np.random.Generator) -> tuple[int, str | None]:
        """(look, why) of the stop."""
        lost = gained = done = 0
        for index, items in enumerate(self.rule.looks):
            more = rng.multinomial(items - done, self.rates)
            lost, gained, done = lost + int(more[0]), gained + int(more[1]), items
            key = (index, lost, gained)
            if key not in self.known:
                self.known[key] = claim(at(self.rule, *key)) if lost + gained >= 10 else None
            if self.known[key] is not None:
                return index, self.known[key]
        return index, None


OBF_500 = StopRule((100, 200, 300, 400, 500), "obrien_fleming", 0.05)


@pytest.mark.parametrize(("margin", "flips"), [(0.05, 0.10), (0.05, 0.2)])
def test_false_claims_at_the_margin(margin, flips):
    cell, rng = Cell(replace(OBF_500, margin=margin), flips, margin), np.random.default_rng(5)
    found = [cell.run(rng)[1] for _ in range(STUDIES)]
    assert found.count("within") / STUDIES <= bound(0.05, STUDIES)
    assert found.count("beyond") / STUDIES <= bound(0.025, STUDIES)


def test_no_loss_saves_items():
    cell, rng = Cell(OBF_500, 0.05, 0.0), np.random.default_rng(6)
    found = [cell.run(rng) for _ in range(300)]
    asked = sum(OBF_500.looks[index] for index, _ in found) / 500 / len(found)
    assert asked < 0.66  # 60 % by the normal model
    assert sum(by == "within" for _, by in found) >= 0.98 * len(found)


def test_the_median_is_unbiased_where_the_mean_exaggerates():
    rule, loss = OBF_500, 0.10
    cell, rng = Cell(rule, 0.15, loss), np.random.default_rng(7)
    means, medians, covered = [], [], 0
    for _ in range(150):
        lost = gained = done = 0
        for index, items in enumerate(rule.looks):
            more = rng.multinomial(items - done, cell.rates)
            lost, gained, done = lost + int(more[0]), gained + int(more[1]), items
            pairs = at(rule, index, lost, gained)
            if claim(pairs) is not None:
                break
        median, (low, high) = unbiased(pairs)
        means.append(pairs.difference + loss)
        medians.append(median + loss)
        covered += low <= -loss <= high
    error = np.std(means) / math.sqrt(len(means))
    assert abs(np.mean(medians)) < abs(np.mean(means))
    assert abs(np.mean(np.array(medians) < 0) - 0.5) < 0.13
    assert np.mean(means) < -2 * error
    assert covered / len(means) >= 0.9


@pytest.mark.parametrize(("loss", "margin"), [(0.0, 0.02), (0.02, 0.02), (0.06, 0.02), (0.01, 0.02)])
def test_the_chance_of_a_stop_is_how_often_one_follows(loss, margin):
    """Of 300 studies of which four fifths of a block are answered, on the average over them."""
    rng, rule = np.random.default_rng(4), StopRule(tuple(range(300, 3001, 300)), "power_2", margin)
    rates = [(0.1 + loss) / 2, (0.1 - loss) / 2, 0.9]
    for index in (2, 5, 8):
        so_far = rng.multinomial(rule.looks[index] - 60, rates, 300)[:, :2]
        whole = so_far + rng.multinomial(60, rates, 300)[:, :2]
        likely = [
            chance_of_stop(replace(counted(rule.looks[index] - 60, *each), look=Look(rule, index)))
            for each in so_far.tolist()
        ]
        stopped = [claim(at(rule, index, *each)) is not None for each in whole.tolist()]
        assert np.mean(likely) == pytest.approx(np.mean(stopped), abs=0.05)
        sure = [stop for chance, stop in zip(likely, stopped, strict=True) if not 0.1 < chance < 0.9]
        told = [chance > 0.5 for chance in likely if not 0.1 < chance < 0.9]
        assert np.mean(np.array(sure) == np.array(told)) > 0.95


def test_where_all_is_lost_a_stop_is_certain():
    rule = StopRule((100, 500), "power_2", 0.05)
    assert chance_of_stop(replace(counted(90, 90, 0), look=Look(rule, 0))) == pytest.approx(1.0)
    assert chance_of_stop(replace(counted(90, 0, 90), look=Look(rule, 0))) == pytest.approx(1.0)


def test_without_flips_no_stop_is_expected():
    rule = StopRule((100, 500), "power_2", 0.2)
    assert chance_of_stop(replace(counted(90, 0, 0), look=Look(rule, 0))) == 0.0
    assert chance_of_stop(replace(counted(100, 9, 30), look=Look(rule, 0))) == 0.0
