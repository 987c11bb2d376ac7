"""Whole runs through the command line, with recorded answers: run, resume, regrade, report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from support import Cli, answers, replay_study, stamp_grades, write_jsonl

from bitparity.engines import model_files
from bitparity.engines.host import EngineProcess
from bitparity.errors import EngineError
from bitparity.progress.board import Board
from bitparity.progress.events import Events
from bitparity.progress.file import write_progress
from bitparity.progress.status import Status, look
from bitparity.runner import Report, run_study
from bitparity.schema import Variant
from bitparity.store.jsonl import read_lines
from bitparity.store.run import Run
from bitparity.study.resolve import load_study


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy study: bf16 misses 1 of 12, fp8 two, nvfp4 six (2 to 7)."""
    return replay_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def finished(cli: Cli, study: Path, tmp_path: Path) -> Path:
    """A copy of its run, which the first test makes; to be changed at will."""
    made = study.parent / "run"
    if not (made / "results.json").exists():
        assert cli("run", study, "--out", made).code in (0, 1, 3)
    return shutil.copytree(made, tmp_path / "run")


def test_a_run_leaves_every_file_of_the_layout(finished: Path) -> None:
    for name in ("study.yaml", "environment.json", "results.json", "report.md", "exam/math500.jsonl"):
        assert (finished / name).is_file()
    for variant in ("bf16", "fp8", "nvfp4"):
        assert len(list(read_lines(finished / "samples" / variant / "math500.jsonl"))) == 12
        assert len(Run(finished).grades(variant, "math500")) == 12


def test_what_is_to_be_done_meanwhile_is_done_before_any_answer(tmp_path: Path) -> None:
    seen: list[bool] = []
    out = tmp_path / "run"
    run_study(
        load_study(replay_study(tmp_path)),
        out,
        Events(),
        report=Report(lambda: seen.append((out / "samples").exists()), lambda: None),
    )
    assert seen == [False]
    assert (out / "samples").exists()


def test_the_results_hold_what_was_answered(finished: Path) -> None:
    made = results(finished)
    entry = made["benchmarks"]["math500"]
    assert made["schema"] == "bitparity/results/1"
    assert [round(entry["scores"][v]["mean"] * 12) for v in ("bf16", "fp8", "nvfp4")] == [11, 10, 6]
    fp8, nvfp4 = entry["comparisons"]["fp8"], entry["comparisons"]["nvfp4"]
    assert (fp8["lost"], fp8["gained"]) == (1, 0)
    assert (nvfp4["lost"], nvfp4["gained"]) == (6, 1)
    assert nvfp4["difference"] == pytest.approx(-5 / 12)
    assert nvfp4["p_value"] == pytest.approx(2 * (1 + 7) / 2**7)  # exact McNemar, 1 of 7 discordant
    assert made["variants"]["bf16"]["engine"]["engine"] == "replay"


def test_the_report_leads_with_the_answer_and_names_the_files(finished: Path) -> None:
    lines = (finished / "report.md").read_text().splitlines()
    assert lines[0].startswith("# toy")
    assert lines[2].startswith("- **fp8:")
    assert "| math500 | nvfp4 |" in "\n".join(lines)


def kept(folder: Path) -> dict[Path, bytes]:
    """Every file of a run but the one that says when it was last at work."""
    return {p: p.read_bytes() for p in folder.rglob("*.json*") if p.name != "progress.json"}


def test_the_same_command_again_changes_nothing_and_runs_nothing(
    cli: Cli, study: Path, finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = kept(finished)
    started = Mock()
    monkeypatch.setattr(EngineProcess, "warm", started)
    cli("run", study, "--out", finished)
    assert started.mock_calls == []
    assert kept(finished) == before


def test_a_changed_study_is_refused_and_nothing_is_lost(cli: Cli, study: Path, finished: Path) -> None:
    before = {p: p.read_bytes() for p in finished.rglob("*.json*")}
    ended = cli("run", study, "--out", finished, "--limit", 3)
    assert ended.code == 2
    assert "limit: None -> 3" in ended.err
    assert {p: p.read_bytes() for p in finished.rglob("*.json*")} == before


def test_an_engine_that_loaded_other_files_costs_its_variant_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def opened(name: str, variant: Variant) -> model_files.ModelFiles:
        return model_files.ModelFiles(None, {"sha256": "as looked at"} if name == "fp8" else {"recorded": name}, None)

    monkeypatch.setattr(model_files, "_open_files", opened)
    outcome = run_study(load_study(replay_study(tmp_path)), tmp_path / "run", Events())
    assert list(outcome.failures) == ["fp8"]
    assert "sha256 differ between what was looked at and what the engine loaded" in outcome.failures["fp8"]
    run = Run(tmp_path / "run")
    assert [len(run.done(name, "math500")) for name in ("bf16", "fp8", "nvfp4")] == [12, 0, 12]
    assert run.environment().variants["fp8"].engines == []


def test_what_gave_the_earlier_answers_is_kept(study: Path, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = Run(finished).environment()
    path = finished / "samples" / "fp8" / "math500.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    monkeypatch.setattr("platform.python_version", lambda: "9.9.9")
    asked = load_study(study)
    with monkeypatch.context() as failing:
        failing.setattr(EngineProcess, "start", lambda self: (_ for _ in ()).throw(EngineError("it cannot load")))
        assert run_study(asked, finished, Events()).failures
    assert Run(finished).environment().python == before.python
    run_study(asked, finished, Events())
    environment = Run(finished).environment()
    (engine,) = environment.variants["fp8"].engines
    assert [start["python"] for start in engine.starts] == [before.python, "9.9.9"]
    assert [start["at"] for start in engine.starts] == sorted(start["at"] for start in engine.starts)
    assert environment.python == "9.9.9"


def test_a_run_of_an_earlier_version_goes_on(study: Path, finished: Path) -> None:
    place = finished / "environment.json"
    environment = json.loads(place.read_text())
    for stored in environment["variants"].values():
        for engine in stored["engines"]:
            del engine["starts"]
    place.write_text(json.dumps(environment))
    path = finished / "samples" / "fp8" / "math500.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    run_study(load_study(study), finished, Events())
    (engine,) = Run(finished).environment().variants["fp8"].engines
    assert len(engine.starts) == 1


def test_a_torn_last_line_is_redone(cli: Cli, study: Path, finished: Path) -> None:
    path = finished / "samples" / "fp8" / "math500.jsonl"
    before = sorted(path.read_bytes().splitlines())
    path.write_bytes(path.read_bytes()[:-30])
    cli("run", study, "--out", finished)
    assert sorted(path.read_bytes().splitlines()) == before


def test_a_missing_recording_is_unscored_never_wrong_and_done_when_it_is_there(cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path)
    write_jsonl(tmp_path / "fp8.jsonl", answers(12)[:9])
    ended = cli("run", study, "--out", tmp_path / "run")
    entry = results(tmp_path / "run")["benchmarks"]["math500"]
    assert ended.code == 3
    assert entry["scores"]["fp8"]["mean"] == 1.0
    assert entry["scores"]["fp8"]["unscored"] == 3
    assert entry["comparisons"]["fp8"]["verdict"] == "invalid"
    assert any(g["name"] == "unscored" and g["variant"] == "fp8" for g in entry["guards"])

    write_jsonl(tmp_path / "fp8.jsonl", answers(12))
    cli("run", study, "--out", tmp_path / "run")
    assert results(tmp_path / "run")["benchmarks"]["math500"]["scores"]["fp8"]["unscored"] == 0


def test_grade_makes_all_grades_again_and_says_what_changed(cli: Cli, finished: Path) -> None:
    path = finished / "grades" / "fp8" / "math500.jsonl"
    right = path.read_bytes()
    header, first, *rest = right.decode().splitlines(keepends=True)
    path.write_text(header + first.replace('"score": 1.0', '"score": 0.0') + "".join(rest))
    assert cli("report", finished).code == 3  # its checksum does not fit any more
    assert cli("grade", finished).code == 0
    assert path.read_bytes() == right
    path.write_text(header + first.replace('"score": 1.0', '"score": 0.0') + "".join(rest))
    stamp_grades(finished)
    ended = cli("grade", finished)
    item = json.loads(first)["item"]
    assert ended.code == 0
    assert f"fp8 math500: 1 changed: {item}#0" in ended.out
    assert "nvfp4 math500: 0 changed" in ended.out
    assert path.read_bytes() == right


def test_samples_are_never_rewritten(cli: Cli, finished: Path) -> None:
    before = {p: p.read_bytes() for p in (finished / "samples").rglob("*.jsonl")}
    cli("grade", finished)
    cli("report", finished)
    assert {p: p.read_bytes() for p in (finished / "samples").rglob("*.jsonl")} == before


def test_a_limit_takes_the_same_fair_subset_for_every_variant(cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path)
    cli("run", study, "--out", tmp_path / "run", "--limit", 5)
    sets = [{row["item"] for row in read_lines(p)} for p in (tmp_path / "run" / "samples").rglob("*.jsonl")]
    assert len(sets) == 3
    assert all(found == sets[0] and len(found) == 5 for found in sets)
    guards = results(tmp_path / "run")["benchmarks"]["math500"]["guards"]
    assert any(g["name"] == "limit" for g in guards)


def test_a_single_variant_is_scored_without_comparison(cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path, wrong={"only": [0]})
    assert cli("run", study, "--out", tmp_path / "run").code == 0
    made = results(tmp_path / "run")
    assert made["benchmarks"]["math500"]["comparisons"] == {}
    assert made["overall"] == {}


def test_several_samples_an_item_are_kept_apart(cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path, wrong={"bf16": [], "fp8": []})
    text = study.read_text()
    study.write_text(text.replace("data: math.jsonl", "data: math.jsonl\n  samples: 2\n  temperature: 0.6"))
    for name, wrong in (("bf16", []), ("fp8", [0, 1, 2])):
        second = [{**row, "sample": 1} for row in answers(12, wrong)]
        write_jsonl(tmp_path / f"{name}.jsonl", answers(12) + second)
    cli("run", study, "--out", tmp_path / "run")
    entry = results(tmp_path / "run")["benchmarks"]["math500"]
    assert entry["samples"] == 2
    assert entry["comparisons"]["fp8"]["difference"] == pytest.approx(-3 / 24)


def test_benchmarks_lists_every_one_with_its_data_set(cli: Cli) -> None:
    ended = cli("benchmarks")
    assert ended.code == 0
    for name in ("math500", "aime24", "mmlu_pro", "smoke"):
        assert name in ended.out


def test_version_and_help_answer(cli: Cli) -> None:
    assert cli("--version").out.startswith("bitparity ")
    assert "demo" in cli("--help").out


def test_a_run_is_running_until_its_report_is_made(tmp_path: Path) -> None:
    out, study, seen = tmp_path / "run", load_study(replay_study(tmp_path)), list[Status]()
    board = Board(study, reported=True)

    def make() -> None:
        write_progress(out / "progress.json", board.snapshot())
        seen.append(look(out))

    run_study(study, out, Events(board), report=Report(lambda: None, make))
    assert seen[0].state == "running"
    assert seen[0].snapshot["phase"] == "making the report"
    assert (seen[0].snapshot["seconds_left"] or 0) > 0
    assert {variant["state"] for variant in seen[0].snapshot["variants"].values()} == {"finished"}
