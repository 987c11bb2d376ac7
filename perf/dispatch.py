"""What distribution costs: the driver of many devices, on simulated devices and on the real store.

    python perf/dispatch.py finish [--devices 8 64 1000]
    python perf/dispatch.py store [--samples 2000000] [--devices 64] [--folder FOLDER]

`finish` runs the very driver and scheduler on simulated time and compares the end with the ideal: all work over all
devices at full speed, plus one load each. A device writes STEP seconds a token plus PER_SEQUENCE for each answer
under way, as batched decoding does, so it is slower than the ideal when few answers are left. Answer lengths are
long-tailed (log-normal, cut at the budget), other ones for each benchmark. One device needs some days for the study
of 8 devices; that of more devices has as many more items.

`store` puts 4 kB answers of fake devices through the driver into a run directory, then finds out what is left, as a
resumed run does. The process is held to one core. Prints one JSON line for each measurement.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import os
import random
import resource
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import overload

from bitparity.cluster.driver import Driver
from bitparity.cluster.pieces import Lengths, PieceQueue
from bitparity.cluster.pool import Answered, Event, Joined, Loaded
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.exam.requests import BenchmarkRequests, Examinee, UnansweredRequests
from bitparity.generation.plan import VariantPlan
from bitparity.records import Item, Prompt, Request, Sample, SampleKeys, Sampling
from bitparity.store.jsonl import AppendLog
from bitparity.store.rows import sample_to_row
from bitparity.store.run import Run
from bitparity.study.resolve import parse_study

ROOM = 128  # answers under way at once on one device
STEP, PER_SEQUENCE = 0.012, 0.0002  # seconds: 83 tokens/s alone, 3,400 with ROOM answers
LOAD = 180.0  # seconds
WINDOW = 2.0  # simulated seconds of events that the driver sees together

# name, items, samples, median tokens, sigma of the logarithm, budget: a study of a reasoning model
BENCHMARKS = [
    ("aime24", 30, 64, 11_000, 0.55, 32_768),
    ("gpqa_diamond", 198, 16, 6_500, 0.7, 32_768),
    ("livecodebench", 454, 8, 9_000, 0.7, 32_768),
    ("math500", 500, 8, 3_500, 0.7, 32_768),
    ("mmlu_pro", 12_032, 1, 1_600, 0.9, 32_768),
]
VARIANTS = {"bf16": 1.0, "fp8": 1.5, "nvfp4": 1.8}  # speed
"""A study whose ideal on 64 devices is some hours."""


class FakeRequests(Sequence[Request]):
    """The requests of some benchmarks, each made when it is asked for."""

    def __init__(self, benchmarks: Sequence[tuple[str, int, int, int]]) -> None:
        self._parts = []
        self._length = 0
        for name, items, samples, budget in benchmarks:
            self._parts.append((self._length, name, samples, Sampling(budget)))
            self._length += items * samples

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, index: int) -> Request: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Request]: ...
    def __getitem__(self, index: int | slice) -> Request | Sequence[Request]:
        assert isinstance(index, int)
        if not 0 <= index < self._length:
            raise IndexError
        start, name, samples, sampling = next(part for part in reversed(self._parts) if part[0] <= index)
        item, sample = divmod(index - start, samples)
        return Request(name, f"item-{item}", sample, sampling, 0)


@dataclass(slots=True)
class SimulatedDevice:
    """Answers written at once, all at the same speed; `written` is how many tokens each has got since the start."""

    speed: float = 1.0
    ready_at: float = math.inf
    written: float = 0.0
    then: float = 0.0
    running: list[tuple[float, int, Request, int]] = field(default_factory=list)  # a heap by `written` at the end
    waiting: list[Request] = field(default_factory=list)
    version: int = 0

    def advance(self, now: float) -> None:
        """Write until now."""
        if self.running:
            self.written += (now - self.then) * self.rate()
        self.then = now

    def rate(self) -> float:
        """Tokens a second of one answer."""
        return self.speed / (STEP + PER_SEQUENCE * len(self.running))

    def next_end(self) -> float:
        """When the next answer ends."""
        return self.then + max(0.0, self.running[0][0] - self.written) / self.rate()


class SimulatedPool:
    """Devices on simulated time; see bitparity.cluster.pool.Pool."""

    def __init__(self, devices: int, length: dict[str, tuple[int, float, int]], seed: int) -> None:
        self._now = 0.0
        self._devices = {f"d{n}": SimulatedDevice() for n in range(devices)}
        self._length, self._seed = length, seed
        self._queue: list[tuple[float, int, str, int]] = []
        self._count = 0
        self._new = [Joined(name) for name in self._devices]
        self.tokens: dict[str, int] = {}
        self.loads = 0
        self._on: dict[str, str] = {}

    def now(self) -> float:
        """See Pool."""
        return self._now

    def load(self, device: str, variant: str) -> None:
        """See Pool."""
        self.loads += 1
        self._on[device] = variant
        state = self._devices[device]
        state.speed, state.then = VARIANTS[variant], self._now
        self._push(self._now + LOAD, device)

    def warm(self, device: str, variant: str) -> None:
        pass

    def send(self, device: str, pieces: Sequence[Sequence[Request]]) -> None:
        """See Pool."""
        state = self._devices[device]
        state.advance(self._now)
        state.waiting += [request for piece in pieces for request in piece]
        self._fill(device)

    def _push(self, when: float, device: str) -> None:
        state = self._devices[device]
        state.version += 1
        heapq.heappush(self._queue, (when, self._count, device, state.version))
        self._count += 1

    def _fill(self, device: str) -> None:
        state = self._devices[device]
        started = state.waiting[: max(0, ROOM - len(state.running))]
        del state.waiting[: len(started)]
        for request in started:
            length = self.length(request, self._on[device])
            self._count += 1
            heapq.heappush(state.running, (state.written + length, self._count, request, length))
        if state.running:
            self._push(state.next_end(), device)

    def length(self, request: Request, variant: str) -> int:
        """The tokens of an answer, the same whenever it is asked for."""
        median, sigma, budget = self._length[request.benchmark]
        draw = random.Random(f"{self._seed}{variant}{request.benchmark}{request.item}{request.sample}")
        return min(budget, max(1, round(draw.lognormvariate(math.log(median), sigma))))

    def poll(self) -> list[Event]:
        """See Pool."""
        events: list[Event] = list(self._new)
        self._new = []
        if events:
            return events
        end = None
        while self._queue and (end is None or self._queue[0][0] <= end):
            when, _, device, version = heapq.heappop(self._queue)
            state = self._devices[device]
            if version != state.version:
                continue
            end = when + WINDOW if end is None else end
            self._now = max(self._now, when)
            if not state.running:
                state.then = self._now
                events.append(Loaded(device, {}, ROOM))
                continue
            state.advance(self._now)
            samples = []
            while state.running and state.running[0][0] <= state.written + 1e-6:
                _, _, request, length = heapq.heappop(state.running)
                key = (request.benchmark, request.item, request.sample)
                samples.append(Sample(*key, "", "stop", length, 0, 0.0))
                self.tokens[self._on[device]] = self.tokens.get(self._on[device], 0) + length
            events.append(Answered(device, samples))
            self._fill(device)
        assert events, "the driver waits for something that will never come"
        return events

    def close(self) -> None:
        """See Pool."""


def finish(devices: int, scale: float, seed: int) -> dict[str, object]:
    """The simulated end of a study on so many devices, against the ideal."""
    benchmarks = [(name, max(1, round(items * scale)), k, budget) for name, items, k, _, _, budget in BENCHMARKS]
    pool = SimulatedPool(devices, {name: (median, sigma, b) for name, _, _, median, sigma, b in BENCHMARKS}, seed)
    lengths = Lengths()
    queues = {v: PieceQueue(v, VariantPlan(FakeRequests(benchmarks)), lengths) for v in VARIANTS}
    count = 0

    def record(variant: str, samples: list[Sample]) -> None:
        nonlocal count
        count += len(samples)

    started = time.perf_counter()
    Driver(queues, pool, record).run()
    full = ROOM / (STEP + PER_SEQUENCE * ROOM)  # tokens a second
    work = sum(tokens / (full * VARIANTS[variant]) for variant, tokens in pool.tokens.items())
    ideal = work / devices + LOAD
    return {
        "measure": "finish",
        "devices": devices,
        "samples": count,
        "ideal_s": round(ideal),
        "finish_s": round(pool.now()),
        "over_ideal": round(pool.now() / ideal - 1, 4),
        "loads": pool.loads,
        "real_seconds": round(time.perf_counter() - started, 1),
    }


class FakePool:
    """Devices that answer at once with the same 4 kB text; see bitparity.cluster.pool.Pool."""

    def __init__(self, devices: int) -> None:
        self._events: list[Event] = [Joined(f"d{n}") for n in range(devices)]
        self._text = 'Let us think "step" by step: 2 + 2 = 4.\n' * 102

    def now(self) -> float:
        """See Pool."""
        return time.monotonic()

    def load(self, device: str, variant: str) -> None:
        """See Pool."""
        self._events.append(Loaded(device, {}, ROOM))

    def warm(self, device: str, variant: str) -> None:
        pass

    def send(self, device: str, pieces: Sequence[Sequence[Request]]) -> None:
        """See Pool."""
        samples = [
            Sample(r.benchmark, r.item, r.sample, self._text, "stop", 1_000, 100, 12.5) for p in pieces for r in p
        ]
        self._events.append(Answered(device, samples))

    def poll(self) -> list[Event]:
        """See Pool."""
        events, self._events = self._events, []
        return events

    def close(self) -> None:
        """See Pool."""


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def through_store(samples: int, devices: int, folder: Path) -> Iterator[dict[str, object]]:
    """The rate of completions through driver and store, the memory on the way, and the time of a resume."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    variants = list(VARIANTS)
    each = samples // len(variants)
    items = min(12_000, each)
    run = Run(folder)
    asked = {"mmlu_pro": questions(items, each // items)}
    lengths = Lengths()
    logs = {v: AppendLog(run.samples_path(v, "mmlu_pro")) for v in variants}
    stored = {v: SampleKeys() for v in variants}
    written, at_tenth = 0, 0.0
    total = items * (each // items) * len(variants)

    def record(variant: str, answers: list[Sample]) -> None:
        nonlocal written, at_tenth
        known = stored[variant]
        fresh = [s for s in answers if (s.item, s.sample) not in known]
        for sample in fresh:
            known.add((sample.item, sample.sample))
        logs[variant].append(map(sample_to_row, fresh))
        written += len(fresh)
        at_tenth = at_tenth or (peak_mib() if written >= total // 10 else 0.0)

    started = time.perf_counter()
    driver = Driver(
        {v: PieceQueue(v, VariantPlan(UnansweredRequests(asked, {"mmlu_pro": stored[v]})), lengths) for v in variants},
        FakePool(devices),
        record,
    )
    driver.run()
    seconds = time.perf_counter() - started
    size = sum(run.samples_path(v, "mmlu_pro").stat().st_size for v in variants)
    yield {
        "measure": "store",
        "devices": devices,
        "samples": written,
        "bytes": size,
        "samples_per_s": round(written / seconds),
        "peak_mib_at_a_tenth": round(at_tenth),
        "peak_mib": round(peak_mib()),
    }
    stored.clear()
    started = time.perf_counter()
    done = {v: run.done(v, "mmlu_pro") for v in variants}
    left = [UnansweredRequests(asked, {"mmlu_pro": keys}) for keys in done.values()]
    seconds = time.perf_counter() - started
    assert not any(map(len, left))
    yield {"measure": "resume", "samples": written, "seconds": round(seconds, 1), "peak_mib": round(peak_mib())}


def questions(items: int, samples: int) -> BenchmarkRequests:
    """The requests of so many items, as a real plan makes them."""
    study = f"study: s\nvariants: {{a: {{model: x/y}}}}\nbenchmarks: [{{name: mmlu_pro, samples: {samples}}}]\n"
    (spec,) = parse_study(study, "study.yaml", Path()).benchmarks
    entries = tuple(ExamItem(Item(f"item-{n}", (Prompt(text="?"),), None)) for n in range(items))
    exam = Exam("mmlu_pro", "accuracy", Sampling(32_768), 0, None, entries, items, {})
    return Examinee("a").requests(exam, spec)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["finish", "store"])
    parser.add_argument("--devices", type=int, nargs="+", default=[8, 64])
    parser.add_argument("--scale", type=float, default=3.0, help="finish: how many times as many items")
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="store: where the run goes, 10 GB")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    if args.what == "finish":
        for devices in args.devices:
            print(json.dumps(finish(devices, args.scale * devices / 8, args.seed)), flush=True)
        return
    folder = Path(tempfile.mkdtemp(prefix="dispatch-", dir=args.folder))
    try:
        for line in through_store(args.samples, args.devices[0], folder):
            print(json.dumps(line), flush=True)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
