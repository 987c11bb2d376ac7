"""Order and units of spared modules, the bend, and the rule by which a module stands out."""

from __future__ import annotations

import numpy as np
import pytest

from bitparity.localization.passes import Measured
from bitparity.localization.recipe import bend, greedy, prefixes, recommended, units
from bitparity.localization.shares import Shares, stand_out

L = "model.layers.0"


def test_what_vllm_joins_is_spared_together() -> None:
    names = [f"{L}.self_attn.{p}_proj" for p in "qkvo"] + [f"{L}.mlp.{p}_proj" for p in ("gate", "up", "down")]
    found = units(dict.fromkeys([*names, f"{L.replace('0', '1')}.self_attn.q_proj"], (100, 30)))
    sizes = sorted((len(unit.modules), unit.baseline, unit.candidate) for unit in found)
    assert sizes == [(1, 100, 30)] * 3 + [(2, 200, 60), (3, 300, 90)]


def test_the_largest_share_for_a_byte_comes_first_and_prefixes_grow() -> None:
    found = units({f"m{n}.down_proj": (10, 3) for n in range(100)})
    order = greedy(found, {f"m{n}.down_proj": n / 100 for n in range(100)})
    assert order[0].modules == ("m99.down_proj",)
    counts = [len(each) for each in prefixes(order, 1000)]
    assert counts == [2, 5, 10, 15, 25, 50]
    assert all(order[: len(each)] == each for each in prefixes(order, 1000))


def test_the_bend() -> None:
    assert bend([(0.05, 0.3), (0.15, 0.6), (0.5, 0.8)], 1.0) == 1
    assert bend([(0.1, 0.1), (0.5, 0.4)], 1.0) is None
    assert bend([(0.1, 0.15), (0.4, 0.9)], 0.5) == 1
    assert bend([], 1.0) is None


def test_the_recommended_point_surely_regains_half_or_is_the_last_allowed_one() -> None:
    assert recommended([(0.02, 0.3), (0.05, 0.51), (0.15, 0.6), (0.25, 0.7)]) == 1
    assert recommended([(0.02, 0.1), (0.15, 0.4), (0.25, 0.7)]) == 1
    assert recommended([(0.25, 0.9)]) is None
    assert recommended([]) is None


@pytest.mark.parametrize(("share", "named"), [(0.2, False), (0.5, True)])
def test_the_rule_errs_as_often_as_it_says(share: float, named: bool) -> None:
    """At the very threshold some module is named in at most 5 % of cases though all of 200 were tested."""
    rng, trials, said = np.random.default_rng(3), 300, 0
    unit = np.arange(64)
    for _ in range(trials):
        whole = rng.gamma(1.0, 1.0, 64)
        shares = Shares(Measured(np.full(64, 16.0), whole), unit)
        low = {}
        for module in range(20):  # the largest of them would have been chosen on the same answers
            given = whole - whole * np.clip(rng.normal(share, 0.2, 64), -1, 1)
            low[str(module)] = shares.at_least(given, 200)
        said += bool(stand_out(low))
    assert said == trials if named else said <= 0.05 * trials


def test_answers_left_out_count_neither_in_the_share_nor_in_its_spread() -> None:
    whole = np.random.default_rng(4).gamma(1.0, 1.0, 12)
    given = whole * np.random.default_rng(5).uniform(0.2, 0.6, 12)
    few, all_ = (Shares(Measured(np.full(n, 16.0), whole[:n]), np.arange(n)) for n in (5, 12))
    left_out = np.where(np.arange(12) < 5, given, np.nan)
    assert all_.regained(left_out) == few.regained(given[:5])
    assert all_.at_least(left_out, 7) == few.at_least(given[:5], 7)


def test_one_answer_tells_nothing_of_its_spread() -> None:
    shares = Shares(Measured(np.array([5.0]), np.array([1.0])), np.array([0]))
    found = shares.regained(np.array([0.1]))
    assert found is not None
    assert found.value == pytest.approx(0.9)
    assert shares.at_least(np.array([0.1]), 7) is None
    assert stand_out({"m": None}) == []
