"""Actors, engines, raylets and the driver are killed at random: the samples are complete, single and right at the end.

BITPARITY_FAULTS says how many faults (4 without it).
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from nodes import Nodes
from openai_double import Reply, message, serving
from support import math_rows, write_jsonl, write_yaml

from bitparity.store.jsonl import read_lines

pytestmark = pytest.mark.slow

FAULTS = int(os.environ.get("BITPARITY_FAULTS", "4"))
LIMIT_S = 240.0  # between two faults
SECONDS = 0.3  # for one answer


def answer(body: dict[str, Any]) -> str:
    return f"The answer is {hashlib.sha256(repr((body['messages'], body['seed'])).encode()).hexdigest()[:8]}."


def slow(endpoint: str, body: dict[str, Any]) -> Reply | None:
    """An answer that takes its time and depends on the question alone; what only tries the server out does not."""
    if endpoint != "chat/completions" or body.get("max_tokens") == 1:
        return None
    reply = message(answer(body))
    reply.seconds = SECONDS
    return reply


class Cluster:
    """Nodes of two engines each, and who of them is alive."""

    def __init__(self) -> None:
        self.nodes = Nodes(2, 2)
        self.alive, self.count = [0, 1], 2

    def replace_one(self, rng: random.Random) -> None:
        number = rng.choice(self.alive)
        self.nodes.order(f"kill {number}")
        self.nodes.order("add 2")
        self.alive.remove(number)
        self.alive.append(self.count)
        self.count += 1

    def kill_one(self, words: str, rng: random.Random) -> None:
        """Kill a process whose command line has these words."""
        deadline = time.monotonic() + LIMIT_S
        while not (found := [pid for pid in descendants(self.nodes.pid) if words in command(pid)]):
            assert time.monotonic() < deadline, f"no {words} comes back"
            time.sleep(0.1)
        os.kill(rng.choice(found), signal.SIGKILL)


def descendants(root: int) -> list[int]:
    found, todo = [], [root]
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents.setdefault(int((entry / "stat").read_text().rpartition(")")[2].split()[1]), []).append(
                    int(entry.name)
                )
            except OSError:
                continue
    while todo:
        children = parents.get(todo.pop(), [])
        found += children
        todo += children
    return found


def command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""


def stored(out: Path) -> dict[tuple[str, str, int], str]:
    found = {}
    for path in sorted((out / "samples").rglob("*.jsonl")):
        for row in read_lines(path):
            assert row["finish"] != "error", row["error"]
            key = (path.parent.name, row["item"], row["sample"])
            assert key not in found, f"{key} is stored twice"
            found[key] = row["text"]
    return found


def lines(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "samples").rglob("*.jsonl"))


def test_whatever_is_killed_nothing_is_lost_or_doubled(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the package ray is not installed")
    rng = random.Random("faults")
    items = 14 * FAULTS
    data = write_jsonl(tmp_path / "math.jsonl", math_rows(items))
    out, cluster = tmp_path / "run", Cluster()
    kinds = [["actor", "raylet", "driver", "engine"][n % 4] for n in range(FAULTS)]
    rng.shuffle(kinds)
    with serving(slow) as server:
        study = write_yaml(
            tmp_path / "study.yaml",
            {
                "study": "faults",
                "variants": {"a": {"model": "toy", "baseline": True}, "b": {"model": "toy"}},
                "engine": {"kind": "openai", "base_url": server.url, "concurrency": 2},
                "benchmarks": [{"name": "math500", "data": data.name, "samples": 2, "temperature": 0.8}],
            },
        )
        options = ["run", str(study), "--out", str(out), "--ray", cluster.nodes.address]
        process = start(options, tmp_path)
        total, seen = items * 2 * 2, 0
        for number, kind in enumerate(kinds):
            goal = total * (number + 1) // (FAULTS + 2)
            deadline = time.monotonic() + LIMIT_S
            while lines(out) < goal:
                assert process.poll() is None, f"the run ended before fault {number}: {errors(tmp_path)}"
                assert time.monotonic() < deadline, f"nothing goes on after fault {number}: {errors(tmp_path)}"
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 1))
            if kind == "raylet":
                cluster.replace_one(rng)
            elif kind == "actor":
                cluster.kill_one("ray::EngineActor", rng)
            elif kind == "engine":
                cluster.kill_one("bitparity.engines.worker", rng)
            else:
                process.kill()
                process.wait()
                process = start(options, tmp_path)
            assert lines(out) >= seen, "a finished sample was lost"
            seen = lines(out)
        assert process.wait(timeout=LIMIT_S) in (0, 1, 3), errors(tmp_path)
        right = {answer(body) for body in server.asked("chat/completions")}
    cluster.nodes.close()
    found = stored(out)
    assert len(found) == total
    assert set(found.values()) == right
    assert len(right) == items * 2  # both variants are asked the same


def start(options: list[str], folder: Path) -> subprocess.Popen[bytes]:
    with (folder / "errors.txt").open("ab") as log:
        return subprocess.Popen([sys.executable, "-m", "bitparity", *options], stdout=log, stderr=log)


def errors(folder: Path) -> str:
    return (folder / "errors.txt").read_text()[-1500:]
