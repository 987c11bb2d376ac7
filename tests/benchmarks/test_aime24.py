from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import SHARED_DATA, write_jsonl

from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError
from bitparity.grading.rules import grade_sample
from bitparity.records import Completion, Grade, Item, Sample
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

needs_shared = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no shared data at {SHARED_DATA}")


def spec(chat: bool = True, thinking: bool = False, **entry: Any) -> BenchmarkSpec:
    reasoning = {"start": "<think>", "end": "</think>"} if thinking else "none"
    study = {
        "study": "s",
        "variants": {"a": {"model": "some/model"}},
        "protocol": {"apply_chat_template": chat, "reasoning": reasoning},
        "benchmarks": [{"name": "aime24", **{k: str(v) for k, v in entry.items()}}],
    }
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def rows(answer: object = 33) -> list[dict[str, Any]]:
    return [{"ID": "2024-I-1", "Problem": "Which?", "Solution": "It is.", "Answer": answer}]


def item(answer: str = "33") -> Item:
    return Item("1", (), answer, metadata={"lm_eval_reference": answer})


def test_items_in_both_forms(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "aime.jsonl", rows("033"))
    (chat,) = load_benchmark(spec(data=data)).items()
    assert chat.prompts[0].messages is not None
    assert chat.prompts[0].messages[0]["content"].startswith("Which?\nPlease reason step by step")
    assert (chat.reference, chat.metadata["lm_eval_reference"]) == ("33", "033")
    bench = load_benchmark(spec(chat=False, form="lm-eval", data=data))
    (plain,) = bench.items()
    assert plain.prompts[0].text == "Question: Which?\nAnswer:"
    assert bench.task_settings()["stop"] == ["Question:", "</s>", "<|im_end|>", "<|eot_id|>"]


@pytest.mark.parametrize("answer", ["1000", "3.5", "x", "", -1])
def test_an_answer_that_is_none(tmp_path: Path, answer: object) -> None:
    bench = load_benchmark(spec(data=write_jsonl(tmp_path / "aime.jsonl", rows(answer))))
    with pytest.raises(DataError, match=r"Answer|no integer from 0 to 999"):
        list(bench.items())


@pytest.mark.parametrize(
    "text",
    [
        "\\boxed{33}",
        "\\boxed{033}",
        "\\boxed{\\text{033}}",
        "\\boxed{N = 33}",
        "\\boxed{33^\\circ}",
        "The answer is 33.",
        "The answer is 033",
        "**Final Answer:** $33$",
        "so $m + n = 25 + 8 = \\boxed{033}$.",
    ],
)
def test_right(text: str) -> None:
    assert load_benchmark(spec()).grade(item(), Completion(text)).score == 1


@pytest.mark.parametrize("text", ["\\boxed{330}", "\\boxed{3.3}", "33 was my guess, but \\boxed{34}", "\\boxed{33", ""])
def test_wrong(text: str) -> None:
    assert load_benchmark(spec()).grade(item(), Completion(text)).score == 0


def test_lm_evals_metric_misses_what_ours_sees() -> None:
    grade = load_benchmark(spec()).grade(item("204"), Completion("The answer is 204."))
    assert grade.metrics == {"math_verify": 1.0, "lm_eval_exact_match": 0.0}
    assert load_benchmark(spec()).grade(item(), Completion("\\boxed{033}")).metrics["lm_eval_exact_match"] == 0


def graded_log(name: str) -> list[tuple[dict[str, Any], Grade]]:
    """The log's rows with our verdicts; a text that ran to the cap was cut off."""
    bench = load_benchmark(spec(thinking=True))
    found = []
    for line in (SHARED_DATA / "graded" / name).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        (text,) = row["generated_responses"]
        sample = Sample("aime24", "1", 0, text, "stop" if "</think>" in text else "length", 0, 0, 0.0)
        found.append((row, grade_sample(bench, item(str(row["gold_answer"])), sample, bench.spec.protocol)))
    return found


@needs_shared
def test_a_reasoning_model_cut_off_at_1024_tokens() -> None:
    graded = graded_log("aime24_think_1024t.jsonl")
    assert sum(bool(grade.score) == row["is_correct"] for row, grade in graded) == 30


@needs_shared
def test_a_reasoning_model_cut_off_at_4096_tokens() -> None:
    """Four verdicts of the log come from a box inside the reasoning, which never ended or was not repeated."""
    graded = graded_log("aime24_think_4096t.jsonl")
    other = [(row, grade) for row, grade in graded if bool(grade.score) != row["is_correct"]]
    assert len(graded) - len(other) == 26
    for row, grade in other:
        (text,) = row["generated_responses"]
        assert row["is_correct"]
        assert "\\boxed" in text
        assert "\\boxed" not in text.partition("</think>")[2]
        assert grade.score == 0


@needs_shared
@pytest.mark.parametrize("run", ["all", "aime_bs1"])
def test_lm_evals_own_samples_give_its_numbers(run: str) -> None:
    import gzip

    bench = load_benchmark(spec(data=SHARED_DATA / "aime24.jsonl", form="lm-eval", metric="lm_eval_exact_match"))
    items = {entry.id: entry for entry in bench.items()}
    assert len(items) == bench.info.items
    path = SHARED_DATA / "recorded" / "lm_eval" / f"{run}_samples_aime24_local.jsonl.gz"
    for line in gzip.decompress(path.read_bytes()).decode().splitlines():
        row = json.loads(line)
        assert bench.grade(items[row["doc"]["ID"]], Completion(row["resps"][0][0])).score == row["exact_match"]
