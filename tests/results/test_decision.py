"""The rule that makes a decision of verdicts: every case by hand, and what must hold of any combination of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import results, typed

from bitparity.report.gate import exit_code, judge
from bitparity.results.decision import Evidence, decide, decisions
from bitparity.results.schema import Comparison, Decision, Overall
from bitparity.stats.power import provable_margin
from bitparity.stats.verdicts import WITHIN

MARGIN = 0.02


def comparison(verdict: str, ci95: tuple[float, float], **more: Any) -> Comparison:
    fields = {"items": 500, "difference": sum(ci95) / 2, "p_value": 0.5, "p_adjusted": 0.5, "test": "mcnemar_exact"}
    return typed(Comparison, {**fields, "verdict": verdict, "ci95": ci95, **more})


def found(*seen: Evidence, pooled: Overall | None = None, blocked_by: tuple[str, ...] = ()) -> Decision:
    return decide(seen, pooled, blocked_by)


def on(bench: str, verdict: str, ci95: tuple[float, float] = (-0.01, 0.01), **more: Any) -> Evidence:
    return Evidence(bench, MARGIN, comparison(verdict, ci95, **more))


FINE = on("fine", "equivalent")
WITHIN_MARGIN = on("within", "worse_within_margin", (-0.015, -0.005), loss_shown=True)
NARROW = on("narrow", "inconclusive", (-0.034, 0.014))
WIDE = on("wide", "inconclusive", (-0.06, 0.03))
LIKELY = on("likely", "inconclusive", (-0.070, -0.008), p_value=0.020, p_adjusted=0.08)
LOSS = on("loss", "inconclusive", (-0.070, -0.008), loss_shown=True, p_adjusted=0.02)
BEYOND = on("beyond", "worse_beyond_margin", (-0.2, -0.1), loss_shown=True)
INVALID = on("invalid", "invalid", invalid_by=("cut_off_difference",))
HARD = on("hard", "invalid", invalid_by=("floor",))
MISSING = Evidence("missing", MARGIN, None, run=False)
UNSCORED = Evidence("unscored", MARGIN, FINE.comparison, unscored=3)


@pytest.mark.parametrize(
    ("seen", "choice"),
    [
        ([FINE], "deploy"),
        ([FINE, WITHIN_MARGIN], "deploy"),
        ([FINE, NARROW], "deploy_if"),
        ([FINE, WIDE], "not_decided"),
        ([FINE, LIKELY], "deploy_if"),
        ([FINE, LOSS], "deploy_if"),
        ([LOSS, WIDE], "deploy_if"),  # the loss is what has to be accepted
        ([FINE, BEYOND], "do_not_deploy"),
        ([BEYOND, INVALID, MISSING], "do_not_deploy"),
        ([FINE, HARD], "deploy_if"),
        ([HARD], "not_decided"),
        ([FINE, INVALID], "not_decided"),
        ([LOSS, INVALID], "not_decided"),
        ([FINE, MISSING], "not_decided"),
        ([FINE, UNSCORED], "not_decided"),
        ([], "not_decided"),
    ],
)
def test_every_case_of_the_rule(seen: list[Evidence], choice: str) -> None:
    assert found(*seen).decision == choice


def pool(verdict: str, **more: Any) -> Overall:
    return typed(Overall, {"verdict": verdict, "benchmarks": ["fine"], **more})


def test_the_average_may_forbid_and_never_allow() -> None:
    assert found(FINE, pooled=pool("worse_beyond_margin", loss_shown=True)).decision == "do_not_deploy"
    assert found(FINE, pooled=pool("inconclusive")).decision == "deploy_if"
    assert found(FINE, NARROW, pooled=pool("equivalent")).decision == "deploy_if"
    assert found(FINE, WIDE, pooled=pool("equivalent")).decision == "not_decided"
    assert found(FINE, WIDE, pooled=pool("inconclusive", loss_shown=True)).decision == "deploy_if"


def test_a_broken_checkpoint_is_not_deployed_whatever_its_scores() -> None:
    assert found(FINE, blocked_by=("distance_nan",)).decision == "not_decided"
    assert found(BEYOND, blocked_by=("distance_nan",)).decision == "do_not_deploy"


def test_what_is_not_plainly_fine_is_named_gravest_first_with_the_loss_not_ruled_out() -> None:
    made = found(FINE, HARD, NARROW, INVALID, LIKELY, LOSS, WITHIN_MARGIN)
    assert [f.benchmark for f in made.findings] == ["loss", "likely", "invalid", "narrow", "hard", "within"]
    assert made.fine == ["fine"]
    assert (made.valid, made.of) == (5, 7)
    assert {f.benchmark: f.up_to for f in made.findings if f.up_to} == {"loss": 0.07, "likely": 0.07, "narrow": 0.034}


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (LIKELY, "correction"),
        (on("x", "inconclusive", (-0.05, -0.001), p_value=0.06, p_adjusted=0.06), "test"),
        (on("x", "inconclusive", (-0.05, -0.001), p_value=0.01, repeated_ci95=(-0.06, 0.01)), "looks"),
        (NARROW, "reach"),
        (on("x", "inconclusive", (-0.015, 0.01), repeated_ci95=(-0.03, 0.02)), "looks"),
        (Evidence("x", 0.05, comparison("inconclusive", (0.01, 0.2), items=30)), "few"),
        (Evidence("x", 0.05, comparison("inconclusive", (-0.04, 0.2)), in_proportion=True), "proportion"),
        (LOSS, None),
    ],
)
def test_an_open_verdict_has_its_reason(seen: Evidence, why: str | None) -> None:
    assert found(seen).findings[0].why == why


def test_what_would_decide_is_what_the_formulas_of_the_plan_say() -> None:
    seen = Evidence(
        "x", MARGIN, comparison("inconclusive", (-0.03, 0.03), flips=0.08, provable_margin=0.033), seconds=9.0
    )
    needs = found(seen).findings[0].needs
    assert needs is not None
    assert provable_margin(needs.items, 0.08) <= MARGIN + 1e-4
    assert provable_margin(needs.items - 20, 0.08) > MARGIN
    assert needs.hours == pytest.approx((needs.items - 500) * 9 / 3600)


def test_what_would_decide_leaves_room_for_the_difference_that_was_seen() -> None:
    seen = {"test": "sign_flip_permutation", "flips": 0.1, "provable_margin": 0.02}
    loss = found(Evidence("x", MARGIN, comparison("inconclusive", (-0.022, 0.002), **seen))).findings[0].needs
    assert loss is not None
    # -1.0 with 1.2 on either side, 1.0 away from the margin of 2: 1.44 times the items
    assert loss.items == 720
    assert found(Evidence("x", MARGIN, comparison("inconclusive", (-0.043, 0.003), **seen))).findings[0].needs is None


def test_samples_help_only_as_far_as_the_noise_of_decoding_goes() -> None:
    fields = {"test": "sign_flip_permutation", "flips": 0.1, "provable_margin": 0.03}
    noisy = comparison("inconclusive", (-0.03, 0.03), rerun_ci95=(-0.024, 0.024), **fields)
    needs = found(Evidence("x", MARGIN, noisy, samples=2, available=500, seconds=1.0)).findings[0].needs
    # variance 1, of it 0.64 noise; with k samples 0.36 + 1.28 / k <= (2/3)^2 from k = 15.16 on
    assert needs is not None
    assert (needs.items, needs.samples) == (1125, 16)
    assert needs.hours == pytest.approx(500 * 14 / 3600)
    sure = comparison("inconclusive", (-0.03, 0.03), rerun_ci95=(-0.015, 0.015), **fields)
    needs = found(Evidence("x", MARGIN, sure, samples=2, available=500)).findings[0].needs
    assert needs is not None
    assert (needs.items, needs.samples, needs.hours) == (1125, None, None)


KINDS = [FINE, WITHIN_MARGIN, NARROW, WIDE, LIKELY, LOSS, BEYOND, INVALID, HARD, MISSING, UNSCORED]
POOLS = st.sampled_from([None, *(pool(v) for v in ("equivalent", "inconclusive", "worse_beyond_margin"))])
BLOCKS = st.sampled_from([(), ("distance_broken",)])


@given(st.lists(st.sampled_from(KINDS), max_size=5), POOLS, BLOCKS)
def test_no_combination_is_decided_better_than_its_worst_part_allows(
    seen: list[Evidence], pooled: Overall | None, blocked_by: tuple[str, ...]
) -> None:
    made = decide(seen, pooled, blocked_by)
    beyond = BEYOND in seen or (pooled is not None and pooled.verdict == "worse_beyond_margin")
    assert (made.decision == "do_not_deploy") == beyond
    if made.decision in ("deploy", "deploy_if"):
        assert not blocked_by
        assert not {INVALID, MISSING, UNSCORED} & {*seen}
        assert made.valid
    if made.decision == "deploy":
        assert {*seen} <= {FINE, WITHIN_MARGIN}
    if made.decision == "deploy_if":  # never without a condition
        told = any(f.up_to is not None or f.standing == "too_hard" for f in made.findings)
        assert told or (pooled is not None and pooled.verdict not in WITHIN)
    assert len(made.fine) + len(made.findings) == made.of == len(seen)


@settings(max_examples=60)
@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
def test_a_decision_agrees_with_the_gate(seen: list[Evidence]) -> None:
    scores = {name: {"unscored": 0} for name in ("bf16", "fp8")}
    benchmarks = {
        f"{number}": {
            "status": "measured" if each.run else "not_run",
            "margin": each.margin,
            "comparisons": {} if each.comparison is None else {"fp8": dict(each.comparison)},
            "scores": scores | {"fp8": {"unscored": each.unscored}} if each.run else {},
        }
        for number, each in enumerate(seen)
    }
    variants = {"bf16": {"baseline": True}, "fp8": {}}
    whole = results({"variants": variants, "benchmarks": benchmarks})
    made, code = decisions(whole)["fp8"], exit_code(judge(whole))
    assert (made.decision == "deploy") == (code == 0)
    assert (made.decision == "do_not_deploy") == (code == 1)
