"""Generation along chains: a request whose prompt is built on earlier answers goes out once these are stored.

`Item.after` makes the chains. What is to be asked next follows from the exam and the stored samples alone, so a run
that was killed anywhere goes on as if it had not been.
"""

from __future__ import annotations

import itertools
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from bitparity.exam.chains import chain, earlier
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.records import Request, Sample, SampleKey, request_key

FollowUp = Callable[[ExamItem, int, Sequence[Sample]], Request]
"""`make(entry, k, earlier)`: the request of sample k of an item, after the samples `earlier` of the items before it."""


class ItemChains:
    """The chains of one exam, and the answers so far.

    `levels[d]` holds the items with d items before them, in the exam's order. `context` is the model's, in tokens.
    """

    def __init__(
        self, exam: Exam, samples: int, answers: Mapping[SampleKey, Sample], make: FollowUp, context: int | None
    ) -> None:
        self._samples, self._make, self._context = range(samples), make, context
        self._answers = dict(answers)
        self._items = {entry.item.id: entry.item for entry in exam.items}
        self._next: dict[str, list[ExamItem]] = {}
        self.levels: list[list[ExamItem]] = []
        for entry in exam.items:
            depth = len(chain(self._items, entry.item))
            self.levels += [[] for _ in range(depth + 1 - len(self.levels))]
            self.levels[depth].append(entry)
            if entry.item.after is not None:
                self._next.setdefault(entry.item.after, []).append(entry)

    def _answered(self, item: str, sample: int) -> bool:
        found = self._answers.get((item, sample))
        return found is not None and found.finish != "error"

    def _requests(self, asked: Iterable[tuple[ExamItem, int]]) -> list[Request]:
        """The requests of samples, but for those of which an earlier answer is missing."""
        before = ((entry, k, earlier(self._items, self._answers, entry.item, k)) for entry, k in asked)
        return [self._make(entry, k, answers) for entry, k, answers in before if answers is not None]

    def _open(self) -> Iterator[tuple[ExamItem, int]]:
        """The samples without an answer, of the items that come after others."""
        for level in self.levels[1:]:
            for entry, k in itertools.product(level, self._samples):
                if not self._answered(entry.item.id, k):
                    yield entry, k

    def missing(self) -> int:
        """The number of answers that are still to be made to items that come after others."""
        return sum(1 for _ in self._open())

    def ready(self) -> list[Request]:
        """The requests that can be sent now, of items that come after others."""
        return self._requests(self._open())

    def at_depth(self, depth: int) -> list[Request]:
        """All requests of the items with `depth` items before them, in the exam's order, answered ones included."""
        return self._requests(itertools.product(self.levels[depth], self._samples)) if depth < len(self.levels) else []

    def add(self, sample: Sample) -> None:
        """Keep an answer, the first whole one."""
        if not self._answered(sample.item, sample.sample):
            self._answers[sample.item, sample.sample] = sample

    def following(self, sample: Sample) -> list[Request]:
        """Keep an answer; the requests that can be sent now that it is there."""
        self.add(sample)
        entries = self._next.get(sample.item, []) if sample.finish != "error" else []
        return self._requests((e, sample.sample) for e in entries if not self._answered(e.item.id, sample.sample))

    def fits(self, request: Request) -> bool:
        """Tells if prompt and token budget fit the context: earlier answers may have filled it."""
        needed = len(request.token_ids or ()) + request.sampling.max_tokens
        return self._context is None or needed <= self._context


Chains = Mapping[str, ItemChains]
"""The chains of a variant, by benchmark; benchmarks without any are left out."""


def add_answers(chains: Chains, samples: Iterable[Sample]) -> None:
    """Keep answers for the prompts that are built on them."""
    for sample in samples:
        if sample.benchmark in chains:
            chains[sample.benchmark].add(sample)


def following(chains: Chains, samples: Iterable[Sample]) -> list[Request]:
    """Keep answers; the requests that can be sent now that they are there."""
    return [r for s in samples if s.benchmark in chains for r in chains[s.benchmark].following(s)]


def at_depth(chains: Chains, depth: int) -> list[Request]:
    """All requests of items with `depth` items before them."""
    return [request for part in chains.values() for request in part.at_depth(depth)]


def depth_of(chains: Chains) -> int:
    """The items in the longest chain; 0 where there is none."""
    return max((len(part.levels) for part in chains.values()), default=0)


def fitting(chains: Chains, requests: Iterable[Request]) -> tuple[list[Request], list[Sample]]:
    """The requests that fit the context, and the samples of the others: cut off before their first token."""
    fits: list[Request] = []
    cut_off: list[Sample] = []
    for request in requests:
        if chains[request.benchmark].fits(request):
            fits.append(request)
        else:
            cut_off.append(Sample(*request_key(request), "", "length", 0, len(request.token_ids or ()), 0.0))
    return fits, cut_off


Wanted = Callable[[Request], bool]
"""True while a request is still to be sent."""

_FOLLOW_UP, _IN_TURN, _END = range(3)  # first in the queue's order; within each the number of an entry
_Entry = tuple[int, int, Request | None]


@dataclass(slots=True)
class RequestQueue:
    """Requests for an engine that runs; more can be put in meanwhile, by one thread.

    What is not `wanted` when its turn comes is left out, and what is `held` then waits until `release` finds that it is
    no more.
    """

    wanted: Wanted
    held: Wanted | None = None
    unanswered: int = 0
    _counting: threading.Lock = field(default_factory=threading.Lock)
    _back: list[_Entry] = field(default_factory=list)
    _queue: queue.PriorityQueue[_Entry] = field(default_factory=queue.PriorityQueue)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def put(self, requests: Iterable[Request], *, follow_up: bool = False) -> None:
        """Add requests behind all others, or with `follow_up` before all that are none."""
        for request in requests:
            with self._counting:
                self.unanswered += 1
            self._queue.put((_FOLLOW_UP if follow_up else _IN_TURN, next(self._numbers), request))

    def answered(self, count: int) -> None:
        """Count answers; the last one closes the queue, so what follows from them must be put in before."""
        # from two threads: where requests are left out, and where answers are stored
        with self._counting:
            self.unanswered -= count
        if self.unanswered <= 0:
            self.close()

    def release(self) -> None:
        """Put the requests that were held back into the queue again, once the first one of a benchmark is held no more.

        Their numbers bring them back to their places.
        """
        with self._queue.mutex:
            first: dict[str, Request] = {}
            for *_, request in self._back:
                if request is not None:
                    first.setdefault(request.benchmark, request)
            if not first or self.held is None or all(self.wanted(r) and self.held(r) for r in first.values()):
                return
            back, self._back[:] = self._back[:], []
        for entry in back:
            self._queue.put(entry)

    def close(self) -> None:
        """Nothing more will come."""
        self._queue.put((_END, next(self._numbers), None))

    def __iter__(self) -> Iterator[Request | None]:
        """The requests in turn; None before a wait, so that the engine begins with what it has."""
        while True:
            if self._queue.empty():
                yield None
            entry = self._queue.get()
            if entry[2] is None:
                return
            if not self.wanted(entry[2]):
                self.answered(1)
            elif self.held is None or not self.held(entry[2]):
                yield entry[2]
            else:
                with self._queue.mutex:  # `release` reads the list in another thread
                    self._back.append(entry)


RunEngine = Callable[[Iterable[Request | None]], Iterator[list[Sample]]]
Batches = Callable[[Sequence[Request]], list[Request]]
"""Divides requests into the fixed batches that an engine computes, without those that are answered."""


def generate_samples(
    run_engine: RunEngine,
    requests: Sequence[Request],
    chains: Chains,
    batches: Batches | None,
    wanted: Wanted = lambda request: True,
    held: Wanted | None = None,
) -> Iterator[list[Sample]]:
    """The samples of requests and of all that builds on them, in bursts; each must be stored before the next is taken.

    With `batches` (an engine that computes fixed batches) the items of each depth are asked together, so that
    batches do not depend on what ends first; otherwise each request goes out as soon as its answers are there, before
    those of `requests` that still wait: at the end a chain would go on alone, one answer after another. What is not
    `wanted` when its turn comes is not sent.
    """

    def run_wanted(asked: Iterable[Request | None]) -> Iterator[list[Sample]]:
        return run_engine(r for r in asked if r is None or wanted(r))

    if batches is None and (chains or held is not None):
        yield from _as_they_come(run_engine, requests, chains, wanted, held)
    elif not chains:
        yield from run_wanted(requests)
    else:
        assert batches is not None
        yield from _by_depth(run_wanted, requests, chains, batches)


def _by_depth(
    run_engine: RunEngine, requests: Sequence[Request], chains: Chains, batches: Batches
) -> Iterator[list[Sample]]:
    for depth in range(1, 1 + depth_of(chains)):
        for burst in run_engine(requests) if requests else ():
            yield burst
            add_answers(chains, burst)
        fits, cut_off = fitting(chains, at_depth(chains, depth))
        yield cut_off
        add_answers(chains, cut_off)
        requests = batches(fits)


def _as_they_come(
    run_engine: RunEngine, requests: Sequence[Request], chains: Chains, wanted: Wanted, held: Wanted | None
) -> Iterator[list[Sample]]:
    waiting = RequestQueue(wanted, held)
    try:
        waiting.put(requests)
        yield from _put(waiting, [r for part in chains.values() for r in part.ready()], chains)
        if not waiting.unanswered:
            return
        for burst in run_engine(waiting):
            yield burst
            yield from _put(waiting, following(chains, burst), chains)
            waiting.answered(len(burst))
            waiting.release()
    finally:
        waiting.close()  # also where a run breaks off: the engine's own thread waits for the next request


def _put(waiting: RequestQueue, requests: list[Request], chains: Chains) -> Iterator[list[Sample]]:
    """Ask the requests that fit the context; the others end at once, and what follows from these is asked in turn."""
    while requests:
        fits, cut_off = fitting(chains, requests)
        waiting.put(fits, follow_up=True)
        if cut_off:
            yield cut_off
        requests = following(chains, cut_off)
