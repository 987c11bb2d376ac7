"""`bitparity status` in every state: running, complete, stopped, killed, silent on another host, an older run."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from support import Cli, replay_study

from bitparity.progress.board import Board
from bitparity.progress.events import Events, VariantEnded, VariantPlanned, VariantStarted
from bitparity.progress.file import ProgressFile, write_progress
from bitparity.progress.status import SILENCE, look
from bitparity.records import Sample
from bitparity.results import build as results
from bitparity.runner import run_study
from bitparity.store.jsonl import AppendLog
from bitparity.store.lock import is_locked
from bitparity.store.rows import sample_to_row
from bitparity.store.run import Run, WritableRun
from bitparity.study.resolve import load_study


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    study = load_study(replay_study(folder))
    board = Board(study)
    outcome = run_study(study, folder / "run", Events(board, ProgressFile(board)))
    assert not outcome.failures
    return folder / "run"


@pytest.fixture
def finished(once: Path, tmp_path: Path) -> Path:
    """A finished run without a progress.json."""
    copy = shutil.copytree(once, tmp_path / "run")
    (copy / "progress.json").unlink(missing_ok=True)
    return copy


def without_the_last(path: Path, lines: int) -> None:
    kept = path.read_bytes().splitlines(keepends=True)[:-lines]
    path.write_bytes(b"".join(kept))


def begin(board: Board, variant: str, counts: dict[str, tuple[int, int]]) -> None:
    """A variant's turn, with the samples that are stored and all of them."""
    board(VariantPlanned(variant, counts))
    board(VariantStarted(variant))


def snapshot(path: Path, **changes: Any) -> dict[str, Any]:
    """What a run says of itself after half of its baseline, written into its directory."""
    board = Board(Run(path).study())
    begin(board, "bf16", {"math500": (6, 12)})
    made = {**board.snapshot(), **changes}
    write_progress(path / "progress.json", made)
    return made


def test_a_run_leaves_the_figures_of_its_results(once: Path) -> None:
    said, made = json.loads((once / "progress.json").read_text("utf-8")), results.build(Run(once)).document()
    entry = made["benchmarks"]["math500"]
    assert said["running"] is False
    for name, variant in said["variants"].items():
        cell, scored = variant["benchmarks"]["math500"], entry["scores"][name]
        assert (variant["state"], cell["done"], cell["total"], cell["graded"]) == ("finished", 12, 12, 12)
        assert (cell["mean"], cell["ci95"]) == (scored["mean"], scored["ci95"])
        assert cell["output_tokens"] == scored["output_tokens"]
        compared = entry["comparisons"].get(name, {"lost": None, "gained": None})
        assert (cell["lost"], cell["gained"]) == (compared["lost"], compared["gained"])


def test_a_resumed_run_knows_what_earlier_sessions_finished(once: Path, finished: Path) -> None:
    without_the_last(finished / "samples" / "nvfp4" / "math500.jsonl", 5)
    study = Run(finished).study()
    board = Board(study)
    run_study(study, finished, Events(board))
    variants = board.snapshot()["variants"]
    assert [(v["state"], v["done"], v["total"]) for v in variants.values()] == [("finished", 12, 12)] * 3
    assert [v["output_tokens"] for v in variants.values()] == [0, 0, 5 * 12]  # of this session
    assert variants["nvfp4"]["benchmarks"]["math500"]["lost"] == 6


def test_a_finished_run_is_complete_by_its_files(cli: Cli, finished: Path) -> None:
    ended = cli("status", finished)
    assert ended.code == 0
    assert ended.out.startswith("toy · complete")
    assert "50.0 % (25.4 to 74.6)" in ended.out
    assert ended.out.splitlines()[-2].endswith("6/1")


def test_a_run_that_was_killed_is_counted_from_its_samples(cli: Cli, finished: Path) -> None:
    snapshot(finished, running=True)
    without_the_last(finished / "samples" / "nvfp4" / "math500.jsonl", 5)
    ended = cli("status", finished)
    assert ended.code == 3
    assert "incomplete: the same command goes on" in ended.out
    assert "7/12" in ended.out
    assert "stopped" in ended.out
    found = json.loads(cli("status", finished, "--json").out)
    assert found["status"] == "stopped"
    assert [v["done"] for v in found["variants"].values()] == [12, 12, 7]
    assert [v["state"] for v in found["variants"].values()] == ["finished", "finished", "running"]


def test_samples_that_failed_are_not_done(cli: Cli, finished: Path) -> None:
    path = finished / "samples" / "fp8" / "math500.jsonl"
    without_the_last(path, 2)
    log = AppendLog(path)
    log.append([sample_to_row(Sample("math500", "test/sums/0.json", 5, "", "error", 0, 0, 0.0, error="lost"))])
    log.close()
    assert look(finished).snapshot["variants"]["fp8"]["done"] == 10


def test_a_run_that_stopped_in_order_is_shown_as_it_said(cli: Cli, finished: Path) -> None:
    snapshot(finished, running=False)
    ended = cli("status", finished)
    assert ended.code == 3
    assert "6/12" in ended.out
    assert "stopped" in ended.out


def test_a_run_of_this_host_runs_while_its_lock_is_held(cli: Cli, finished: Path) -> None:
    with WritableRun(finished):
        snapshot(finished)
        ended = cli("status", finished)
        assert ended.code == 0
        assert "running for" in ended.out
        assert f"pid {os.getpid()}" in ended.out
        snapshot(finished, updated=time.time() - 10 * SILENCE)  # a heart that is slow on this host changes nothing
        assert look(finished).state == "running"
        assert look(finished).counted  # but its figures are too old
        snapshot(finished, started=time.time() + 3600)  # the clock was set back
        assert look(finished).said.startswith("running for 0.0 s")
        assert is_locked(finished)
    assert not is_locked(finished)
    with WritableRun(finished):  # looking took nothing away
        pass


def test_an_older_run_without_a_progress_file_is_counted_while_it_runs(cli: Cli, finished: Path) -> None:
    without_the_last(finished / "samples" / "nvfp4" / "math500.jsonl", 5)
    with WritableRun(finished):
        ended = cli("status", finished, "--json")
    found = json.loads(ended.out)
    assert (found["status"], found["pid"], found["variants"]["nvfp4"]["done"]) == ("running", os.getpid(), 7)


@pytest.mark.parametrize("text", ["", "{", '{"schema": "other/1"}', "[]", "\udcff"])
def test_a_progress_file_that_cannot_be_read_is_as_none(finished: Path, text: str) -> None:
    (finished / "progress.json").write_text(text, encoding="utf-8", errors="surrogateescape")
    assert (look(finished).state, look(finished).counted) == ("complete", True)


def test_a_run_on_another_host_is_known_by_its_heartbeat(cli: Cli, finished: Path) -> None:
    snapshot(finished, host="elsewhere", updated=time.time() - 12)
    ended = cli("status", finished)
    assert ended.code == 0
    assert "running for" in ended.out
    assert "on elsewhere, last heard of 12." in ended.out
    assert "6/12" in ended.out


def test_what_a_full_disk_leaves_no_room_for_is_written_over_the_old(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    before = snapshot(finished, filler="x" * 4000)
    monkeypatch.setattr(Path, "write_text", full)
    write_progress(finished / "progress.json", {**before, "filler": "", "phase": "waiting: the disk is full"})
    assert json.loads((finished / "progress.json").read_text())["phase"] == "waiting: the disk is full"


def test_a_silent_run_on_another_host_shows_no_sign_of_life(cli: Cli, finished: Path) -> None:
    without_the_last(finished / "samples" / "nvfp4" / "math500.jsonl", 5)
    snapshot(finished, host="elsewhere", updated=time.time() - SILENCE - 5)
    ended = cli("status", finished)
    assert ended.code == 3
    assert "no sign of life from elsewhere since 20" in ended.out
    assert "7/12" in ended.out
    assert look(finished).state == "silent"


def test_where_there_is_no_run_the_exit_code_is_two(cli: Cli, tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "absent"):
        ended = cli("status", place)
        assert ended.code == 2
        assert ended.err == f"error: {place} is not a run directory: it has no study.yaml\n"


def test_a_watched_run_is_followed_in_lines_to_its_end(finished: Path) -> None:
    command = [sys.executable, "-m", "bitparity", "status", str(finished), "--watch"]
    with WritableRun(finished):
        board = Board(Run(finished).study())
        begin(board, "bf16", {"math500": (6, 12)})
        write_progress(finished / "progress.json", board.snapshot())
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert child.stdout is not None
        assert child.stdout.readline() == "bf16: running\n"
        board(VariantEnded("bf16"))
        write_progress(finished / "progress.json", board.snapshot())
        assert child.stdout.readline() == "bf16: grading, 6/12 samples\n"
        write_progress(finished / "progress.json", {**board.snapshot(), "running": False})
    rest, _ = child.communicate(timeout=60)
    assert child.returncode == 0
    assert rest.splitlines()[-1].startswith("toy: stopped")
    assert "\x1b" not in rest


def test_watching_ends_with_an_interrupt_and_leaves_the_run_alone(finished: Path) -> None:
    command = [sys.executable, "-m", "bitparity", "status", str(finished), "--watch", "--json"]
    with WritableRun(finished):
        snapshot(finished)
        child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert child.stdout is not None
        first = json.loads(child.stdout.readline())
        assert (first["status"], first["host"]) == ("running", socket.gethostname())
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
    assert child.returncode == 0
    assert err == "no longer watching; the run itself was left alone\n"
