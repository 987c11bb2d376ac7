from __future__ import annotations

import csv
import gzip
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from made_results import results as typed
from support import SHARED_DATA, Cli

from bitparity.compare import readers as imports
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.records import Grade, Item, Prompt, Sample, Sampling
from bitparity.report import exports
from bitparity.report.exports import eval_results, lm_eval
from bitparity.report.exports.csv import COLUMNS, rows
from bitparity.report.exports.model_card import model_cards
from bitparity.results.schema import Results
from bitparity.results.sheet import Sheet
from bitparity.store.environment import RunRecord


def found(run: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((run / "results.json").read_text())
    return value


def check_rows(rows: list[dict[str, Any]], entry: dict[str, Any]) -> None:
    assert [row["variant"] for row in rows] == ["bf16", "fp8", "nvfp4"]
    for row in rows:
        assert list(row) == list(COLUMNS)
        score = entry["scores"][row["variant"]]
        assert (float(row["score"]), float(row["score_low"])) == (score["mean"], score["ci95"][0])
        comparison = entry["comparisons"].get(row["variant"])
        if comparison is None:
            assert row["difference"] in (None, "")
        else:
            assert float(row["difference"]) == comparison["difference"]
            assert (int(row["lost"]), row["verdict"]) == (comparison["lost"], comparison["verdict"])


def test_csv_holds_the_figures_of_results_json_unrounded(cli: Cli, finished: Path, tmp_path: Path) -> None:
    ended = cli("export", finished, "--format", "csv")
    entry = found(finished)["benchmarks"]["math500"]
    check_rows(list(csv.DictReader(io.StringIO(ended.out))), entry)
    assert cli("export", finished, "--format", "csv", "--out", tmp_path / "a.csv").code == 0
    assert (tmp_path / "a.csv").read_text() == ended.out


def test_rows_have_the_distance_and_the_baselines_noise_floor() -> None:
    (path,) = (Path(__file__).parents[2] / "examples").glob("h200-*/results.json")
    stored = json.loads(path.read_text("utf-8"))
    made = {(row["variant"], row["benchmark"]): row for row in rows(Results.model_validate(stored))}
    measured = {"bf16": stored["distance"]["noise_floor"], **stored["distance"]["variants"]}
    for name, read in measured.items():
        for bench, figures in read["benchmarks"].items():
            row = made[name, bench]
            expected = [figures["divergence"]["value"], *figures["divergence"]["ci95"], figures["differs"]["value"]]
            assert [row[key] for key in ("kl", "kl_low", "kl_high", "likeliest_differs")] == expected
    assert measured["nvfp4"]["benchmarks"].keys() == {"mmlu_pro", "math500", "humaneval", "livecodebench"}
    assert made["bf16-control", "mmlu_pro"]["kl"] is None  # a control reads nothing


def test_parquet_holds_the_same(cli: Cli, finished: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="Parquet needs pyarrow")
    assert cli("export", finished, "--format", "parquet", "--out", tmp_path / "r.parquet").code == 0
    table = parquet.read_table(tmp_path / "r.parquet")
    check_rows(table.to_pylist(), found(finished)["benchmarks"]["math500"])
    assert str(table.schema.field("lost").type) == "int64"
    assert cli("export", finished, "--format", "parquet", "--out", tmp_path / "r.parquet" / "x").code == 2


def test_samples_read_like_lm_evals_and_pair(cli: Cli, finished: Path, tmp_path: Path) -> None:
    ended = cli("export", finished, "--format", "lm-eval", "--out", tmp_path / "out")
    assert ended.out.count("wrote") == 3
    read = {name: imports.read(str(tmp_path / "out" / name)).benchmarks["math500"] for name in ("bf16", "nvfp4")}
    entry = found(finished)["benchmarks"]["math500"]
    for name, results in read.items():
        scores = [item.scores[0] for item in results.items.values()]
        assert sum(filter(None, scores)) / len(scores) == entry["scores"][name]["mean"]
    compared = cli("compare", tmp_path / "out" / "bf16", tmp_path / "out" / "nvfp4", "--json", tmp_path / "c.json")
    assert compared.code in (0, 1, 3)
    ours = json.loads((tmp_path / "c.json").read_text())["benchmarks"]["math500"]["comparisons"]["nvfp4"]
    for key in ("items", "lost", "gained", "difference", "p_value"):
        assert ours[key] == entry["comparisons"]["nvfp4"][key]
    (path,) = (tmp_path / "out" / "fp8").iterdir()
    row = json.loads(path.read_text().splitlines()[0])
    assert row["resps"][0][0].startswith("We add.")
    assert row["target"] in row["filtered_resps"][0] or row["math_verify"] == 0


def test_lm_eval_and_datasets_read_the_samples(cli: Cli, finished: Path, tmp_path: Path) -> None:
    """lm-eval's own functions find task and date in the names, and the fields are those that it writes itself."""
    utils = pytest.importorskip("lm_eval.utils", reason="read with lm-eval's own functions")
    datasets = pytest.importorskip("datasets", reason="read with the hub's library")
    cli("export", finished, "--format", "lm-eval", "--out", tmp_path)
    names = utils.get_sample_results_filenames([str(path) for path in tmp_path.rglob("*")])
    assert len(names) == 3
    for name in names:
        assert utils.get_file_task_name(Path(name).name) == "math500"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d", utils.get_file_datetime(name))
    rows = datasets.load_dataset("json", data_files=names[0], split="train", cache_dir=str(tmp_path / "cache"))
    assert len(rows) == 40
    theirs = {"doc_id", "doc", "target", "arguments", "resps", "filtered_resps", "filter", "metrics"}
    assert theirs | {"doc_hash", "prompt_hash", "target_hash"} <= set(rows.column_names)
    recorded = SHARED_DATA / "recorded" / "lm_eval" / "math_samples_math500_local.jsonl.gz"
    if recorded.exists():
        with gzip.open(recorded, "rt") as file:
            row = json.loads(file.readline())
        assert set(row) - set(row["metrics"]) <= set(rows.column_names)
        assert {key: type(row[key]) for key in theirs - {"doc", "target"}} == {
            key: type(rows[0][key]) for key in theirs - {"doc", "target"}
        }


def sheet(items: list[str], scores: list[list[float]]) -> Sheet:
    import numpy as np

    samples, grades = {}, {}
    for item, row in zip(items, scores, strict=True):
        for k, score in enumerate(row):
            samples[item, k] = Sample("b", item, k, f"SECRET {item}", "stop", 3, 9, 0.1)
            right = None if np.isnan(score) else score
            status: Any = "answered" if right is not None else "infrastructure_error"
            grades[item, k] = Grade(right, status, "B", {} if right is None else {"exact_match": score, "other": 0.5})
    return Sheet(np.array(scores), samples, grades)


def exam(benchmark: str, **provenance: Any) -> Exam:
    entries = tuple(ExamItem(Item(f"q{n}", (Prompt(text=f"SECRET question {n}"),), "SECRET B")) for n in range(2))
    return Exam(benchmark, "exact_match", Sampling(8), 1, None, entries, 2, provenance)


@pytest.mark.parametrize(
    "made",
    [
        exam("gpqa_diamond"),
        exam("hle"),
        exam("lm_eval:gpqa_diamond_zeroshot", tasks={"gpqa_diamond_zeroshot": {"dataset": "Idavidrein/gpqa"}}),
    ],
)
def test_nothing_of_a_gated_question_is_exported(made: Exam) -> None:
    rows = list(lm_eval.rows(made, sheet(["q0", "q1"], [[1.0], [0.0]])))
    assert [row["exact_match"] for row in rows] == [1.0, 0.0]
    assert "SECRET" not in json.dumps(rows)
    assert "B" not in {row["target"] for row in rows}


def test_several_samples_give_one_row_and_a_missing_score_none() -> None:
    rows = list(lm_eval.rows(exam("math500"), sheet(["q0", "q1"], [[1.0, 0.0], [1.0, float("nan")]])))
    assert [row["exact_match"] for row in rows] == [0.5, None]
    assert rows[0]["resps"] == [["SECRET q0", "SECRET q0"]]
    assert rows[0]["other_metrics"] == {"other": 0.5}
    assert len({row["target_hash"] for row in rows}) == 2


@pytest.mark.parametrize(
    ("status", "extracted", "shown"),
    [("answered", "B", "B"), ("no_answer", None, "[invalid]"), ("cut_off", None, "[cut_off]"), ("cut_off", "C", "C")],
)
def test_a_cut_off_is_no_missing_answer(status: Any, extracted: str | None, shown: str) -> None:
    made = sheet(["q0", "q1"], [[1.0], [0.0]])
    grades = {key: Grade(0.0, status, extracted) for key in made.grades}
    rows = lm_eval.rows(exam("math500"), Sheet(made.scores, made.samples, grades))
    assert [row["filtered_resps"] for row in rows] == [[shown]] * 2


def test_hidden_tests_of_code_are_not_exported() -> None:
    rows = list(lm_eval.rows(exam("livecodebench"), sheet(["q0", "q1"], [[1.0], [0.0]])))
    assert [row["target"] for row in rows] == [None, None]


def card_results(**entry: Any) -> dict[str, Any]:
    full = {
        "status": "measured",
        "reason": None,
        "metric": "math_verify",
        "items": 500,
        "available": 500,
        "margin": 0.02,
        "data": {"hub": "HuggingFaceH4/MATH-500", "revision": "abc"},
        "scores": {"nvfp4": {"mean": 0.8123, "ci95": [0.78, 0.84], "unscored": 0}},
        "comparisons": {"nvfp4": {"verdict": "equivalent", "loss_shown": False}},
        "guards": [],
    }
    return {
        "variants": {
            "bf16": {"baseline": True, "model": "Qwen/Qwen3-32B"},
            "nvfp4": {"baseline": False, "model": "RedHatAI/Qwen3-32B-NVFP4"},
        },
        "benchmarks": {"math500": full | entry},
    }


def test_a_model_card_is_read_by_the_hubs_own_library() -> None:
    hub = pytest.importorskip("huggingface_hub", reason="checked with the hub's library")
    data = pytest.importorskip("huggingface_hub.repocard_data")
    text = model_cards(typed(card_results()))
    index = front_matter(text)["model-index"]
    name, (result,) = data.model_index_to_eval_results(index)
    assert name == "Qwen3-32B-NVFP4"
    assert (result.metric_value, result.metric_type) == (81.2, "accuracy")
    assert (result.dataset_type, result.dataset_revision) == ("HuggingFaceH4/MATH-500", "abc")
    card = hub.ModelCard(text).data
    assert card.eval_results[0].dataset_name == "MATH-500"
    again = data.eval_results_to_model_index(name, card.eval_results)  # the hub's library writes back what it read
    assert again == index
    assert hub.ModelCardData(model_name=name, eval_results=card.eval_results).to_dict()["model-index"] == again


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"status": "not_run", "reason": "gated"}, "not run: gated"),
        ({"items": 100}, "only 100 of 500 items"),
        ({"scores": {"nvfp4": {"mean": 0.8, "ci95": [0.7, 0.9], "unscored": 3}}}, "samples without a score: 3"),
        ({"comparisons": {"nvfp4": {"verdict": "invalid", "invalid_by": ["floor", "floor"]}}}, "invalid (floor)"),
        ({"guards": [{"name": "floor", "level": "error", "variant": None}], "comparisons": {}}, "invalid (floor)"),
    ],
)
def test_a_figure_that_is_not_the_benchmarks_stays_out_of_the_card(entry: dict[str, Any], said: str) -> None:
    text = model_cards(typed(card_results(**entry)))
    assert said in text
    assert "model-index" not in front_matter(text)


def front_matter(card: str) -> dict[str, Any]:
    """The metadata of a model card."""
    found: dict[str, Any] = yaml.safe_load(card.split("---\n")[1])
    return found


def test_a_model_card_has_a_table_with_every_verdict() -> None:
    compared = {"difference": -0.0123, "ci95": [-0.03, 0.005], "verdict": "inconclusive", "loss_shown": False}
    text = model_cards(typed(card_results(items=100, comparisons={"nvfp4": compared})))
    assert "\n## Accuracy against Qwen/Qwen3-32B\n" in text
    row = "| math500 | 81.2 % (78.0 to 84.0) | −1.2 (−3.0 to +0.5) | 2 points | "
    (line,) = [line for line in text.splitlines() if line.startswith("| math500")]
    assert line.startswith(row), line
    assert line.endswith("; 100 of 500 items |")
    assert "(report.html)" in text


def hub_results(**entry: Any) -> tuple[list[str], list[Any]]:
    """The parts left out, and the entries for the Hub, of made-up results."""
    pytest.importorskip("huggingface_hub", minversion="1.4", reason="checked with the hub's library")
    facts: dict[str, Any] = {"engines": [{"facts": {}, "sessions": ["2026-11-28T10:00:00Z", "2026-11-28T12:00:00Z"]}]}
    record = RunRecord.model_validate({"variants": {"nvfp4": {"identity": {}, **facts}}})
    return eval_results.entries("nvfp4", typed(card_results(**entry)), record)


def test_scores_in_the_hubs_present_form() -> None:
    compared = {"difference": -0.0123, "ci95": [-0.03, 0.005], "verdict": "inconclusive", "loss_shown": False}
    left_out, (entry,) = hub_results(comparisons={"nvfp4": compared})
    assert left_out == []
    hub = pytest.importorskip("huggingface_hub")
    (row,) = hub.eval_result_entries_to_yaml([entry])
    assert row["dataset"] == {"id": "HuggingFaceH4/MATH-500", "task_id": "default", "revision": "abc"}
    assert (row["value"], row["date"]) == (81.23, "2026-11-28T12:00:00Z")
    assert row["source"]["url"] == "https://huggingface.co/RedHatAI/Qwen3-32B-NVFP4/blob/main/report.html"
    assert "against Qwen/Qwen3-32B: −1.2 (−3.0 to +0.5) points, margin 2 points: " in row["notes"]


@pytest.mark.parametrize("entry", [{"items": 100}, {"status": "not_run", "reason": "gated"}])
def test_what_is_not_the_benchmarks_figure_is_not_told_to_the_hub(entry: dict[str, Any]) -> None:
    (said,), found = hub_results(**entry)
    assert (said.startswith("math500 is left out: "), found) == (True, [])


def test_the_files_for_the_hub_are_read_by_its_library(cli: Cli, finished: Path, tmp_path: Path) -> None:
    hub = pytest.importorskip("huggingface_hub", minversion="1.4", reason="checked with the hub's library")
    ended = cli("export", finished, "--format", "eval-results", "--out", tmp_path)
    assert ended.code == 0, ended
    paths = sorted(tmp_path.rglob(".eval_results/bitparity.yaml"))
    assert [path.parent.parent.name for path in paths] == ["fp8", "nvfp4"]
    for path in paths:
        text = path.read_text("utf-8")
        read = hub.parse_eval_result_entries(yaml.safe_load(text) or [])
        assert read or "math500 is left out: " in text
        assert all(entry.source_url is None and str(finished) not in entry.notes for entry in read)


def test_the_summary_says_the_answers_and_counts_the_guards(cli: Cli, finished: Path) -> None:
    text = cli("export", finished, "--format", "summary").out
    assert text.startswith("## toy: what do fewer bits cost?")
    assert "**nvfp4: Do not deploy: a loss beyond the margin is shown on math500.**" in text
    assert "−42.5 on math500 (−58.9 to −24.6), a loss beyond the margin of 2 points" in text
    assert "| math500 | nvfp4 | −42.5 |" in text
    assert "errors 0, warnings" in text


def test_another_export_is_one_file(cli: Cli, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "name_only.py").write_text("def make(run, out):\n    return f'{run.study().name}\\n'\n")
    monkeypatch.setattr(exports, "__path__", [*exports.__path__, str(tmp_path)])
    assert "name-only" in exports.formats()
    assert cli("export", finished, "--format", "name-only").out == "toy\n"


def test_an_unknown_format_or_run_is_bad_input(cli: Cli, finished: Path, tmp_path: Path) -> None:
    assert cli("export", finished, "--format", "xls").code == 2
    assert cli("export", finished).code == 2
    ended = cli("export", tmp_path, "--format", "csv")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
