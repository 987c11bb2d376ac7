from __future__ import annotations

from typing import Any

import pytest
from made_results import results

from bitparity.report import words


def compared(verdict: str, difference: float, ci95: tuple[float, float], loss_shown: bool = False) -> dict[str, Any]:
    return {"verdict": verdict, "difference": difference, "ci95": list(ci95), "loss_shown": loss_shown}


def sentence(found: dict[str, Any], lang: Any = "en") -> str:
    return words.sentence("fp8", results(found).benchmarks, lang)


def said(comparison: dict[str, Any]) -> str:
    entry = {"comparisons": {"fp8": comparison}, "margin": 0.02}
    return sentence({"benchmarks": {"math500": entry}})


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (
            compared("worse_beyond_margin", -0.21, (-0.25, -0.17), True),
            "fp8: loses 21.0 points on math500 (17.0 to 25.0), beyond the margin of 2 points.",
        ),
        (
            compared("worse_within_margin", -0.01, (-0.015, -0.005), True),
            "fp8: loses 1.0 points on math500 (0.5 to 1.5), within the margin of 2 points.",
        ),
        (
            compared("inconclusive", -0.038, (-0.069, -0.007), True),
            "fp8: loses 3.8 points on math500 (0.7 to 6.9), perhaps more than the margin of 2 points.",
        ),
        (compared("equivalent", 0.001, (-0.005, 0.006)), "fp8: no loss larger than 2 points on math500."),
        (
            compared("inconclusive", -0.012, (-0.04, 0.016)),
            "fp8: cannot tell on math500 (difference −1.2 points, −4.0 to +1.6; margin 2 points).",
        ),
        (compared("invalid", -0.5, (-0.6, -0.4)), "fp8: no valid figure on math500 (a guard says why)."),
    ],
)
def test_each_verdict_is_one_plain_sentence(comparison: dict[str, Any], expected: str) -> None:
    assert said(comparison) == expected


def test_nothing_compared_is_said_too() -> None:
    assert sentence({"benchmarks": {"math500": {"status": "not_run"}}}) == "fp8: nothing was compared."


def test_figures_are_points_and_per_cent() -> None:
    assert words.percent(0.1234) == "12.3 %"
    assert words.percent(None) == "–"
    assert words.points(-0.0123) == "−1.2"
    assert words.points(0.0123) == "+1.2"
    assert words.interval([0.1, 0.25], signed=False) == "10.0 to 25.0"
    assert (words.margin(0.01), words.margin(0.025)) == ("1 point", "2.5 points")
    assert (words.p_value(0.0004), words.p_value(0.02), words.p_value(None)) == ("< 0.001", "0.020", "–")


def test_an_engine_says_what_ran() -> None:
    facts = {
        "engine": "transformers",
        "version": "5.17.0",
        "device_name": "AMD EPYC",
        "dtype": "bfloat16",
        "quantization": {"weights": ["float 4 bit, tensor_group 16"], "activations": ["float 4 bit"]},
        "linear_kernels": {"Float32Linear": 211},
        "trust_remote_code": True,
    }
    line = words.engine(facts)
    for part in ("transformers 5.17.0", "AMD EPYC", "weights float 4 bit", "Float32Linear x 211", "trust_remote_code"):
        assert part in line
    assert "not quantized" in words.engine({**facts, "quantization": None})
    assert words.engine(None) == "not run"


def several(margins: dict[str, float], **verdicts: dict[str, Any]) -> dict[str, Any]:
    return {
        "benchmarks": {
            name: {"comparisons": {"fp8": verdict}, "margin": margins.get(name, 0.02)}
            for name, verdict in verdicts.items()
        }
    }


SAME = compared("equivalent", 0.001, (-0.005, 0.006))
OPEN = compared("inconclusive", -0.012, (-0.04, 0.016))
LOST = compared("worse_beyond_margin", -0.21, (-0.25, -0.17), True)
WITHIN = compared("worse_within_margin", -0.01, (-0.015, -0.005), True)
INVALID = compared("invalid", -0.5, (-0.6, -0.4))


def test_a_sentence_says_losses_first_and_what_is_alike_once() -> None:
    found = several({"d": 0.01}, a=SAME, b=OPEN, c=INVALID, d=SAME, e=WITHIN, f=OPEN, g=SAME, h=LOST, i=INVALID)
    assert sentence(found) == (
        "fp8: loses 21.0 points on h (17.0 to 25.0), beyond the margin of 2 points; "
        "loses 1.0 points on e (0.5 to 1.5), within the margin of 2 points; "
        "cannot tell on b and f; no loss larger than 2 points on a and g; no loss larger than 1 point on d; "
        "no valid figure on c and i (a guard says why)."
    )
    assert sentence(several({}, a=SAME, b=OPEN, c=SAME, d=SAME), "zh") == (
        "fp8：在 b 上无法判定（差值 −1.2 个百分点，−4.0 至 +1.6；界值 2 个百分点）；"
        "在 a、c、d 上的损失不超过 2 个百分点。"
    )


def test_one_thing_said_of_every_benchmark_names_none() -> None:
    found = several({}, a=SAME, b=SAME, c=SAME)
    assert sentence(found) == "fp8: no loss larger than 2 points on any of the 3 benchmarks."
    assert sentence(found, "zh") == "fp8：在全部 3 个基准上的损失不超过 2 个百分点。"
    assert sentence(several({}, a=OPEN, b=OPEN)) == "fp8: cannot tell on any of the 2 benchmarks."
