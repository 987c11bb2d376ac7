"""What `lm_eval:<task>` refuses, how it grades, and that it neither chatters nor disturbs its surroundings."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import SHARED_DATA, math_rows, write_jsonl

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError, MissingDependencyError, StudyError, install_command
from bitparity.exam.build import build_exam
from bitparity.exam.frozen import load_exam, save_exam
from bitparity.records import Completion
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

pytest.importorskip("lm_eval", reason="lm-eval is not installed")

EXACT = [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}]
DIGITS = {"name": "digits", "filter": [{"function": "regex", "regex_pattern": "[0-9]+"}, {"function": "take_first"}]}
LAST = {
    "name": "last",
    "filter": [{"function": "regex", "regex_pattern": "[0-9]+", "group_select": -1}, {"function": "take_first"}],
}
SUMS: dict[str, Any] = {
    "task": "sums",
    "dataset_path": "json",
    "test_split": "test",
    "output_type": "generate_until",
    "doc_to_text": "{{problem}}",
    "doc_to_target": "{{answer}}",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 8},
    "metric_list": EXACT,
    "filter_list": [DIGITS, LAST],
    "metadata": {"version": 7},
}


def spec(name: str, protocol: Mapping[str, Any] | None = None, **entry: Any) -> BenchmarkSpec:
    study = {
        "study": "toy",
        "variants": {"bf16": {"model": "some/model", "baseline": True}},
        "protocol": {"apply_chat_template": False, **(protocol or {})},
        "benchmarks": [{"name": name, **entry}],
    }
    return parse_study(json.dumps(study), "toy", Path.cwd()).benchmarks[0]


def boxed(sign: str = "+") -> list[dict[str, Any]]:
    """Rows that `hendrycks_math500` takes, which reads the answer off the solution."""
    return [
        {**row, "problem": row["problem"].replace("+", sign), "solution": f"It is $\\boxed{{{row['answer']}}}$."}
        for row in math_rows(3)
    ]


def write_task(folder: Path, name: str = "sums", **changes: Any) -> Path:
    """A task's YAML file over five sums, or what `changes` makes of it."""
    rows = write_jsonl(folder / "rows.jsonl", math_rows(5))
    kwargs = {"data_files": {"test": str(rows)}, "cache_dir": str(folder / "cache")}
    body = {**SUMS, "task": name, "dataset_kwargs": kwargs, **changes}
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in body.items() if v is not None}))
    return path


def sums(folder: Path, protocol: Mapping[str, Any] | None = None, **changes: Any) -> Benchmark:
    return load_benchmark(spec(f"lm_eval:{write_task(folder, **changes)}", protocol))


def refusal(benchmark: Benchmark, kind: type[Exception] = DataError) -> str:
    with pytest.raises(kind) as raised:
        list(benchmark.items())
    return str(raised.value)


# What is asked


def test_items_keep_the_order_and_limit_and_carry_what_pairs_them_with_lm_eval(tmp_path: Path) -> None:
    benchmark = load_benchmark(spec(f"lm_eval:{write_task(tmp_path)}", limit=3))
    items = list(benchmark.items())
    # the file's name stands for the task, so its leaf is named in the id
    assert [item.id for item in items] == ["sums/0", "sums/1", "sums/2"]
    assert [item.prompts[0].text for item in items] == [f"What is {n} + {n}?" for n in range(3)]
    assert [item.reference for item in items] == ["0", "2", "4"]
    assert {"doc_hash", "prompt_hash", "target_hash"} < items[0].metadata.keys()
    assert benchmark.provenance()["available"] == 5
    assert benchmark.provenance()["tasks"]["sums"]["version"] == 7


def test_the_settings_are_the_tasks_own_as_lm_eval_resolves_them(tmp_path: Path) -> None:
    sampled = {"until": "END", "do_sample": True, "temperature": 0.7, "top_p": 0.9, "max_new_tokens": 5}
    benchmark = sums(tmp_path, generation_kwargs=sampled)
    assert benchmark.task_settings() == {"temperature": 0.7, "top_p": 0.9, "max_tokens": 5, "stop": ["END"]}


def test_a_task_without_a_budget_gets_the_256_tokens_of_lm_eval(tmp_path: Path) -> None:
    benchmark = sums(tmp_path, generation_kwargs={"until": ["", "\n"], "do_sample": False, "temperature": 0.9})
    assert benchmark.task_settings() == {"temperature": 0.0, "max_tokens": 256, "stop": ["\n"]}


def test_log_likelihood_tasks_set_no_sampling(tmp_path: Path) -> None:
    benchmark = sums(
        tmp_path,
        output_type="multiple_choice",
        doc_to_choice=["0", "2"],
        doc_to_target=1,
        generation_kwargs=None,
        filter_list=None,
        metric_list=[{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
    )
    assert benchmark.task_settings() == {}
    item = next(iter(benchmark.items()))
    assert item.prompts[0].continuations == (" 0", " 2")
    grade = benchmark.grade(item, Completion("", logprobs=((-3.0, False), (-1.0, True))))
    assert (grade.score, grade.status, grade.extracted) == (1.0, "answered", "2")
    with pytest.raises(DataError, match="2 continuations, but 1 log-prob"):
        benchmark.grade(item, Completion("", logprobs=((-3.0, False),)))


# How it grades


def test_filters_metrics_and_the_studys_choice_among_them(tmp_path: Path) -> None:
    path = write_task(tmp_path)
    text = Completion("first 3, then 4")
    scores = {}
    for metric in (None, "exact_match,last"):
        benchmark = load_benchmark(spec(f"lm_eval:{path}", metric=metric))
        grade = benchmark.grade(list(benchmark.items())[2], text)
        assert grade.metrics == {"exact_match,digits": 0.0, "exact_match,last": 1.0}
        scores[benchmark.metric] = (grade.score, grade.extracted)
    assert scores == {"exact_match,digits": (0.0, "3"), "exact_match,last": (1.0, "4")}


@pytest.mark.parametrize("text", ["", "no number", "\n4"])
def test_nothing_extracted_is_no_answer(tmp_path: Path, text: str) -> None:
    benchmark = sums(tmp_path)
    grade = benchmark.grade(list(benchmark.items())[2], Completion(text))
    assert (grade.score, grade.status) == (0.0, "no_answer")


def test_text_behind_a_stop_string_does_not_count(tmp_path: Path) -> None:
    benchmark = sums(tmp_path)
    grade = benchmark.grade(list(benchmark.items())[2], Completion("it is 4\nno, 5"))
    assert grade.metrics == {"exact_match,digits": 1.0, "exact_match,last": 1.0}


def test_the_answer_behind_a_reasoning_loses_its_leading_white_space_as_in_lm_eval(tmp_path: Path) -> None:
    benchmark = sums(tmp_path, filter_list=None)
    item = list(benchmark.items())[2]
    assert benchmark.grade(item, Completion("\n\n4", reasoning="2 and 2")).score == 1.0
    assert benchmark.grade(item, Completion("\n\n4")).score == 0.0


def test_a_frozen_exam_is_graded_alike_by_another_process(tmp_path: Path) -> None:
    entry = spec(f"lm_eval:{write_task(tmp_path)}")
    save_exam(build_exam(entry, None), tmp_path / "exam.jsonl")
    code = (
        "import sys; from pathlib import Path; from bitparity.benchmarks.registry import load_benchmark;"
        "from bitparity.exam.frozen import load_exam; from bitparity.records import Completion;"
        "from bitparity.schema import BenchmarkSpec;"
        "entry = BenchmarkSpec.model_validate_json(sys.argv[1]); benchmark = load_benchmark(entry);"
        "print([benchmark.grade(e.item, Completion('4')).score for e in load_exam(Path(sys.argv[2])).items])"
    )
    command = [sys.executable, "-c", code, entry.model_dump_json(), str(tmp_path / "exam.jsonl")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[0.0, 0.0, 1.0, 0.0, 0.0]\n"
    assert load_exam(tmp_path / "exam.jsonl").metric == "exact_match,digits"


# Surroundings


def test_no_chatter_and_no_trace(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import datasets

    random.seed(5)
    expected = random.Random(5).random()
    benchmark = sums(tmp_path, num_fewshot=2)  # lm-eval warns that the examples come from the test split
    for item in benchmark.items():
        benchmark.grade(item, Completion("4"))
    assert random.random() == expected
    assert capfd.readouterr() == ("", "")
    assert not datasets.are_progress_bars_disabled()


# Local data, through one of lm-eval's own tasks


def test_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "math.jsonl", boxed())
    first = list(load_benchmark(spec("lm_eval:hendrycks_math500", data=str(path))).items())
    stamp = path.stat()
    write_jsonl(path, boxed("*"))
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))  # same size, same time: only the content differs
    second = list(load_benchmark(spec("lm_eval:hendrycks_math500", data=str(path))).items())
    assert [i.id for i in first] == ["0", "1", "2"]
    assert first[1].prompts[0].text == "Problem: What is 1 + 1?\nAnswer:"
    assert second[1].prompts[0].text == "Problem: What is 1 * 1?\nAnswer:"


def test_a_compressed_file_gives_the_same_items(tmp_path: Path) -> None:
    plain = write_jsonl(tmp_path / "math.jsonl", boxed())
    packed = tmp_path / "packed.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    items = [list(load_benchmark(spec("lm_eval:hendrycks_math500", data=str(p))).items()) for p in (plain, packed)]
    assert items[0] == items[1]


def test_file_hashes_are_in_the_provenance(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "math.jsonl", boxed())
    provenance = load_benchmark(spec("lm_eval:hendrycks_math500", data=str(path))).provenance()
    assert provenance["lm_eval"] == "0.4.13"
    assert provenance["data"]["path"] == str(path)
    assert len(provenance["data"]["sha256"]) == 64


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    rows = math_rows(3)
    short = [rows[0], {k: v for k, v in rows[1].items() if k != "answer"}]
    torn = folder / "torn.jsonl"
    torn.write_text(json.dumps(rows[0]) + '\n{"problem": \n')
    empty = folder / "empty.jsonl"
    empty.write_text("")
    return {
        "broken JSON": (torn, "line 2"),
        "empty": (empty, "empty"),
        "a missing field": (write_jsonl(folder / "short.jsonl", short), "line 2: the fields differ"),
        "another benchmark": (write_jsonl(folder / "other.jsonl", [{"prompt": "x"}]), "in the schema"),
    }


@pytest.mark.parametrize("what", ["broken JSON", "empty", "a missing field", "another benchmark"])
def test_bad_files_are_named(tmp_path: Path, what: str) -> None:
    path, message = broken_files(tmp_path)[what]
    text = refusal(load_benchmark(spec("lm_eval:hendrycks_math500", data=str(path))))
    assert message in text
    assert path.name in text
    assert "\n" not in text


@pytest.mark.parametrize(
    ("task", "data", "fewshot", "message"),
    [
        ("gsm8k", True, False, "shows 5 worked examples"),
        ("gsm8k", False, True, "needs data beside it"),
        ("hendrycks_math500", True, True, "no worked examples"),
        ("aime24", True, True, "no worked examples"),
        ("mmlu", True, False, "different data sets or configurations"),
        ("squadv2", True, False, "by code of its own"),
    ],
)
def test_files_that_do_not_fit_the_task(tmp_path: Path, task: str, data: bool, fewshot: bool, message: str) -> None:
    path = str(write_jsonl(tmp_path / "math.jsonl", math_rows(9)))
    files = {"data": path if data else None, "fewshot_data": path if fewshot else None}
    benchmark = load_benchmark(spec(f"lm_eval:{task}", **files))
    with pytest.raises((DataError, StudyError), match=message):
        list(benchmark.items())


# What is refused


def test_an_unknown_task_names_its_neighbours() -> None:
    with pytest.raises(StudyError, match="named 'gsm8kk'; did you mean gsm8k"):
        list(load_benchmark(spec("lm_eval:gsm8kk")).items())


def test_a_yaml_file_that_is_not_there() -> None:
    with pytest.raises(StudyError, match=r"nowhere\.yaml is no YAML file of an lm-eval task"):
        list(load_benchmark(spec("lm_eval:nowhere.yaml")).items())


@pytest.mark.parametrize(
    ("task", "message"),
    [
        ("wikitext", "rolling log-likelihoods"),
        ("humaneval", "code that the model wrote"),
        ("mmmu_val", "images or sound"),
        ("gsm8k_cot_self_consistency", "scores 64 answers of an item together"),
    ],
)
def test_tasks_that_have_no_counterpart_are_refused_before_any_data_is_fetched(task: str, message: str) -> None:
    assert message in refusal(load_benchmark(spec(f"lm_eval:{task}")))


def metric(name: str, aggregation: str = "mean", higher: bool = True) -> dict[str, Any]:
    return {"metric": name, "aggregation": aggregation, "higher_is_better": higher}


def test_a_metric_over_the_corpus_is_refused_and_its_neighbour_named(tmp_path: Path) -> None:
    both = [metric("perplexity", "perplexity", False), metric("acc")]
    changes = {"output_type": "loglikelihood", "generation_kwargs": None, "filter_list": None, "metric_list": both}
    assert "set metric: to one of: acc,none" in refusal(sums(tmp_path, **changes))
    benchmark = load_benchmark(spec(f"lm_eval:{tmp_path / 'sums.yaml'}", metric="acc,none"))
    assert benchmark.grade(next(iter(benchmark.items())), Completion("", logprobs=((-1.0, True),))).score == 1.0


def test_a_metric_where_lower_is_better_is_refused(tmp_path: Path) -> None:
    text = refusal(sums(tmp_path, metric_list=[metric("exact_match", higher=False)]))
    assert "no mean of scores in [0, 1] where higher is better; bitparity cannot compare such a task" in text


def test_an_unknown_metric_is_refused(tmp_path: Path) -> None:
    benchmark = load_benchmark(spec(f"lm_eval:{write_task(tmp_path)}", metric="acc"))
    assert "no metric 'acc'; set metric: to one of: exact_match,digits, exact_match,last" in refusal(
        benchmark, StudyError
    )


def scorer(folder: Path, body: str) -> Path:
    """A task whose `process_results` is the code given."""
    (folder / "scoring.py").write_text(f"def process_results(doc, results):\n    {body}\n")
    path = write_task(folder, filter_list=None, metric_list=[metric("points")])
    path.write_text(path.read_text() + "process_results: !function scoring.process_results\n")
    return path


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return {'points': 100.0 * (results[0] == doc['answer'])}", "gave 100.0, no number in"),
        ("return {'points': float('nan')}", "gave nan, no number in"),
        ("return {'points': results[0][0]}", "IndexError"),
    ],
)
def test_a_scorer_with_another_scale_or_that_fails_shows_before_any_model_runs(
    tmp_path: Path, body: str, message: str
) -> None:
    assert message in refusal(load_benchmark(spec(f"lm_eval:{scorer(tmp_path, body)}")))


def test_repeats_are_refused_in_a_yaml_file_too(tmp_path: Path) -> None:
    assert "scores 3 answers of an item together" in refusal(sums(tmp_path, repeats=3))


def test_an_unknown_generation_setting_is_refused(tmp_path: Path) -> None:
    text = refusal(sums(tmp_path, generation_kwargs={"until": ["\n"], "num_beams": 4, "typical_p": 0.5}))
    assert "sets typical_p, num_beams for its generation" in text


def group(folder: Path, **second: Any) -> str:
    write_task(folder, "one")
    write_task(folder, "two", **second)
    (folder / "both.yaml").write_text(yaml.safe_dump({"group": "both", "task": ["one", "two"]}))
    return f"lm_eval:{folder / 'both.yaml'}"


def test_a_group_limits_each_task_and_names_it(tmp_path: Path) -> None:
    items = list(load_benchmark(spec(group(tmp_path), limit=2)).items())
    assert [item.id for item in items] == ["one/0", "one/1", "two/0", "two/1"]
    assert [item.subgroup for item in items] == ["one", "one", "two", "two"]


@pytest.mark.parametrize(
    ("second", "message"),
    [
        ({"generation_kwargs": {"until": ["\n"], "max_gen_toks": 9}}, "differ in their generation settings: one has"),
        ({"filter_list": [LAST]}, "differ in their primary metric: one has exact_match,digits, two has"),
    ],
)
def test_a_group_of_unlike_tasks_is_refused(tmp_path: Path, second: dict[str, Any], message: str) -> None:
    benchmark = load_benchmark(spec(group(tmp_path, **second)))
    with pytest.raises(DataError, match=message):
        build_exam(benchmark.spec, None)


def test_without_lm_eval_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(MissingDependencyError, match=re.escape(install_command("lm-eval"))):
        load_benchmark(spec("lm_eval:gsm8k"))


@pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no shared data at {SHARED_DATA}")
@pytest.mark.parametrize(
    ("log", "task", "data"),
    [
        ("all_samples_math500_local", "hendrycks_math500", "math500"),
        ("math_samples_math500_local", "hendrycks_math500", "math500"),
        ("all_samples_aime24_local", "aime24", "aime24"),
    ],
)
def test_answers_that_lm_eval_logged_get_the_scores_it_gave_them(log: str, task: str, data: str) -> None:
    benchmark = load_benchmark(spec(f"lm_eval:{task}", data=str(SHARED_DATA / f"{data}.jsonl")))
    items = {item.metadata["doc_id"]: item for item in benchmark.items()}
    lines = gzip.decompress((SHARED_DATA / "recorded" / "lm_eval" / f"{log}.jsonl.gz").read_bytes()).splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == len(items)
    for row in rows:
        item = items[row["doc_id"]]
        assert item.metadata["target_hash"] == row["target_hash"]
        assert benchmark.grade(item, Completion(row["resps"][0][0])).score == row["exact_match"]
