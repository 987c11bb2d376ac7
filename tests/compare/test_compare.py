"""`bitparity compare`: results from anywhere, paired by item, with the guards that they allow."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import html
import json
import math
import shlex
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import SHARED_DATA, Cli, Ended, compare_scores, replay_study, write_jsonl

from bitparity.benchmarks.registry import known_benchmark
from bitparity.compare.as_results import as_results
from bitparity.compare.compare import arranged, compare
from bitparity.compare.pairing import pair_up
from bitparity.compare.readers import read
from bitparity.compare.runs import results_of_exam
from bitparity.errors import UserInputError
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.progress.events import Events
from bitparity.records import Item, Prompt, Sampling
from bitparity.report.comparison import page_book
from bitparity.results.build import write
from bitparity.results.sheet import Sheet
from bitparity.runner import run_study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study, parse_study

Rows = list[dict[str, Any]]


def plain(scores: Iterable[Any], **more: Any) -> Rows:
    return [{"item": f"q{n}", "score": score, **more} for n, score in enumerate(scores)]


def sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def logged(scores: Iterable[Any], metric: str = "exact_match", filter_name: str = "none", **more: Any) -> Rows:
    """Rows as lm-eval 0.4.13 writes them; the answers are all different texts."""
    return [
        {
            "doc_id": n,
            "doc": {"question": f"What is {n}?"},
            "target": str(n),
            "arguments": {"gen_args_0": {"arg_0": f"Q: {n}", "arg_1": {"until": ["Q:"], "temperature": 0.0}}},
            "resps": [[f"It is {score}."]],
            "filtered_resps": [f"{score}"],
            "filter": filter_name,
            "metrics": [metric],
            "doc_hash": sha(f"doc {n}"),
            "prompt_hash": sha(f"prompt {n}"),
            "target_hash": sha(f"target {n}"),
            metric: score,
        }
        | more
        for n, score in enumerate(scores)
    ]


class Files:
    """Writes two sets of rows and compares them, with everything also as JSON."""

    def __init__(self, folder: Path, cli: Cli) -> None:
        self.folder = folder
        self.cli = cli

    def __call__(self, before: Rows, after: Rows, *options: object) -> tuple[Ended, dict[str, Any]]:
        paths = [write_jsonl(self.folder / f"{name}.jsonl", rows) for name, rows in (("a", before), ("b", after))]
        out = self.folder / "out.json"
        ended = self.cli("compare", *paths, "--json", out, *options)
        return ended, json.loads(out.read_text()) if out.exists() else {}


@pytest.fixture
def files(tmp_path: Path, cli: Cli) -> Files:
    return Files(tmp_path, cli)


def said(ended: Ended) -> str:
    """What was printed, however the lines are broken."""
    return " ".join(ended.out.split())


def only(results: dict[str, Any]) -> dict[str, Any]:
    """The one comparison of the one benchmark."""
    (entry,) = results["benchmarks"].values()
    (comparison,) = entry["comparisons"].values()
    return comparison


def guard_names(results: dict[str, Any]) -> set[str]:
    return {guard["name"] for entry in results["benchmarks"].values() for guard in entry["guards"]}


MIXED = [1, 0, 1, 1, 0, 1, 0, 1, 1, 0] * 40  # 60 %


def test_one_answer_with_two_scores_is_told(files: Files) -> None:
    before = [row | {"filtered_resps": [f"{row['doc_id'] % 7}"]} for row in logged([1] * 200)]
    edited = [row | {"exact_match": 0} if row["doc_id"] in range(6) else row for row in before]
    ended, results = files(before, edited)
    assert "6 of 200 answers that are the same" in said(ended)
    assert [guard["level"] for entry in results["benchmarks"].values() for guard in entry["guards"]].count("error") >= 1
    other = [row | {"filtered_resps": ["8"]} if row["doc_id"] in range(6) else row for row in edited]
    assert "two_scores" not in guard_names(files(before, other)[1])


def test_plain_rows_are_paired_by_item_and_give_the_statistics_of_the_library(files: Files) -> None:
    after = [0 if n < 60 else score for n, score in enumerate(MIXED)]
    shuffled = list(reversed(plain(after)))
    ended, results = files(plain(MIXED), shuffled, "--margin", 2)
    expected = compare_scores(MIXED, after, margin=0.02)
    found = only(results)
    assert (found["lost"], found["gained"]) == (expected.lost, expected.gained) == (36, 0)
    assert found["difference"] == expected.difference
    assert tuple(found["ci95"]) == expected.ci95
    assert found["p_value"] == expected.p_value
    assert found["verdict"] == "worse_beyond_margin"
    assert ended.code == 1
    assert "b: Do not deploy: a loss beyond the margin is shown on results. −9.0 on results" in said(ended)
    assert "36 / 0" in said(ended)


def test_booleans_integers_and_gzip_are_taken(tmp_path: Path, cli: Cli) -> None:
    before = [{"item": n, "score": bool(score)} for n, score in enumerate(MIXED)]
    write_jsonl(tmp_path / "b.jsonl", [{"item": str(n), "score": float(score)} for n, score in enumerate(MIXED)])
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in before).encode()))
    ended = cli("compare", tmp_path / "a.jsonl.gz", tmp_path / "b.jsonl")
    assert ended.code == 0
    assert "b: Deploy: a loss beyond the margin is ruled out on every benchmark" in said(ended)


def test_samples_of_an_item_are_averaged_and_groups_cluster(files: Files) -> None:
    before = [
        {"item": f"q{n}", "score": (n + k) % 2, "sample": k, "group": f"g{n // 2}"} for n in range(60) for k in range(4)
    ]
    after = [row | {"score": row["score"] if row["sample"] else 0} for row in before]
    _, results = files(before, after)
    arrays = [[[row["score"] for row in rows if row["item"] == f"q{n}"] for n in range(60)] for rows in (before, after)]
    expected = compare_scores(*arrays, margin=0.03, groups=[f"g{n // 2}" for n in range(60)])
    found = only(results)
    assert found["samples"] == 4
    assert tuple(found["ci95"]) == expected.ci95
    assert found["test"] == expected.test == "sign_flip_permutation"


def test_what_does_not_pair_is_named_and_counted(files: Files) -> None:
    ended, results = files(plain(MIXED), [*plain(MIXED)[2:], {"item": "new", "score": 1}])
    pairing = results["benchmarks"]["results"]["pairing"]["b"]
    assert pairing["baseline"]["alone"] == {"count": 2, "examples": ["q0", "q1"]}
    assert pairing["candidate"]["alone"] == {"count": 1, "examples": ["new"]}
    assert only(results)["items"] == 398
    assert "2 items have a score only in 'a' and 1 only in 'b' (for example q0, q1, new)" in said(ended)


def test_many_items_in_one_only_make_the_verdict_invalid(files: Files) -> None:
    ended, results = files(plain(MIXED), plain(MIXED)[50:])
    assert only(results)["invalid_by"] == ["subset"]
    assert ended.code == 3


def test_unscored_rows_are_counted_never_wrong(files: Files) -> None:
    after: list[Any] = list(MIXED)
    after[0], after[2] = None, math.nan
    ended, results = files(plain(MIXED), plain(after))
    assert only(results)["difference"] == 0
    assert only(results)["items"] == 398
    assert results["benchmarks"]["results"]["pairing"]["b"]["candidate"]["unscored"]["count"] == 2
    assert "2 of 400 samples have no score" in said(ended)


def test_another_number_of_samples_is_said(files: Files) -> None:
    before = plain(MIXED)
    after = [row | {"sample": k} for row in before for k in (1, 2)]
    _, results = files(before, after)
    assert "samples_differ" in guard_names(results)
    assert only(results)["samples"] == 1


def test_floor_ceiling_and_the_same_file_twice(files: Files, tmp_path: Path, cli: Cli) -> None:
    ended, results = files(plain([0] * 100), plain([0] * 100))
    assert only(results)["verdict"] == "invalid"
    assert "0 % against 0 %" in said(ended)
    assert ended.code == 3
    assert "ceiling" in guard_names(files(plain([1] * 400), plain([1] * 400))[1])
    assert only(files(plain([0] * 99 + [1] * 2), plain([0] * 99 + [1] * 2))[1])["invalid_by"] == ["floor"]
    twice = cli("compare", tmp_path / "a.jsonl", tmp_path / "a.jsonl")
    assert "one and the same set of results" in said(twice)


def test_scores_at_guessing_are_no_basis(files: Files) -> None:
    rows = plain([1, *[0] * 9] * 40, benchmark="mmlu_pro")
    assert "guessing" in only(files(rows, rows)[1])["invalid_by"]
    rows = plain([1, *[0] * 4] * 80, benchmark="mmlu_pro")
    assert "guessing" not in guard_names(files(rows, rows)[1])


def test_subgroups_are_shown_and_large_groups_questioned(files: Files) -> None:
    def labelled(key: str, scores: list[int]) -> Rows:
        return [row | {key: "law" if n % 2 else "math"} for n, row in enumerate(plain(scores))]

    after = [0 if n < 40 else score for n, score in enumerate(MIXED)]
    ended, results = files(labelled("subgroup", MIXED), labelled("subgroup", after))
    parts = results["benchmarks"]["results"]["subgroups"]["b"]
    lost = Counter("law" if n % 2 else "math" for n in range(40) if MIXED[n])
    assert {name: part["lost"] for name, part in parts.items()} == dict(lost)
    assert sum(part["items"] for part in parts.values()) == 400
    assert parts["law"]["difference"] == pytest.approx(-lost["law"] / 200)
    assert "law" in said(ended)
    ended, results = files(labelled("group", MIXED), labelled("group", after))
    assert "few_groups" in guard_names(results)
    assert results["benchmarks"]["results"]["subgroups"]["b"].keys() == {"law", "math"}


def test_several_benchmarks_are_pooled_and_a_missing_one_is_named(files: Files) -> None:
    before = plain(MIXED, benchmark="math500") + plain(MIXED, benchmark="mmlu_pro") + plain([1, 0], benchmark="x")
    after = plain(MIXED, benchmark="math500") + plain(MIXED[::-1], benchmark="mmlu_pro")
    ended, results = files(before, after)
    assert results["overall"]["b"]["benchmarks"] == ["math500", "mmlu_pro"]
    assert results["overall"]["b"]["margin"] == pytest.approx(0.015)
    assert results["benchmarks"]["x"]["not_compared"] == {"b": "'b' has no results of it"}
    assert "over 2 of 3 benchmarks" in said(ended)
    assert "x: 'b' has no results of it" in said(ended)
    assert ended.code == 3


def test_the_categories_of_mmlu_pro_are_one_benchmark(files: Files) -> None:
    rows = plain(MIXED, benchmark="mmlu_pro_law") + plain(MIXED, benchmark="mmlu_pro_math")
    _, results = files(rows, list(reversed(rows)))
    assert results["benchmarks"].keys() == {"mmlu_pro"}
    assert only(results)["items"] == 800
    assert results["benchmarks"]["mmlu_pro"]["subgroups"]["b"].keys() == {"law", "math"}


def test_several_candidates_share_the_correction(tmp_path: Path, cli: Cli) -> None:
    scores = {"base": MIXED, "good": [*MIXED[:398], 1, 1], "bad": [0] * 24 + MIXED[24:]}
    paths = [write_jsonl(tmp_path / f"{name}.jsonl", plain(values)) for name, values in scores.items()]
    out = tmp_path / "out.json"
    assert cli("compare", *paths, "--json", out).code == 3
    found = json.loads(out.read_text())["benchmarks"]["results"]["comparisons"]
    assert found["bad"]["p_adjusted"] == pytest.approx(2 * found["bad"]["p_value"])


def test_the_control_shows_the_noise_and_weakens_no_verdict(tmp_path: Path, cli: Cli) -> None:
    scores = {
        "bf16": [1] * 60 + [0] * 40,
        "nvfp4": [0] * 9 + [1] * 52 + [0] * 39,
        "again": [0] * 3 + [1] * 60 + [0] * 37,
    }
    bf16, nvfp4, again = (str(write_jsonl(tmp_path / f"{name}.jsonl", plain(v))) for name, v in scores.items())
    found = []
    for number, more in enumerate(([], ["--control", again], [again])):
        out = tmp_path / f"{number}.json"
        ended = cli("compare", bf16, nvfp4, *more, "--json", out)
        found.append((ended, json.loads(out.read_text())))
    alone, controlled, counted = (results["benchmarks"]["results"]["comparisons"]["nvfp4"] for _, results in found)
    assert alone == controlled
    assert counted["p_adjusted"] > alone["p_adjusted"]
    assert [ended.code for ended, _ in found][:2] == [3, 3]
    _, results = found[1]
    assert results["variants"]["again"] == {"source": again, "kind": "jsonl", "baseline": False, "control": True}
    assert results["benchmarks"]["results"]["comparisons"]["again"]["control"] is True
    shown = said(found[1][0])
    assert "Noise floor (again, the baseline run again): 6 of 100 items flip" in shown
    assert "again:" not in shown
    assert "p is adjusted" not in shown


@pytest.mark.parametrize(
    ("task", "known"),
    [
        ("hendrycks_math500", "math500"),
        ("math500_local", "math500"),
        ("mmlu_pro_biology", "mmlu_pro"),
        ("gpqa_diamond_cot_zeroshot", "gpqa_diamond"),
        ("AIME24", "aime24"),
        ("mmlu_professional_law", None),
        ("gsm8k", None),
    ],
)
def test_default_margins_belong_to_the_benchmark_that_a_task_names(task: str, known: str | None) -> None:
    assert known_benchmark(task) == known


# lm-eval's sample logs


def test_lm_eval_logs_are_paired_by_document_and_not_by_position(files: Files) -> None:
    after = [0 if n < 60 else score for n, score in enumerate(MIXED)]
    moved = [row | {"doc_id": 399 - row["doc_id"]} for row in reversed(logged(after))]
    _, results = files(logged(MIXED), moved)
    assert (only(results)["lost"], only(results)["gained"]) == (36, 0)


def test_repeated_documents_are_items_of_their_own(files: Files) -> None:
    rows = logged(MIXED)
    for row in rows[1::2]:
        row |= {key: rows[row["doc_id"] - 1][key] for key in ("doc_hash", "prompt_hash", "target_hash")}
    _, results = files(rows, rows)
    assert only(results)["items"] == 400


def test_a_filter_and_a_metric_are_chosen_or_asked_for(files: Files) -> None:
    def both(strict: list[int], flexible: list[int]) -> Rows:
        rows = logged(strict, filter_name="strict-match") + logged(flexible, filter_name="flexible-extract")
        return [row | {"metrics": ["exact_match", "f1"], "f1": 0.5} for row in rows]

    before, after = both(MIXED, [1] * 400), both(MIXED, [0] * 40 + [1] * 360)
    ended, results = files(before, after, "--metric", "exact_match")
    shown = results["benchmarks"]
    assert [entry["metric"] for entry in shown.values()] == ["exact_match,strict-match", "exact_match,flexible-extract"]
    assert [entry.get("view_of") for entry in shown.values()] == [None, "a"]
    assert results["overall"] == {}  # the same answers twice are no two benchmarks
    ended, _ = files(before, after, "--filter", "strict-match")
    assert ended.code == 2
    assert "--metric exact_match|f1" in ended.err
    ended, results = files(before, after, "--filter", "flexible-extract", "--metric", "exact_match")
    assert only(results)["lost"] == 40
    assert results["benchmarks"]["a"]["metric"] == "exact_match,flexible-extract"
    ended, _ = files(before, after, "--filter", "strickt", "--metric", "exact_match")
    assert "has no filter 'strickt'" in ended.err


def test_two_filters_that_disagree_on_the_same_answers_are_told(files: Files) -> None:
    def both(strict: list[int], flexible: list[int]) -> Rows:
        return logged(strict, filter_name="strict-match") + logged(flexible, filter_name="flexible-extract")

    ended, results = files(both([1] * 400, [1] * 400), both([0] * 90 + [1] * 310, [1] * 400))
    assert ended.code == 1  # the primary filter decides
    assert [entry["comparisons"]["b"]["lost"] for entry in results["benchmarks"].values()] == [90, 0]
    assert "by exact_match,flexible-extract, +0.0 (" in said(ended)
    assert "what differs is how they are scored" in said(ended)
    ended, _ = files(both([1] * 400, [1] * 400), both([1] * 399 + [0], [1] * 400))
    assert "what differs" not in said(ended)
    assert "on the same answers" not in said(ended)
    halves = [1] * 200 + [0] * 200
    level, lower = [1] * 150 + [0] * 50 + [1] * 50 + [0] * 150, [1] * 150 + [0] * 50 + [1] * 34 + [0] * 166
    ended, results = files(both(halves, halves), both(lower, level))  # 4 points apart, of a margin of 3
    one, other = (entry["comparisons"]["b"]["ci95"] for entry in results["benchmarks"].values())
    assert one[1] > other[0]  # though the intervals overlap
    assert "by exact_match,strict-match, b is −4.0 (" in said(ended)
    ended, _ = files(both([1] * 300 + [0] * 100, [1] * 400), both([1] * 300 + [0] * 100, [1] * 400))
    assert "on the same answers the baseline has 75.0 % by exact_match,strict-match and 100.0 % by" in said(ended)


def paged(tmp_path: Path, cli: Cli, *args: object) -> tuple[str, str, Ended]:
    """The page and the report of a comparison."""
    page, report = tmp_path / "page.html", tmp_path / "report.md"
    ended = cli("compare", *args, "--html", page, "--report", report)
    return page.read_text(), report.read_text(), ended


def test_a_comparison_has_the_page_of_a_run_with_both_filters_side_by_side(tmp_path: Path, cli: Cli) -> None:
    strict = {"bf16": [1] * 40 + [0] * 20, "fp8": [1] * 10 + [0] * 50}
    for name, scores in strict.items():
        flexible = logged([1] * 45 + [0] * 15, filter_name="flexible-extract")
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "samples_gsm8k.jsonl", logged(scores, filter_name="strict-match") + flexible)
    page, report, ended = paged(tmp_path, cli, tmp_path / "bf16", tmp_path / "fp8", "--json", tmp_path / "out.json")
    outcome = json.loads((tmp_path / "out.json").read_text())["benchmarks"]["gsm8k"]["comparisons"]["fp8"]
    shown = f"{100 * outcome['difference']:+.1f}".replace("-", "−")
    for text in (page, report.replace("\\", ""), said(ended)):
        assert f"by exact_match,strict-match, fp8 is {shown} (" in text
        assert "exact_match,flexible-extract, +0.0 (" in text
        assert "what differs is how they are scored" in text
    lines = report.replace("\\", "").splitlines()
    assert "| variant | exact_match,strict-match | exact_match,flexible-extract |" in lines
    assert "| bf16 | 66.7 % | 75.0 % |" in lines
    (row,) = [line for line in lines if line.startswith("| fp8 | 16.7 %: ")]
    assert shown in row.split("|")[2]
    assert "75.0 %: +0.0 (" in row.split("|")[3]
    for cell in row.split("|")[2:4]:
        assert f"</span>{cell.strip()}</td>" in page
    rows = [line for line in lines if line.startswith("| gsm8k | ")]
    assert "| gsm8k | **exact_match,strict-match** | 66.7 % | 16.7 % |" in rows
    assert "| gsm8k | exact_match,flexible-extract | 75.0 % | 75.0 % |" in rows
    assert 'id="book-index"' in page
    assert "results.json" not in page + report  # there is no run directory to point at


def test_page_report_and_figures_of_a_comparison_name_the_command_that_made_them(tmp_path: Path, cli: Cli) -> None:
    first, second, out = tmp_path / "first run.jsonl", tmp_path / "second.jsonl", tmp_path / "out.json"
    for path in (first, second):
        write_jsonl(path, [{"item": str(n), "score": n % 2} for n in range(60)])
    page, report, ended = paged(tmp_path, cli, first, second, "--margin", "2.5", "--json", out)
    command = json.loads(out.read_text())["command"]
    assert command.startswith(f"bitparity compare '{first}' {second} --margin 2.5 --json {out} --html ")
    assert html.escape(command) in page.replace("&#39;", "&#x27;")
    assert command in report.replace("\\", "")
    out.unlink()
    again = cli(*shlex.split(command)[1:])
    assert again == ended
    assert json.loads(out.read_text())["command"] == command


def test_questions_of_a_gated_task_stay_out_of_the_page(tmp_path: Path, cli: Cli) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        write_jsonl(tmp_path / name / "samples_leaderboard_gpqa_main.jsonl", logged([0, 1] * 30))
    sources = arranged([read(str(tmp_path / name)) for name in "ab"])
    made = as_results(compare(sources[0], sources[1:]), sources)
    book = page_book(made, sources)
    assert {bench.withheld for bench in book.benches} == {"gated"}
    assert not any(entry.questions or entry.references or entry.snippet for entry in book.entries)


def test_completions_are_graded_by_our_grader_beside_the_log(tmp_path: Path, cli: Cli) -> None:
    """The log's own metric reads no boxes and scores 0; ours reads them: 40 of 60 right in both."""
    for name in ("bf16", "fp8"):
        rows = math_logs([0] * 60, right=40)
        write_jsonl(tmp_path / f"samples_hendrycks_math500_{name}.jsonl", rows)
    given = [tmp_path / f"samples_hendrycks_math500_{name}.jsonl" for name in ("bf16", "fp8")]
    offer = "beside the score of the log: --regrade math500"
    assert offer in said(cli("compare", *given))
    _, report, ended = paged(tmp_path, cli, *given, "--regrade", "math500")
    assert ended.code == 3
    assert offer not in said(ended)
    plain_text = report.replace("\\", "")
    assert "| **exact_match,none** | 0.0 % | 0.0 % |" in plain_text
    assert "| bitparity's math_verify | 66.7 % | 66.7 % |" in plain_text


def test_a_grader_with_another_key_or_that_does_not_fit_is_refused(tmp_path: Path, cli: Cli) -> None:
    rows = math_logs([0] * 20, right=5)
    good = write_jsonl(tmp_path / "samples_hendrycks_math500_a.jsonl", rows)
    for name in ("aime24", "humaneval", "no_such_benchmark"):
        ended = cli("compare", good, good, "--regrade", name)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended.err
    rows[3]["doc"].pop("solution")
    other = write_jsonl(tmp_path / "samples_hendrycks_math500_c.jsonl", rows)
    ended = cli("compare", other, other, "--regrade", "math500")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "other rows than its data set (line 4: " in ended.err
    rows = math_logs([0] * 20, right=5)
    rows[3]["target"] = "17"
    other = write_jsonl(tmp_path / "samples_hendrycks_math500_b.jsonl", rows)
    ended = cli("compare", other, other, "--regrade", "math500")
    assert ended.code == 2
    assert "the reference of hendrycks_math500" in ended.err
    assert "own grader" not in said(cli("compare", other, other))  # what would be refused is not offered
    ended = cli("compare", good, good, "--html", tmp_path / "absent" / "page.html")
    assert (ended.code, ended.err.count("\n")) == (2, 1)


def test_the_users_logs_differ_in_form(tmp_path: Path, cli: Cli) -> None:
    logs = SHARED_DATA / "user-logs" / "gsm8k"
    if not logs.exists():
        pytest.skip(f"{logs} is not on this machine")
    _, report, _ = paged(tmp_path, cli, logs / "bf16", logs / "nvfp4")
    assert "nvfp4 is −21.0 (−28.3 to −13.9) points from the baseline" in report
    assert "+2.5 (−3.7 to +8.8) points" in report


def test_a_run_is_compared_on_the_same_page(finished: Path, tmp_path: Path, cli: Cli) -> None:
    page, report, _ = paged(tmp_path, cli, f"{finished}:bf16", f"{finished}:fp8")
    assert 'id="book-index"' in page
    assert "| fp8 | candidate |" in report


def test_log_likelihoods_that_choose_nothing_are_left_out(files: Files) -> None:
    def choices(values: list[str]) -> Rows:
        return [row | {"resps": [[[value, "False"]] for value in values]} for row in logged(MIXED)]

    good, equal = choices(["-1.5", "-2.5"]), choices(["-3.0", "-3.0"])
    broken = [*equal[:5], *choices(["nan", "-1.0"])[5:20], *good[20:]]
    ended, results = files(good, broken)
    assert only(results)["items"] == 380
    assert "unscored" in only(results)["invalid_by"]
    assert "20 of 400 samples have no score" in said(ended)
    assert "most often: a log-likelihood is missing or no finite number" in said(ended)


def test_subtasks_of_a_group_are_one_benchmark_with_subgroups(tmp_path: Path, cli: Cli) -> None:
    for model, lost in (("bf16", 0), ("fp8", 30)):
        folder = tmp_path / model / "models__x"
        folder.mkdir(parents=True)
        for part, count in (("law", 200), ("math", 200)):
            scores = [0 if n < lost and part == "law" else score for n, score in enumerate(MIXED[:count])]
            rows = [row | {"doc_hash": sha(part + row["doc_hash"])} for row in logged(scores)]
            write_jsonl(folder / f"samples_suite_{part}_2026-01-31T01-02-03.000004.jsonl", rows)
        summary = {"groups": {"suite": {}}, "group_subtasks": {"suite": ["suite_law", "suite_math"]}}
        (folder / "results_2026-01-31T01-02-03.000004.json").write_text(json.dumps(summary))
    out = tmp_path / "out.json"
    ended = cli("compare", tmp_path / "bf16", tmp_path / "fp8", "--json", out)
    results = json.loads(out.read_text())
    assert results["benchmarks"].keys() == {"suite"}
    parts = results["benchmarks"]["suite"]["subgroups"]["fp8"]
    assert {name: part["lost"] for name, part in parts.items()} == {"law": 18, "math": 0}
    assert ended.code == 3


def test_a_metric_that_is_better_when_lower_is_refused(tmp_path: Path, cli: Cli) -> None:
    for model in ("a", "b"):
        (tmp_path / model).mkdir()
        write_jsonl(tmp_path / model / "samples_t_2026-01-31T01-02-03.000004.jsonl", logged(MIXED, "brier_score"))
        (tmp_path / model / "results_x.json").write_text(
            json.dumps({"higher_is_better": {"t": {"brier_score": False}}})
        )
    ended = cli("compare", tmp_path / "a", tmp_path / "b")
    assert (ended.code, "better when lower" in ended.err) == (2, True)


def test_a_grader_that_does_not_read_boxes_is_suspected(files: Files) -> None:
    rows = [row | {"resps": [[f"So it is \\boxed{{{row['target']}}}, run a."]]} for row in logged([0] * 60)]
    others = [row | {"resps": [[f"We get \\boxed{{{int(row['target']) + 1}}}."]]} for row in rows]
    ended, results = files(rows, others)
    assert "answers_not_read" in only(results)["invalid_by"]
    assert "60 of 60 responses hold a \\boxed answer, in 60 of them with exactly the" in said(ended)
    right = [row | {"exact_match": 1} for row in rows]
    assert "answers_not_read" not in guard_names(files(right, right)[1])


def test_other_generation_settings_silent_filters_and_equal_answers_are_seen(files: Files) -> None:
    short = {"gen_args_0": {"arg_0": "x", "arg_1": {"until": ["Q:"], "temperature": 0.0, "max_gen_toks": 16}}}
    _, results = files(logged(MIXED), [row | {"arguments": short} for row in logged(MIXED)])
    assert only(results)["invalid_by"] == ["sampling_differs"]
    silent = [row | ({"filtered_resps": ["[invalid]"]} if row["doc_id"] < 100 else {}) for row in logged(MIXED)]
    assert {"no_answer", "no_answer_difference"} <= set(only(files(logged(MIXED), silent)[1])["invalid_by"])
    long = [row | {"resps": [[f"{row['doc_id']} " * 200]]} for row in logged(MIXED)]
    assert only(files(long, long)[1])["invalid_by"] == ["same_answers"]


def test_log_likelihoods_know_what_guessing_gives(files: Files) -> None:
    choices = {f"gen_args_{n}": {"arg_0": "Q", "arg_1": f" {n}"} for n in range(4)}
    resps = [[[f"{-1.0 - n}", "False"]] for n in range(4)]
    rows = [row | {"arguments": choices, "resps": resps} for row in logged([1, 0, 0, 0] * 50, "acc")]
    assert "guessing" in only(files(rows, rows)[1])["invalid_by"]


# runs


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    study = replay_study(folder, 60, {"bf16": [1], "fp8": [1, 2], "nvfp4": range(2, 40)})
    run_study(load_study(study), folder / "run", Events())
    write(Run(folder / "run"))
    return folder / "run"


def test_variants_of_runs_are_compared_with_all_guards_of_a_run(finished: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out.json"
    ended = cli("compare", f"{finished}:bf16", f"{finished}:nvfp4", "--json", out)
    results = json.loads(out.read_text())
    stored = json.loads((finished / "results.json").read_text())["benchmarks"]["math500"]
    found = results["benchmarks"]["math500"]["comparisons"]["nvfp4"]
    expected = stored["comparisons"]["nvfp4"]
    assert (found["lost"], found["difference"], found["ci95"]) == (
        expected["lost"],
        expected["difference"],
        expected["ci95"],
    )
    assert ended.code == 1
    assert results["benchmarks"]["math500"]["margin_from"] == "the baseline's study"
    assert {g["name"] for g in stored["guards"] if g["variant"] in (None, "nvfp4")} <= guard_names(results)


def test_the_same_questions_of_another_run_pair_and_other_questions_are_refused(
    finished: Path, tmp_path: Path, cli: Cli
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    study = replay_study(other, 60, {"int4": range(10)})
    run_study(load_study(study), other / "run", Events())
    ended = cli("compare", f"{finished}:bf16", other / "run")
    assert "int4: Do not deploy: a loss beyond the margin is shown on math500. −15.0 on math500" in said(ended)
    text = (other / "math.jsonl").read_text().replace("What is", "How much is")
    (other / "math.jsonl").write_text(text)
    run_study(load_study(study), other / "changed", Events())
    ended = cli("compare", f"{finished}:bf16", other / "changed")
    assert ended.code == 2
    assert "do not have the same question in 60 of 60 items" in ended.err


def test_a_run_and_plain_rows(finished: Path, tmp_path: Path, cli: Cli) -> None:
    rows = [{"item": f"test/sums/{n}.json", "score": n > 20} for n in range(60)]
    ended = cli("compare", f"{finished}:bf16", write_jsonl(tmp_path / "mine.jsonl", rows))
    assert ended.code == 1
    assert "mine: Do not deploy: a loss beyond the margin is shown on math500. −33.3 on math500" in said(ended)


def test_a_run_of_an_lm_eval_task_pairs_with_the_logs_of_lm_eval(tmp_path: Path) -> None:
    rows = logged(MIXED)
    entries = tuple(
        ExamItem(
            Item(
                str(row["doc_id"]),
                (Prompt(text=f"prompt {row['doc_id']}"),),
                row["target"],
                metadata={"doc_hash": row["doc_hash"], "target_hash": row["target_hash"]},
            ),
            (f"prompt {row['doc_id']}",),
            ("0",),
            3,
        )
        for row in rows
    )
    exam = Exam("lm_eval:t", "exact_match,none", Sampling(16), 0, None, entries, 400, {})
    text = "study: s\nvariants: {a: {model: a/b}}\nbenchmarks: ['lm_eval:t']"
    (spec,) = parse_study(text, "s", tmp_path).benchmarks
    run = results_of_exam(spec, exam, Sheet(np.array([MIXED], dtype=float).T, {}, {}))
    source = read(str(write_jsonl(tmp_path / "samples_t_2026-01-31T01-02-03.000004.jsonl", rows)))
    pairing = pair_up(run, source.benchmarks["t"], ("run", "log"))
    assert len(pairing.both) == 400
    assert pairing.scores is not None
    assert pairing.scores.flips == (0, 0)
    moved = replace(exam, items=tuple(replace(entry, texts=("other",)) for entry in entries))
    with pytest.raises(UserInputError, match="the same prompt in 400 of 400"):
        pair_up(results_of_exam(spec, moved, Sheet(np.zeros((400, 1)), {}, {})), source.benchmarks["t"], ("run", "log"))


# bad input: exit code 2, one line


def math_logs(scores: Iterable[Any], right: int) -> Rows:
    """Logs of hendrycks_math500 with boxed answers, of which so many hold the reference."""
    rows = logged(scores)
    for n, row in enumerate(rows):
        problem = {"problem": f"What is {n}?", "solution": f"It is \\boxed{{{n}}}.", "answer": str(n)}
        row["doc"] = problem | {"unique_id": f"test/{n}.json", "subject": "Algebra"}
        row["target"] = str(n)
        row["resps"] = [[f"The answer is \\boxed{{{n if n < right else n + 1000}}}."]]
    return rows


def changed(rows: Rows, **values: Any) -> Rows:
    return [rows[0] | values, *rows[1:]]


BAD: dict[str, tuple[Callable[[], Rows], Callable[[], Rows], str]] = {
    "score above 1": (lambda: plain([1, 0]), lambda: plain([1, 34.2]), "is 34.2, outside [0, 1]"),
    "score below 0": (lambda: plain([1, 0]), lambda: plain([1, -0.1]), "outside [0, 1]"),
    "infinite score": (lambda: plain([1, 0]), lambda: plain([1, math.inf]), "outside [0, 1]"),
    "score as text": (lambda: plain([1, 0]), lambda: plain([1, "1"]), "no number"),
    "no score": (lambda: plain([1, 0]), lambda: [{"item": "q0"}], "no field score"),
    "no item": (lambda: plain([1, 0]), lambda: [{"score": 1}], "no field item"),
    "other rows": (lambda: plain([1, 0]), lambda: [{"question_id": 1, "pred": "A"}], "question_id, pred"),
    "duplicate": (lambda: plain([1, 0]), lambda: plain([1, 0]) * 2, "stands twice, in lines 1 and 3"),
    "item of another kind": (lambda: plain([1]), lambda: [{"item": [1], "score": 1}], "item must be a text"),
    "sample as text": (lambda: plain([1]), lambda: plain([1], sample="a"), "sample must be an integer"),
    "other groups": (lambda: plain([1, 0], group="g"), lambda: plain([1, 0], group="h"), "the same group in 2 of 2"),
    "other items": (lambda: plain([1, 0]), lambda: [{"item": "z", "score": 1}], "the items are other ones"),
    "other benchmarks": (
        lambda: plain([1], benchmark="x") + plain([1], benchmark="y"),
        lambda: plain([1], benchmark="z") + plain([1], benchmark="w"),
        "nothing can be compared",
    ),
    "nothing scored": (lambda: plain([1, 0]), lambda: plain([None, None]), "no item has a score in both"),
    "other prompts": (lambda: logged([1, 0]), lambda: logged([1, 0], prompt_hash="x"), "the same prompt in 2 of 2"),
    "other targets": (lambda: logged([1, 0]), lambda: logged([1, 0], target_hash="x"), "the same target in 2 of 2"),
    "other documents": (
        lambda: logged([1, 0]),
        lambda: [row | {"doc_hash": "x" + row["doc_hash"]} for row in logged([1, 0])],
        "options in another order",
    ),
    "other metric": (
        lambda: logged([1, 0]),
        lambda: logged([1, 0], "acc"),
        "exact_match,none and 'b' by acc",
    ),
    "edited target": (
        lambda: logged([1, 0]),
        lambda: [row | {"target_hash": sha(str(n)), "target": "0"} for n, row in enumerate(logged([1, 0]))],
        "line 2: the target is not the one that target_hash was made of",
    ),
    "document twice": (lambda: logged([1, 0]), lambda: logged([1, 0]) * 2, "document 0 stands twice"),
    "no hashes": (lambda: logged([1]), lambda: [{"doc_id": 0, "filter": "none", "acc": 1}], "no sample of lm-eval"),
    "metric of another scale": (lambda: logged([1]), lambda: logged([34.2]), "outside [0, 1]"),
    "metric missing": (lambda: logged([1]), lambda: changed(logged([1]), metrics=["acc"]), "no value of metric 'acc'"),
    "lm-eval and rows": (lambda: logged([1, 0]), lambda: plain([1, 0]), "the items are other ones"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_rows_end_with_one_line(name: str, files: Files) -> None:
    before, after, words = BAD[name]
    ended, _ = files(before(), after())
    assert ended.code == 2
    assert ended.err.count("\n") == 1
    assert words in ended.err


def test_bad_arguments_end_with_one_line(finished: Path, tmp_path: Path, cli: Cli) -> None:
    good = write_jsonl(tmp_path / "good.jsonl", plain([1, 0]))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty.jsonl").write_text("")
    (tmp_path / "broken.jsonl").write_text('{"item": 1, "score": \n')
    (tmp_path / "torn.jsonl.gz").write_bytes(gzip.compress(good.read_bytes())[:-9])
    (tmp_path / "two").mkdir()
    for day in (1, 2):
        write_jsonl(tmp_path / "two" / f"samples_t_2026-01-0{day}T01-02-03.000004.jsonl", logged([1]))
    cases = {
        "absent.jsonl": "does not exist",
        f"{finished}": f"choose one: {finished}:bf16",
        f"{finished}:int4": "has no variant 'int4'",
        f"{tmp_path / 'empty'}:x": "is no run directory",
        tmp_path / "empty": "holds neither a run",
        tmp_path / "empty.jsonl": "is empty",
        tmp_path / "broken.jsonl": "broken JSON",
        tmp_path / "torn.jsonl.gz": "not a whole gzip file",
        tmp_path / "two": "two logs of task 't'",
    }
    for given_path, words in cases.items():
        ended = cli("compare", good, given_path)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended
        assert words in ended.err
    for margin in ("0", "-1", "101", "nan"):
        assert cli("compare", good, good, "--margin", margin).code == 2
    ended = cli("compare", good, good, "--filter", "none")
    assert (ended.code, "none was given" in ended.err) == (2, True)
    ended = cli("compare", good, good, "--json", tmp_path / "absent" / "out.json")
    assert (ended.code, "cannot be written" in ended.err) == (2, True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
FIELDS = st.sampled_from(["item", "score", "sample", "group", "benchmark", "doc_id", "filter", "metrics", "doc_hash"])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(rows=st.lists(st.dictionaries(FIELDS, JSON, max_size=6), min_size=1, max_size=4))
def test_whatever_the_rows_hold_they_are_read_or_refused_in_words(rows: Rows, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "any.jsonl", rows)
    with contextlib.suppress(UserInputError):
        source = read(str(path))
        compare(source, [source])


# real data


MMLU_LOGS = SHARED_DATA / "graded" / "mmlu_pro"
LM_EVAL = SHARED_DATA / "recorded" / "lm_eval"


@pytest.mark.skipif(not LM_EVAL.is_dir(), reason="the logs of lm-eval (../shared/data) are not here")
def test_two_real_logs_of_zeros_say_why_they_mean_nothing(tmp_path: Path, cli: Cli) -> None:
    names = ("all_samples_math500_local.jsonl.gz", "math_samples_math500_local.jsonl.gz")
    out = tmp_path / "out.json"
    ended = cli("compare", *(LM_EVAL / name for name in names), "--json", out)
    found = only(json.loads(out.read_text()))
    assert (found["items"], found["lost"], found["gained"]) == (500, 0, 0)
    assert found["verdict"] == "invalid"
    assert found["invalid_by"] == ["answers_not_read", "floor", "same_answers"]  # one model, run twice
    text = said(ended)
    assert "0 % against 0 %" in text
    assert "396 of 500 responses hold a \\boxed answer" in text
    assert ended.code == 3


@pytest.mark.skipif(not LM_EVAL.is_dir(), reason="the logs of lm-eval (../shared/data) are not here")
def test_a_folder_with_two_logs_of_a_task_is_refused(cli: Cli) -> None:
    ended = cli("compare", LM_EVAL, LM_EVAL)
    assert (ended.code, "two logs of task" in ended.err) == (2, True)


def graded(model: str) -> Rows:
    with gzip.open(MMLU_LOGS / f"{model}_5shots.jsonl.gz", "rt", encoding="utf-8") as lines:
        return [
            {
                "benchmark": "mmlu_pro",
                "item": row["question_id"],
                "score": row["correct"],
                "subgroup": row["category"],
            }
            for row in map(json.loads, lines)
        ]


@pytest.mark.skipif(not MMLU_LOGS.is_dir(), reason="the published logs (../shared/data) are not here")
@pytest.mark.parametrize(
    ("baseline", "candidate"),
    [("Meta-Llama-3_1-8B", "Meta-Llama-3-8B"), ("gemini-1.5-flash-002", "Qwen1.5-7B-Chat")],
)
def test_published_logs_differ_by_what_counting_gives(baseline: str, candidate: str, files: Files) -> None:
    before, after = graded(baseline), graded(candidate)
    _, results = files(before, after)
    right = {row["item"]: row["score"] for row in before}
    parts: dict[str, list[int]] = {}
    for row in after:
        if row["item"] in right:
            parts.setdefault(row["subgroup"], []).append(int(row["score"]) - int(right[row["item"]]))
    found = only(results)
    differences = [d for part in parts.values() for d in part]
    assert found["items"] == len(differences) >= 12_000
    assert found["difference"] == pytest.approx(sum(differences) / len(differences))
    shown = results["benchmarks"]["mmlu_pro"]["subgroups"]["b"]
    assert shown.keys() == parts.keys()
    for name, part in parts.items():
        assert shown[name]["difference"] == pytest.approx(sum(part) / len(part))
        assert (shown[name]["lost"], shown[name]["gained"]) == (part.count(-1), part.count(1))
        assert shown[name]["ci95"][0] <= shown[name]["difference"] <= shown[name]["ci95"][1]
