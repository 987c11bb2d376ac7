"""Code answers are graded beside the generation: never holding it up, durable, with the grades of a pass afterwards."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import Cli, write_jsonl, write_yaml

from bitparity.benchmarks import registry as benchmarks
from bitparity.benchmarks.contract import Benchmark, Info
from bitparity.errors import SandboxError
from bitparity.grading.process_pool import QUEUE_PER_THREAD, Graded, GradingPool
from bitparity.grading.rules import Job
from bitparity.records import Completion, Grade, Item, Prompt, Sample
from bitparity.store.jsonl import read_lines
from bitparity.study.resolve import parse_study

COUNT = 60


class Coding(Benchmark):
    """Right is the item's own id; `broken` items meet a fault of ours."""

    info = Info("Coding", COUNT, ("chat",), "pass@1", None)
    runs_code = True
    broken: frozenset[str] = frozenset()
    graded: list[tuple[str, str]] = []  # noqa: RUF012
    opened: list[bool] = []  # noqa: RUF012

    def items(self) -> Iterator[Item]:
        for n in range(COUNT):
            yield Item(f"i{n}", (Prompt(text="?"),), None, subgroup="easy", metadata={"platform": "ab"[n % 2]})

    def open_grader(self, unsafe_exec: bool) -> dict[str, Any]:
        Coding.opened.append(unsafe_exec)
        return {"level": "unsafe" if unsafe_exec else "fake"}

    def grade(self, item: Item, completion: Completion) -> Grade:
        Coding.graded.append((item.id, threading.current_thread().name))
        if item.id in self.broken:
            return Grade(None, "infrastructure_error", details={"error": "no disk", "verdict": "infrastructure_error"})
        right = completion.text == item.id
        details = {"verdict": "pass" if right else "wrong_answer"}
        return Grade(float(right), "answered", completion.text, {"pass@1": float(right)}, details)


BENCHMARK = Coding


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setitem(benchmarks.built_in(), "smoke", __name__)
    monkeypatch.setattr(Coding, "graded", [])
    monkeypatch.setattr(Coding, "opened", [])
    for name, wrong in (("full", 1), ("half", 10)):
        rows = [{"item": f"i{n}", "text": "x" if n < wrong else f"i{n}", "tokens": 1} for n in range(COUNT)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    variants = {"full": {"model": "full.jsonl", "baseline": True}, "half": {"model": "half.jsonl"}}
    document = {"study": "s", "variants": variants, "engine": {"kind": "replay"}, "benchmarks": ["smoke"]}
    return write_yaml(tmp_path / "study.yaml", document)


def results(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "results.json").read_text())["benchmarks"]["smoke"]
    return found


def test_answers_are_graded_once_and_the_results_count_every_verdict(cli: Cli, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cli("run", study, "--out", out)
    assert sorted(item for item, _ in Coding.graded) == sorted(2 * [f"i{n}" for n in range(COUNT)])
    assert all(thread.startswith("grader") for _, thread in Coding.graded)
    made = results(out)
    assert made["verdicts"] == {
        "full": {"pass": COUNT - 1, "wrong_answer": 1},
        "half": {"pass": COUNT - 10, "wrong_answer": 10},
    }
    assert made["execution"] == {"full": {"level": "fake"}, "half": {"level": "fake"}}
    assert made["platforms"]["a"]["items"] == COUNT // 2
    assert "wrong answer 10" in (out / "report.md").read_text()
    order = [row["item"] for row in read_lines(out / "samples" / "half" / "smoke.jsonl")]
    graded = [row["item"] for row in read_lines(out / "grades" / "half" / "smoke.jsonl") if "item" in row]
    assert graded == order


def test_grades_made_beside_the_generation_are_those_made_again(cli: Cli, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cli("run", study, "--out", out)
    before = (out / "grades" / "half" / "smoke.jsonl").read_bytes()
    assert "half smoke: 0 changed" in cli("grade", out).out
    assert (out / "grades" / "half" / "smoke.jsonl").read_bytes() == before


def test_a_fault_of_ours_is_unscored_and_tried_again(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    monkeypatch.setattr(Coding, "broken", frozenset({"i20", "i30"}))
    assert cli("run", study, "--out", out).code == 3
    assert results(out)["scores"]["half"]["unscored"] == 2
    assert results(out)["verdicts"]["half"]["infrastructure_error"] == 2
    monkeypatch.setattr(Coding, "broken", frozenset())
    Coding.graded.clear()
    cli("run", study, "--out", out)
    assert sorted({item for item, _ in Coding.graded}) == ["i20", "i30"]
    assert results(out)["scores"]["half"]["unscored"] == 0


def test_a_run_killed_while_grading_keeps_the_grades_that_were_stored(cli: Cli, study: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    cli("run", study, "--out", out)
    path = out / "grades" / "half" / "smoke.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:31]) + lines[31][:20])  # as if the process had died in the middle of a line
    Coding.graded.clear()
    cli("run", study, "--out", out)
    assert len(Coding.graded) == COUNT - 30
    assert path.read_bytes() == b"".join(lines)


@pytest.mark.parametrize("unsafe", [False, True])
def test_unsafe_exec_reaches_the_sandbox_and_the_results(cli: Cli, study: Path, tmp_path: Path, unsafe: bool) -> None:
    flags = ["--unsafe-exec"] if unsafe else []
    cli("run", study, "--out", tmp_path / "run", *flags)
    cli("grade", tmp_path / "run", *flags)
    assert Coding.opened == [unsafe, unsafe]
    assert results(tmp_path / "run")["execution"]["half"] == {"level": "unsafe" if unsafe else "fake"}


def test_without_a_sandbox_nothing_is_run(
    cli: Cli, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Coding, unsafe_exec: bool) -> dict[str, Any]:
        raise SandboxError("no sandbox works here; apt-get install bubblewrap")

    monkeypatch.setattr(Coding, "open_grader", refuse)
    ended = cli("run", study, "--out", tmp_path / "run")
    assert (ended.code, "apt-get install bubblewrap" in ended.err) == (SandboxError.exit_code, True)
    assert not (tmp_path / "run" / "samples").exists()


# ---------------------------------------------------------------- the pool


def job(number: int, bench: Benchmark) -> Job:
    sample = Sample("c", f"i{number}", 0, "", "stop", 1, 1, 1)
    return Job(bench, Item(f"i{number}", (), None), sample, bench.spec.protocol)


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Coding:
    monkeypatch.setattr(Coding, "graded", [])
    text = "{study: s, variants: {a: {model: some/model}}, benchmarks: [humaneval]}"
    return Coding(parse_study(text, "test", Path.cwd()).benchmarks[0])


def filled_pool(bench: Coding, monkeypatch: pytest.MonkeyPatch) -> tuple[GradingPool, threading.Event, list[str]]:
    """A live pool of two threads with 100 answers, the event that lets it grade, and the ids that it has kept."""
    go, kept = threading.Event(), list[str]()
    monkeypatch.setattr(Coding, "grade", lambda *_: go.wait(30) and Grade(1.0, "answered"))
    pool = GradingPool(bench, 2, lambda graded: kept.extend(j.item.id for j, _ in graded), live=True)
    for n in range(100):
        pool.put(job(n, bench))
    return pool, go, kept


def test_a_live_pool_never_holds_up_the_one_who_adds(bench: Coding, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, go, kept = filled_pool(bench, monkeypatch)
    go.set()
    waited_until = time.monotonic() + 60
    while len(kept) < 60 and time.monotonic() < waited_until:  # given time, it grades more than a full queue holds
        time.sleep(0.01)
    pool.close()
    assert len(set(kept)) == len(kept) >= 60


def test_a_live_pool_leaves_most_of_what_waits_at_its_end(bench: Coding, monkeypatch: pytest.MonkeyPatch) -> None:
    pool, go, kept = filled_pool(bench, monkeypatch)
    threading.Timer(2.0, go.set).start()
    pool.close()
    assert 2 * QUEUE_PER_THREAD <= len(kept) <= 2 * QUEUE_PER_THREAD + 2  # and those with the threads


def test_a_grade_that_cannot_be_stored_is_an_error(bench: Coding) -> None:
    def full(*_: object) -> None:
        raise OSError("disk full")

    pool = GradingPool(bench, 1, full)
    pool.put(job(1, bench))
    with pytest.raises(OSError, match="disk full"):
        pool.close()


def test_jobs_are_taken_as_they_are_needed(bench: Coding) -> None:
    drawn: list[int] = []
    kept: list[int] = []

    def keep(graded: Graded) -> None:
        kept.append(len(drawn) - len(kept))

    with GradingPool(bench, 2, keep) as pool:
        for n in range(100):
            drawn.append(n)
            pool.put(job(n, bench))
    assert len(kept) == 100
    assert max(kept) <= 2 * QUEUE_PER_THREAD + 4  # in the queue, with the threads, and the one that is put
