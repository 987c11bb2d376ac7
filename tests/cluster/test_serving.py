"""What runs on a device, without Ray: engines one after another, fed while they run."""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty import plant
from support import answers, write_jsonl

from bitparity.cluster.pool import Answered, Computed, Event, Loaded, Printed, Refused
from bitparity.cluster.serving import DeviceServer
from bitparity.engines.host import EngineProcess
from bitparity.records import Request, Sample, Sampling
from bitparity.schema import EngineSpec, Variant
from bitparity.store.environment import EngineRecord, join_engine

SAMPLING = Sampling(10)


def recorded(path: Path) -> Variant:
    engine = EngineSpec(kind="replay", dtype="auto", batch_size=1, trust_remote_code=False)
    return Variant(model=str(path), revision=None, tokenizer=None, baseline=True, engine=engine)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[DeviceServer]:
    made = DeviceServer(tmp_path / "logs", "host-0")
    yield made
    made.close()


def wait_for(server: DeviceServer, kind: type[Event], count: int = 1) -> list[Any]:
    """The facts, or the reasons, of so many events of a kind, or so many samples."""
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < deadline, f"no {kind} came"
        for event in server.poll(0.2):
            assert event.device == "host-0"
            if isinstance(event, Answered) and kind is Answered:
                found += event.samples
            elif isinstance(event, kind):
                found.append(event.facts if isinstance(event, Loaded) else event.reason)
            else:
                assert isinstance(event, Printed | Loaded | Computed), event
    return found


def test_requests_are_answered_while_more_come_and_variants_take_turns(server: DeviceServer, tmp_path: Path) -> None:
    one, two = (write_jsonl(tmp_path / f"{name}.jsonl", answers(6, wrong)) for name, wrong in (("a", []), ("b", [2])))
    requests = [Request("math500", f"test/sums/{n}.json", 0, SAMPLING, n) for n in range(6)]
    texts = []
    for name, path in (("a", one), ("b", two)):
        server.load(name, recorded(path), {})
        (facts,) = wait_for(server, Loaded)
        assert facts["model"]["samples"] == 6
        server.send([[r] for r in requests[:4]])
        got = wait_for(server, Answered, 4)
        server.send([[r] for r in requests[4:]])
        got += wait_for(server, Answered, 2)
        samples = sorted(got, key=lambda s: s.item)
        assert [s.item for s in samples] == [r.item for r in requests]
        texts.append([s.text for s in samples])
    assert [a == b for a, b in zip(*texts, strict=True)] == [True, True, False, True, True, True]


def test_an_engine_that_was_made_ready_is_the_one_that_loads(
    server: DeviceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[EngineProcess] = []
    warm = EngineProcess.warm

    def counted(engine: EngineProcess) -> None:
        if engine._process is None:
            started.append(engine)
        warm(engine)

    monkeypatch.setattr(EngineProcess, "warm", counted)
    one, two = (recorded(write_jsonl(tmp_path / f"{name}.jsonl", answers(2))) for name in "ab")
    server.load("a", one, {})
    wait_for(server, Loaded)
    server.warm("b", two)
    server.send([[Request("math500", "test/sums/0.json", 0, SAMPLING, 0)]])
    wait_for(server, Answered)
    server.load("b", two, {})
    wait_for(server, Loaded)
    assert len(started) == 2
    server.warm("a", one)
    server.load("b", two, {})  # another than was made ready
    wait_for(server, Loaded)
    assert len(started) == 4
    server.warm("a", one)
    server.close()
    assert [engine._process.poll() is not None for engine in started if engine._process] == [True] * 5


def test_how_much_is_computed_is_told_once(
    server: DeviceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, ["slow 3"], monkeypatch)
    server.load("a", recorded(write_jsonl(tmp_path / "a.jsonl", answers(2))), {})
    wait_for(server, Loaded)
    server.send([[Request("math500", f"test/sums/{n}.json", 0, SAMPLING, n)] for n in range(2)])
    events: list[Event] = []
    while sum(len(event.samples) for event in events if isinstance(event, Answered)) < 2:
        events += server.poll(1.0)
    assert [event for event in events if isinstance(event, Computed)] == [Computed("host-0", "a", 7)]


def test_another_model_or_none_is_refused(server: DeviceServer, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", answers(2))
    server.load("a", recorded(path), {"sha256": "of another file"})
    (reason,) = wait_for(server, Refused)
    assert "sha256 differ" in reason
    server.load("a", recorded(tmp_path / "absent.jsonl"), {})
    (reason,) = wait_for(server, Refused)
    assert "do not exist" in reason
    server.load("a", recorded(path), {})  # it can be used for what it has
    wait_for(server, Loaded)


def test_equal_devices_share_an_entry_and_others_have_their_own() -> None:
    engines: list[EngineRecord] = []

    def add(name: str, uuid: str, host: str, at: str, device: str = "cuda:0") -> None:
        facts = {"device": device, "device_name": name, "device_uuid": uuid, "model": {"path": f"/{host}", "sha": 1}}
        join_engine(engines, EngineRecord(facts=facts, sessions=[at], devices=[{"host": host, "uuid": uuid}]))

    add("H100", "GPU-1", "a", "2026-01-01")
    add("H100", "GPU-2", "b", "2026-01-02", device="cuda:1")
    add("H100", "GPU-1", "a", "2026-01-03")
    assert [engine.sessions for engine in engines] == [["2026-01-01", "2026-01-02", "2026-01-03"]]
    assert [place["uuid"] for place in engines[0].devices] == ["GPU-1", "GPU-2"]
    add("A100", "GPU-3", "c", "2026-01-04")
    assert [engine.facts["device_name"] for engine in engines] == ["H100", "A100"]
    add("H100", "GPU-1", "a", "2026-01-05")
    assert [engine.facts["device_name"] for engine in engines] == ["A100", "H100"]  # what ran last stands last


def test_every_device_of_a_kind_is_kept_also_where_an_earlier_version_noted_none() -> None:
    engines: list[EngineRecord] = []
    for number in (1, 2):
        facts = {"device": "cuda:0", "device_uuid": f"GPU-{number}", "mig": None}
        join_engine(engines, EngineRecord(facts=facts, sessions=[f"2026-01-0{number}"]))
    assert [engine.devices for engine in engines] == [[{"device_uuid": "GPU-1"}, {"device_uuid": "GPU-2"}]]


def test_answers_travel_whole_between_processes() -> None:
    samples = [Sample("math500", f"item-{n}", n, "text \ud800", "stop", 10, 5, 0.1, error="e") for n in range(2)]
    sent = Answered("host-0", samples)
    assert pickle.loads(pickle.dumps(sent)) == sent
