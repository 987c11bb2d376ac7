"""Figures of many answers: by hand, on recorded readings of a real model, and by simulation."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
from support import SHARED_DATA

from bitparity.distance.figures import TokenDistances, Tokens, against, figures, join

RECORDED = SHARED_DATA / "recorded-1.5b"


def answer(
    item: str, divergence: list[float], lost: list[float] | None = None
) -> tuple[str, TokenDistances, np.ndarray]:
    """An answer whose likeliest token differs where the divergence is above 1."""
    values = np.array(divergence)
    gaps = values if lost is None else np.array(lost)
    return item, TokenDistances(values, gaps, values > 1, np.full(len(values), 0.9)), gaps + 1.0


def test_by_hand() -> None:
    tokens = join([answer("a", [0.0, 2.0, 1.0]), answer("b", [3.0]), answer("c", [0.5, 0.5], [-0.5, 0.5])])
    found = figures(tokens)
    assert found is not None
    assert tokens.told.all()
    assert (found.answers, found.tokens) == (3, 6)
    assert found.divergence.value == pytest.approx(7 / 6)
    assert found.divergence_by_answer.value == pytest.approx((1 + 3 + 0.5) / 3)
    assert found.lost.value == pytest.approx(1.0)
    assert found.perplexity_ratio.value == pytest.approx(np.e)
    assert found.perplexity.value == pytest.approx(np.e**2)
    assert found.differs.value == pytest.approx(2 / 6)
    assert found.covered == pytest.approx(0.9)
    assert (found.median.value, found.largest) == (0.75, 3.0)
    (part,) = found.positions
    assert (part.start, part.end, part.tokens) == (0, 16, 6)


def test_positions_of_long_answers() -> None:
    values = [1.0] * 16 + [2.0] * 48 + [3.0] * 6
    found = figures(join([answer("a", values), answer("b", [5.0] * 10)]))
    assert found is not None
    assert [(p.start, p.tokens) for p in found.positions] == [(0, 26), (16, 48), (64, 6)]
    assert [p.divergence.value for p in found.positions] == pytest.approx([(16 + 50) / 26, 2.0, 3.0])


def test_what_was_not_told_is_counted_and_left_out() -> None:
    tokens = join([answer("a", [1.0, np.nan]), answer("b", [np.nan]), answer("c", [2.0])])
    found = figures(tokens)
    assert found is not None
    assert (found.answers, found.tokens, found.divergence.value) == (2, 2, 1.5)
    assert tokens.told.tolist() == [True, False, False, True]
    assert figures(join([answer("a", [np.nan])])) is None
    assert figures(join([])) is None


def test_one_variant_against_another() -> None:
    one = join([answer("a", [2.0, 4.0]), answer("b", [3.0]), answer("c", [5.0])])
    other = join([answer("a", [1.0, 1.0]), answer("b", [0.5]), answer("c", [np.nan])])
    found = against(one, other)
    assert found is not None
    assert found.difference.value == pytest.approx((9 - 2.5) / 3)
    assert found.times is not None
    assert found.times.value == pytest.approx(9 / 2.5)
    with pytest.raises(ValueError, match="same answers"):
        against(one, join([answer("a", [1.0, 1.0])]))


def simulated(rng: np.random.Generator, scale: float) -> Tokens:
    """Forty answers whose divergences are heavy-tailed, each answer with a level of its own."""
    rows = []
    for item in range(40):
        length = int(rng.integers(20, 200))
        rows.append(answer(str(item), list(scale * rng.lognormal(0, 0.5) * rng.lognormal(0, 1, length))))
    return join(rows)


def test_intervals_cover_and_equal_variants_are_not_told_apart() -> None:
    rng = np.random.default_rng(7)
    truth, covered, false = np.exp(0.125 + 0.5), 0, 0
    for _ in range(200):
        one = simulated(rng, 1.0)
        found = figures(one)
        assert found is not None
        assert found.divergence.ci95 is not None
        low, high = found.divergence.ci95
        covered += low <= truth <= high
        repeated = replace(one, divergence=rng.permutation(one.divergence))
        compared = against(one, repeated)
        assert compared is not None
        false += compared.farther
    assert covered >= 184
    assert false <= 2  # three standard errors on one side: 0.2 % expected


@pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded readings are not here")
@pytest.mark.parametrize("variant", ["bf16-again", "fp8", "nvfp4"])
def test_the_recorded_readings(variant: str) -> None:
    arrays = dict(np.load(RECORDED / "kl_tokens.npz"))
    items = json.loads((RECORDED / "items.json").read_text(encoding="utf-8"))
    told = json.loads((RECORDED / "kl_summary.json").read_text(encoding="utf-8"))[variant]
    where, gap, differs = arrays["where"], arrays[f"{variant}_gap"].astype(float), arrays[f"{variant}_top1"]
    bounds = [0, *(np.flatnonzero(np.diff(where)) + 1), len(where)]
    for name in ("mmlu_pro", "math500", "humaneval", "all"):
        rows = [
            (items[where[a]][1], TokenDistances(abs(gap[a:b]), gap[a:b], differs[a:b], np.ones(b - a)), gap[a:b])
            for a, b in itertools.pairwise(bounds)
            if name in (items[where[a]][0], "all")
        ]
        found = figures(join(rows))
        assert found is not None
        assert (found.answers, found.tokens) == (told[name]["items"], told[name]["tokens"])
        assert found.differs.value == pytest.approx(told[name]["top1_differs"], rel=1e-6)
        assert found.lost_by_answer.value == pytest.approx(told[name]["nll_gap_item_mean"], rel=1e-3, abs=1e-9)
        assert found.lost_by_answer.error == pytest.approx(told[name]["nll_gap_item_se"], rel=1e-2, abs=1e-9)
