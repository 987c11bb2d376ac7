"""The words of a decision, in both languages, and the doubts grouped by guard."""

from __future__ import annotations

from typing import Any

import pytest
from made_results import results

from bitparity.report.gate import judge
from bitparity.report.headline import Headline, headlines
from bitparity.report.tables import card, doubt_count, doubts, glossary
from bitparity.report.words import verdict_words
from bitparity.results.schema import NOT_GRADED_AGAIN, Results, StudyHeader

VARIANTS = {"bf16": {"baseline": True, "model": "m/bf16"}, "fp8": {}, "nvfp4": {}}


def compared(verdict: str, difference: float, ci95: tuple[float, float], **more: Any) -> dict[str, Any]:
    fields = {"verdict": verdict, "difference": difference, "ci95": list(ci95), "items": 500, "p_adjusted": 0.5}
    return {**fields, "test": "mcnemar_exact", **more}


def made(overall: dict[str, Any] | None = None, **benchmarks: Any) -> Results:
    entries = {
        name: {"margin": 0.02, "items": 500, "scores": {v: {} for v in VARIANTS}, **entry}
        for name, entry in benchmarks.items()
    }
    return results({"variants": VARIANTS, "benchmarks": entries, "overall": overall or {}})


def block(found: Results, name: str = "nvfp4", lang: Any = "en") -> Headline:
    return next(each for each in headlines(found, lang) if each.name == name)


LIKELY = compared("inconclusive", -0.038, (-0.070, -0.008), p_value=0.020, p_adjusted=0.08)
FINE = compared("equivalent", 0.001, (-0.005, 0.006))
OPEN = compared("inconclusive", -0.008, (-0.033, 0.017), flips=0.08, provable_margin=0.033)
BEYOND = compared("worse_beyond_margin", -0.21, (-0.25, -0.17), loss_shown=True, p_value=1e-5, p_adjusted=1e-5)
FLOOR = compared("invalid", 0.0, (-0.1, 0.1), invalid_by=["floor"], p_adjusted=None)


def test_an_interval_without_zero_is_said_with_the_reason_why_it_does_not_count() -> None:
    found = made(a={"comparisons": {"nvfp4": LIKELY, "fp8": FINE}}, b={"comparisons": {"nvfp4": FINE, "fp8": FINE}})
    said = block(found)
    assert said.first == "nvfp4: Do not deploy unless a loss of up to 7.0 points on a is acceptable."
    assert said.findings == [
        "−3.8 on a (−7.0 to −0.8), not counted as shown after correction for 4 comparisons (p 0.020, adjusted 0.080).",
        "No loss beyond the margin: b +0.1 (−0.5 to +0.6).",
    ]
    assert verdict_words(found.benchmarks["a"].comparisons["nvfp4"]) == "lower, not counted as shown"
    assert block(found, "fp8").decision == "Deploy: a loss beyond the margin is ruled out on every benchmark (2 of 2)."


def test_a_loss_beyond_the_margin_forbids_and_the_average_is_given_with_its_number() -> None:
    pooled = {"benchmarks": ["a", "b"], "of": 3, "difference": -0.1, "ci95": [-0.12, -0.08], "margin": 0.02}
    whole = {"nvfp4": {**pooled, "verdict": "worse_beyond_margin", "loss_shown": True}}
    found = made(
        whole, a={"comparisons": {"nvfp4": BEYOND}}, b={"comparisons": {"nvfp4": FINE}}, c={"status": "not_run"}
    )
    said = block(found)
    assert (said.tone, said.decision) == (
        "loss",
        "Do not deploy: a loss beyond the margin is shown on a and the average.",
    )
    assert said.facts == [
        "On average −10.0 (−12.0 to −8.0) over 2 of 3 benchmarks, margin 2 points: worse, beyond the margin."
    ]
    assert (
        said.findings[0]
        == "−21.0 on a (−25.0 to −17.0), a loss beyond the margin of 2 points (p < 0.001, adjusted < 0.001)."
    )


def test_what_is_too_hard_is_said_and_what_is_missing_leaves_it_open() -> None:
    found = made(a={"comparisons": {"nvfp4": FINE}}, aime24={"comparisons": {"nvfp4": FLOOR}})
    assert block(found).decision == (
        "Deploy, as far as tested: a loss beyond the margin is ruled out on 1 of 2 benchmarks; "
        "nothing is known of aime24."
    )
    chinese = "就已测部分而言可以部署：2 个基准中 1 个已排除超出界值的损失；aime24 上一无所知。"
    assert block(found, lang="zh").decision == chinese
    missing = made(a={"comparisons": {"nvfp4": FINE}}, b={"status": "not_run", "reason": "no data"})
    assert block(missing).decision == "Not decided: b not run; running it would decide."
    assert block(missing).findings[0] == "No figure on b: not run: no data."


def test_answers_without_grades_are_to_be_graded_and_not_asked_again() -> None:
    found = made(a={"comparisons": {"nvfp4": FINE}}, b={"status": "not_run", "reason": NOT_GRADED_AGAIN})
    assert block(found).decision == (
        "Not decided: b not graded; grading it (bitparity grade, with its data file) would decide."
    )
    assert block(found).findings[0] == f"No figure on b: answered, but not graded: {NOT_GRADED_AGAIN}."
    for lang, wrong in (("en", "not run"), ("zh", "未运行")):
        said = "\n".join([block(found, lang=lang).first, *block(found, lang=lang).rest])
        said += "".join(map(str, judge(found, lang=lang)))
        assert wrong not in said


def test_an_open_benchmark_says_what_would_decide_it() -> None:
    said, *_ = block(made(a={"comparisons": {"nvfp4": OPEN}, "available": 500})).findings
    assert said.startswith("−0.8 on a (−3.3 to +1.7), no loss is shown, and one beyond the margin of 2 points")
    assert "it would take 2,171 items if the difference stays as it is, and it has 500: take a larger" in said


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_every_reason_has_words(lang: Any) -> None:
    reasons = [
        compared("inconclusive", -0.02, (-0.05, -0.001), p_value=0.06),
        compared("inconclusive", -0.02, (-0.05, -0.001), p_value=0.01, repeated_ci95=[-0.06, 0.01]),
        compared("inconclusive", 0.05, (0.01, 0.2), items=30),
        compared("worse_within_margin", -0.01, (-0.015, -0.005), loss_shown=True),
        compared("inconclusive", -0.05, (-0.09, -0.01), loss_shown=True, doubted_by=["cut_off"]),
        compared("invalid", 0.0, (-0.1, 0.1), invalid_by=["cut_off"]),
    ]
    found = made(**{f"b{n}": {"comparisons": {"nvfp4": c}} for n, c in enumerate(reasons)})
    assert len(block(found, lang=lang).findings) == len(reasons)


def guard(name: str, variant: str | None, level: str = "warning", **more: Any) -> dict[str, Any]:
    return {"name": name, "variant": variant, "level": level, "message": f"{name} {variant}", **more}


def test_a_precision_that_this_device_did_not_compute_in_says_so_in_the_headline() -> None:
    found = made(a={"comparisons": {"nvfp4": FINE, "fp8": FINE}, "guards": [guard("weight_only", "nvfp4")]})
    assert "unquantized activations (weight only)" in block(found).findings[-1]
    assert not any("weight only" in said for said in block(found, "fp8").rest)


def test_doubts_are_grouped_and_the_most_serious_first() -> None:
    small, large = guard("cut_off", "fp8", value=0.03), guard("cut_off", "nvfp4", value=0.055)
    large["if_right"] = {"nvfp4": [-0.001, 0.009]}
    a = {"guards": [guard("limit", None, value=0.9), small, large], "comparisons": {}}
    b = {"guards": [guard("floor", "bf16", "error", value=0.0), small], "comparisons": {"nvfp4": FLOOR, "fp8": FLOOR}}
    found = made(a=a, b=b)
    first, second, third = doubts(found)
    assert (first.name, first.level, first.effect) == ("floor", "error", "Comparisons that it makes invalid: 2.")
    assert (second.name, second.where, second.message) == ("cut_off", "a: fp8, nvfp4; b: fp8", "cut_off nvfp4")
    assert second.effect == (
        "Even if all these answers (up to 5.5 %) were right in both variants, the difference would be: "
        "nvfp4 on a −0.1 to +0.9."
    )
    assert (third.name, third.where) == ("limit", "a: every variant")
    assert doubt_count(found) == "errors 1, warnings 2"


def test_the_card_says_what_is_known_and_leaves_out_what_is_not() -> None:
    told = dict(card(made(a={"comparisons": {}})))
    assert told == {"Model": "m/bf16", "Asked": "500 items, benchmarks: 1, variants: 3"}
    header = {"name": "a, b", "fingerprint": "", "profile": "", "limit": {}, "version": "0.1.0"}
    study = StudyHeader(**header, command="bitparity compare 'a b' c --margin 2")
    told = dict(card(made(a={"comparisons": {}}).model_copy(update={"study": study})))
    assert told["Baseline"] == "m/bf16"  # which model gave others' results is not known
    assert told["To reproduce"] == "bitparity compare 'a b' c --margin 2  # bitparity 0.1.0"
    assert [word for word, _ in glossary()] == ["Exam", "Margin", "Control", "Invalid"]
