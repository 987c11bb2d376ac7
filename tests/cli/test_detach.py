"""`run --detach` with real processes: it begins or says why not, survives its terminal, and stops when told to."""

from __future__ import annotations

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty import plant
from support import math_rows, replay_study, write_jsonl

from bitparity.exam.frozen import load_exam
from bitparity.progress.status import look
from bitparity.store.jsonl import read_lines
from bitparity.store.lock import is_locked
from bitparity.store.run import Run

LIMIT_S = 120.0
SLOW = ["slow 0.3", "slow 0.3", "slow 0.3"]  # seconds before each of twelve samples


def command(*words: object) -> list[str]:
    return [sys.executable, "-m", "bitparity", *map(str, words)]


def ended(*words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), capture_output=True, text=True, timeout=LIMIT_S)


def until(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


def pid_of(text: str) -> int:
    found = re.search(r"detached: pid (\d+)", text)
    assert found is not None, text
    return int(found[1])


def progress(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "progress.json").read_text())
    return found


@pytest.fixture
def out(tmp_path: Path) -> Iterator[Path]:
    """A run directory; whatever still holds it at the end of the test is killed."""
    yield tmp_path / "run"
    if is_locked(tmp_path / "run"):
        os.kill(int((tmp_path / "run" / ".lock").read_text().split()[0]), signal.SIGKILL)


def test_it_returns_once_the_run_has_begun_and_tells_how_to_go_on(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, SLOW, monkeypatch)
    made = ended("run", replay_study(tmp_path), "--out", out, "--detach")
    assert made.returncode == 0
    pid = pid_of(made.stdout)
    assert made.stdout.splitlines()[1:] == [
        f"log: {out}/logs/run.log",
        f"watch: bitparity status {out} --watch",
        f"stop: kill -INT {pid}",
    ]
    assert "exam of math500" in made.stderr  # what was checked meanwhile
    assert (look(out).state, progress(out)["pid"]) == ("running", pid)
    assert os.getsid(pid) == pid

    log = (out / "logs" / "run.log").read_text()
    for again in (["--detach"], []):  # a second one is refused and touches nothing
        refused = ended("run", tmp_path / "study.yaml", "--out", out, *again)
        assert refused.returncode == 2
        assert f"is in use by another bitparity process (pid {pid})" in refused.stderr
    assert "in use" not in (out / "logs" / "run.log").read_text()
    assert (out / "logs" / "run.log").read_text().startswith(log)

    until(lambda: f"report: {out}/report.html" in (out / "logs" / "run.log").read_text())
    until(lambda: look(out).state == "complete")
    log = (out / "logs" / "run.log").read_text()
    assert "nvfp4: finished, 12/12 samples" in log
    assert "\x1b" not in log


TERMINAL = """
import os, pty, sys
pid, terminal = pty.fork()
if pid == 0:
    os.execvp("sh", ["sh", "-c", sys.argv[1]])
while block := os.read(terminal, 4096):
    os.write(1, block)
"""


def test_it_survives_its_terminal(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, SLOW, monkeypatch)
    held = tmp_path / "held"
    line = " ".join(command("run", replay_study(tmp_path), "--out", out, "--detach"))
    # the shell holds a lock that is free again once the hang-up has ended it
    line = f"exec 9>{held}; flock 9; {line}; echo ready; sleep 600"
    terminal = subprocess.Popen([sys.executable, "-c", TERMINAL, line], stdout=subprocess.PIPE)
    assert terminal.stdout is not None
    shown = ""
    while "ready" not in shown:
        block = terminal.stdout.readline().decode()
        assert block, shown
        shown += block
    terminal.kill()  # the connection is lost
    terminal.communicate()
    with held.open() as file:
        until(lambda: _is_free(file.fileno()))
    assert is_locked(out)
    assert look(out).state == "running"
    until(lambda: look(out).state != "running")  # the report is made while the run still holds its directory
    assert look(out).state == "complete"
    assert (out / "results.json").exists()


def _is_free(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_it_stops_as_with_ctrl_c_even_where_the_shell_ignores_that(
    tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, SLOW, monkeypatch)
    line = " ".join(command("run", replay_study(tmp_path), "--out", out, "--detach"))
    made = subprocess.run(["sh", "-c", f"trap '' INT HUP; {line}"], capture_output=True, text=True, timeout=LIMIT_S)
    pid = pid_of(made.stdout)
    until(lambda: progress(out)["variants"]["bf16"]["done"] >= 2)
    os.kill(pid, signal.SIGHUP)  # changes nothing
    os.kill(pid, signal.SIGINT)
    log = out / "logs" / "run.log"
    until(lambda: log.read_text().splitlines()[-1].startswith("stopped; what was finished is kept"))
    assert not is_locked(out)
    status = look(out)
    assert status.state == "stopped"
    assert status.snapshot["variants"]["bf16"]["done"] >= 2

    kept = list(read_lines(out / "samples" / "bf16" / "math500.jsonl"))
    assert ended("run", tmp_path / "study.yaml", "--out", out).returncode in (0, 1, 3)
    assert list(read_lines(out / "samples" / "bf16" / "math500.jsonl"))[: len(kept)] == kept
    assert look(out).state == "complete"


def test_what_is_wrong_is_said_before_it_returns(tmp_path: Path, out: Path) -> None:
    study = replay_study(tmp_path)
    rows = math_rows(12)
    write_jsonl(tmp_path / "math.jsonl", [*rows, rows[0]])
    made = ended("run", study, "--out", out, "--detach")
    assert made.returncode == 2
    assert made.stderr.splitlines()[-1].startswith("error: ")
    assert "item id 'test/sums/0.json' stands twice" in made.stderr
    assert made.stdout == f"the run is over already, with exit code 2\nlog: {out}/logs/run.log\n"


def test_a_study_that_cannot_be_read_leaves_nothing(tmp_path: Path, out: Path) -> None:
    made = ended("run", tmp_path / "absent.yaml", "--out", out, "--detach")
    assert made.returncode == 2
    assert made.stderr.startswith("error: study file")
    assert not out.exists()


def test_it_ends_by_the_clock(tmp_path: Path, out: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """30 seconds do not suffice for 3 x 60 answers of 0.3 seconds."""
    plant(tmp_path, SLOW * 4, monkeypatch)  # the engines of further rounds are slow too
    made = ended("run", replay_study(tmp_path, 60), "--out", out, "--detach", "--hours", 30 / 3600)
    assert made.returncode == 0, made.stderr
    assert "is not known beforehand" in made.stderr
    began, pid = time.monotonic(), pid_of(made.stdout)
    assert progress(out)["pid"] == pid
    until(lambda: not is_locked(out))
    assert time.monotonic() - began < 60
    hours = Run(out).environment().hours
    assert hours is not None
    assert hours.hours == pytest.approx(30 / 3600)
    asked = hours.asked["math500"]
    assert 0 < asked < 60
    first = [entry.item.id for entry in load_exam(out / "exam" / "math500.jsonl").items][:asked]
    for variant in ("bf16", "fp8", "nvfp4"):
        answered = {row["item"] for row in read_lines(out / "samples" / variant / "math500.jsonl")}
        assert set(first) <= answered
    assert "hours are over" in (out / "logs" / "run.log").read_text()
    assert (out / "report.html").exists()
