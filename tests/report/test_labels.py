from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_results import results

from bitparity.report import labels as matching
from bitparity.report.labels import Columns, RowMatch, is_notes, units

VARIANTS: dict[str, dict[str, Any]] = {
    "nvfp4": {"model": "RedHatAI/Qwen3-32B-NVFP4", "baseline": False},
    "fp8": {"model": "Qwen/Qwen3-32B-FP8", "baseline": False},
    "bf16": {"model": "Qwen/Qwen3-32B", "baseline": True},
    "bf16-control": {"model": "Qwen/Qwen3-32B", "baseline": False, "control": True},
}
BENCHMARKS: dict[str, dict[str, Any]] = {
    **{name: {"samples": 1} for name in ("mmlu_pro", "gpqa_diamond", "hle", "scicode", "math500", "humaneval")},
    "aime24": {"samples": 16},
    "livecodebench": {"samples": 1, "data": {"release": "v6"}},
    "lm_eval:gsm8k": {"samples": 1},
}


def match_columns(header: list[str], variants: dict[str, dict[str, Any]]) -> Columns:
    return matching.match_columns(header, results({"variants": variants}).variants)


def match_row(labels: list[str], benchmarks: dict[str, dict[str, Any]]) -> RowMatch:
    return matching.match_row(labels, results({"benchmarks": benchmarks}).benchmarks)


@pytest.mark.parametrize(
    ("label", "variant"),
    [
        ("NVFP4", "nvfp4"),
        ("nv_fp4", "nvfp4"),
        ("ＮＶＦＰ４", "nvfp4"),
        ("Qwen3-32B-NVFP4", "nvfp4"),
        ("RedHatAI/Qwen3-32B-NVFP4", "nvfp4"),
        ("NVFP4（W4A4）", "nvfp4"),
        ("NVFP4 量化得分 (%) ↑", "nvfp4"),
        ("FP8", "fp8"),
        ("FP8 (W8A8)", "fp8"),
        ("Qwen3-32B FP8", "fp8"),
        ("BF16", "bf16"),
        ("bfloat16", "bf16"),
        ("BF16（基线）", "bf16"),
        ("BF16 (baseline)", "bf16"),
        ("Baseline", "bf16"),
        ("基线", "bf16"),
        ("BF16-control", "bf16-control"),
    ],
)
def test_a_header_names_its_variant(label: str, variant: str) -> None:
    assert match_columns(["指标", label], VARIANTS).variants == {1: variant}


@pytest.mark.parametrize(
    "label",
    [
        "NVFP4 延迟",
        "FP8 tok/s",
        "ΔNVFP4",
        "NVFP4 ±",
        "NVFP4 − BF16",
        "NVFP4 vs BF16",
        "BF16→NVFP4",
        "FP8 + KV",
        "NVFP4A16",
        "BF16 官方",
        "INT4",
        "FP4",
        "MXFP8",
        "NVFP4 差值",
    ],
)
def test_a_header_that_says_something_else_names_no_variant(label: str) -> None:
    found = match_columns(["指标", "FP8 (quantized)", label], VARIANTS)
    assert found.variants == {1: "fp8"}
    assert 2 in {*found.unmatched, *found.labels}


def test_two_columns_for_one_variant_are_settled_only_where_one_has_its_name() -> None:
    found = match_columns(["", "BF16 得分", "BF16", "FP8 score", "FP8 accuracy"], VARIANTS)
    assert found.variants == {2: "bf16"}
    assert set(found.unmatched) == {1, 3, 4}


def test_variants_of_one_precision_are_told_apart_by_name_only() -> None:
    variants = {"fp8-static": {"model": "a/b", "baseline": False}, "fp8-dynamic": {"model": "a/c", "baseline": True}}
    found = match_columns(["", "FP8", "FP8 static"], variants)
    assert found.variants == {2: "fp8-static"}
    assert "several variants are fp8" in found.unmatched[1]


def test_a_variant_without_a_telling_name_is_known_by_its_model_or_engine() -> None:
    variants: dict[str, dict[str, Any]] = {
        "base": {"model": "/models/qwen", "baseline": True, "engine": {"dtype": "bfloat16", "quantization": None}},
        "small": {"model": "/models/qwen-w4a4-NVFP4", "baseline": False, "engine": None},
    }
    assert match_columns(["", "NVFP4", "BF16"], variants).variants == {1: "small", 2: "base"}


@pytest.mark.parametrize("label", ["备注", "**备注**", "Notes", "REMARK", "comments", "备注 / 说明"])
def test_a_column_for_notes(label: str) -> None:
    assert is_notes(label.replace("*", ""))
    assert match_columns(["", "FP8", label.replace("*", "")], VARIANTS).notes == 2


@pytest.mark.parametrize(
    ("label", "benchmark"),
    [
        ("MMLU Pro", "mmlu_pro"),
        ("mmlu-pro", "mmlu_pro"),
        ("MMLU_PRO", "mmlu_pro"),
        ("ＭＭＬＵ　Ｐｒｏ", "mmlu_pro"),
        ("MMLU-Pro（知识推理，准确率）", "mmlu_pro"),
        ("GPQA Diamond", "gpqa_diamond"),
        ("GPQA (Diamond)", "gpqa_diamond"),
        ("HLE", "hle"),
        ("Humanity's Last Exam (text only)", "hle"),
        ("LiveCodeBench", "livecodebench"),
        ("Live Code Bench v6 pass@1", "livecodebench"),
        ("HLE (Humanity's Last Exam)", "hle"),
        ("SciCode", "scicode"),
        ("SciCode (sub-step)", "scicode"),
        ("MATH-500", "math500"),
        ("MATH500", "math500"),
        ("math_500 [^2]", "math500"),
        ("AIME 2024", "aime24"),
        ("AIME'24", "aime24"),
        ("AIME24 avg@16", "aime24"),
        ("GSM8K", "lm_eval:gsm8k"),
    ],
)
def test_a_label_names_its_benchmark(label: str, benchmark: str) -> None:
    assert match_row(["能力", label], BENCHMARKS).benchmark == benchmark


@pytest.mark.parametrize(
    "labels",
    [
        ["MMLU"],
        ["GPQA"],
        ["AIME 2025"],
        ["AIME 2024 & 2025"],
        ["AIME 2024 II"],
        ["AIME24 avg@64"],
        ["AIME24 maj@16"],
        ["HumanEval+"],
        ["HumanEval pass@10"],
        ["MMLU-ProX"],
        ["LiveCodeBench v5"],
        ["SciCode main problem"],
        ["MATH-500 Level 5"],
        ["MATH-500 延迟"],
        ["MATH-500", "延迟 (ms)"],
        ["SciCode", "主问题"],
        ["AIME 2024", "cons@16"],
        ["MATH-500 / AIME 2024"],
        ["平均"],
    ],
)
def test_a_label_that_says_something_else_names_no_benchmark(labels: list[str]) -> None:
    match = match_row(labels, BENCHMARKS)
    assert match.benchmark is None
    assert match.reason


def test_an_empty_label_is_no_fault() -> None:
    assert match_row(["", " "], BENCHMARKS).reason is None


def test_our_own_benchmark_stands_before_a_task_of_the_same_name() -> None:
    both = {"lm_eval:mmlu_pro": {}, "mmlu_pro": {}}
    assert match_row(["MMLU-Pro"], both).benchmark == "mmlu_pro"
    assert match_row(["MMLU-Pro"], {"lm_eval:mmlu_pro": {}}).benchmark == "lm_eval:mmlu_pro"


@given(st.text(max_size=40))
def test_any_text_has_units_and_matches_or_not(label: str) -> None:
    assert units(" ".join(units(label))) == units(label) or "@" in label
    match_columns([label], VARIANTS)
    match_row([label], BENCHMARKS)
