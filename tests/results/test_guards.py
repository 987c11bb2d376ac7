"""Each guard: a test that plants the fault and one that leaves it out."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitparity.exam.frozen import Exam, ExamItem
from bitparity.grading.reasoning import TURN_END, UNNAMED_TAG
from bitparity.models.quantization import loaded_precision, promise
from bitparity.records import Grade, Item, Prompt, Sample, Sampling, Status
from bitparity.results.guards import check as validity
from bitparity.results.guards.facts import MESSAGES
from bitparity.results.sheet import Sheet
from bitparity.stats.texts import is_loop
from bitparity.store.environment import RunRecord
from bitparity.study.resolve import parse_study

ITEMS = 500
STUDY = """
study: s
variants: {bf16: {model: x/y, baseline: true}, fp8: {model: x/z}}
benchmarks: [{name: math500, max_tokens: 100}]
"""
TOKENIZER = STUDY.replace("{model: x/z}", "{model: x/z, tokenizer: x/t}")
SERVERS = """
study: s
engine: {kind: openai, base_url: "http://host/v1"}
variants: {bf16: {model: m, baseline: true}, fp8: {model: n}}
benchmarks: [{name: math500, max_tokens: 100}]
"""
WORDS = "We compute each part of it with care and then put the parts together, which is all there is to do. " * 3
FP8 = {
    "method": "compressed-tensors",
    "weights": ["float 8 bit, channel"],
    "activations": ["float 8 bit, token, dynamic"],
}
NVFP4 = {
    "method": "compressed-tensors",
    "weights": ["float 4 bit, tensor_group 16"],
    "activations": ["float 4 bit, tensor_group 16, dynamic local"],
}
MODELOPT = {"method": "modelopt", "quant_algo": "NVFP4"}
MARLIN = "ModelOptNvFp4LinearMethod / MarlinNvFp4LinearKernel"
CUTLASS = "ModelOptNvFp4LinearMethod / CutlassNvFp4LinearKernel"
ENGINE = {"engine": "vllm", "version": "0.33.0", "device_name": "H100", "dtype": "bfloat16", "end_token_ids": [2]}
SERVED = {
    "engine": "openai",
    "server": {"base_url": "http://host/v1"},
    "chat_template": "the server's",
    "exam_tokens_sent": False,
    "sampling_extensions": True,
    "usage_reported": True,
    "unproved": ["weights", "kernels"],
}


def sheet(
    right: int = 250,
    cut_off: int = 0,
    no_answer: int = 0,
    missing: int = 0,
    missing_first: int = 0,
    other: Callable[[int], float] | None = None,
    text: Callable[[int], str] = lambda n: f"{n}: {WORDS}",
    cut_at: int = 100,
    stopped_at: int = 9,
    prompt_tokens: Callable[[int], int] = lambda n: 9,
    by: str = "someone",
    **details: str,
) -> Sheet:
    """A variant's answers: the first `right` are right; cut-offs and missing answers are the last ones.

    `details` are those of the first ten grades.
    """
    samples, grades = {}, {}
    scores = np.full((ITEMS, 1), np.nan)
    for n in range(missing_first, ITEMS - missing):
        key = (f"q{n}", 0)
        long = n >= ITEMS - missing - cut_off
        finish, tokens = ("length", cut_at) if long else ("stop", stopped_at)
        said = (f" {by} " if by else " ").join(text(n).split(" ")) + by  # one edit more would be a copy
        samples[key] = Sample("math500", key[0], 0, said, finish, tokens, prompt_tokens(n), 0.1)
        silent = n >= ITEMS - missing - no_answer
        scores[n, 0] = score = float(n < right)
        metrics = {"math_verify": score, "other": other(n) if other else score}
        status: Status = "no_answer" if silent else "answered"
        grades[key] = Grade(score, status, metrics=metrics, details=details if n < 10 else {})
    return Sheet(scores, samples, grades)


SAME = ("same_answers", "fp8", "error")


def copied(n: int, by: str) -> str:
    """An answer of 1,500 characters, four of five the same for all variants."""
    return f"{n} {'long ' * 300}{by if n % 5 == 0 else ''}"


def facts(
    fp8: Sheet | None = None,
    bf16: Sheet | None = None,
    /,
    study: str = STUDY,
    available: int = ITEMS,
    temperature: float = 0.0,
    notes: tuple[str, ...] = (),
    rendered: bool = True,
    steps: bool = False,
    **environment: Mapping[str, Any],
) -> validity.Facts:
    """A run of two variants; `environment` gives what is stored of one of them. With `steps`, each item builds on
    the answer to the one before.
    """
    resolved = parse_study(study, "study.yaml", Path())
    tokens = ("text",), ("hash",), 9
    items = tuple(
        ExamItem(
            Item(f"q{n}", (Prompt(text="?"),), "1", after=f"q{n - 1}" if steps and n else None),
            *(tokens if rendered else (None, None, None)),
        )
        for n in range(ITEMS)
    )
    exam = Exam("math500", "math_verify", Sampling(100, temperature), 0, None, items, available, {}, notes, "frozen")
    sheets = {"bf16": bf16 or sheet(by="bf16"), "fp8": fp8 or sheet(by="fp8")}  # never the same to the letter
    return validity.Facts(
        resolved, resolved.benchmarks[0], exam, sheets, RunRecord.model_validate({"variants": environment})
    )


def model(weights: str = "a", **values: Any) -> dict[str, Any]:
    """What is stored of a checkpoint that ran nowhere yet."""
    identity = {
        "weights": {"sha256": weights},
        "tokenizer_sha256": {"tokenizer.json": "t"},
        "chat_template_sha256": "c",
    }
    return {"identity": identity | values}


def engine(*sessions: Mapping[str, Any], **stored: Any) -> dict[str, Any]:
    """What is stored of a variant that ran on engines that differ from ENGINE by the values given."""
    return {"engines": [{"facts": {**ENGINE, **s}} for s in sessions or ({},)], **stored}


def served(model: str, root: str | None = None) -> dict[str, Any]:
    """What is stored of a variant that a server answers for."""
    server = {"base_url": "http://host/v1", "model": model, "root": root}
    identity = {"server": "http://host/v1", "model": model}
    return {"identity": identity, "engines": [{"facts": {**SERVED, "server": server}, "sessions": []}]}


def sent(**changed: Any) -> dict[str, Any]:
    """The sampling that was sent, as environment.json holds it."""
    return {"sampling": {"math500": json.loads(json.dumps({**asdict(Sampling(100)), **changed}))}}


def built(**changed: Any) -> dict[str, Any]:
    """The sampling that an engine says it built, as environment.json holds it."""
    (values,) = sent()["sampling"].values()
    return {"sent": {"math500": [{"item": "q0", "sample": 0, **values, **changed}]}}


def spoken(found: validity.Facts) -> set[tuple[str, str | None, str]]:
    return {(guard.name, guard.variant, guard.level) for guard in validity.check(found)}


def names(found: validity.Facts) -> set[str]:
    return {guard.name for guard in validity.check(found)}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"bf16": model("a"), "fp8": model("b")},
        {"bf16": engine({"quantization": None}, **sent()), "fp8": engine({"quantization": FP8}, **sent())},
    ],
)
def test_a_clean_run_has_nothing_to_say(environment: dict[str, Any]) -> None:
    assert spoken(facts(**environment)) == set()


@pytest.mark.parametrize(
    "text",
    [
        "x < y & z",
        "\\nu + \\neq \\nabla \\nu",
        "caf\u00e9 \u221a2 \u7b54\u6848 50\u00b0",
        "a\\n b\\n\nc\\n d",
        "&mdash;",
    ],
)
def test_whole_texts_are_not_called_damaged(text: str) -> None:
    assert "damaged_text" not in names(facts(sheet(text=lambda n: f"{n} {text} {WORDS}")))


def test_every_message_that_depends_on_the_source_has_both() -> None:
    assert all(("run" in messages) == ("elsewhere" in messages) for messages in MESSAGES.values())


LOOP = WORDS + "So the answer is 4. " * 40
COUNTING = "".join(f"\n{k}. and so on" for k in range(40))


def boxed(without: int) -> Callable[[int], str]:
    """Texts with a box, but for the first so many."""
    return lambda n: f"{n}: {WORDS} " + (str(n) if n < without else f"\\boxed{{{n}}}")


FORMS = (
    lambda n: f"\\boxed{{{n}}} Another question: what is 7 + 8? \\boxed{{15}}",
    lambda n: f"\\framebox{{{n}}}",
    lambda n: f"**{n}**",
    lambda n: f"#### {n}",
    lambda n: base64.b64encode(f"\\boxed{{{n}}} {n} {WORDS}".encode()).decode(),
    lambda n: quote(f"\\boxed{{{n}}} {n} {WORDS}"),
)


@pytest.mark.parametrize("form", FORMS)
def test_another_form_than_the_box_is_told(form: Callable[[int], str]) -> None:
    found = facts(sheet(100, text=lambda n: f"{form(n)} {n}"), sheet(text=boxed(0)))
    assert ("box_difference", "fp8", "error") in spoken(found)


def test_a_box_that_nobody_asks_for_is_not_missed() -> None:
    assert "box_difference" not in names(facts(sheet(text=boxed(300)), sheet(text=boxed(200))))
    assert "box_difference" not in names(facts(sheet(text=boxed(5)), sheet(text=boxed(0))))


@pytest.mark.parametrize(
    ("planted", "expected"),
    [
        (facts(sheet(cut_off=15)), ("cut_off", "fp8", "warning")),
        (facts(sheet(cut_off=160)), ("cut_off", "fp8", "error")),
        (facts(sheet(cut_off=15)), ("cut_off_difference", "fp8", "warning")),
        (facts(sheet(cut_off=60)), ("cut_off_difference", "fp8", "error")),
        (facts(sheet(no_answer=30)), ("no_answer", "fp8", "warning")),
        (facts(sheet(no_answer=130)), ("no_answer", "fp8", "error")),
        (facts(sheet(no_answer=15)), ("no_answer_difference", "fp8", "warning")),
        (facts(sheet(no_answer=60)), ("no_answer_difference", "fp8", "error")),
        (facts(sheet(text=boxed(15)), sheet(text=boxed(0))), ("box_difference", "fp8", "warning")),
        (facts(sheet(text=boxed(60)), sheet(text=boxed(0))), ("box_difference", "fp8", "error")),
        (facts(sheet(text=boxed(0)), sheet(text=boxed(60))), ("box_difference", "fp8", "error")),
        (facts(sheet(missing=1)), ("unscored", "fp8", "warning")),
        (facts(sheet(missing=10)), ("unscored", "fp8", "error")),
        (facts(sheet(missing=1)), ("subset", "fp8", "warning")),
        (facts(sheet(missing=3), sheet(missing_first=3)), ("subset", "fp8", "error")),
        (facts(sheet(right=0), sheet(right=1)), ("floor", None, "error")),
        (facts(sheet(right=0), sheet(right=9)), ("floor", "bf16", "error")),
        (facts(sheet(right=11), sheet(right=11)), ("floor", "bf16", "warning")),
        (facts(sheet(right=38), sheet(right=38)), ("floor", "bf16", "warning")),
        (facts(sheet(right=499), sheet(right=500)), ("ceiling", None, "warning")),
        (facts(sheet(other=lambda n: float(n < 50))), ("graders_disagree", "fp8", "warning")),
        (facts(sheet(**{UNNAMED_TAG: "<think>"})), ("unnamed_reasoning", "fp8", "error")),
        (facts(sheet(text=lambda n: f"{n} {WORDS}{'a &lt; b' if n < 15 else ''}")), ("damaged_text", "fp8", "warning")),
        (facts(sheet(text=lambda n: f"{n} if a &lt; b: {WORDS}")), ("damaged_text", "fp8", "error")),
        (
            facts(sheet(text=lambda n: f"{n} \u221a2: {WORDS}".encode().decode("latin1"))),
            ("damaged_text", "fp8", "error"),
        ),
        (facts(sheet(text=lambda n: f"{n}\\n def f(x):\\n    y\\n {WORDS}")), ("damaged_text", "fp8", "error")),
        (facts(sheet(**{TURN_END: "<|im_end|>"})), ("beyond_turn", "fp8", "warning")),
        (facts(sheet(cut_off=8, text=lambda n: f"{n} {LOOP}", by="")), ("loops", "fp8", "warning")),
        (facts(sheet(text=lambda n: LOOP if n < 8 else f"{n} {WORDS}", by="")), ("loops", "fp8", "error")),
        (
            facts(sheet(text=lambda n: COUNTING if n < 8 else f"{n} {WORDS}", by="")),
            ("loops", "fp8", "error"),
        ),
        (facts(sheet(text=lambda n: "" if n < 6 else f"{n} {WORDS}", by="")), ("empty", "fp8", "warning")),
        (facts(sheet(text=lambda n: "" if n < 60 else f"{n} {WORDS}", by="")), ("empty", "fp8", "error")),
        (facts(sheet(text=lambda n: WORDS if n < 20 else f"{n} {WORDS}")), ("identical", "fp8", "warning")),
        (facts(sheet(text=lambda n: WORDS)), ("identical", "fp8", "error")),
        (facts(sheet(text=lambda n: "!!!!")), ("identical", "fp8", "error")),
        (facts(sheet(by="same"), sheet(by="same")), ("same_answers", "fp8", "error")),
        (facts(sheet(by="same"), sheet(by="same ")), ("same_answers", "fp8", "error")),
        (facts(sheet(text=lambda n: f"{n} " + "so " * 45), sheet(text=lambda n: f"{n} " + "so " * 45)), SAME),
        (facts(sheet(text=lambda n: copied(n, "fp8"), by=""), sheet(text=lambda n: copied(n, "bf16"), by="")), SAME),
        (facts(notes=("the template takes no system message",)), ("prompt", None, "warning")),
        (facts(sheet(prompt_tokens=lambda n: 4 if n == 7 else 9)), ("prompt_differs", "fp8", "error")),
        (facts(sheet(prompt_tokens=lambda n: 8), rendered=False), ("prompt_differs", "fp8", "error")),
        (facts(sheet(prompt_tokens=lambda n: 8), steps=True), ("prompt_differs", "fp8", "error")),
        (facts(sheet(cut_off=2, cut_at=60)), ("budget_differs", "fp8", "warning")),
        (facts(sheet(cut_off=15, cut_at=60)), ("budget_differs", "fp8", "error")),
        (
            facts(fp8=sent(temperature=0.6)),
            ("sampling_differs", "fp8", "error"),
        ),
        (facts(sheet(text=lambda n: f"{n} {WORDS}", stopped_at=150)), ("budget_differs", "fp8", "error")),
        (facts(temperature=0.6, fp8=built(top_p=0.9)), ("sampling_differs", "fp8", "error")),
        (facts(fp8=built(max_tokens=64)), ("sampling_differs", "fp8", "error")),
        (facts(bf16=sent(max_tokens=64)), ("sampling_differs", "bf16", "error")),
        (facts(fp8={"exam": {"math500": "another"}}), ("exam_differs", "fp8", "error")),
        (facts(available=600), ("limit", None, "warning")),
        (facts(available=499), ("fewer_items", None, "warning")),
        (facts(temperature=0.6), ("one_sample", None, "warning")),
        (facts(bf16=model("a"), fp8=model("a")), ("same_weights", "fp8", "error")),
        (
            facts(bf16=model(), fp8=model("b", tokenizer_sha256={"tokenizer.json": "u"})),
            ("tokenizer_differs", "fp8", "warning"),
        ),
        (facts(bf16=model(), fp8=model("b", chat_template_sha256="d")), ("chat_template_differs", "fp8", "warning")),
        (
            facts(bf16=model(), fp8=model("b", chat_template_sha256="d"), rendered=False),
            ("chat_template_differs", "fp8", "error"),
        ),
        (facts(bf16=engine(), fp8=engine({"version": "0.25.1"})), ("engine_difference", "fp8", "warning")),
        (facts(bf16=engine(), fp8=engine({"engine": "transformers"})), ("engine_difference", "fp8", "warning")),
        (facts(bf16=engine(), fp8=engine({"device_name": "A100"})), ("device_difference", "fp8", "warning")),
        (facts(bf16=engine(), fp8=engine({"end_token_ids": [2, 7]})), ("settings_difference", "fp8", "warning")),
        (
            facts(bf16=engine({"variables": {}}), fp8=engine({"variables": {"VLLM_USE_DEEP_GEMM": "0"}})),
            ("settings_difference", "fp8", "warning"),
        ),
        *(
            (facts(bf16=engine({key: 1}), fp8=engine({key: 2})), ("settings_difference", "fp8", "warning"))
            for key in ("model_runner", "compilation", "chunked_prefill", "async_scheduling", "trust_remote_code")
        ),
        (
            facts(bf16=engine({"mig": {"profile": "MIG 1g.10gb"}}), fp8=engine({"mig": {"profile": "MIG 2g.20gb"}})),
            ("device_difference", "fp8", "warning"),
        ),
        (
            facts(bf16=model("a"), fp8=model("b") | engine({"model": {"path": "/m", "weights": {"sha256": "a"}}})),
            ("other_weights", "fp8", "error"),
        ),
        (
            facts(bf16=model("a"), fp8=model("b") | engine({"model": {"path": "/m", "weights": {"sha256": "a"}}})),
            ("same_weights", "fp8", "error"),
        ),
        (
            facts(study=TOKENIZER, bf16=model(), fp8=model("b", tokenizer={}, chat_template_sha256="d")),
            ("chat_template_differs", "fp8", "warning"),
        ),
        (facts(study=SERVERS, bf16=served("m"), fp8=served("m")), ("same_weights", "fp8", "error")),
        (facts(study=SERVERS, bf16=served("m", "/w"), fp8=served("n", "/w")), ("same_weights", "fp8", "error")),
        (facts(fp8=served("fp8", "org/Small-NVFP4")), ("not_as_named", "fp8", "error")),
        (facts(fp8=engine({"quantization": {"method": "quark"}})), ("precision_unknown", "fp8", "warning")),
        (facts(bf16=engine({"quantization": None, "dtype": "float16"})), ("not_as_named", "bf16", "error")),
        (facts(bf16=engine({}, {"version": "0.34.0"})), ("mixed_engines", "bf16", "warning")),
        (
            facts(rendered=False, bf16=model(), fp8=model("b", tokenizer_sha256={"tokenizer.json": "u"})),
            ("tokenizer_differs", "fp8", "error"),
        ),
        (
            facts(fp8={"restarts": [{"at": "now", "reason": "it was killed by signal 9", "lowered": {}}]}),
            ("restarted", "fp8", "warning"),
        ),
        (facts(fp8=engine({"engine": "replay"})), ("recorded", None, "warning")),
        (facts(fp8=engine(SERVED)), ("unproved", "fp8", "warning")),
        (facts(fp8=engine({"quantization": None})), ("not_as_named", "fp8", "error")),
        (facts(fp8=engine({"quantization": NVFP4})), ("not_as_named", "fp8", "error")),
        (facts(bf16=engine({"quantization": FP8})), ("not_as_named", "bf16", "error")),
        (
            facts(fp8=engine({"quantization": FP8, "linear_kernels": {"UnquantizedLinearMethod": 112}})),
            ("not_as_named", "fp8", "error"),
        ),
        (
            facts(
                fp8=engine({"quantization": FP8, "linear_kernels": {"W8A8Fp8 / MarlinFP8ScaledMMLinearKernel": 112}})
            ),
            ("weight_only", "fp8", "warning"),
        ),
        (
            facts(fp8=engine({"quantization": MODELOPT, "linear_kernels": {MARLIN: 96, "UnquantizedLinearMethod": 1}})),
            ("weight_only", "fp8", "warning"),
        ),
        (
            facts(
                fp8=engine({"quantization": MODELOPT, "layer_kernels": {"experts": {"NvFp4MoE / MarlinExperts": 9}}})
            ),
            ("weight_only", "fp8", "warning"),
        ),
        (
            facts(
                fp8=engine(
                    {
                        "quantization": {"method": "fp8", "activation_scheme": "dynamic"},
                        "linear_kernels": {"Fp8LinearMethod / MarlinFP8ScaledMMLinearKernel": 96},
                    }
                )
            ),
            ("weight_only", "fp8", "warning"),
        ),
        (
            facts(fp8=engine({"scales_requantized": True, "linear_kernels": {"Fp8LinearMethod / DeepGemm": 96}})),
            ("scales_requantized", "fp8", "warning"),
        ),
    ],
)
def test_a_planted_fault_is_named(planted: validity.Facts, expected: tuple[str, str | None, str]) -> None:
    assert expected in spoken(planted)


@pytest.mark.parametrize(
    ("harmless", "name"),
    [
        (facts(sheet(cut_off=10), sheet(cut_off=10, by="b")), "cut_off"),
        (facts(sheet(cut_off=70), sheet(cut_off=65, by="b")), "cut_off_difference"),
        (facts(sheet(no_answer=25), sheet(no_answer=25, by="b")), "no_answer"),
        (facts(sheet(no_answer=35), sheet(no_answer=30, by="b")), "no_answer_difference"),
        (facts(sheet(missing=3), sheet(missing=3, by="b")), "subset"),
        (facts(sheet(right=0), sheet(right=45, by="b")), "floor"),
        (facts(sheet(right=490), sheet(right=500, by="b")), "ceiling"),
        (facts(sheet(other=lambda n: float(n < 230))), "graders_disagree"),
        (facts(sheet(cut_off=8)), "loops"),
        (facts(sheet(text=lambda n: "ABCD"[n % 4], by=""), sheet(text=lambda n: "ABCD"[n % 4], by="")), "identical"),
        (facts(sheet(text=lambda n: "ABCD"[n % 4], by=""), sheet(text=lambda n: "ABCD"[n % 4], by="")), "same_answers"),
        (facts(sheet(prompt_tokens=lambda n: 0)), "prompt_differs"),  # an engine that does not tell
        (facts(sheet(prompt_tokens=lambda n: 9 + n), steps=True), "prompt_differs"),  # own answers are in the prompts
        (facts(sheet(prompt_tokens=lambda n: 9 + n), steps=True, rendered=False), "prompt_differs"),
        (facts(sheet(cut_off=10, cut_at=100)), "budget_differs"),
        (facts(fp8=sent()), "sampling_differs"),
        (facts(fp8=built(top_p=0.5, top_k=-1, seed=None, n=1)), "sampling_differs"),  # of no effect without temperature
        (facts(fp8=built(temperature=0.0, max_tokens=1, prompt_logprobs=0)), "sampling_differs"),
        (facts(temperature=0.6, fp8=built(temperature=0.6, top_k=-1, seed=7)), "sampling_differs"),
        (facts(fp8={"exam": {"math500": "frozen"}}), "exam_differs"),
        (facts(temperature=0.6, study=STUDY.replace("100}", "100, samples: 4}")), "one_sample"),
        (facts(bf16=engine(), fp8=engine()), "engine_difference"),
        (
            facts(
                bf16=engine({"mig": {"profile": "1g", "gpu_uuid": "GPU-1"}}),
                fp8=engine({"mig": {"profile": "1g", "gpu_uuid": "GPU-2"}}),
            ),
            "device_difference",
        ),
        (  # noted by an earlier version: fewer parts, and elsewhere
            facts(
                fp8=model("b", path="/a") | engine({"model": {"path": "/m", "weights": {"sha256": "b", "files": 1}}})
            ),
            "other_weights",
        ),
        (facts(study=SERVERS, bf16=served("m", "/v"), fp8=served("n", "/w")), "same_weights"),
        (facts(fp8=served("fp8", "org/Small-FP8")), "not_as_named"),
        (facts(fp8=engine({"quantization": {"method": "quark"}})), "not_as_named"),
        (facts(fp8=engine({"quantization": {"method": "fp8"}})), "precision_unknown"),
        (facts(fp8=served("fp8", "org/Small")), "not_as_named"),
        (facts(fp8=engine({"engine": "vllm"})), "recorded"),
        (facts(fp8=engine({"engine": "vllm"})), "unproved"),
        (facts(fp8=engine({"quantization": {"method": "fp8"}})), "not_as_named"),
        (facts(fp8=engine({"quantization": {"method": "modelopt", "quant_algo": "FP8"}})), "not_as_named"),
        (
            facts(
                fp8=engine({"quantization": {**FP8, "activations": ["not quantized"]}, "linear_kernels": {"Marlin": 1}})
            ),
            "weight_only",
        ),
        (
            facts(fp8=engine({"quantization": FP8, "linear_kernels": {"W8A8Fp8 / CutlassFP8ScaledMMLinearKernel": 1}})),
            "weight_only",
        ),
        (facts(fp8=engine({"quantization": MODELOPT, "linear_kernels": {CUTLASS: 96}})), "weight_only"),
        (facts(fp8=engine({"scales_requantized": False})), "scales_requantized"),
        (facts(fp8=engine({"quantization": {"method": "awq"}, "linear_kernels": {"AWQ / Marlin": 96}})), "weight_only"),
        (  # an ignored head beside layers whose activations are quantized
            facts(fp8=engine({"quantization": FP8, "linear_kernels": {CUTLASS: 96, "UnquantizedLinearMethod": 1}})),
            "weight_only",
        ),
    ],
)
def test_what_is_no_fault_is_not_named(harmless: validity.Facts, name: str) -> None:
    assert name not in names(harmless)


def test_guessing_is_told_from_knowing() -> None:
    text = STUDY.replace("math500", "gpqa_diamond")
    assert ("guessing", "bf16", "error") in spoken(facts(None, sheet(right=140), study=text))
    assert ("guessing", "fp8", "warning") in spoken(facts(sheet(right=140), study=text))
    assert ("misaligned", "fp8", "error") in spoken(facts(sheet(right=0), study=text))
    assert "misaligned" not in names(facts(sheet(right=0, no_answer=ITEMS), study=text))  # silent, not misaligned
    assert "misaligned" not in names(facts(sheet(right=100), study=text))
    assert "guessing" not in names(facts(study=text))


def test_one_model_under_two_engine_settings_is_a_comparison() -> None:
    text = STUDY.replace("{model: x/z}", "{model: x/y, engine: {kind: vllm, kv_cache_dtype: fp8}}").replace(
        "fp8: {", "kv: {"
    )
    sheets = {"kv": sheet(by="kv")}
    found = facts(study=text, bf16=model("a"), kv=model("a"))
    found = validity.Facts(
        found.study, found.spec, found.exam, {"bf16": found.sheets["bf16"], **sheets}, found.environment
    )
    assert spoken(found) == set()


def test_the_control_may_be_the_baseline_itself() -> None:
    text = STUDY.replace("fp8: {model: x/z}", "again: {control: true}")
    found = facts(study=text, bf16=model("a"), again=model("a"))
    same = {"bf16": sheet(by=""), "again": sheet(by="")}
    assert spoken(validity.Facts(found.study, found.spec, found.exam, same, found.environment)) == set()


def test_a_shown_cut_off_gap_says_how_many_lost_answers_were_cut() -> None:
    guards = validity.check(facts(sheet(right=240, cut_off=260), sheet(right=250, by="b")))
    message = next(g.message for g in guards if g.name == "cut_off_difference")
    assert "of the 10 samples that were right in the baseline and wrong here, 10 ran into the token budget" in message


def test_a_restart_with_lowered_settings_says_which() -> None:
    restart = {"at": "now", "reason": "no memory", "lowered": {"max_num_seqs": 64}}
    (said,) = [g.message for g in validity.check(facts(fp8={"restarts": [restart]})) if g.name == "restarted"]
    assert "started again with less at once (max_num_seqs 64), 1 times in all; the last reason: no memory." in said


def test_errors_come_first_and_every_message_is_a_sentence_with_figures() -> None:
    guards = validity.check(facts(sheet(cut_off=160, no_answer=30, missing=10), available=600))
    levels = [guard.level for guard in guards]
    assert levels == sorted(levels)
    for guard in guards:
        message: Any = guard.message
        assert len(message) > 40
        assert any(c.isdigit() for c in message)


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        (None, {"unquantized"}),
        (FP8, {"FP8"}),
        (NVFP4, {"NVFP4"}),
        ({"method": "compressed-tensors", "weights": ["float 4 bit, group 32"]}, {"MXFP4"}),
        ({"method": "compressed-tensors", "weights": ["int 4 bit, group 128"]}, {"INT4"}),
        ({"method": "compressed-tensors", "weights": ["float 8 bit, channel", "int 8 bit"]}, {"FP8", "INT8"}),
        ({"method": "fp8", "fmt": "e4m3"}, {"FP8"}),
        ({"method": "modelopt", "quant_algo": "NVFP4"}, {"NVFP4"}),
        ({"method": "modelopt_fp4"}, {"NVFP4"}),
        ({"method": "mxfp4"}, {"MXFP4"}),
        ({"method": "awq", "bits": 4}, {"INT4"}),
        ({"method": "gptq", "bits": 8}, {"INT8"}),
        ({"method": "bitsandbytes", "load_in_8bit": True}, {"INT8"}),
        ({"method": "something-new"}, None),
    ],
)
def test_the_precision_that_was_loaded(quantization: dict[str, Any] | None, expected: set[str] | None) -> None:
    assert loaded_precision({"quantization": quantization}) == expected


@pytest.mark.parametrize(
    ("study", "stored"),
    [
        (STUDY.replace("x/y", "m/Small-NVFP4"), {}),
        (STUDY.replace("x/y", "/h/models--org--Small-NVFP4/snapshots/1234"), {}),
        (STUDY, {"identity": {"named": "links/Small-NVFP4"}}),
        (STUDY, {"identity": {"path": "/m/Small-NVFP4"}}),
    ],
)
def test_the_checkpoint_s_name_is_held_against_what_ran_too(
    study: str, stored: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitparity.study.resolve._model_place", lambda model, folder, what: model)
    (found,) = validity.check(facts(study=study, bf16=engine({"quantization": None}, **stored)))
    assert found.name == "not_as_named"
    assert found.message.startswith("'Small-NVFP4' says NVFP4, but the weights that ran are unquantized")


def test_weights_quantized_at_load_need_not_be_what_their_checkpoint_is_called() -> None:
    study = STUDY.replace("{model: x/z}", "{model: x/Small-BF16, engine: {kind: vllm, quantization: fp8}}")
    assert names(facts(study=study, fp8=engine({"quantization": {"method": "fp8"}}))) == set()


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("X-W8A8-FP8", {"FP8"}),
        ("X-W8A8", {"FP8", "INT8"}),
        ("X-GPTQ-Int4", {"INT4"}),
        ("X-4bit", {"INT4", "NVFP4", "MXFP4"}),
        ("X-8-bit", {"INT8", "FP8", "MXFP8"}),
        ("X-4bit-AWQ", {"INT4"}),
        ("X-bnb-4bit", {"INT4"}),
        ("X-nf4", {"INT4"}),
        ("X-Q4_K_M.gguf", {"INT4"}),
        ("X-IQ3_XXS", {"INT3"}),
        ("X-Q8_0", {"INT8"}),
        ("X-INT4-FP8", {"INT4", "FP8", "MXFP8"}),  # a mixture
        ("bf16-kv-cache-fp8", {"unquantized"}),
        ("X-fp8-kv", set()),
        ("Qwen3-32B-A3B", set()),
        ("seq4_kind", set()),
    ],
)
def test_what_a_name_promises(name: str, expected: set[str]) -> None:
    assert promise(name) == expected


def test_an_engine_that_does_not_tell_its_precision_proves_nothing() -> None:
    assert loaded_precision({"engine": "replay"}) is None


@given(st.text(min_size=1, max_size=60), st.text(max_size=300), st.integers(0, 59))
def test_a_repeated_unit_is_a_loop_wherever_it_is_cut(unit: str, before: str, cut: int) -> None:
    times = 4 + 260 // len(unit)
    assert is_loop(before + unit * times + unit[: cut % len(unit)])


@given(st.text(max_size=150))
def test_a_short_text_is_no_loop(text: str) -> None:
    assert not is_loop(text)


def test_counting_up_is_no_loop() -> None:
    assert not is_loop(" ".join(str(n) for n in range(500)))


def test_the_documentation_has_every_guard_and_no_other() -> None:
    root = Path(__file__).parents[2]
    code = "".join(path.read_text() for path in (root / "src/bitparity/results/guards").glob("*.py"))
    spoken_names = set(re.findall(r'guard\(\s*"(\w+)"', code))
    spoken_names |= set(re.findall(r'"(\w+_differs|\w+_difference)"', code))
    tables = [line.split("|")[1] for line in (root / "docs/guards.md").read_text().splitlines() if line[:3] == "| `"]
    assert {name for cell in tables for name in re.findall(r"`(\w+)`", cell)} == spoken_names


def test_every_guard_has_a_message_and_every_message_a_guard() -> None:
    folder = Path(__file__).parents[2] / "src/bitparity/results/guards"
    code = "".join(path.read_text() for path in folder.glob("*.py"))
    spoken_names = set(re.findall(r'guard\(\s*"(\w+)"', code))
    spoken_names |= set(re.findall(r'"(\w+_differs|\w+_difference)"', code))
    assert set(MESSAGES) == spoken_names
    for name, key in {(name, key) for name, texts in MESSAGES.items() for key in texts}:
        assert f'"{key}"' in code, f"{name}.{key} is in messages.toml, but no guard says it"


def test_all_rules_are_found_in_the_order_of_their_files() -> None:
    found = [rule.__name__ for rule in (*validity.ON_ANSWERS, *validity.ON_RUNS)]
    assert len(found) == len(set(found)) > 25
    assert found[:2] == ["same_results", "unscored"]
    assert found[-2:] == ["other_weights", "same_weights"]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "its own chat template and tokenizer made the prompts"),
        ({"chat_template": "the exam's"}, "its own tokenizer made the prompts' tokens"),
        ({"sampling_extensions": False}, "it refuses top_k"),
        ({"usage_reported": False}, "it does not count tokens"),
    ],
)
def test_what_a_server_leaves_open_is_named(changed: dict[str, Any], said: str) -> None:
    (spoken,) = [g for g in validity.check(facts(fp8=engine({**SERVED, **changed}))) if g.name == "unproved"]
    assert "weights, kernels are what the server at http://host/v1 says or hides" in spoken.message
    assert said in spoken.message


def test_a_server_s_unknown_tokenizer_is_not_called_another() -> None:
    served = {"identity": {"server": "http://host/v1", "model": "m"}, "engines": [{"facts": {**ENGINE, **SERVED}}]}
    assert not {"tokenizer_differs", "chat_template_differs"} & names(facts(bf16=model(), fp8=served))
