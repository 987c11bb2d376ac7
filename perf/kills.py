"""Kills at random times: driver, engine, grader and merge of a study of recorded answers.

    python perf/kills.py [--kills 300] [--items 400] [--seed 0]

The study has two variants and comes in two shards as well. A victim is chosen for each kill: the command itself, the
engine's process or a grader's, while it runs into a directory of its own until it is complete; or a merge of the
shards. After each kill no stored line may be gone or changed; a run that was completed, and a merge, must hold every
sample once, with the samples, grades and results of a calm run. Prints a line for each fault, at last a line of JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
from faulty import SITECUSTOMIZE
from support import replay_study, stored

from bitparity.store.run import Run

VICTIMS = {"driver": "bitparity run", "engine": "bitparity.engines.worker", "grader": "import serve", "merge": "merge"}
LIMIT_S = 300.0
SHORT_LIFE = 1.0  # seconds that an engine of few answers, a grader and a merge live at least
MOST_RESTARTS = 3  # of an engine in one session
TOGETHER = 4  # starts of one directory, before a calm one completes it
Lines = dict[Path, list[bytes]]


class Kills:
    """The calm run, the directory under attack, and what was found."""

    def __init__(self, folder: Path, items: int, chance: random.Random) -> None:
        wrong = {"bf16": range(0, items, 9), "fp8": range(0, items, 7)}
        self.folder, self.chance, self.faults, self.killed = folder, chance, list[str](), set[int]()
        self.study, self.completed, self.missed = replay_study(folder, items, wrong), Counter[str](), 0
        (folder / "sitecustomize.py").write_text(SITECUSTOMIZE)
        (folder / "faults").write_text("slow 0.02\n" * 10**5)  # each engine takes one: it answers at a model's pace
        path = os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
        self.environ = os.environ | {"PYTHONPATH": path, "FAULTS": str(folder / "faults")}
        self.calm, self.shards = folder / "calm", [folder / "1", folder / "2"]
        began = time.monotonic()
        self.finish(self.run(self.calm))
        self.seconds = time.monotonic() - began
        for number, shard in enumerate(self.shards, 1):
            self.finish(self.run(shard, "--shard", f"{number}/2"))

    def run(self, out: Path, *more: object) -> subprocess.Popen[bytes]:
        """The study into a directory."""
        return self.command("run", self.study, "--out", out, *more)

    def command(self, *words: object) -> subprocess.Popen[bytes]:
        """A command that has begun."""
        command = [sys.executable, "-m", "bitparity", *map(str, words)]
        with (self.folder / "log").open("wb") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=self.environ)

    def finish(self, process: subprocess.Popen[bytes]) -> None:
        """Wait for a command that has to end by itself."""
        code = process.wait(LIMIT_S)
        text = (self.folder / "log").read_text(errors="replace")
        if code not in (0, 1, 3) or "Traceback" in text:
            self.faults.append(f"exit code {code}: {text[-800:]}")

    def kill(self, victim: str, out: Path) -> int:
        """Start what the victim belongs to and kill it at random times; how often it was there to be killed."""
        before, kills = lines(out), 0
        process = self.command("merge", out, *self.shards) if victim == "merge" else self.run(out)
        for _ in range(1 if victim in ("driver", "merge") else MOST_RESTARTS):
            if (pid := self.wait_for(process, victim)) is not None:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
        if victim in ("engine", "grader"):
            self.finish(process)  # it is asked to go on by itself
        else:
            process.wait()
        self.compare(before, lines(out), victim)
        return kills

    def wait_for(self, process: subprocess.Popen[bytes], victim: str) -> int | None:
        """The victim's process id, at a random time of its life; None where it has ended by then."""
        found: list[int] = []
        while process.poll() is None and not found:
            time.sleep(0.02)
            found = [pid for pid in children(process.pid, VICTIMS[victim]) if pid not in self.killed]
        time.sleep(self.chance.uniform(0, self.seconds if victim == "driver" else SHORT_LIFE))
        if not found or process.poll() is not None or not Path(f"/proc/{found[0]}").exists():
            return None
        self.killed.add(found[0])
        return found[0]

    def compare(self, before: Lines, after: Lines, victim: str) -> None:
        """What was on disk before must be there still, in its place."""
        for path, kept in before.items():
            if "samples" in path.parts and after.get(path, [])[: len(kept)] != kept:
                self.faults.append(f"{victim}: lines of {path} are gone or changed")

    def compare_results(self, out: Path, found: dict[Any, Any]) -> None:
        """Samples, grades and results as in the calm run; then the directory goes."""
        if found != stored(self.calm):
            self.faults.append(f"{out}: other samples than the calm run's")
        for name in ("bf16", "fp8"):
            if Run(out).grades(name, "math500") != Run(self.calm).grades(name, "math500"):
                self.faults.append(f"{out}: other grades of {name} than the calm run's")
        ours, theirs = (without_times(json.loads((p / "results.json").read_text())) for p in (out, self.calm))
        if ours != theirs:
            different = [key for key in theirs if ours.get(key) != theirs[key]]
            self.faults.append(f"{out}: results differ in {different}: {str(ours)[:300]}")
        self.completed[out.name] += 1
        shutil.rmtree(out)

    def complete(self, victim: str, out: Path) -> None:
        """Let the last word be a calm one, then compare."""
        self.finish(self.command("merge", out, *self.shards) if victim == "merge" else self.run(out))
        self.compare_results(out, stored(out))


def children(pid: int, words: str) -> Iterator[int]:
    """The process and its children, those with these words in their command."""
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                said = (folder / "cmdline").read_text(errors="replace").replace("\0", " ")
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
                if words in said and pid in (parent, int(folder.name)):
                    yield int(folder.name)
            except OSError:
                continue


def lines(out: Path) -> Lines:
    """The whole lines of every file of samples."""
    return {p: p.read_bytes().split(b"\n")[:-1] for p in (out / "samples").rglob("*.jsonl")}


def without_times(value: Any) -> Any:
    """Results without what differs from run to run: times, restarts, and the guards and notes that tell of them."""
    own = ("seconds", "generation", "restarts", "loads", "guards", "notes", "sessions", "starts", "merged", "shard")
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in own}
    return [without_times(v) for v in value] if isinstance(value, list) else value


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--items", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    chance, done = random.Random(asked.seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        kills = Kills(Path(folder), asked.items, chance)
        started = Counter[str]()
        while done.total() < asked.kills and not kills.faults:
            victim = min(VICTIMS, key=lambda name: (done[name], chance.random()))
            out = kills.folder / {"merge": "merged", "driver": "killed"}.get(victim, victim)
            count = kills.kill(victim, out)
            done[victim] += count
            kills.missed += not count
            started[out.name] += 1
            print(f"\r{done.total()} kills, {kills.missed} missed", end="", file=sys.stderr, flush=True)
            if started[out.name] % TOGETHER == 0 or victim in ("engine", "grader"):
                kills.complete(victim, out)
    for fault in kills.faults:
        print(fault)
    result = {"kills": done, "missed": kills.missed, "completed": kills.completed, "faults": len(kills.faults)}
    print(json.dumps(result | {"calm_seconds": round(kills.seconds, 1)}))
    sys.exit(bool(kills.faults))


if __name__ == "__main__":
    main()
