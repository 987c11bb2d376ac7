"""Whole studies over recorded answers of a real model in three precisions, with a control: the verdicts."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import SHARED_DATA, write_jsonl, write_yaml

from bitparity.progress.events import Events
from bitparity.results import build as results
from bitparity.runner import run_study
from bitparity.study.resolve import load_study

RECORDED = SHARED_DATA / "recorded"
NAMES = {"bf16": "bf16", "fp8": "fp8", "nvfp4": "nvfp4", "control": "bf16_aa"}
SETS = {"math500": "math500", "mmlu_pro": "mmlu_pro", "aime24x16": "aime24"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RECORDED.is_dir(), reason="the recorded runs are not on this machine"),
]


def rows(path: Path) -> Iterator[dict[str, Any]]:
    with (gzip.open if path.suffix == ".gz" else open)(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def sample(row: dict[str, Any]) -> dict[str, Any]:
    """A recorded row as the replay engine reads it; AIME's ids are ITEM#SAMPLE."""
    item, _, number = row["id"].partition("#")
    answer = {"benchmark": SETS[row["set"]], "item": item, "sample": int(number or 0), "text": row["text"]}
    return answer | {"finish": row["fin"], "tokens": row["n"]}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """results.json of all that was recorded."""
    folder = tmp_path_factory.mktemp("recorded")
    for name, stem in NAMES.items():
        recorded = [row for row in rows(RECORDED / f"{stem}.jsonl.gz") if row["set"] in SETS]
        write_jsonl(folder / f"{name}.jsonl", map(sample, recorded))
    asked = {row["id"] for row in rows(RECORDED / "bf16.jsonl.gz") if row["set"] == "mmlu_pro"}
    questions = (row for row in rows(SHARED_DATA / "mmlu_pro_test.jsonl.gz") if str(row["question_id"]) in asked)
    write_jsonl(folder / "mmlu_pro.jsonl", questions)
    study = {
        "study": "recorded",
        "engine": {"kind": "replay"},
        # the figures of docs/statistics.md are against the first run alone
        "reference": "first",
        "variants": {
            "bf16": {"model": "bf16.jsonl", "baseline": True},
            "fp8": {"model": "fp8.jsonl"},
            "nvfp4": {"model": "nvfp4.jsonl"},
            "control": {"model": "control.jsonl", "control": True},
        },
        "benchmarks": [
            {"name": "math500", "data": str(SHARED_DATA / "math500.jsonl"), "max_tokens": 1024},
            {"name": "mmlu_pro", "data": "mmlu_pro.jsonl", "max_tokens": 512},
            {"name": "aime24", "data": str(SHARED_DATA / "aime24.jsonl"), "samples": 2, "max_tokens": 1536},
        ],
    }
    path = write_yaml(folder / "study.yaml", study)
    return results.build(run_study(load_study(path), folder / "run", Events()).run).document()


def named(found: dict[str, Any], bench: str, level: str) -> set[str]:
    return {g["name"] for g in found["benchmarks"][bench]["guards"] if g["level"] == level}


def test_math500_shows_a_loss_for_nvfp4_and_cannot_tell_for_fp8(found: dict[str, Any]) -> None:
    math = found["benchmarks"]["math500"]
    right = {name: round(500 * score["mean"]) for name, score in math["scores"].items()}
    assert right == {"bf16": 56, "control": 49, "fp8": 51, "nvfp4": 34}
    flips = {name: (c["lost"], c["gained"]) for name, c in math["comparisons"].items()}
    assert flips == {"nvfp4": (40, 18), "fp8": (21, 16), "control": (14, 7)}
    assert math["comparisons"]["nvfp4"]["p_value"] == pytest.approx(0.00535, abs=5e-6)  # 2 P(X <= 18), X ~ Bin(58, 1/2)
    assert math["comparisons"]["nvfp4"]["loss_shown"]
    assert {math["comparisons"][name]["verdict"] for name in ("fp8", "control")} == {"inconclusive"}
    assert {"cut_off", "cut_off_difference", "loops", "recorded"} <= named(found, "math500", "warning")
    assert named(found, "math500", "error") == set()


def test_mmlu_pro_measures_cut_offs_and_says_so(found: dict[str, Any]) -> None:
    entry = found["benchmarks"]["mmlu_pro"]
    assert {c["verdict"] for c in entry["comparisons"].values()} == {"invalid"}
    assert {"cut_off", "guessing"} <= named(found, "mmlu_pro", "error")
    assert "fewer_items" in named(found, "mmlu_pro", "warning")


def test_aime_is_on_the_floor(found: dict[str, Any]) -> None:
    entry = found["benchmarks"]["aime24"]
    assert {c["verdict"] for c in entry["comparisons"].values()} == {"invalid"}
    assert "floor" in named(found, "aime24", "error")


def test_only_what_is_valid_is_pooled(found: dict[str, Any]) -> None:
    assert {tuple(entry["benchmarks"]) for entry in found["overall"].values()} == {("math500",)}
