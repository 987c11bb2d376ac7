"""Logs of Inspect, EvalScope, NeMo Evaluator and LiveBench as `bitparity compare` reads them."""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from support import Cli, write_jsonl

from bitparity.compare.compare import compare
from bitparity.compare.readers import read
from bitparity.compare.records import Source
from bitparity.errors import DataError

Rows = list[dict[str, Any]]
ITEMS = 6


def scores(source: Source) -> dict[str, dict[str, list[float | None]]]:
    """Scores by benchmark and item, in the order of the samples."""
    return {
        name: {key: [item.scores[n] for n in sorted(item.scores)] for key, item in results.items.items()}
        for name, results in source.benchmarks.items()
    }


def finishes(source: Source, benchmark: str) -> dict[str, str]:
    """The finish of the first answer to each item."""
    return {key: item.samples[0].finish for key, item in source.benchmarks[benchmark].items.items() if item.samples}


# Inspect: its own writer makes the logs


def inspect_log(folder: Path, form: str = "eval", answers: str = "2", **options: Any) -> Path:
    """A log of six sums in two epochs: 2 fails, 3 is cut off, 4 is refused an answer, 5 has no score of its own."""
    pytest.importorskip("inspect_ai", reason="the extra 'inspect' is not installed")
    from inspect_ai import Task
    from inspect_ai import eval as run
    from inspect_ai.dataset import MemoryDataset, Sample
    from inspect_ai.model import GenerateConfig, ModelOutput, ModelUsage, get_model
    from inspect_ai.scorer import NOANSWER, Score, accuracy, match, scorer
    from inspect_ai.solver import TaskState, solver

    def output(messages: list[Any], *_: Any) -> ModelOutput:
        number = messages[-1].text.split("+")[0].split()[-1]
        found = ModelOutput.from_content("m", f"ANSWER: {answers}", "max_tokens" if number == "3" else "stop")
        found.usage = ModelUsage(input_tokens=1, output_tokens=1, total_tokens=2)
        return found

    @solver
    def failing() -> Any:
        async def solve(state: TaskState, generate: Any) -> TaskState:
            if state.sample_id == 2:
                raise RuntimeError("boom")
            return await generate(state)

        return solve

    @scorer(metrics=[accuracy()])
    def plain() -> Any:
        async def score(state: TaskState, target: Any) -> Score:
            if state.sample_id == 4:
                return Score(value=NOANSWER)
            if state.sample_id == 5:
                return Score.unscored(reason="grader_failed")
            return Score(value=float(target.text in state.output.completion))

        return score

    data = [Sample(id=n, input=f"What is {n}+1? " + "x" * 2000, target=str(n + 1)) for n in range(ITEMS)]
    task = Task(MemoryDataset(data), solver=failing(), scorer=[plain(), match()], name="sums", epochs=2)
    model = get_model("mockllm/m", custom_outputs=output, config=GenerateConfig(temperature=0.5))
    shown = {"display": "none", "log_dir": str(folder), "log_format": form}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Inspect's own libraries
        (log,) = run(task, model=model, fail_on_error=False, **shown, **options)
    return Path(log.location)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inspect_log(tmp_path_factory.mktemp("inspect"))


def test_inspect_shows_errors_limits_and_missing_scores_and_never_counts_them_wrong(log: Path) -> None:
    source = read(str(log), metric="plain")
    assert (source.kind, source.label) == ("inspect", "mockllm/m")
    right, wrong, none = [1.0, 1.0], [0.0, 0.0], [None, None]
    assert scores(source)["sums"] == {"0": wrong, "1": right, "2": none, "3": wrong, "4": wrong, "5": none}
    items = source.benchmarks["sums"].items
    assert finishes(source, "sums") == {"0": "stop", "1": "stop", "2": "error", "3": "length", "4": "stop", "5": "stop"}
    assert items["4"].grades[0].status == "no_answer"
    assert "boom" in items["2"].grades[1].details["error"]
    assert items["0"].question is not None
    assert items["0"].question.endswith("x" * 2000)  # long texts stand in the log's attachments
    assert source.benchmarks["sums"].settings == {"temperature": 0.5}


def test_inspect_asks_which_of_several_scorers(log: Path) -> None:
    with pytest.raises(DataError, match=r"has 2 metrics; choose one with --metric plain\|match"):
        read(str(log))
    assert scores(read(str(log), metric="match"))["sums"]["4"] == [0.0, 0.0]


def test_the_two_forms_of_an_inspect_log_say_the_same(log: Path, tmp_path: Path) -> None:
    other = inspect_log(tmp_path, "json")
    assert scores(read(str(tmp_path), metric="plain")) == scores(read(str(log), metric="plain"))
    ours, theirs = (read(str(path), metric="plain").benchmarks["sums"].items for path in (log, other))
    assert [item.checks for item in ours.values()] == [item.checks for item in theirs.values()]


def changed(log: Path, path: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a log, changed and written by Inspect itself."""
    from inspect_ai.log import read_eval_log, write_eval_log

    content = read_eval_log(str(log))
    change(content)
    write_eval_log(content, str(path))
    return path


def cancel(log: Any) -> None:
    log.status = "cancelled"
    log.samples = [sample for sample in log.samples if sample.id != 0 or sample.epoch == 1]


def invalidate(log: Any) -> None:
    log.invalidated = True


def word(log: Any) -> None:
    log.samples[0].scores["plain"].value = "fine"


def test_a_cancelled_inspect_run_lacks_what_it_did_not_do(log: Path, tmp_path: Path) -> None:
    found = scores(read(str(changed(log, tmp_path / "a.eval", cancel)), metric="plain"))["sums"]
    assert found["0"] == [0.0, None]
    assert {len(values) for values in found.values()} == {2}


def test_an_invalidated_inspect_log_has_no_scores(log: Path, tmp_path: Path) -> None:
    found = scores(read(str(changed(log, tmp_path / "a.eval", invalidate)), metric="plain"))["sums"]
    assert {tuple(values) for values in found.values()} == {(None, None)}


def test_inspect_logs_that_cannot_be_read_end_with_one_line(log: Path, tmp_path: Path, cli: Cli) -> None:
    newer = changed(log, tmp_path / "new.json", lambda _: None)
    newer.write_text(newer.read_text().replace('"version": 2', '"version": 3', 1))
    torn = tmp_path / "torn.eval"
    torn.write_bytes(log.read_bytes()[:2000])
    cases = {newer: "version 3", torn: "cannot be read as a log of Inspect"}
    cases[changed(log, tmp_path / "word.eval", word)] = "'fine', no number"
    for path, words in cases.items():
        ended = cli("compare", path, path, "--metric", "plain")
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended
        assert words in ended.err


def test_inspect_logs_are_compared_and_other_prompts_refused(log: Path, tmp_path: Path, cli: Cli) -> None:
    other = inspect_log(tmp_path / "other", answers="1")
    ended = cli("compare", log, other, "--metric", "plain", "--json", tmp_path / "out.json")
    assert ended.code == 3  # a third of the samples has no score
    (entry,) = json.loads((tmp_path / "out.json").read_text())["benchmarks"].values()
    (pair,) = entry["comparisons"].values()
    assert (pair["items"], pair["lost"], pair["gained"]) == (4, 1, 1)
    assert entry["pairing"][str(other)]["candidate"]["unscored"]["count"] == 2
    asked = changed(log, tmp_path / "asked.eval", lambda told: setattr(told.samples[0].messages[0], "content", "Hm?"))
    assert "do not have the same prompt" in cli("compare", log, asked, "--metric", "plain").err


# EvalScope: rows as its mock model and version 1.14.1 write them


def review(index: int, value: dict[str, float], **score: Any) -> dict[str, Any]:
    told = {"value": value, "status": "success", "extracted_prediction": "A", "prediction": f"the answer is A {index}"}
    told |= {"main_score_name": "accuracy", "judge_summary": None, "explanation": None, "metadata": {}}
    return {
        "index": index,
        "target": ["A"],
        "messages": [
            {"id": f"r{index}", "content": f"Question {index // 2}", "role": "user"},
            {"id": f"s{index}", "content": "the answer is A", "role": "assistant"},
        ],
        "sample_score": {
            "score": told | score,
            "sample_id": index,
            "group_id": index // 2,
            "generation_index": index % 2,
            "sample_metadata": {"id": str(index)},
        },
    }


def prediction(index: int, stop_reason: str = "stop", error: str | None = None) -> dict[str, Any]:
    message = {"role": "assistant", "content": "the answer is A"}
    output = {"model": "m", "choices": [{"message": message, "stop_reason": stop_reason}], "error": error}
    return {"index": index, "model": "m", "model_output": output, "messages": []}


def evalscope(folder: Path, reviews: Rows, predictions: Rows = (), version: str = "1.14.1", model: str = "m") -> Path:
    for name in ("configs", f"reviews/{model}", f"predictions/{model}", f"reports/{model}"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    config = {"evalscope_version": version, "repeats": 2, "generation_config": {"temperature": 0.6, "batch_size": 1}}
    (folder / "configs/task_config.yaml").write_text(yaml.safe_dump(config))
    (folder / f"reports/{model}/general_mcq.json").write_text("{}")
    write_jsonl(folder / f"reviews/{model}/general_mcq_algebra.jsonl", reviews)
    if predictions:
        write_jsonl(folder / f"predictions/{model}/general_mcq_algebra.jsonl", predictions)
    return folder


def test_evalscope_shows_failed_judges_cut_offs_and_answers_without_a_review(tmp_path: Path) -> None:
    rows = [review(n, {"accuracy": float(n % 2)}) for n in range(4)]
    rows.append(review(4, {}, status="parse_error", main_score_name=None))
    rows.append(review(5, {"accuracy": 1.0}, extracted_prediction=""))
    answers = [prediction(0, "max_tokens"), *(prediction(n) for n in range(1, 8))]
    source = read(str(evalscope(tmp_path, rows, answers)))
    assert (source.kind, source.label) == ("evalscope", "m")
    found = scores(source)["general_mcq"]
    assert list(found.values()) == [[0.0, 1.0], [0.0, 1.0], [None, 1.0], [None, None]]
    items = list(source.benchmarks["general_mcq"].items.values())
    assert items[0].samples[0].finish == "length"
    assert items[2].grades[0].details["error"] == "status parse_error"
    assert items[2].grades[1].status == "no_answer"
    assert {item.subgroup for item in items} == {"algebra"}
    assert source.benchmarks["general_mcq"].settings == {"temperature": 0.6}


def test_a_failed_request_of_evalscope_is_not_a_wrong_answer(tmp_path: Path) -> None:
    rows = [review(n, {"accuracy": 0.0}) for n in range(2)]
    source = read(str(evalscope(tmp_path, rows, [prediction(0, error="timeout"), prediction(1)])))
    assert list(scores(source)["general_mcq"].values()) == [[None, 0.0]]


def test_evalscope_takes_the_main_score_unless_another_is_asked_for(tmp_path: Path) -> None:
    folder = evalscope(tmp_path, [review(n, {"accuracy": 1.0, "f1": 0.5}) for n in range(2)])
    assert list(scores(read(str(folder)))["general_mcq"].values()) == [[1.0, 1.0]]
    assert list(scores(read(str(folder), metric="f1"))["general_mcq"].values()) == [[0.5, 0.5]]
    with pytest.raises(DataError, match="has no metric 'bleu'"):
        read(str(folder), metric="bleu")


def test_evalscope_models_are_chosen_after_a_colon(tmp_path: Path) -> None:
    for model, value in (("a", 1.0), ("b", 0.0)):
        evalscope(tmp_path, [review(n, {"accuracy": value}) for n in range(2)], model=model)
    with pytest.raises(DataError, match="has 2 models; choose one"):
        read(str(tmp_path))
    assert list(scores(read(f"{tmp_path}:b"))["general_mcq"].values()) == [[0.0, 0.0]]
    file = tmp_path / "reviews/a/general_mcq_algebra.jsonl"
    assert list(scores(read(str(file)))["general_mcq"].values()) == [[1.0, 1.0]]


# NeMo Evaluator: files as the evaluation loop of 0.3.0 writes them


def result(problem: int, repeat: int, reward: float, details: dict[str, Any] | None = None) -> dict[str, Any]:
    return {
        "problem_idx": problem,
        "repeat": repeat,
        "reward": reward,
        "scorer_rewards": {"scorer:strict": 0.25},
        "prompt": f"What is {problem}+1?",
        "model_response": str(problem),
        "extracted_answer": str(problem),
        "expected_answer": str(problem + 1),
        "scoring_details": details or {"method": "exact"},
        "metadata": {"category": "odd" if problem % 2 else "even"},
        "tokens": 3,
        "latency_ms": 0.0,
    }


def nemo(
    folder: Path, rows: Rows, version: str = "0.3.0", results: int | None = None, model: str = "toy", **config: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    bundle = {
        "run_id": "eval-20261129T123044Z-sums",
        "sdk_version": version,
        "config": {"model": model, "temperature": 0.6, "repeats": 2, **config},
        "benchmark": {"name": "sums", "samples": 6, "repeats": 2, "scores": {}},
        "n_results": len(rows) if results is None else results,
    }
    (folder / "eval-20261129T123044Z-sums.json").write_text(json.dumps(bundle))
    write_jsonl(folder / "results.jsonl", rows)
    ended = [{"problem_idx": 1, "repeat": 0, "model": {"finish_reason": "length"}}, {"problem_idx": 0, "repeat": 0}]
    write_jsonl(folder / "trajectories.jsonl", ended)
    return folder


def test_nemo_zeros_of_its_own_failures_are_no_wrong_answers(tmp_path: Path) -> None:
    rows = [result(n, k, float(n == 0)) for n in range(2) for k in range(2)]
    rows += [result(2, 0, 0.0, {"error": "down", "error_category": "infra_error"}), result(2, 1, 0.0)]
    rows += [result(3, 0, 0.0, {"judge": {"error": "no judge_client configured"}, "needs_judge": False})]
    source = read(str(nemo(tmp_path / "sums", rows).parent))
    assert (source.kind, source.label) == ("nemo-evaluator", "toy")
    assert scores(source)["sums"] == {"0": [1.0, 1.0], "1": [0.0, 0.0], "2": [None, 0.0], "3": [None, None]}
    assert finishes(source, "sums")["1"] == "length"
    items = source.benchmarks["sums"].items
    assert items["2"].grades[0].details["error"] == "infra_error: down"
    assert [item.subgroup for item in items.values()] == ["even", "odd", "even", "odd"]
    assert scores(read(str(tmp_path), metric="scorer:strict"))["sums"]["0"] == [0.25, 0.25]


@pytest.mark.parametrize(
    ("more", "words"),
    [({}, "ended at a token budget or another limit"), ({"max_tokens": 64}, "ended at the budget of 64 tokens")],
)
def test_cut_offs_are_named_with_the_budget_where_it_is_told(more: Any, words: str, tmp_path: Path) -> None:
    rows = [result(n, k, float(n == 0)) for n in range(4) for k in range(2)]
    sources = [read(str(nemo(tmp_path / name, rows, model=name, **more))) for name in "ab"]
    (entry,) = compare(sources[0], sources[1:]).benchmarks.values()
    told = {guard.variant: guard.message for guard in entry.guards if guard.name == "cut_off"}
    assert told.keys() == {"a", "b"}
    assert all(words in message for message in told.values())


# LiveBench: judgments of all models in one file, answers beside them


def judgment(question: str, model: str, score: float) -> dict[str, Any]:
    told = {"question_id": question, "task": "cta", "model": model, "score": score, "turn": 1, "tstamp": 1.0}
    return told | {"category": "data_analysis"}


def answer(question: str, text: str) -> dict[str, Any]:
    return {"question_id": question, "answer_id": "x", "model_id": "b", "choices": [{"index": 0, "turns": [text]}]}


def livebench(folder: Path, judgments: Rows, answers: Rows = ()) -> Path:
    task = folder / "live_bench/data_analysis/cta"
    for name in ("model_judgment", "model_answer"):
        (task / name).mkdir(parents=True)
    write_jsonl(task / "model_judgment/ground_truth_judgment.jsonl", judgments)
    if answers:
        write_jsonl(task / "model_answer/b.jsonl", answers)
    return folder


def test_livebench_failed_requests_and_missing_judgments_have_no_score(tmp_path: Path) -> None:
    rows = [judgment("q1", "b", 1), judgment("q1", "a", 0), judgment("q2", "b", 0), judgment("q3", "b", -1)]
    given = [answer("q1", "x"), answer("q2", "$ERROR$"), answer("q3", "y"), answer("q4", "z")]
    folder = livebench(tmp_path, rows, given)
    with pytest.raises(DataError, match="has 2 models; choose one: .*:a or .*:b"):
        read(str(folder))
    source = read(f"{folder}:b")
    assert scores(source) == {"cta": {"q1": [1.0], "q2": [None], "q3": [None], "q4": [None]}}
    assert source.benchmarks["cta"].items["q1"].samples[0].text == "x"
    assert scores(read(f"{folder}:a")) == {"cta": {"q1": [0.0]}}


GOOD = [review(n, {"accuracy": 1.0}) for n in range(2)]
BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "EvalScope 2": (lambda folder: evalscope(folder, GOOD, version="2.0.0"), "EvalScope 2.0.0; only"),
    "reviews of before 1.0": (
        lambda folder: evalscope(folder, [{"index": 0, "model": "m", "choices": []}]),
        "sample_score: field required; so it is no review of EvalScope 1.x",
    ),
    "a review twice": (lambda folder: evalscope(folder, [*GOOD, GOOD[0]]), "stands twice"),
    "NeMo 0.2": (lambda folder: nemo(folder, [result(0, 0, 1.0)], "0.2.8"), "NeMo Evaluator 0.2.8; only"),
    "an unfinished bundle": (lambda folder: nemo(folder, [result(0, 0, 1.0)], results=9), "unfinished run"),
    "a problem twice": (lambda folder: nemo(folder, [result(0, 0, 1.0)] * 2), "repeat 0 of problem 0 stands twice"),
    "two models": (
        lambda folder: [nemo(folder / m, [result(0, 0, 1.0)], model=m) for m in "ab"],
        "two bundles of benchmark 'sums'",
    ),
    "a question judged twice": (lambda folder: livebench(folder, [judgment("q", "m", 1)] * 2), "is judged twice"),
    "a score in per cent": (lambda folder: livebench(folder, [judgment("q", "m", 55)]), "outside [0, 1]"),
    "another table": (lambda folder: livebench(folder, [{"question_id": "q", "score": 1}]), "no judgment of LiveBench"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_of_a_known_kind_ends_with_one_line(name: str, tmp_path: Path, cli: Cli) -> None:
    make, words = BAD[name]
    make(tmp_path)
    ended = cli("compare", tmp_path, tmp_path)
    assert (ended.code, ended.err.count("\n")) == (2, 1), ended
    assert words in ended.err


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats(allow_nan=True) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The path of every value inside a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [*([path] if path else []), *(each for key, part in inner for each in places(part, (*path, key)))]


WRITERS: dict[str, Callable[[Path, dict[str, Any]], object]] = {
    "evalscope": lambda folder, row: evalscope(folder, [row, review(1, {"accuracy": 0.0})], [prediction(0)]),
    "evalscope predictions": lambda folder, row: evalscope(folder, GOOD, [row]),
    "nemo": lambda folder, row: nemo(folder, [row, result(1, 0, 1.0)]),
    "livebench": lambda folder, row: livebench(folder, [row, judgment("q2", "b", 1)], [answer("q1", "x")]),
    "livebench answers": lambda folder, row: livebench(folder, [judgment("q1", "b", 1)], [row]),
}
ROWS: dict[str, dict[str, Any]] = {
    "evalscope": review(0, {"accuracy": 1.0}),
    "evalscope predictions": prediction(0),
    "nemo": result(0, 0, 1.0, {"judge": {"total": 1}}),
    "livebench": judgment("q1", "b", 1),
    "livebench answers": answer("q1", "x"),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_whatever_a_field_holds_a_log_is_read_or_refused_in_words(kind: str, tmp_path: Path) -> None:
    numbers = iter(range(10_000))

    @settings(max_examples=150, database=None)
    @given(place=st.sampled_from(places(ROWS[kind])), value=JSON)
    def check(place: tuple[Any, ...], value: Any) -> None:
        row = json.loads(json.dumps(ROWS[kind]))
        holder = row
        for key in place[:-1]:
            holder = holder[key]
        holder[place[-1]] = value
        folder = tmp_path / str(next(numbers))
        folder.mkdir()
        WRITERS[kind](folder, row)
        with contextlib.suppress(DataError):
            compare(read(str(folder)), [read(str(folder))])

    check()
