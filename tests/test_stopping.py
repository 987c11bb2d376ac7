"""Runs that stop a benchmark once its verdict is certain: from recorded answers, through the command line."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import Cli, replay_study

from bitparity.exam.frozen import load_exam
from bitparity.report.exports import export
from bitparity.store.jsonl import AppendLog, read_lines
from bitparity.store.run import Run

pytestmark = pytest.mark.slow

COUNT = 1200
MARGIN = 6.0  # that a plan can answer with so many greedy answers
WRONG = {
    "bf16": range(0, COUNT, 7),
    "same": range(0, COUNT, 7),  # nothing flips: it is never looked at
    "close": [n for n in range(COUNT) if n % 7 == 0 or n % 50 == 1],  # loses 2 points
    "worse": [n for n in range(COUNT) if n % 7 == 0 or n % 3 == 1],  # loses some 28 points
}


def stopping_study(folder: Path, **more: object) -> Path:
    path = replay_study(folder, COUNT, WRONG)
    study = yaml.safe_load(path.read_text())
    study["benchmarks"][0] |= {"margin": MARGIN, "form": "chat"}
    path.write_text(yaml.safe_dump({**study, "stop_early": True, **more}))
    return path


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stopping_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def finished(cli: Cli, study: Path, tmp_path: Path) -> Path:
    """A copy of the study's run, which the first test makes; to be changed at will."""
    made = study.parent / "run"
    if not (made / "results.json").exists():
        ended = cli("run", study, "--out", made)
        assert ended.code == 1, ended.err
    return shutil.copytree(made, tmp_path / "run")


def test_looks_and_order_are_frozen_with_the_exam(cli: Cli, finished: Path, tmp_path: Path) -> None:
    exam = load_exam(finished / "exam" / "math500.jsonl")
    assert exam.stop is not None
    assert exam.stop.looks == tuple(range(120, COUNT + 1, 120))
    assert (exam.stop.spending, exam.stop.margin, exam.stop.family, exam.stop.futility) == ("power_2", 0.06, 3, 0.02)
    other = stopping_study(tmp_path, study="another")
    assert cli("run", other, "--out", tmp_path / "other").code == 1
    again = load_exam(tmp_path / "other" / "exam" / "math500.jsonl")
    assert [e.item.id for e in again.items] != [e.item.id for e in exam.items]
    assert {e.item.id for e in again.items} == {e.item.id for e in exam.items}


def test_looks_that_were_changed_are_told(finished: Path, cli: Cli) -> None:
    path = finished / "exam" / "math500.jsonl"
    path.write_text(path.read_text().replace('"futility": 0.02', '"futility": 0.5'))
    assert "changed after it was frozen" in cli("report", finished).err


def test_a_stop_is_a_state_of_its_own(finished: Path) -> None:
    entry = results(finished)["benchmarks"]["math500"]
    comparisons = entry["comparisons"]
    close, worse = comparisons["close"]["stopped"], comparisons["worse"]["stopped"]
    assert (worse["by"], worse["look"], worse["looks"], worse["items"], worse["of"]) == ("beyond", 1, 10, 120, COUNT)
    assert close["by"] == "within"
    assert 120 < close["items"] < COUNT
    assert comparisons["close"]["verdict"] in ("equivalent", "non_inferior", "worse_within_margin")
    assert comparisons["close"]["items"] == close["items"]
    assert close["candidate"] - close["baseline"] == pytest.approx(-0.02, abs=0.02)
    assert comparisons["worse"]["verdict"] == "worse_beyond_margin"
    assert "stopped" not in comparisons["same"]
    assert comparisons["same"]["items"] == COUNT
    # no guard calls what was not asked missing, and no score of part of the benchmark stands as the benchmark's
    assert [g for g in entry["guards"] if g["name"] in ("subset", "unscored")] == []
    assert entry["scores"]["close"]["mean"] is None
    assert entry["scores"]["close"]["unscored"] == 0
    assert entry["scores"]["bf16"]["mean"] == pytest.approx(1 - len(WRONG["bf16"]) / COUNT)


def test_figures_after_a_stop_are_unbiased_and_the_verdict_is_the_repeated_intervals(finished: Path) -> None:
    worse = results(finished)["benchmarks"]["math500"]["comparisons"]["worse"]
    mean = worse["stopped"]["candidate"] - worse["stopped"]["baseline"]
    assert worse["difference"] != pytest.approx(mean, abs=1e-9) or worse["stopped"]["look"] == 1
    assert worse["repeated_ci95"][0] < worse["ci95"][0] < worse["ci95"][1] < worse["repeated_ci95"][1] < -MARGIN / 100


def test_what_people_read(cli: Cli, finished: Path) -> None:
    report = (finished / "report.md").read_text()
    assert f"stopped after 120 of {COUNT:,} questions: −" in report
    close = results(finished)["benchmarks"]["math500"]["comparisons"]["close"]["stopped"]
    within = f"stopped after {close['items']} of {COUNT:,} questions"
    assert within in report
    assert f"(stopped after {close['items']} of {COUNT:,})" in cli("check", finished).out
    assert (
        f"答完 {COUNT:,} 题中的 120 题后停止"
        in (cli("report", finished, "--lang", "zh"), (finished / "report.zh.md").read_text())[1]
    )
    assert "complete" in cli("status", finished).out
    card = export(Run(finished), "model-card", None)
    assert isinstance(card, str)
    assert f"it stopped after 120 of {COUNT:,} items" in card
    assert "stopped on math500" in cli("compare", f"{finished}:bf16", f"{finished}:worse").err


def test_status_finds_the_stop_from_the_files_alone(cli: Cli, finished: Path) -> None:
    (finished / "progress.json").unlink()
    told = json.loads(cli("status", finished, "--json").out)
    assert told["status"] == "complete"
    cell = told["variants"]["worse"]["benchmarks"]["math500"]
    assert (cell["done"], cell["total"], cell["stopped"]) == (120, 120, True)


def test_a_run_that_was_cut_down_anywhere_stops_at_the_same_look(cli: Cli, study: Path, finished: Path) -> None:
    before = results(finished)["benchmarks"]["math500"]["comparisons"]
    for kept in (0, 119, 300):
        half = finished.parent / f"cut{kept}"
        shutil.copytree(finished, half)
        for variant in ("close", "worse"):
            path = half / "samples" / variant / "math500.jsonl"
            path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:kept]))
            (half / "grades" / variant / "math500.jsonl").unlink()
        assert cli("run", study, "--out", half).code == 1
        after = results(half)["benchmarks"]["math500"]["comparisons"]
        for variant in ("close", "worse"):
            assert after[variant] == before[variant], (kept, variant)


def test_answers_beyond_the_stop_change_nothing(finished: Path) -> None:
    """Whatever was answered beyond it, by an engine that was ahead, is set aside."""
    before = results(finished)["benchmarks"]["math500"]["comparisons"]["worse"]
    whole = [dict(row) for row in read_lines(finished / "samples" / "bf16" / "math500.jsonl")]
    assert len(whole) == COUNT
    asked = [row["item"] for row in read_lines(finished / "samples" / "worse" / "math500.jsonl")]
    order = [e.item.id for e in load_exam(finished / "exam" / "math500.jsonl").items]
    assert set(order[:120]) <= set(asked)
    assert before["items"] == 120


def test_the_option_is_decided_before_the_first_answer(cli: Cli, study: Path, finished: Path, tmp_path: Path) -> None:
    without = study.with_name("without.yaml")
    without.write_text(study.read_text().replace("stop_early: true", "stop_early: false"))
    ended = cli("run", without, "--out", finished)
    assert ended.code == 2
    assert "stop_early" in ended.err
    assert cli("run", without, "--out", tmp_path / "plain").code == 1
    ended = cli("run", without, "--stop-early", "--out", tmp_path / "plain")
    assert (ended.code, "stop_early" in ended.err) == (2, True)
    text = (tmp_path / "plain" / "study.yaml").read_text()
    assert "stop_early" not in text
    assert "stopped" not in (tmp_path / "plain" / "results.json").read_text()


def test_shards_are_refused_with_the_reason(cli: Cli, study: Path, tmp_path: Path) -> None:
    ended = cli("run", study, "--shard", "1/2", "--out", tmp_path / "s")
    assert ended.code == 2
    assert "whole blocks" in ended.err


def test_too_few_questions_are_not_looked_at(cli: Cli, tmp_path: Path) -> None:
    path = replay_study(tmp_path)
    path.write_text(path.read_text() + "stop_early: true\n")
    cli("run", path, "--out", tmp_path / "run")
    assert load_exam(tmp_path / "run" / "exam" / "math500.jsonl").stop is None
    assert "repeated_ci95" not in (tmp_path / "run" / "results.json").read_text()


def test_a_stop_stands_when_its_answers_are_graded_again_and_otherwise(cli: Cli, finished: Path) -> None:
    """Grades that change after a stop do not make the run incomplete, whatever the later looks would have needed."""
    out = finished
    order = [e.item.id for e in load_exam(out / "exam" / "math500.jsonl").items]
    path = out / "samples" / "worse" / "math500.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["item"] in order[:120]]
    path.write_text("".join(kept))  # an engine that was not ahead
    right = {row["item"]: row["text"] for row in read_lines(out / "samples" / "bf16" / "math500.jsonl")}
    assert cli("grade", out).code == 0
    assert results(out)["benchmarks"]["math500"]["comparisons"]["worse"]["stopped"]["by"] == "beyond"
    rows = [dict(row) for row in read_lines(path)]
    path.unlink()
    with closing(AppendLog(path)) as log:  # as if another grader took the answers for right
        log.append({k: v for k, v in row.items() if k != "crc32"} | {"text": right[row["item"]]} for row in rows)
    assert cli("grade", out).code == 0
    entry = results(out)["benchmarks"]["math500"]
    stopped = entry["comparisons"]["worse"]["stopped"]
    assert (stopped["by"], stopped["items"]) == ("regraded", 120)
    assert entry["scores"]["worse"]["unscored"] == 0
    assert [g for g in entry["guards"] if g["name"] in ("subset", "unscored")] == []
    assert "complete" in cli("status", out).out
    (out / "progress.json").unlink()
    assert json.loads(cli("status", out, "--json").out)["status"] == "complete"


def test_hours_with_looks_end_at_a_look_of_their_own(cli: Cli, finished: Path) -> None:
    """The time was over after 300 items: what was not stopped is judged there, at the level spent up to there."""
    before = results(finished)["benchmarks"]["math500"]["comparisons"]
    order = [e.item.id for e in load_exam(finished / "exam" / "math500.jsonl").items]
    path = finished / "samples" / "close" / "math500.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if json.loads(line)["item"] in order[:300]))
    environment = json.loads((finished / "environment.json").read_text())
    environment["hours"] = {"hours": 1, "seconds": 3600, "asked": {"math500": 300}}
    (finished / "environment.json").write_text(json.dumps(environment))
    cli("report", finished)
    entry = results(finished)["benchmarks"]["math500"]
    assert entry["comparisons"]["worse"]["stopped"] == before["worse"]["stopped"]
    close = entry["comparisons"]["close"]
    assert (close["items"], entry["items"]) == (300, 300)
    assert "stopped" not in close
    assert close["repeated_ci95"][0] < close["ci95"][0]
    assert entry["left_out"]["items"] == COUNT - 300
    assert entry["scores"]["bf16"]["unscored"] == 0
    assert [g["name"] for g in entry["guards"] if g["level"] == "error"] == []
    assert "300 of 1,200" in (finished / "report.md").read_text()
    assert "1,200 题" in (cli("report", finished, "--lang", "zh"), (finished / "report.zh.md").read_text())[1]


def test_run_with_hours_from_the_command_line(cli: Cli, tmp_path: Path) -> None:
    path = replay_study(tmp_path, 60, {"bf16": [1], "fp8": [1, 2]})
    ended = cli("run", path, "--hours", "0.5", "--out", tmp_path / "run")
    assert "not known beforehand" in ended.err
    found = results(tmp_path / "run")["benchmarks"]["math500"]
    assert found["items"] == 60
    assert "left_out" not in found
    record = json.loads((tmp_path / "run" / "environment.json").read_text())["hours"]
    assert record["asked"] == {"math500": 60}
    assert 0 < record["seconds"] < 1800
    assert "complete" in cli("status", tmp_path / "run").out
    for option, value in (("--shard", "1/2"), ("--ray", "auto")):
        refused = cli("run", path, "--hours", "0.5", option, value, "--out", tmp_path / "other")
        assert (refused.code, "do not go together" in refused.err) == (2, True)
    for hours in ("0.0001", "0", "-1", "nan"):
        refused = cli("run", path, "--hours", hours, "--out", tmp_path / "other")
        assert refused.code == 2
        assert "Traceback" not in refused.err
    assert not (tmp_path / "other" / "samples").exists()


def test_a_report_says_what_the_time_left_out(cli: Cli, tmp_path: Path) -> None:
    """Surplus of the baseline stays stored and is compared with nothing."""
    path = replay_study(tmp_path, 60, {"bf16": [1], "fp8": [1, 2]})
    out = tmp_path / "run"
    cli("run", path, "--hours", "0.5", "--out", out)
    order = [e.item.id for e in load_exam(out / "exam" / "math500.jsonl").items]
    samples = out / "samples" / "fp8" / "math500.jsonl"
    lines = [line for line in samples.read_text().splitlines(keepends=True) if json.loads(line)["item"] in order[:40]]
    samples.write_text("".join(lines))
    environment = json.loads((out / "environment.json").read_text())
    environment["hours"]["asked"] = {"math500": 40}
    (out / "environment.json").write_text(json.dumps(environment))
    for command in ("grade", "report"):
        cli(command, out)
        found = results(out)["benchmarks"]["math500"]
        assert found["left_out"]["items"] == 20
        assert (found["items"], found["comparisons"]["fp8"]["items"]) == (40, 40)
        assert {name: score["unscored"] for name, score in found["scores"].items()} == {"bf16": 0, "fp8": 0}
        guards = {g["name"]: g["level"] for g in found["guards"]}
        assert guards["time_over"] == "warning"
        assert {"subset", "unscored"}.isdisjoint(guards)
    assert "the time of the run was over after 40 of 60 items" in (out / "report.md").read_text()
    assert "complete" in cli("status", out).out
    (out / "progress.json").unlink()
    told = json.loads(cli("status", out, "--json").out)
    assert told["status"] == "complete"
    assert told["variants"]["bf16"]["benchmarks"]["math500"]["total"] == 40
