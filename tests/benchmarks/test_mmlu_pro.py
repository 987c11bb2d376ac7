from __future__ import annotations

import gzip
import json
import re
from collections import Counter, defaultdict
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import SHARED_DATA, write_jsonl

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError
from bitparity.records import Completion, Grade, Item
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

needs_shared = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no shared data at {SHARED_DATA}")


def spec(chat: bool = True, **entry: Any) -> BenchmarkSpec:
    study = {
        "study": "s",
        "variants": {"a": {"model": "some/model"}},
        "protocol": {"apply_chat_template": chat},
        "benchmarks": [{"name": "mmlu_pro", **{k: str(v) for k, v in entry.items()}}],
    }
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def rows(count: int = 2, category: str = "math", options: int = 4) -> list[dict[str, Any]]:
    return [
        {
            "question_id": n,
            "question": f"What is {n}?",
            "options": [f" {k} " for k in range(options)],
            "answer": "B",
            "cot_content": f"A: Let's think step by step. It is {n}. The answer is (B).",
            "category": category,
        }
        for n in range(count)
    ]


def read(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [json.loads(line) for line in text.split("\n") if line]


def graded(text: str, options: int = 4, **more: Any) -> Grade:
    item = Item("1", load_prompt(options), "B", metadata={"letters": "ABCDEFGHIJ"[:options]})
    return load_benchmark(spec()).grade(item, Completion(text, **more))


def load_prompt(options: int) -> Any:
    from bitparity.records import Prompt

    return (Prompt(text=f"Read.\n\nQuestion: What is asked here and now?\nOptions: {options}\nAnswer: "),)


# ---------------------------------------------------------------- items


def test_the_chat_form(tmp_path: Path) -> None:
    bench = load_benchmark(spec(data=write_jsonl(tmp_path / "test.jsonl", rows(options=3))))
    first, second = bench.items()
    assert first.prompts[0].messages == (
        {
            "role": "user",
            "content": "The following is a multiple choice question (with answer) about math. Think step by step and "
            'then output the answer in the format of "The answer is (X)" at the end.\n\n'
            "Question: What is 0?\nOptions: A.  0 \nB.  1 \nC.  2 \nAnswer: ",
        },
    )
    assert (second.id, second.reference, second.subgroup) == ("1", "B", "math")
    assert second.metadata == {"letters": "ABC"}
    assert bench.task_settings() == {}


def test_the_lm_eval_form_needs_five_examples_of_the_category(tmp_path: Path) -> None:
    test = write_jsonl(tmp_path / "test.jsonl", rows())
    few = write_jsonl(tmp_path / "few.jsonl", rows(4) + rows(5, "law"))
    bench = load_benchmark(spec(data=test, fewshot_data=few, form="lm-eval"))
    with pytest.raises(DataError, match="4 worked examples of category 'math', 5 are needed"):
        list(bench.items())


def test_both_files_are_in_the_provenance(tmp_path: Path) -> None:
    test = write_jsonl(tmp_path / "test.jsonl", rows())
    few = write_jsonl(tmp_path / "few.jsonl", rows(7))
    bench = load_benchmark(spec(data=test, fewshot_data=few, form="lm-eval"))
    (item, _) = bench.items()
    assert item.prompts[0].messages is not None
    assert [m["role"] for m in item.prompts[0].messages] == ["system", *["user", "assistant"] * 5, "user"]
    assert (bench.provenance()["rows"], bench.provenance()["fewshot"]["rows"]) == (2, 7)
    assert bench.task_settings() == {"stop": ["Question:"], "temperature": 0.0, "max_tokens": 2048}


@pytest.mark.parametrize(
    "change", [{"answer": "E"}, {"answer": "AB"}, {"answer": "b"}, {"options": list("abcdefghijk")}]
)
def test_a_key_that_is_no_option(tmp_path: Path, change: dict[str, Any]) -> None:
    bench = load_benchmark(spec(data=write_jsonl(tmp_path / "test.jsonl", [{**rows(1)[0], **change}])))
    with pytest.raises(DataError, match="MMLU-Pro question 0"):
        list(bench.items())


# ---------------------------------------------------------------- the grader


def test_metrics() -> None:
    corrected = graded("The answer is (A). No, the answer is **B**.")
    assert (corrected.score, corrected.extracted) == (1, "B")
    assert corrected.metrics == {"exact_match": 1.0, "lm_eval_exact_match": 0.0}
    assert graded("The answer is Because").metrics == {"exact_match": 0.0, "lm_eval_exact_match": 1.0}
    assert graded("The answer is Because").status == "no_answer"
    beyond = graded("The answer is (D)", options=3)
    assert (beyond.score, beyond.status, beyond.extracted) == (0, "no_answer", None)


def test_a_question_that_the_model_asks_itself_is_not_graded() -> None:
    invented = "\n\nQuestion:\nAnother one?\nOptions:\nA. 1\nAnswer: The answer is (B)."
    assert graded("The answer is (A)." + invented).extracted == "A"
    assert graded("It is 5." + invented).extracted is None
    assert graded("It is 5." + invented).metrics["lm_eval_exact_match"] == 1
    repeated = "Question: What is asked here and now?\n\nThe answer is (B)."
    assert graded("Let me see.\n" + repeated).extracted == "B"
    assert graded("The answer is (A).\n" + repeated).extracted == "A"
    assert graded(repeated).extracted == "B"


def test_a_list_that_was_cut_off_states_nothing() -> None:
    assert graded("It is\n\nB", finish="length").status == "no_answer"
    assert graded("It is\n\nB", finish="stop").extracted == "B"


# ---------------------------------------------------------------- lm-eval's own task on the same rows


@pytest.fixture(scope="module")
def lm_eval_tasks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """lm-eval's 14 tasks over 560 of the shared questions, read from local files."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no shared data at {SHARED_DATA}")
    lm_eval = pytest.importorskip("lm_eval", reason="lm-eval is not installed")
    from lm_eval.tasks import TaskManager

    folder = tmp_path_factory.mktemp("mmlu_pro")
    per_category: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read(SHARED_DATA / "mmlu_pro_test.jsonl.gz"):
        per_category[row["category"]].append(row)
    few = [
        {"question_id": n, "src": "", **row} for n, row in enumerate(read(SHARED_DATA / "mmlu_pro_validation.jsonl"))
    ]
    files = {
        "test": str(
            write_jsonl(folder / "test.jsonl", [r for c in per_category.values() for r in c[:: len(c) // 40][:40]])
        ),
        "validation": str(write_jsonl(folder / "validation.jsonl", few)),
    }
    data = {"dataset_path": "json", "dataset_kwargs": {"data_files": files, "cache_dir": str(folder / "cache")}}
    sources = []
    for category in per_category:
        name = f"mmlu_pro_{category.replace(' ', '_')}"
        theirs = Path(lm_eval.__file__).parent / "tasks" / "mmlu_pro" / f"{name}.yaml"
        sources.append(folder / f"{name}.yaml")
        sources[-1].write_text(json.dumps({"include": str(theirs), "task": name, **data}))
    return {"files": files, "tasks": TaskManager().load([str(source) for source in sources])["tasks"]}


def ours(files: dict[str, str], chat: bool) -> tuple[Benchmark, dict[str, Item]]:
    bench = load_benchmark(spec(chat, data=files["test"], fewshot_data=files["validation"], form="lm-eval"))
    return bench, {item.id: item for item in bench.items()}


def as_json(messages: list[dict[str, str]], add_generation_prompt: bool) -> str:
    assert add_generation_prompt
    return json.dumps(messages)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_prompts_are_lm_evals_to_the_byte(lm_eval_tasks: dict[str, Any]) -> None:
    with_template, plain = (ours(lm_eval_tasks["files"], chat)[1] for chat in (True, False))
    seen = 0
    for task in lm_eval_tasks["tasks"].values():
        for doc in task.test_docs():
            item = str(doc["question_id"])
            theirs = task.fewshot_context(
                doc, 5, apply_chat_template=True, fewshot_as_multiturn=True, chat_template=as_json
            )
            messages = with_template[item].prompts[0].messages
            assert messages is not None
            assert json.dumps(list(messages)) == theirs
            assert plain[item].prompts[0].text == task.fewshot_context(doc, 5)
            assert with_template[item].subgroup == doc["category"]
            seen += 1
    assert (len(lm_eval_tasks["tasks"]), seen) == (14, 560)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_the_lm_eval_metric_is_lm_evals(lm_eval_tasks: dict[str, Any]) -> None:
    bench, items = ours(lm_eval_tasks["files"], chat=True)
    task = next(iter(lm_eval_tasks["tasks"].values()))
    (ensemble,) = task._filters
    texts = [row["text"] for row in read(SHARED_DATA / "recorded" / "bf16.jsonl.gz") if row["set"] == "mmlu_pro"][:1500]
    texts += ["the answer is A", "answer is (Because", "The answer is **C**", "answer is (c)", ""]
    docs = list(task.test_docs())
    scores = Counter()
    for n, text in enumerate(texts):
        doc = docs[n % len(docs)]
        (filtered,) = Filtered.apply(ensemble, text, doc)
        theirs = task.process_results(doc, [filtered])["exact_match"]
        mine = bench.grade(items[str(doc["question_id"])], Completion(text)).metrics["lm_eval_exact_match"]
        assert mine == theirs, text
        scores[mine] += 1
    assert scores[1.0] > 20


class Filtered:
    """One text through lm-eval's chain of filters."""

    @staticmethod
    def apply(ensemble: Any, text: str, doc: dict[str, Any]) -> list[str]:
        responses: Any = [[text]]
        for build in ensemble.filters:
            responses = build().apply(responses, [doc])
        return list(responses)


# ---------------------------------------------------------------- six published logs

LOGS = (
    "Meta-Llama-3-8B",
    "Meta-Llama-3_1-8B-Instruct",
    "Meta-Llama-3_1-8B",
    "Qwen1.5-7B-Chat",
    "gemini-1.5-flash-002",
    "gemini-1.5-pro-002",
)
FIRST = re.compile(r"answer is \(?([A-J])\)?")
ANY = re.compile(r"nswer(?: is)?:?\s*[(*]*([A-J])\b")
SEVERAL = re.compile(r"answer is[^.\n]{0,40}?(?:\(?[A-J]\)?\**(?:,| and| or|/)[^.\n]{0,12}[A-J]\b|\(?[A-J]{2,9}\b)")


@cache
def questions() -> tuple[Benchmark, dict[str, Item]]:
    bench = load_benchmark(spec(data=SHARED_DATA / "mmlu_pro_test.jsonl.gz"))
    return bench, {item.id: item for item in bench.items()}


def explained(row: dict[str, Any], letter: str | None, options: str) -> str | None:
    """Why our letter is not the log's first match of "answer is (X)"; None where nothing explains it."""
    text, log = row["output"], row["pred"]
    own = text.partition("\nQuestion:")[0]
    matches = FIRST.findall(own)
    if not matches:
        return "the log's match lies in a question that the model asked itself"
    if letter is None and [*matches, *ANY.findall(own)][-1] not in options:
        return "a letter beyond the options"
    if letter is not None and SEVERAL.search(own):
        return "several options, then one"
    if letter is None and SEVERAL.search(own):
        return "several options"
    if letter is not None and letter == matches[-1] != log:
        return "the last statement, not the first"
    if letter is not None and re.search(rf"(?:\\boxed\{{|nswer[^\n]{{0,60}}(?:is|be|:)[\s\S]{{0,12}}){letter}\b", own):
        return "a later statement in other words"
    if letter is not None and re.search(r"(?i)\b(?:wait|re-?examine|re-?check|let me check|no,|if|would)\b", own):
        return "taken back, or under a condition"
    if letter is None and re.search(r"answer is \(?[A-J][a-z]", own):
        return "the first letter of a word"
    return None


@needs_shared
@pytest.mark.parametrize("log", LOGS)
def test_published_logs(log: str) -> None:
    bench, items = questions()
    counts: Counter[str] = Counter()
    unexplained = []
    for row in read(SHARED_DATA / "graded" / "mmlu_pro" / f"{log}_5shots.jsonl.gz"):
        item = items[str(row["question_id"])]
        grade = bench.grade(item, Completion(row["output"]))
        first = FIRST.search(row["output"])
        assert grade.metrics["lm_eval_exact_match"] == (first is not None and first[1] == item.reference)
        if first is None:
            counts["other words"] += grade.extracted is not None
            continue
        assert first[1] == row["pred"]  # the rule of every log
        if grade.extracted == row["pred"]:
            counts["same"] += 1
            continue
        why = explained(row, grade.extracted, item.metadata["letters"])
        counts[why or "unexplained"] += 1
        if why is None:
            unexplained.append((row["question_id"], row["pred"], grade.extracted, row["output"][-300:]))
    assert not unexplained, unexplained[:5]
    assert counts["same"] >= 0.95 * (counts.total() - counts["other words"])
