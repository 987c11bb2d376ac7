"""Each guard: a test that plants the fault and one that leaves it out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bitparity import validity
from bitparity.exam import Exam, ExamItem
from bitparity.records import Grade, Item, Prompt, Sample, Sampling
from bitparity.report.results import Sheet
from bitparity.study import parse_study

ITEMS = 200
STUDY = """
study: s
variants: {bf16: {model: x/y, baseline: true}, fp8: {model: x/z}}
benchmarks: [{name: math500, max_tokens: 100}]
"""


def sheet(
    right: int = 100,
    cut_off: int = 0,
    no_answer: int = 0,
    missing: int = 0,
    other: Callable[[int], float] | None = None,
) -> Sheet:
    """A variant's answers: the first `right` are right; cut-offs and missing answers are the last ones."""
    samples, grades = {}, {}
    scores = np.full((ITEMS, 1), np.nan)
    for n in range(ITEMS - missing):
        key = (f"q{n}", 0)
        long = n >= ITEMS - missing - cut_off
        samples[key] = Sample("math500", key[0], 0, "text", "length" if long else "stop", 9, 9, 0.1)
        silent = n >= ITEMS - missing - no_answer
        scores[n, 0] = score = float(n < right)
        metrics = {"math_verify": score, "other": other(n) if other else score}
        grades[key] = Grade(score, "no_answer" if silent else "answered", metrics=metrics)
    return Sheet(scores, samples, grades)


def facts(
    fp8: Sheet | None = None,
    bf16: Sheet | None = None,
    study: str = STUDY,
    available: int = ITEMS,
    temperature: float = 0.0,
    weights: tuple[str, str] = ("a", "b"),
    notes: tuple[str, ...] = (),
) -> validity.Facts:
    resolved = parse_study(study, "study.yaml", Path())
    items = tuple(ExamItem(Item(f"q{n}", (Prompt(text="?"),), "1")) for n in range(ITEMS))
    exam = Exam("math500", "math_verify", Sampling(100, temperature), 0, None, items, available, {}, notes)
    models = {n: {"identity": {"weights": {"sha256": w}}} for n, w in zip(("bf16", "fp8"), weights, strict=True)}
    sheets = {"bf16": bf16 or sheet(), "fp8": fp8 or sheet()}
    return validity.Facts(resolved, resolved.benchmarks[0], exam, sheets, {"variants": models})


def spoken(found: validity.Facts) -> set[tuple[str, str | None, str]]:
    return {(guard["name"], guard["variant"], guard["level"]) for guard in validity.check(found)}


def test_a_clean_run_has_nothing_to_say() -> None:
    assert spoken(facts()) == set()


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (facts(sheet(cut_off=5)), ("cut_off", "fp8", "warning")),
        (facts(sheet(cut_off=30)), ("cut_off", "fp8", "error")),
        (facts(sheet(cut_off=30)), ("cut_off_difference", "fp8", "warning")),
        (facts(sheet(no_answer=15)), ("no_answer", "fp8", "warning")),
        (facts(sheet(no_answer=60)), ("no_answer", "fp8", "error")),
        (facts(sheet(missing=1)), ("unscored", "fp8", "warning")),
        (facts(sheet(missing=10)), ("unscored", "fp8", "error")),
        (facts(sheet(right=0), sheet(right=1)), ("floor", None, "error")),
        (facts(sheet(right=199), sheet(right=200)), ("ceiling", None, "warning")),
        (facts(sheet(other=lambda n: float(n < 50))), ("graders_disagree", "fp8", "warning")),
        (facts(notes=("the template takes no system message",)), ("prompt", None, "warning")),
        (facts(available=500), ("limit", None, "warning")),
        (facts(weights=("a", "a")), ("same_weights", "fp8", "error")),
        (facts(temperature=0.6), ("one_sample", None, "warning")),
    ],
)
def test_a_planted_fault_is_named(planted: validity.Facts, expected: tuple[str, str | None, str]) -> None:
    assert expected in spoken(planted)


def test_small_shares_and_equal_cut_offs_are_no_fault() -> None:
    same = facts(sheet(cut_off=4, no_answer=8), sheet(cut_off=4, no_answer=8))
    assert spoken(same) == set()


def test_guessing_is_told_from_knowing() -> None:
    text = STUDY.replace("math500", "gpqa_diamond")
    assert ("guessing", "bf16", "error") in spoken(facts(bf16=sheet(right=55), study=text))
    assert ("guessing", "bf16", "error") not in spoken(facts(bf16=sheet(right=100), study=text))


def test_one_model_under_two_engine_settings_is_a_comparison() -> None:
    text = STUDY.replace("{model: x/z}", "{model: x/y, engine: {kv_cache_dtype: fp8}}")
    assert spoken(facts(study=text, weights=("a", "a"))) == set()


def test_errors_come_first_and_every_message_is_a_sentence_with_figures() -> None:
    guards = validity.check(facts(sheet(cut_off=30, no_answer=15, missing=10), available=500))
    levels = [guard["level"] for guard in guards]
    assert levels == sorted(levels)
    for guard in guards:
        message: Any = guard["message"]
        assert len(message) > 40
        assert any(c.isdigit() for c in message)
