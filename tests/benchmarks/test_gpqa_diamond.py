from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import write_jsonl

from bitparity.benchmarks.gpqa_diamond import CHOICES, option_order, preprocessed
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError
from bitparity.exam.build import build_exam
from bitparity.exam.frozen import load_exam, save_exam
from bitparity.records import Completion
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study


def spec(chat: bool = True, **entry: Any) -> BenchmarkSpec:
    study = {
        "study": "s",
        "variants": {"a": {"model": "some/model"}},
        "protocol": {"apply_chat_template": chat},
        "benchmarks": [{"name": "gpqa_diamond", **entry}],
    }
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def rows(count: int = 3, ids: bool = True) -> list[dict[str, Any]]:
    """Made up, in the canonical schema."""
    return [
        {
            "Question": f"How heavy is stone {n}? \n",
            "Correct Answer": f"{n} kg\n",
            "Incorrect Answer 1": f"{n}.1 kg",
            "Incorrect Answer 2": f" {n}.2  kg",
            "Incorrect Answer 3": f"{n}.3 [title] kg",
            "High-level domain": "Physics",
            **({"Record ID": f"rec{n}"} if ids else {}),
        }
        for n in range(count)
    ]


@pytest.fixture
def data(tmp_path: Path) -> str:
    return str(write_jsonl(tmp_path / "gpqa.jsonl", rows()))


def test_the_chat_form_has_an_order_for_each_sample(data: str) -> None:
    bench = load_benchmark(spec(data=data, samples=5))
    for number, item in enumerate(bench.items()):
        assert (item.id, item.subgroup, len(item.prompts)) == (f"rec{number}", "Physics", 5)
        for k, (prompt, key) in enumerate(zip(item.prompts, item.reference, strict=True)):
            assert prompt.messages is not None
            content = prompt.messages[0]["content"]
            assert f"Think step by step before answering.\n\nHow heavy is stone {number}?\n\nA)" in content
            assert f"\n{key}) {number} kg" in content
            assert bench.grade(item, Completion(f"Answer: {key}", sample=k)).score == 1
            assert bench.grade(item, Completion(f"Answer: {key}", sample=k + 5)).score == 1
            other = "ABCD"[("ABCD".index(key) + 1) % 4]
            assert bench.grade(item, Completion(f"Answer: {other}", sample=k)).score == 0
    assert bench.provenance()["order_seed"] == 0


def test_more_samples_keep_the_first_orders(data: str) -> None:
    one, five = (list(load_benchmark(spec(data=data, samples=k)).items()) for k in (1, 5))
    assert [i.prompts for i in one] == [i.prompts[:1] for i in five]


def test_orders_are_of_the_item_alone(tmp_path: Path) -> None:
    """Neither the other rows, nor their order, nor the process or its hash seed matter."""
    all_rows = rows(6)
    forward, backward = (
        {i.id: i for i in load_benchmark(spec(data=str(write_jsonl(tmp_path / name, some)), samples=3)).items()}
        for name, some in (("a.jsonl", all_rows), ("b.jsonl", all_rows[::-2]))
    )
    assert all(forward[name] == item for name, item in backward.items())
    code = (
        "from bitparity.benchmarks.gpqa_diamond import option_order as order; "
        "print([order(f'rec{n}', n % 3) for n in range(9)])"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        ).stdout.strip()
        for seed in ("0", "1")
    }
    assert printed == {str([option_order(f"rec{n}", n % 3) for n in range(9)])}


def test_orders_are_what_they_were() -> None:
    """Another order would be another exam."""
    assert [option_order("rec0", k) for k in range(3)] == [(0, 2, 1, 3), (2, 0, 3, 1), (2, 1, 3, 0)]


def test_orders_are_even() -> None:
    places = Counter(option_order(f"item {n}", k).index(0) for n in range(1000) for k in range(4))
    assert all(900 < places[place] < 1100 for place in range(4))
    assert len({option_order(f"item {n}", 0) for n in range(1000)}) == 24


def test_rows_without_record_ids_have_content_hashes(tmp_path: Path) -> None:
    some = rows(2, ids=False)
    first, second = load_benchmark(spec(data=str(write_jsonl(tmp_path / "a.jsonl", some)))).items()
    assert first.id != second.id
    assert len(first.id) == 16
    with pytest.raises(DataError, match="stands twice, in lines 1 and 3"):
        list(load_benchmark(spec(data=str(write_jsonl(tmp_path / "b.jsonl", [*some, some[0]])))).items())


def test_statuses(data: str) -> None:
    bench = load_benchmark(spec(data=data))
    item = next(iter(bench.items()))
    assert bench.grade(item, Completion("I cannot tell")).status == "no_answer"
    assert bench.grade(item, Completion("Answer: E")).status == "no_answer"
    assert bench.grade(item, Completion("Answer: C")).status == "answered"


# ---------------------------------------------------------------- log-likelihoods


def test_the_lm_eval_form(data: str) -> None:
    bench = load_benchmark(spec(chat=False, form="lm-eval", data=data, samples=3))
    item = next(iter(bench.items()))
    (prompt,) = item.prompts
    assert prompt.continuations == (" (A)", " (B)", " (C)", " (D)")
    texts = [preprocessed(rows()[0][CHOICES[i]]) for i in option_order("rec0", 0)]
    listed = "".join(f"({letter}) {text}\n" for letter, text in zip("ABCD", texts, strict=True))
    assert (
        prompt.text
        == f"What is the correct answer to this question:How heavy is stone 0? \n\nChoices:\n{listed}Answer:"
    )
    assert bench.metric == "acc"
    (key,) = item.reference
    logprobs = tuple((-0.5 if letter == key else -1.0, True) for letter in "ABCD")
    grade = bench.grade(item, Completion("", logprobs=logprobs))
    assert (grade.score, grade.extracted, grade.metrics) == (1, key, {"acc": 1.0, "acc_norm": 1.0})
    tie = bench.grade(item, Completion("", logprobs=((-1.0, True),) * 4))
    assert tie.extracted == "A"  # numpy's argmax, as lm-eval has it


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("chat", [False, True])
def test_prompts_and_scores_are_lm_evals(tmp_path: Path, chat: bool) -> None:
    """lm-eval's own task over rows whose options stand in our order; it is given that order in place of its shuffle."""
    lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    from lm_eval.tasks import TaskManager

    data = write_jsonl(tmp_path / "gpqa.jsonl", rows(8))
    bench = load_benchmark(spec(chat=chat, form="lm-eval", data=str(data)))
    settings = {"data_files": {"train": str(data)}, "cache_dir": str(tmp_path / "cache")}
    theirs = Path(lm_eval.__file__).parent / "tasks" / "gpqa" / "zeroshot" / "gpqa_diamond_zeroshot.yaml"
    source = tmp_path / "gpqa_diamond_zeroshot.yaml"
    data_set = {"dataset_path": "json", "dataset_name": None, "dataset_kwargs": settings}
    source.write_text(json.dumps({"include": str(theirs), "task": "gpqa_diamond_zeroshot", **data_set}))
    (task,) = TaskManager(include_path=str(tmp_path), include_defaults=False).load([str(source)])["tasks"].values()
    for number, (item, doc) in enumerate(zip(bench.items(), task.validation_docs(), strict=True)):
        ordered = [preprocessed(doc[CHOICES[i]]) for i in option_order(item.id, 0)]
        ours = {**doc, **{f"choice{k}": text for k, text in enumerate(ordered, 1)}, "answer": f"({item.reference[0]})"}
        context = task.fewshot_context(ours, 0, apply_chat_template=chat, chat_template=last_content if chat else None)
        prompt = item.prompts[0]
        shown = prompt.text if prompt.messages is None else prompt.messages[0]["content"]
        assert shown == context
        requests = task.construct_requests(ours, context, apply_chat_template=chat)
        assert prompt.continuations == tuple(request.args[1] for request in requests)
        logprobs = tuple((-float((7 * number + 3 * k) % 5), False) for k in range(4))
        scores = task.process_results(ours, list(logprobs))
        mine = bench.grade(item, Completion("", logprobs=logprobs)).metrics
        assert mine == {"acc": scores["acc"], "acc_norm": scores["acc_norm"]}


def last_content(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    assert len(messages) == 1
    assert add_generation_prompt
    return messages[0]["content"]


def test_orders_are_the_same_under_a_limit_and_when_a_run_goes_on(tmp_path: Path) -> None:
    data = str(write_jsonl(tmp_path / "gpqa.jsonl", rows(12)))
    whole, limited = (build_exam(spec(data=data, samples=4, **limit), None) for limit in ({}, {"limit": 5}))
    assert [e.item for e in limited.items] == [e.item for e in whole.items][:5]
    save_exam(limited, tmp_path / "exam.jsonl")
    assert [e.item for e in load_exam(tmp_path / "exam.jsonl").items] == [e.item for e in limited.items]
    assert [len(e.item.prompts) for e in limited.items] == [4] * 5
