"""What happens in the hours of a run: engines die and hang, disks fill, people press Ctrl-C."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from faulty import plant
from support import Cli, answers, replay_study, write_jsonl

from bitparity.engines.model_files import ModelFiles
from bitparity.errors import DiskFullError, EngineError
from bitparity.generation.engine_starter import EngineStarter
from bitparity.generation.prepare import Outcome, Prepared
from bitparity.generation.restarts import MOST, Restarts
from bitparity.generation.session import tell_full_disk
from bitparity.models.prefetch import available_bytes, read_ahead
from bitparity.progress.board import Board
from bitparity.progress.events import Events
from bitparity.store.environment import EngineRecord, RunRecord, VariantRecord
from bitparity.store.full_disk import FullDisk
from bitparity.store.jsonl import AppendLog, read_lines
from bitparity.store.run import Run, WritableRun
from bitparity.study.resolve import load_study


def environment(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "environment.json").read_text())
    return found


def items(out: Path, variant: str) -> list[str]:
    return [row["item"] for row in read_lines(out / "samples" / variant / "math500.jsonl")]


def one_study(folder: Path, **engine: Any) -> Path:
    """Two variants with recorded answers, twelve items."""
    study = replay_study(folder, wrong={"bf16": [], "fp8": [1]})
    if engine:
        text = study.read_text().replace(
            "kind: replay", "kind: replay\n" + "".join(f"  {k}: {v}\n" for k, v in engine.items())
        )
        study.write_text(text)
    return study


def test_an_engine_that_is_killed_is_started_again_with_what_is_left(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = plant(tmp_path, ["kill 3", "kill 4", "none", "none"], monkeypatch)
    out = tmp_path / "run"
    ended = cli("run", one_study(tmp_path), "--out", out)
    assert ended.code in (0, 3)
    assert "incomplete" not in ended.err
    assert left.read_text() == ""  # two deaths, one that finished bf16, one for fp8
    found = items(out, "bf16")
    assert len(found) == 12
    assert len(set(found)) == 12
    restarts = environment(out)["variants"]["bf16"]["restarts"]
    assert [("SIGKILL" in r["reason"], r["lowered"]) for r in restarts] == [(True, {}), (True, {})]
    guards = json.loads((out / "results.json").read_text())["benchmarks"]["math500"]["guards"]
    assert any(g["name"] == "restarted" and g["variant"] == "bf16" and g["value"] == 2 for g in guards)


def test_after_three_restarts_the_variant_is_incomplete_and_the_next_one_goes_on(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = plant(tmp_path, ["kill 1"] * (1 + MOST) + ["none"], monkeypatch)
    out = tmp_path / "run"
    ended = cli("run", one_study(tmp_path), "--out", out)
    assert ended.code == 3
    assert "variant 'bf16' is incomplete" in ended.err
    assert left.read_text() == ""
    assert len(items(out, "bf16")) == 1 + MOST  # one before each death
    assert len(items(out, "fp8")) == 12

    ended = cli("run", tmp_path / "study.yaml", "--out", out)  # the same command goes on
    assert ended.code in (0, 3)
    assert len(set(items(out, "bf16"))) == len(items(out, "bf16")) == 12


def test_an_engine_that_cannot_load_is_not_tried_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = plant(tmp_path, ["load", "none", "none"], monkeypatch)
    ended = cli("run", one_study(tmp_path), "--out", tmp_path / "run")
    assert ended.code == 3
    assert "a kernel could not be built" in ended.err
    assert left.read_text() == "none\n"
    assert len(items(tmp_path / "run", "fp8")) == 12


def test_an_engine_that_is_killed_or_hangs_while_loading_is_started_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = plant(tmp_path, ["load kill", "load hang", "none", "load kill", "none"], monkeypatch)
    out = tmp_path / "run"
    ended = cli("run", one_study(tmp_path, stall_timeout=1), "--out", out)
    assert ended.code in (0, 3)
    assert "incomplete" not in ended.err
    assert left.read_text() == ""
    assert [len(set(items(out, variant))) for variant in ("bf16", "fp8")] == [12, 12]
    reasons = [r["reason"] for r in environment(out)["variants"]["bf16"]["restarts"]]
    assert "SIGKILL" in reasons[0]
    assert "not loaded after 4 s" in reasons[1]
    assert "worker.py" in (out / "logs" / "bf16.log").read_text()  # where it stood, although it was stopped


def test_an_engine_that_had_loaded_is_tried_again_where_the_next_load_fails(prepare: Prepare) -> None:
    found = prepare("vllm")
    restarts = Restarts(found, "bf16", Events())
    assert restarts.again(EngineError("CUDA error", again=True))
    assert restarts.again(EngineError("the device is still in use"))
    assert restarts.again(EngineError("the device is still in use"))
    assert not restarts.again(EngineError("the device is still in use"))


def test_an_engine_killed_ahead_of_its_turn_is_replaced(tmp_path: Path) -> None:
    variant = load_study(one_study(tmp_path)).variants["fp8"]
    with closing(EngineStarter()) as engines:
        ahead = engines.ahead(variant, tmp_path / "log")
        ahead.warm()
        assert ahead._process is not None
        ahead._process.kill()
        ahead._process.wait()
        with engines.start(variant, tmp_path / "log") as engine:
            assert engine is not ahead
            assert engine.facts["engine"] == "replay"


def test_an_engine_that_hangs_is_dumped_and_started_again(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, ["hang 5", "none", "none"], monkeypatch)
    out = tmp_path / "run"
    ended = cli("run", one_study(tmp_path, stall_timeout=2), "--out", out)
    assert ended.code in (0, 3)
    assert len(set(items(out, "bf16"))) == 12
    (restart,) = environment(out)["variants"]["bf16"]["restarts"]
    assert "produced nothing for 2 s with 7 requests waiting" in restart["reason"]
    log = (out / "logs" / "bf16.log").read_text()
    assert "Fatal Python error: Aborted" in log  # where it stood
    assert "worker.py" in log


Prepare = Callable[..., Prepared]


@pytest.fixture
def prepare(tmp_path: Path) -> Iterator[Prepare]:
    """Makes a prepared run of one variant with an engine of this kind."""
    with ExitStack() as stack:
        yield lambda kind, **engine: prepared(stack, tmp_path, kind, **engine)


def prepared(stack: ExitStack, tmp_path: Path, kind: str, **engine: Any) -> Prepared:
    study = load_study(replay_study(tmp_path, wrong={"bf16": []}))
    spec = study.variants["bf16"].engine.model_copy(update={"kind": kind, **engine})
    study = study.model_copy(update={"variants": {"bf16": study.variants["bf16"].model_copy(update={"engine": spec})}})
    run = stack.enter_context(WritableRun(tmp_path / "run", study))
    engines = [EngineRecord(facts={"max_num_seqs": 64})]
    record = RunRecord(variants={"bf16": VariantRecord(engines=engines)})
    return Prepared(run, study, {"bf16": ModelFiles(None, {}, None)}, {}, {}, record, Outcome(run))


OUT_OF_MEMORY = EngineError("no memory", out_of_memory=True, again=True)


@pytest.mark.parametrize(
    ("kind", "engine", "steps"),
    [
        ("vllm", {}, [32, 16, 8]),
        ("vllm", {"max_num_seqs": 20}, [10, 8, None]),
        ("transformers", {"batch_size": 32}, [16, 8, 4]),
        ("transformers", {"batch_size": 2}, [1, None, None]),
    ],
)
def test_after_running_out_of_memory_less_is_asked_for_at_once(
    prepare: Prepare, kind: str, engine: dict[str, Any], steps: list[int | None]
) -> None:
    found = prepare(kind, **engine)
    restarts = Restarts(found, "bf16", Events())
    key = "batch_size" if kind == "transformers" else "max_num_seqs"
    for step in steps:
        assert restarts.again(OUT_OF_MEMORY)
        lowered = found.environment.variants["bf16"].restarts[-1].lowered
        assert lowered == ({} if step is None else {key: step})
        assert step is None or getattr(restarts.variant.engine, key) == step
    assert not restarts.again(OUT_OF_MEMORY)


def test_a_lack_of_memory_while_loading_is_tried_again_only_with_less(prepare: Prepare) -> None:
    found = prepare("transformers", batch_size=2)
    restarts = Restarts(found, "bf16", Events())
    error = EngineError("no memory", out_of_memory=True)
    assert restarts.again(error)
    assert not restarts.again(error)


def test_a_fault_that_is_not_one_of_memory_lowers_nothing(prepare: Prepare) -> None:
    found = prepare("vllm")
    restarts = Restarts(found, "bf16", Events())
    assert restarts.again(EngineError("CUDA error", again=True))
    assert restarts.variant.engine.max_num_seqs is None


class Disk(FullDisk):
    """A full disk that gets room after a while, and notes what it was told."""

    def __init__(self, free: Callable[[], None], after: int) -> None:
        super().__init__()
        self.free, self.after, self.told, self.ended = free, after, 0, 0

    def wait(self, error: DiskFullError) -> None:
        self.told += 1
        if self.told == self.after:
            self.free()

    def resume(self) -> None:
        self.ended += 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    """A file system of 1 MiB of its own."""
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place: Path) -> Path:
    """Take all the room there is."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            pass
    return filler


def test_a_record_that_finds_the_disk_full_is_written_once_there_is_room(small_disk: Path) -> None:
    log = AppendLog(small_disk / "log.jsonl")
    log.append([{"n": 1}])
    filler = fill(small_disk)
    with pytest.raises(DiskFullError, match="the disk is full"):
        log.append([{"text": "x" * 9000}])
    disk = Disk(filler.unlink, after=3)
    patient = AppendLog(small_disk / "log.jsonl", disk.write)
    patient.append([{"text": "x" * 9000}])
    for open_log in (log, patient):
        open_log.close()
    assert (disk.told, disk.ended) == (3, 1)
    assert [list(row) for row in read_lines(small_disk / "log.jsonl")] == [["n"], ["text"]]


def test_a_full_disk_is_told_once_and_so_is_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitparity.store.full_disk.WAIT_SECONDS", 0.0)
    board = Board(load_study(replay_study(tmp_path)))
    policy = FullDisk(partial(tell_full_disk, Events(board)))
    for _ in range(3):
        policy.wait(DiskFullError("the disk is full: x could not be written; everything is kept"))
    assert board.snapshot()["phase"] == "waiting: the disk is full"
    policy.resume()
    shown = board.snapshot()
    assert shown["phase"] is None
    assert [note["text"] for note in shown["notes"]] == [
        "the disk is full: x could not be written: paused; the run goes on as soon as there is room",
        "there is room on the disk again: going on",
    ]
    with pytest.raises(DiskFullError):
        FullDisk().wait(DiskFullError("no"))


def until(happened: Callable[[], bool], seconds: float = 60.0) -> bool:
    end = time.monotonic() + seconds
    while not happened() and time.monotonic() < end:
        time.sleep(0.05)
    return happened()


def start(study: Path, out: Path, **where: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "bitparity", "run", str(study), "--out", str(out)]
    where = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **where}
    return subprocess.Popen(command, text=True, **where)


def stored(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "samples").rglob("*.jsonl"))


def test_a_run_waits_for_room_and_ends_whole(tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, ["slow 0.5", "none"], monkeypatch)
    study, out = one_study(tmp_path), small_disk / "run"
    long = [{**row, "text": "We add. " * 1200 + row["text"]} for row in answers(12)]  # each needs new pages
    write_jsonl(tmp_path / "bf16.jsonl", long)
    process = start(study, out)
    assert until(lambda: stored(out) >= 2)
    filler = fill(small_disk)
    time.sleep(4)
    assert process.poll() is None
    before = stored(out)
    assert before < 24
    filler.unlink()
    _, said = process.communicate(timeout=120)
    assert process.returncode in (0, 3), said
    assert "the disk is full" in said
    assert "there is room on the disk again" in said
    for variant in ("bf16", "fp8"):
        assert len(set(items(out, variant))) == len(items(out, variant)) == 12
        assert len(Run(out).grades(variant, "math500")) == 12


@pytest.mark.parametrize("full", ["samples", "grades"])
def test_ctrl_c_ends_a_run_that_waits_for_room(
    tmp_path: Path, small_disk: Path, monkeypatch: pytest.MonkeyPatch, full: str
) -> None:
    plant(tmp_path, ["slow 0.5", "none"], monkeypatch)
    study, out = one_study(tmp_path), (small_disk if full == "samples" else tmp_path) / "run"
    write_jsonl(tmp_path / "bf16.jsonl", [{**row, "text": "We add. " * 1200 + row["text"]} for row in answers(12)])
    if full == "grades":
        (out / "grades").mkdir(parents=True)
        (out / "grades" / "bf16").symlink_to(small_disk)
        fill(small_disk)
    process = start(study, out)
    assert until(lambda: stored(out) >= 2)
    fill(small_disk)
    assert until(lambda: "waiting: the disk is full" in (out / "progress.json").read_text())
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "what was finished is kept" in said


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_run_that_is_told_to_end_does_so_in_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    plant(tmp_path, ["slow 1", "none"], monkeypatch)
    out = tmp_path / "run"
    process = start(one_study(tmp_path), out)
    assert until(lambda: stored(out) >= 1)
    process.send_signal(number)
    process.communicate(timeout=30)
    assert process.returncode == 130
    assert json.loads((out / "progress.json").read_text())["running"] is False


def test_a_run_whose_output_cannot_be_written_is_measured_and_reported(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with Path("/dev/full").open("w") as full:
        process = start(one_study(tmp_path), out, stdout=full, stderr=full)
        assert process.wait(timeout=120) in (0, 3)
    assert len(items(out, "fp8")) == 12
    assert (out / "report.html").exists()


def test_ctrl_c_ends_in_seconds_and_keeps_what_was_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, ["slow 1", "none", "none"], monkeypatch)
    study, out = one_study(tmp_path), tmp_path / "run"
    process = start(study, out)
    assert until(lambda: stored(out) >= 2)
    process.send_signal(signal.SIGINT)
    begun = time.monotonic()
    _, said = process.communicate(timeout=60)
    assert time.monotonic() - begun < 30  # "seconds"; this machine may be busy
    assert process.returncode == 130
    assert "what was finished is kept" in said
    kept = items(out, "bf16")
    assert 2 <= len(kept) < 12
    again = start(study, out)
    again.communicate()
    assert again.returncode in (0, 3)
    assert items(out, "bf16")[: len(kept)] == kept
    assert len(set(items(out, "bf16"))) == len(items(out, "bf16")) == 12


def test_files_are_read_ahead_only_where_there_is_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"x" * 100_000)
    assert available_bytes() > 0
    thread = read_ahead([file])
    assert thread is not None
    thread.join(10)
    assert not thread.is_alive()
    monkeypatch.setattr("bitparity.models.prefetch.available_bytes", lambda: 100_001)
    assert read_ahead([file]) is None
    assert read_ahead([tmp_path / "gone"]) is None


def test_the_run_says_in_a_file_how_it_goes(cli: Cli, tmp_path: Path) -> None:
    cli("run", one_study(tmp_path), "--out", tmp_path / "run")
    shown = json.loads((tmp_path / "run" / "progress.json").read_text())
    assert shown["running"] is False
    assert {name: v["state"] for name, v in shown["variants"].items()} == {"bf16": "finished", "fp8": "finished"}
    cell = shown["variants"]["fp8"]["benchmarks"]["math500"]
    assert (cell["done"], cell["total"], cell["lost"], cell["gained"]) == (12, 12, 1, 0)
    assert os.getpid() == shown["pid"]
