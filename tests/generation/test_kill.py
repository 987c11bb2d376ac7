"""A real run, killed with SIGKILL at random moments: nothing finished is lost, nothing is doubled, same results.

What is lost or doubled depends on the moment of the kill and not on who computes, so most kills are of runs over
recorded answers, which start in a tenth of the time. What a model computes could depend on what is left to do, and each
of a few kills leaves something else.
"""

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
from faulty import plant
from support import replay_study, write_yaml

from bitparity.store.jsonl import read_lines
from bitparity.store.run import Run

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


def recorded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A study of 400 recorded answers, twenty a second but in the first run, whose two engines do not wait."""
    plant(folder, ["none", "none", *["slow 0.05"] * 50], monkeypatch)
    return replay_study(folder, 200, {"full": [1], "half": range(2, 30)})


def generated(folder: Path) -> Path:
    """A study in which a tiny model draws its answers, in two precisions."""
    pytest.importorskip("torch", reason="the transformers engine is not installed")
    from tiny_model import build_model

    model = build_model(folder / "model")
    return write_yaml(
        folder / "study.yaml",
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


def test_a_run_killed_often_ends_like_an_undisturbed_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ends_alike(recorded(tmp_path, monkeypatch), "math500", kills=25)


def test_a_model_killed_a_few_times_answers_like_an_undisturbed_one(tmp_path: Path) -> None:
    ends_alike(generated(tmp_path), "smoke", kills=5)


def ends_alike(study: Path, benchmark: str, kills: int) -> None:
    """Run the study undisturbed and, elsewhere, with so many kills; assert that both leave the same."""
    calm, killed = study.parent / "calm", study.parent / "killed"
    assert start(study, calm).wait() in (0, 1, 3)
    total = rows(calm)
    rng = random.Random("kill")
    seen: list[int] = []
    done = 0
    while done < kills:
        more = rng.randint(0, 2 * total // (3 * kills))
        done += kill_after(start(study, killed), killed, more, rng)
        seen.append(rows(killed))
        assert seen == sorted(seen), "a finished sample was lost"
        assert not (killed / "results.json").exists(), "the run ended before it was killed often enough"
    assert len(set(seen)) > kills // 3, Counter(seen)

    assert start(study, killed).wait() in (0, 1, 3)
    assert samples(killed) == samples(calm)
    for variant in ("full", "half"):
        assert Run(killed).grades(variant, benchmark) == Run(calm).grades(variant, benchmark)
    ours, theirs = (json.loads((out / "results.json").read_text()) for out in (killed, calm))
    assert without_times(ours) == without_times(theirs)
