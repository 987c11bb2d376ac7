"""Items that are asked one after another, each prompt built on the same sample's earlier answers (`Item.after`).

What is to be asked next follows from the exam and the stored samples alone, so a run that was killed anywhere goes
on as if it had not been.
"""

from __future__ import annotations

import itertools
import queue
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bitparity.exam.chains import chain, earlier
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.records import Item, Request, Sample, SampleKey, request_key

Make = Callable[[ExamItem, int, Sequence[Sample]], Request]
"""`make(entry, k, earlier)`: the request of sample k of an item, after the samples `earlier` of the items before it."""


class Ladder:
    """The items of one exam that come after others, and the answers so far. `room` is the context left, in tokens."""

    def __init__(
        self, exam: Exam, samples: int, known: Mapping[SampleKey, Sample], make: Make, context: int | None
    ) -> None:
        self.exam, self.samples, self.make, self.context = exam, samples, make, context
        self.known = dict(known)
        self.items = {entry.item.id: entry.item for entry in exam.items}
        self.levels = _levels(exam, self.items)
        self.next: dict[str, list[ExamItem]] = {}
        for entry in exam.items:
            if entry.item.after is not None:
                self.next.setdefault(entry.item.after, []).append(entry)

    def done(self, item: str, sample: int) -> bool:
        """Whether an answer is there that need not be made again."""
        found = self.known.get((item, sample))
        return found is not None and found.finish != "error"

    def request(self, entry: ExamItem, sample: int) -> Request | None:
        """The request of an item's sample; None while an answer before it is missing."""
        before = earlier(self.items, self.known, entry.item, sample)
        return None if before is None else self.make(entry, sample, before)

    def level(self, depth: int) -> list[Request]:
        """All requests of the items with `depth` items before them, in the exam's order, finished ones included."""
        made = [self.request(entry, k) for entry in self.levels[depth] for k in range(self.samples)]
        return [request for request in made if request is not None]

    def missing(self) -> int:
        """How many answers to items that come after others are still to be made."""
        return sum(
            not self.done(entry.item.id, k) for level in self.levels[1:] for entry in level for k in range(self.samples)
        )

    def ready(self) -> list[Request]:
        """What can be asked now of the items that come after others, and has no answer."""
        open_ = [
            self.request(entry, k)
            for level in self.levels[1:]
            for entry in level
            for k in range(self.samples)
            if not self.done(entry.item.id, k)
        ]
        return [request for request in open_ if request is not None]

    def note(self, sample: Sample) -> None:
        """Keep an answer, the first whole one."""
        if not self.done(sample.item, sample.sample):
            self.known[sample.item, sample.sample] = sample

    def after(self, sample: Sample) -> list[Request]:
        """What can be asked now that this sample is there."""
        self.note(sample)
        entries = self.next.get(sample.item, []) if sample.finish != "error" else []
        made = [self.request(e, sample.sample) for e in entries if not self.done(e.item.id, sample.sample)]
        return [request for request in made if request is not None]

    def fits(self, request: Request) -> bool:
        """Whether prompt and budget fit the context: earlier answers may have filled it."""
        needed = len(request.token_ids or ()) + request.sampling.max_tokens
        return self.context is None or needed <= self.context


def _levels(exam: Exam, items: Mapping[str, Item]) -> list[list[ExamItem]]:
    levels: list[list[ExamItem]] = []
    for entry in exam.items:
        depth = len(chain(items, entry.item))
        levels += [[] for _ in range(depth + 1 - len(levels))]
        levels[depth].append(entry)
    return levels


def no_room(request: Request) -> Sample:
    """The sample of a request whose prompt leaves no room for an answer: cut off before its first token."""
    return Sample(*request_key(request), "", "length", 0, len(request.token_ids or ()), 0.0)


_SOON, _IN_TURN, _AT_LAST = range(3)


@dataclass(slots=True)
class Feed:
    """Requests for an engine, later ones put in while it runs. `put` and `ended` belong to one thread."""

    waiting: int = 0
    _queue: queue.PriorityQueue[tuple[int, int, Request | None]] = field(default_factory=queue.PriorityQueue)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def put(self, requests: Iterable[Request], *, soon: bool = False) -> None:
        """More to ask, behind what was put before; `soon` before all that was not."""
        for request in requests:
            self.waiting += 1
            self._add(_SOON if soon else _IN_TURN, request)

    def _add(self, rank: int, request: Request | None) -> None:
        self._queue.put((rank, next(self._numbers), request))

    def ended(self, count: int) -> None:
        """So many answers came; with the last one the feed ends. Put what follows from them before."""
        self.waiting -= count
        if self.waiting <= 0:
            self.close()

    def close(self) -> None:
        """Nothing more will come."""
        self._add(_AT_LAST, None)

    def __iter__(self) -> Iterator[Request | None]:
        while True:
            try:
                *_, request = self._queue.get_nowait()
            except queue.Empty:
                yield None  # send what is there before waiting
                *_, request = self._queue.get()
            if request is None:
                return
            yield request


Engine = Callable[[Iterable[Request | None]], Iterator[list[Sample]]]


Batches = Callable[[Sequence[Request]], list[Request]]


def ask(
    engine: Engine, first: Sequence[Request], ladders: Mapping[str, Ladder], batches: Batches | None
) -> Iterator[list[Sample]]:
    """The samples of `first` and of all that builds on them, in bursts; each must be stored before the next is taken.

    With `batches` (an engine that computes fixed batches) the items of each depth are asked together, so that
    batches do not depend on what ends first; otherwise each request goes out as soon as its answers are there, before
    those of `first` that still wait: at the end a chain would go on alone, one answer after another.
    """
    if not ladders:
        yield from engine(first)
    elif batches is None:
        yield from _as_they_come(engine, first, ladders)
    else:
        yield from _by_depth(engine, first, ladders, batches)


def _by_depth(
    engine: Engine, first: Sequence[Request], ladders: Mapping[str, Ladder], batches: Batches
) -> Iterator[list[Sample]]:
    requests = list(first)
    for depth in range(1, 1 + max(len(ladder.levels) for ladder in ladders.values())):
        for burst in engine(requests) if requests else ():
            yield burst
            _note(ladders, burst)
        asked = [r for ladder in ladders.values() if depth < len(ladder.levels) for r in ladder.level(depth)]
        full = [no_room(r) for r in asked if not ladders[r.benchmark].fits(r)]
        yield full
        _note(ladders, full)
        requests = batches([r for r in asked if ladders[r.benchmark].fits(r)])


def _note(ladders: Mapping[str, Ladder], samples: Iterable[Sample]) -> None:
    for sample in samples:
        if sample.benchmark in ladders:
            ladders[sample.benchmark].note(sample)


def _as_they_come(engine: Engine, first: Sequence[Request], ladders: Mapping[str, Ladder]) -> Iterator[list[Sample]]:
    feed = Feed()
    try:
        feed.put(first)
        yield from _put(feed, [r for ladder in ladders.values() for r in ladder.ready()], ladders)
        if not feed.waiting:
            return
        for burst in engine(feed):
            yield burst
            yield from _put(feed, _following(ladders, burst), ladders)
            feed.ended(len(burst))
    finally:
        feed.close()


def _following(ladders: Mapping[str, Ladder], samples: Iterable[Sample]) -> list[Request]:
    return [r for s in samples if s.benchmark in ladders for r in ladders[s.benchmark].after(s)]


def _put(feed: Feed, requests: list[Request], ladders: Mapping[str, Ladder]) -> Iterator[list[Sample]]:
    """Ask what fits; what does not ends at once, and what follows from that is asked in turn."""
    while requests:
        feed.put((r for r in requests if ladders[r.benchmark].fits(r)), soon=True)
        full = [no_room(r) for r in requests if not ladders[r.benchmark].fits(r)]
        if full:
            yield full
        requests = _following(ladders, full)
