"""What runs on a device, without Ray: engines one after another, fed while they run."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import starmap
from pathlib import Path
from typing import Any

import pytest
from faulty import plant
from support import answers, write_jsonl

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


def wait_for(server: DeviceServer, kind: str, count: int = 1) -> list[Any]:
    """The first values of so many messages of a kind; samples count one by one."""
    found: list[Any] = []
    deadline = time.monotonic() + 60
    while len(found) < count:
        assert time.monotonic() < deadline, f"no {kind} came"
        for got, *values in server.poll(0.2):
            if got == kind:
                found += values[0] if kind == "answered" else values[:1]
            else:
                assert got in ("log", "loaded", "computed"), values
    return found


def test_requests_are_answered_while_more_come_and_variants_take_turns(server: DeviceServer, tmp_path: Path) -> None:
    one, two = (write_jsonl(tmp_path / f"{name}.jsonl", answers(6, wrong)) for name, wrong in (("a", []), ("b", [2])))
    requests = [Request("math500", f"test/sums/{n}.json", 0, SAMPLING, n) for n in range(6)]
    texts = []
    for name, path in (("a", one), ("b", two)):
        server.load(name, recorded(path), {})
        (facts,) = wait_for(server, "loaded")
        assert facts["model"]["samples"] == 6
        server.send([[r] for r in requests[:4]])
        got = wait_for(server, "answered", 4)
        server.send([[r] for r in requests[4:]])
        got += wait_for(server, "answered", 2)
        samples = sorted(starmap(Sample, got), key=lambda s: s.item)
        assert [s.item for s in samples] == [r.item for r in requests]
        texts.append([s.text for s in samples])
    assert [a == b for a, b in zip(*texts, strict=True)] == [True, True, False, True, True, True]


def test_an_engine_that_was_made_ready_is_the_one_that_loads(
    server: DeviceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[EngineProcess] = []
    spawn = EngineProcess._spawn

    def counted(engine: EngineProcess) -> None:
        started.append(engine)
        spawn(engine)

    monkeypatch.setattr(EngineProcess, "_spawn", counted)
    one, two = (recorded(write_jsonl(tmp_path / f"{name}.jsonl", answers(2))) for name in "ab")
    server.load("a", one, {})
    wait_for(server, "loaded")
    server.warm("b", two)
    server.send([[Request("math500", "test/sums/0.json", 0, SAMPLING, 0)]])
    wait_for(server, "answered")
    server.load("b", two, {})
    wait_for(server, "loaded")
    assert len(started) == 2
    server.warm("a", one)
    server.load("b", two, {})  # another than was made ready
    wait_for(server, "loaded")
    assert len(started) == 4
    server.warm("a", one)
    server.close()
    assert [engine._process.poll() is not None for engine in started if engine._process] == [True] * 5


def test_how_much_is_computed_is_told_once(
    server: DeviceServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(tmp_path, ["slow 3"], monkeypatch)
    server.load("a", recorded(write_jsonl(tmp_path / "a.jsonl", answers(2))), {})
    wait_for(server, "loaded")
    server.send([[Request("math500", f"test/sums/{n}.json", 0, SAMPLING, n)] for n in range(2)])
    messages: list[Any] = []
    while sum(len(values[0]) for got, *values in messages if got == "answered") < 2:
        messages += server.poll(1.0)
    assert [message for message in messages if message[0] == "computed"] == [("computed", "a", 7)]


def test_another_model_or_none_is_refused(server: DeviceServer, tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "a.jsonl", answers(2))
    server.load("a", recorded(path), {"sha256": "of another file"})
    (reason,) = wait_for(server, "refused")
    assert "sha256 differ" in reason
    server.load("a", recorded(tmp_path / "absent.jsonl"), {})
    (reason,) = wait_for(server, "refused")
    assert "do not exist" in reason
    server.load("a", recorded(path), {})  # it can be used for what it has
    wait_for(server, "loaded")


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
