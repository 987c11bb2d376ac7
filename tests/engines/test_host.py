"""The engine process, with the replay engine in it: the machinery is the same for all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty import plant
from tiny_model import variant

from bitparity.engines.host import EngineProcess
from bitparity.engines.watchdog import kill_group
from bitparity.errors import EngineError, ModelError
from bitparity.records import Request, Sampling

SAMPLING = Sampling(max_tokens=8)


def recorded(folder: Path, count: int) -> Path:
    file = folder / "recorded.jsonl"
    file.write_text("".join(json.dumps({"item": f"q{n}", "text": f"{n}" * 300}) + "\n" for n in range(count)))
    return file


def requests(count: int) -> Iterator[Request]:
    return (Request("b", f"q{n}", 0, SAMPLING, n) for n in range(count))


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def gone(pid: int, seconds: float = 5.0) -> bool:
    end = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not alive(pid)


def worker_of(log: Path, parent: int) -> int:
    """The engine process that a host started."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == parent and b"bitparity.engines.worker" in (entry / "cmdline").read_bytes():
                return int(entry.name)
        except (FileNotFoundError, ProcessLookupError):
            continue
    raise AssertionError(f"no worker of {parent}; log: {log.read_text() if log.exists() else 'none'}")


def test_samples_come_in_bursts_and_the_engine_runs_again(tmp_path: Path) -> None:
    with EngineProcess(variant(recorded(tmp_path, 5000), "replay"), tmp_path / "log") as engine:
        assert engine.facts["engine"] == "replay"
        for count in (5000, 0, 3):
            bursts = list(filter(None, engine.run(requests(count))))  # empty ones tell that time goes by
            samples = [s for burst in bursts for s in burst]
            assert [s.item for s in samples] == [f"q{n}" for n in range(count)]
            assert all(0 < len(burst) <= 1000 for burst in bursts)
        assert samples[2].text == "2" * 300


def test_requests_are_read_no_further_than_needed(tmp_path: Path) -> None:
    sent = 0

    def endless() -> Iterator[Request]:
        nonlocal sent
        for request in requests(10**9):
            sent += 1
            yield request

    with EngineProcess(variant(recorded(tmp_path, 3), "replay"), tmp_path / "log") as engine:
        run = engine.run(endless())
        next(run)  # and nobody takes more
        before = -1
        while sent != before:
            before = sent
            time.sleep(1)
        assert sent < 200_000


def test_a_model_error_comes_back_as_one(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="do not exist"):
        EngineProcess(variant(tmp_path / "gone", "replay"), tmp_path / "log").start()


def test_a_failing_source_of_requests_is_raised(tmp_path: Path) -> None:
    def broken() -> Iterator[Request]:
        yield from requests(10)
        raise ZeroDivisionError("the caller's own")

    with (
        pytest.raises(ZeroDivisionError),
        EngineProcess(variant(recorded(tmp_path, 10), "replay"), tmp_path / "log") as engine,
    ):
        list(engine.run(broken()))


def test_a_killed_engine_is_told_with_its_signal(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with EngineProcess(variant(recorded(tmp_path, 10), "replay"), log) as engine:
        worker = worker_of(log, os.getpid())

        def killing() -> Iterator[Request]:
            yield from requests(5)
            os.kill(worker, signal.SIGKILL)
            time.sleep(0.2)
            yield from requests(5)

        with pytest.raises(EngineError, match=r"killed by signal 9 \(SIGKILL\).*main memory ran out"):
            list(engine.run(killing()))


def test_closing_leaves_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with EngineProcess(variant(recorded(tmp_path, 10), "replay"), log) as engine:
        worker = worker_of(log, os.getpid())
        assert list(engine.run(requests(2)))
    assert gone(worker)
    with pytest.raises(EngineError, match="not running"):
        list(engine.run(requests(1)))


HOST = """
import sys, time
from pathlib import Path
from bitparity.engines.watchdog import kill_group
from bitparity.engines.host import EngineProcess
from bitparity.schema import Variant
engine = EngineProcess(Variant.model_validate_json(sys.argv[1]), Path(sys.argv[2]))
engine.start()
print("loaded", flush=True)
time.sleep(60)
"""


def test_the_host_is_told_how_much_is_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(tmp_path, ["slow 3"], monkeypatch)
    told: list[int] = []
    with EngineProcess(variant(recorded(tmp_path, 2), "replay"), tmp_path / "log") as engine:
        engine.on_progress = told.append
        assert sum(len(burst) for burst in engine.run(requests(2))) == 2
    assert set(told) == {7}


def test_the_host_is_told_once_a_benchmark_what_is_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import sys\n"
        'if "bitparity.engines.worker" in sys.orig_argv:\n'
        "    import bitparity.engines.replay_engine as replay\n"
        '    replay.ReplayEngine.sent = lambda self, request: {"max_tokens": request.sampling.max_tokens}\n'
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    told: list[tuple[str, dict[str, Any]]] = []
    with EngineProcess(variant(recorded(tmp_path, 2), "replay"), tmp_path / "log") as engine:
        engine.on_sent = lambda benchmark, values: told.append((benchmark, values))
        for _ in range(2):
            assert sum(len(burst) for burst in engine.run(requests(2))) == 2
    assert told == [("b", {"item": "q0", "sample": 0, "max_tokens": 8})]


def test_the_engine_dies_with_its_host(tmp_path: Path) -> None:
    log, model = tmp_path / "log", recorded(tmp_path, 1)
    command = [sys.executable, "-c", HOST, variant(model, "replay").model_dump_json(), str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as host:
        assert host.stdout is not None
        assert host.stdout.readline() == b"loaded\n"
        worker = worker_of(log, host.pid)
        host.kill()
        host.wait()
        assert gone(worker)


def test_a_killed_group_leaves_no_shared_memory(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from multiprocessing.shared_memory import SharedMemory\n"
        "import importlib\n"
        "name = 'resource' + '_tracker'\n"  # its whole name in this command would make this process look like one
        "tracker = importlib.import_module('multiprocessing.' + name)._resource_tracker\n"
        "memory = SharedMemory(create=True, size=4096)\n"
        "while name.encode() not in open(f'/proc/{tracker._pid}/cmdline', 'rb').read():\n"
        "    time.sleep(0.01)\n"  # forked, but not yet what it will be
        "print(memory.name, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        left = Path("/dev/shm") / process.stdout.readline().decode().strip()
        assert left.exists()
        kill_group(process.pid)
        assert process.wait() == -signal.SIGKILL
    end = time.monotonic() + 5
    while left.exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not left.exists()


def test_the_replay_worker_is_light() -> None:
    code = (
        "import sys, bitparity.engines.worker, bitparity.engines.replay_engine\n"
        "print([m for m in ('torch', 'transformers', 'numpy', 'vllm') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
