"""A real run, killed with SIGKILL at random moments: nothing finished is lost, nothing is doubled, same results."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from support import write_yaml

from bitparity.store.jsonl import read_lines
from bitparity.store.run import Run

KILLS = 20
LIMIT_S = 120.0  # no single run of the tiny model takes longer

pytestmark = pytest.mark.slow


def start(study: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "bitparity", "run", str(study), "--out", str(out)]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}  # more of them wait for each other on a busy machine
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=one_thread)


def rows(out: Path) -> int:
    return sum(path.read_bytes().count(b"\n") for path in (out / "samples").rglob("*.jsonl"))


def kill_after(process: subprocess.Popen[bytes], out: Path, more: int, rng: random.Random) -> bool:
    """Kill the run once it has written so many more samples, and a moment later; False where it ended before."""
    goal, deadline = rows(out) + more, time.monotonic() + LIMIT_S
    while process.poll() is None and rows(out) < goal and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(rng.uniform(0, 0.05))
    if process.poll() is not None:
        return False
    process.send_signal(signal.SIGKILL)
    process.wait()
    return True


def without_times(value: Any) -> Any:
    """Results without what may differ from run to run: seconds."""
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("seconds", "generation")}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def samples(out: Path) -> dict[tuple[str, str, int], Any]:
    found = {}
    for path in sorted((out / "samples").rglob("*.jsonl")):
        for row in read_lines(path):
            key = (path.parent.name, row["item"], row["sample"])
            assert key not in found, f"{key} is stored twice"
            found[key] = without_times(row)
    return found


def test_a_run_killed_twenty_times_ends_like_an_undisturbed_one(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the transformers engine is not installed")
    from tiny_model import build_model

    model = build_model(tmp_path / "model")
    study = write_yaml(
        tmp_path / "study.yaml",
        {
            "study": "kill",
            "variants": {
                "full": {"model": str(model), "baseline": True},
                "half": {"model": str(model), "engine": {"dtype": "bfloat16"}},
            },
            "engine": {"kind": "transformers", "device": "cpu", "batch_size": 5},
            "benchmarks": [{"name": "smoke", "temperature": 0.8, "samples": 2}],
        },
    )
    calm, killed = tmp_path / "calm", tmp_path / "killed"
    assert start(study, calm).wait() in (0, 1, 3)
    total = rows(calm)
    rng = random.Random("kill")
    seen: list[int] = []
    kills = 0
    while kills < KILLS:
        more = rng.randint(0, 2 * total // (3 * KILLS))
        kills += kill_after(start(study, killed), killed, more, rng)
        seen.append(rows(killed))
        assert seen == sorted(seen), "a finished sample was lost"
        assert not (killed / "results.json").exists(), "the run ended before it was killed often enough"
    assert len(set(seen)) > KILLS // 3, Counter(seen)

    assert start(study, killed).wait() in (0, 1, 3)
    assert samples(killed) == samples(calm)
    for variant in ("full", "half"):
        assert Run(killed).grades(variant, "smoke") == Run(calm).grades(variant, "smoke")
    ours, theirs = (json.loads((out / "results.json").read_text()) for out in (killed, calm))
    assert without_times(ours) == without_times(theirs)
