"""The recorded runs of one small model in three precisions and of its baseline again (../shared/data/recorded)."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from support import SHARED_DATA

from bitparity.stats import adjust_holm, compare_scores

RECORDED = SHARED_DATA / "recorded"
pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded runs (../shared/data) are not here")


def rows(variant: str, benchmark: str) -> list[dict]:
    with gzip.open(RECORDED / f"{variant}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return sorted((row for row in map(json.loads, lines) if row["set"] == benchmark), key=lambda row: row["id"])


def math_scores(variant: str) -> list[bool]:
    from math_verify import parse, verify

    return [
        verify(
            parse(f"${row['gold']}$", parsing_timeout=None),
            parse(row["text"], parsing_timeout=None),
            timeout_seconds=None,
        )
        for row in rows(variant, "math500")
    ]


def choice_scores(variant: str) -> list[bool]:
    return [
        (re.findall(r"answer is \(?([A-J])\)?", row["text"]) or [""])[-1] == row["gold"]
        for row in rows(variant, "mmlu_pro")
    ]


@pytest.mark.slow
def test_math500_shows_a_loss_for_nvfp4_alone():
    baseline = math_scores("bf16")
    found = {name: compare_scores(baseline, math_scores(name), margin=0.02) for name in ("nvfp4", "fp8", "bf16_aa")}
    assert {name: (c.lost, c.gained) for name, c in found.items()} == {
        "nvfp4": (40, 21),
        "fp8": (21, 17),
        "bf16_aa": (14, 7),
    }
    assert found["nvfp4"].p_value == pytest.approx(0.0204, abs=1e-4)
    assert [found[name].loss_shown for name in found] == [True, False, False]
    assert {c.verdict for c in found.values()} == {"inconclusive"}
    assert max(adjust_holm([found["nvfp4"].p_value, found["fp8"].p_value])) > 0.05 > 2 * found["nvfp4"].p_value


def test_mmlu_pro_flips():
    c = compare_scores(choice_scores("bf16"), choice_scores("nvfp4"), margin=0.01)
    assert (c.items, c.lost, c.gained) == (3000, 78, 62)
    assert c.ci95[0] < -0.01 < 0 < c.ci95[1]
    assert c.verdict == "inconclusive"
