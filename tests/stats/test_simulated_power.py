"""Simulated power of grouped designs: each study is judged as a comparison of its scores would be."""

from __future__ import annotations

import numpy as np
import pytest

from bitparity.benchmarks.scicode import STEPS
from bitparity.stats import simulated_power
from bitparity.stats.arrays import PairedScores, effective_degrees, pair_scores
from bitparity.stats.paired import compare_pairs, difference_intervals
from bitparity.stats.power import Design
from bitparity.stats.significance import sign_flip_test

SCICODE = tuple(size for size, problems in STEPS for _ in range(problems))
STUDIES = 150


@pytest.mark.parametrize("flips", [0.04, 0.12, 0.3])
@pytest.mark.parametrize("samples", [1, 4])
@pytest.mark.parametrize("sizes", [SCICODE, (3,) * 40])
def test_a_study_is_judged_as_its_scores_are(monkeypatch, flips, samples, sizes):
    monkeypatch.setattr(simulated_power, "STUDIES", STUDIES)
    simulated_power._chances.cache_clear()
    simulated_power.studies.cache_clear()
    differing = 0
    for loss, margin in ((0.0, 0.06), (0.03, 0.08)):
        noise = flips / 2 if samples > 1 else 0.0
        found = simulated_power.studies(sizes, 0.2, max(flips - noise, loss), noise, samples, loss)
        shown, within = found.loss_shown(0.05), found.within(margin, 0.05)
        assert sorted(found.sizes) == sorted(sizes)
        for row in range(STUDIES):
            pairs = _pairs(found, row, samples)
            monkeypatch.setattr(PairedScores, "degrees", float(found.degrees[row]))
            _, ci95, ci90 = difference_intervals(pairs, 0.05, 1, 1000)
            p_value = sign_flip_test(pairs.sums, pairs.unit, 1, 1000)
            assert (ci90[0] > -margin) == within[row]
            differing += (ci95[1] < 0 and p_value < 0.05) != shown[row]
    # the test is taken by the normal distribution there
    assert differing <= 0.02 * 2 * STUDIES
    simulated_power._chances.cache_clear()
    simulated_power.studies.cache_clear()


def _pairs(found, row, samples):
    """Scores with a study's group sums."""
    before, after, groups = [], [], []
    totals = np.rint(found.sums[row] * samples).astype(int)
    for group, (size, total) in enumerate(zip(found.sizes.astype(int), totals, strict=True)):
        moved, still = np.zeros(size * samples), np.zeros(size * samples)
        moved[: abs(total)] = 1
        for scores, mine in ((before, total < 0), (after, total > 0)):
            scores.append((moved if mine else still).reshape(size, samples))
        groups += [str(group)] * size
    return pair_scores(np.concatenate(before), np.concatenate(after), groups)


def test_degrees_of_freedom_are_those_of_one_comparison():
    rng, sizes = np.random.default_rng(1), np.array(SCICODE)
    cluster = np.repeat(np.arange(len(sizes)), sizes)
    d = rng.choice([-1.0, 0.0, 1.0], (20, len(cluster)), p=[0.1, 0.8, 0.1])
    sums = np.stack([np.bincount(cluster, weights=row) for row in d])
    one_by_one = [effective_degrees(row - row.mean(), cluster) for row in d]
    assert simulated_power._degrees(d, sums, sizes) == pytest.approx(one_by_one)


def test_groups_of_fewer_and_of_more_items():
    assert sorted(simulated_power.group_sizes(SCICODE, sum(SCICODE))) == sorted(SCICODE)
    fewer, more = (simulated_power.group_sizes(SCICODE, items) for items in (100, 1000))
    assert sum(fewer) == 100
    assert sum(more) == 1000
    assert fewer[:-1] == more[: len(fewer) - 1]


@pytest.mark.parametrize(
    "design", [Design(288, 0.08, 0.04, 1, SCICODE, 0.15), Design(198, 0.155, 0.1, 4, (2,) * 99, 0.3)]
)
def test_what_is_promised_has_the_power_asked_for(design):
    assert design.loss_power(design.detectable()) == pytest.approx(0.8, abs=0.01)
    assert design.margin_power(design.provable()) == pytest.approx(0.8, abs=0.01)
    assert design.provable() == design.provable()


def test_a_loss_that_no_study_shows_is_none():
    assert Design(30, 0.04, 0.02, 1, (3,) * 10, 0.5).detectable() is None
    assert Design(2, 0.1, 0.05, 1, SCICODE, 0.15).provable() is None


@pytest.mark.parametrize("items", [4, 8, 12, 16, 20])
def test_a_loss_of_all_items_is_shown_where_the_comparison_would_show_it(items):
    design = Design(items, 0.15, 0.04, 3, (2,) * 10, 0.15)
    all_lost = pair_scores(np.ones((items, 3)), np.zeros((items, 3)), [str(item // 2) for item in range(items)])
    shown = compare_pairs(all_lost, margin=0.02).loss_shown
    assert design.loss_power(1.0) == shown
    assert (design.detectable() is not None) == shown
