"""Devices without engines, for tests: they answer, die and go away as they are told, in no time."""

from __future__ import annotations

import random
from collections.abc import Sequence

from bitparity.cluster.driver import Driver
from bitparity.cluster.pieces import Lengths, PieceQueue
from bitparity.cluster.pool import Answered, Computed, Died, Event, Joined, Loaded, Lost, Refused
from bitparity.generation.plan import VariantPlan
from bitparity.progress.events import Events, Listener
from bitparity.records import Request, RequestKey, Sample, Sampling, request_key

Piece = Sequence[Request]


def requests(benchmark: str, count: int, batch_size: int | None = None) -> list[Request]:
    """The requests of some items, in batches where a size is given."""
    sampling = Sampling(100)
    return [
        Request(benchmark, f"item-{n}", 0, sampling, n, batch=None if batch_size is None else n // batch_size)
        for n in range(count)
    ]


def answer(request: Request) -> Sample:
    return Sample(*request_key(request), f"answer to {request.seed}", "stop", 10, 5, 0.1)


class ToyPool:
    """See bitparity.cluster.pool.Pool. A poisonous item ends the engine that comes to it.

    `fault_rate` is the chance that a device goes away between two polls; another comes soon. `refuses` are the
    (device, variant) pairs that cannot be loaded, `fails` those whose engine dies while loading.
    """

    def __init__(self, devices: int, room: int = 4, seed: int = 0) -> None:
        self.room, self.fault_rate = room, 0.0
        self.poison: set[str] = set()
        self.refuses: set[tuple[str, str]] = set()
        self.fails: set[tuple[str, str]] = set()
        self.deaths = 0
        self.loads: list[tuple[str, str]] = []
        self.warmed: list[tuple[str, str]] = []
        self.asked: dict[str, list[RequestKey]] = {}
        self._rng = random.Random(seed)
        self._clock = 0.0
        self._queues: dict[str, list[Piece]] = {}
        self._loaded: dict[str, str] = {}
        self._events: list[Event] = []
        self._count = 0
        for _ in range(devices):
            self.join()

    def join(self) -> None:
        name = f"d{self._count}"
        self._count += 1
        self._queues[name] = []
        self._events.append(Joined(name))

    def lose(self, name: str) -> None:
        del self._queues[name]
        self._events = [event for event in self._events if event.device != name or isinstance(event, Joined)]
        self._events.append(Lost(name, "pulled out"))

    def now(self) -> float:
        return self._clock

    def load(self, device: str, variant: str) -> None:
        self.loads.append((device, variant))
        self._loaded[device] = variant
        assert not self._queues.get(device), "a device with work was told to load"
        if (device, variant) in self.refuses:
            self._events.append(Refused(device, "another model"))
        elif (device, variant) in self.fails:
            self._events.append(Died(device, "no kernel"))
        elif device in self._queues:
            self._events.append(Loaded(device, {}, self.room))

    def warm(self, device: str, variant: str) -> None:
        assert self._queues.get(device, True), "only a device with work is told to make ready"
        self.warmed.append((device, variant))

    def send(self, device: str, pieces: Sequence[Piece]) -> None:
        self.asked.setdefault(device, []).extend(request_key(r) for piece in pieces for r in piece)
        if device in self._queues:
            self._queues[device] += pieces

    def poll(self) -> list[Event]:
        self._clock += 1.0
        assert self._clock < 100_000, "the driver waits for something that will never come"
        events, self._events = self._events, []
        for name in list(self._queues):
            events += self._work(name)
        if self._rng.random() < self.fault_rate:
            name = self._rng.choice(list(self._queues))
            self.lose(name)
            self.join()
        return events

    def _work(self, name: str) -> list[Event]:
        queue, samples = self._queues[name], []
        for _ in range(self._rng.randint(0, self.room)):
            if not queue:
                break
            if any(request.item in self.poison for request in queue[0]):
                queue.clear()
                self.deaths += 1
                return [Answered(name, samples), Died(name, "out of memory")] if samples else [Died(name, "killed")]
            samples += map(answer, queue.pop(0))
        return [Answered(name, samples), Computed(name, self._loaded[name], 10)] if samples else []

    def close(self) -> None:
        self._queues.clear()


class Recorded:
    """What was recorded, by variant; nothing may be recorded twice."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[RequestKey, Sample]] = {}

    def __call__(self, variant: str, samples: list[Sample]) -> None:
        for sample in samples:
            known = self.samples.setdefault(variant, {}).setdefault(request_key(sample), sample)
            assert known == sample


def run(
    pool: ToyPool, work: dict[str, list[Request]], batches: bool = False, *, listener: Listener | None = None
) -> tuple[Driver, Recorded]:
    """Answer the requests of some variants."""
    lengths, recorded = Lengths(), Recorded()
    queues = {v: PieceQueue(v, VariantPlan(first, {}, list if batches else None), lengths) for v, first in work.items()}
    driver = Driver(queues, pool, recorded, events=Events(*[listener] if listener else []))
    driver.run()
    return driver, recorded
