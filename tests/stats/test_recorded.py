"""The recorded runs of one small model in three precisions and of its baseline again (../shared/data/recorded)."""

from __future__ import annotations

import gzip
import json
import re

import pytest
from support import SHARED_DATA, compare_scores

RECORDED = SHARED_DATA / "recorded"
pytestmark = pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded runs (../shared/data) are not here")


def rows(variant: str, benchmark: str) -> list[dict]:
    with gzip.open(RECORDED / f"{variant}.jsonl.gz", "rt", encoding="utf-8") as lines:
        return sorted((row for row in map(json.loads, lines) if row["set"] == benchmark), key=lambda row: row["id"])


def choice_scores(variant: str) -> list[bool]:
    return [
        (re.findall(r"answer is \(?([A-J])\)?", row["text"]) or [""])[-1] == row["gold"]
        for row in rows(variant, "mmlu_pro")
    ]


def test_mmlu_pro_flips():
    c = compare_scores(choice_scores("bf16"), choice_scores("nvfp4"), margin=0.01)
    assert (c.items, c.lost, c.gained) == (3000, 78, 62)
    assert c.ci95[0] < -0.01 < 0 < c.ci95[1]
    assert c.verdict == "inconclusive"
