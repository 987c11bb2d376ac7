from __future__ import annotations

from typing import Any

import pytest
from made_results import typed

from bitparity.report import language, words
from bitparity.results.schema import Comparison


def compared(verdict: str, difference: float, ci95: tuple[float, float], loss_shown: bool = False) -> dict[str, Any]:
    return {"verdict": verdict, "difference": difference, "ci95": list(ci95), "loss_shown": loss_shown}


def said(comparison: dict[str, Any]) -> str:
    return words.clause(typed(Comparison, comparison), 0.02)


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (
            compared("worse_beyond_margin", -0.21, (-0.25, -0.17), True),
            "loses 21.0 points (17.0 to 25.0), beyond the margin of 2 points",
        ),
        (
            compared("worse_within_margin", -0.01, (-0.015, -0.005), True),
            "loses 1.0 points (0.5 to 1.5), within the margin of 2 points",
        ),
        (
            compared("inconclusive", -0.038, (-0.069, -0.007), True),
            "loses 3.8 points (0.7 to 6.9), perhaps more than the margin of 2 points",
        ),
        (compared("equivalent", 0.001, (-0.005, 0.006)), "no loss larger than 2 points"),
        (
            compared("inconclusive", -0.012, (-0.04, 0.016)),
            "cannot tell (difference −1.2 points, −4.0 to +1.6; margin 2 points)",
        ),
        (compared("invalid", -0.5, (-0.6, -0.4)), "no valid figure (a guard says why)"),
    ],
)
def test_each_verdict_is_one_plain_sentence(comparison: dict[str, Any], expected: str) -> None:
    assert said(comparison) == expected


def test_figures_are_points_and_per_cent() -> None:
    assert language.percent(0.1234) == "12.3 %"
    assert language.percent(None) == "–"
    assert language.points(-0.0123) == "−1.2"
    assert language.points(0.0123) == "+1.2"
    assert language.interval([0.1, 0.25], written=language.hundredths) == "10.0 to 25.0"
    assert (language.margin(0.01), language.margin(0.025)) == ("1 point", "2.5 points")
    assert (language.p_value(0.0004), language.p_value(0.02), language.p_value(None)) == ("< 0.001", "0.020", "–")


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
    seen = {"weights": {"float 8 bit, channel": 210}}  # as the transformers engine counts its layers
    assert "weights float 8 bit, channel x 210" in words.engine({**facts, "quantization": seen})
    assert words.engine(None) == "not run"
