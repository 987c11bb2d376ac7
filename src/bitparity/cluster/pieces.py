"""Pieces of a variant's work: requests, or fixed batches of them, that one device takes as a whole."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from bitparity.exam.requests import UnansweredRequests
from bitparity.generation.chains import add_answers, at_depth, depth_of, fitting, following
from bitparity.generation.plan import VariantPlan, expected_tokens
from bitparity.records import Request, RequestKey, Sample, request_key

PROMPT_COST = 1 / 16  # of a prompt's token, in answer tokens: prompts are computed in parallel
ENOUGH = 20  # answers from which a mean is worth something


def cost(sample: Sample) -> float:
    """The work in an answer, in answer tokens; what was not counted is left out."""
    return (sample.tokens or 0) + PROMPT_COST * (sample.prompt_tokens or 0)


class Lengths:
    """The mean work in an answer, by variant and benchmark, from the answers so far."""

    def __init__(self) -> None:
        self._sums: dict[tuple[str | None, str], tuple[int, float]] = {}  # answers and work; None: of all variants

    def note(self, variant: str, sample: Sample) -> None:
        """Count an answer."""
        for key in ((variant, sample.benchmark), (None, sample.benchmark)):
            count, total = self._sums.get(key, (0, 0.0))
            self._sums[key] = count + 1, total + cost(sample)

    def measured(self, variant: str, benchmark: str) -> float | None:
        """The mean of this variant's answers, else of all variants'; None where there are too few."""
        known = (self._sums.get((name, benchmark), (0, 0.0)) for name in (variant, None))
        return next((total / count for count, total in known if count >= ENOUGH), None)


@dataclass(slots=True, eq=False)
class Piece:
    """A request, or a fixed batch of them, that one device takes as a whole.

    `made` holds the requests where they are not made anew from `index`. `missing` counts those without an answer;
    `deaths` and `losses` how often an engine died with it, and a device went away with it. `device` holds it now.
    """

    benchmark: str
    missing: int
    index: int = -1
    made: Sequence[Request] | None = None
    deaths: int = 0
    losses: int = 0
    device: str = ""


@dataclass(slots=True)
class _Part:
    """The pieces of one benchmark that nobody has taken. `assumed` is the work in one until it is measured."""

    fresh: Iterator[Piece]
    left: int
    requests: int  # in a piece, on average
    assumed: float
    returned: deque[Piece] = field(default_factory=deque)

    def take(self, most: int) -> list[Piece]:
        taken = [self.returned.popleft() for _ in range(min(most, len(self.returned)))]
        taken += itertools.islice(self.fresh, most - len(taken))
        self.left -= len(taken)
        return taken


class PieceQueue:
    """The work of one variant, a `scheduling.Stock` that knows the requests.

    The plan's requests must come with those of a benchmark in a row. Where it has fixed batches a piece is a whole
    batch, and what builds on answers is asked once all answers before it are there, as on a single device. `tested`
    are the benchmarks whose answers are code that is run.
    """

    def __init__(self, variant: str, plan: VariantPlan, lengths: Lengths, tested: Container[str] = ()) -> None:
        self.variant = variant
        self.trials: deque[list[Piece]] = deque()  # to be computed apart from all else, each after an engine's death
        self._requests, self._chains, self._batches = plan.requests, plan.chains, plan.batches
        self._lengths, self._tested = lengths, tested
        self._parts: dict[str, _Part] = {}
        self._open: dict[RequestKey, Piece] = {}  # the requests that devices hold
        self._depth = 0
        if plan.batches is None:
            for benchmark, start, stop in spans(plan.requests):
                fresh = (Piece(benchmark, 1, index) for index in range(start, stop))
                self._parts[benchmark] = _Part(fresh, stop - start, 1, _assumed([plan.requests[start]]))
        else:
            self._add_batches(plan.requests)

    def _add_batches(self, requests: Iterable[Request]) -> None:
        for (benchmark, _), group in itertools.groupby(requests, lambda r: (r.benchmark, r.batch)):
            made = list(group)
            self._put(Piece(benchmark, len(made), made=made))

    def start(self) -> list[Sample]:
        """Put in what builds on answers of an earlier run; the samples of requests that have no room any more."""
        if self._batches is not None:
            return []
        requests, full = fitting(self._chains, [r for part in self._chains.values() for r in part.ready()])
        for request in requests:
            self._put(_single(request))
        return full

    def left(self) -> int:
        """Pieces that no device holds."""
        return sum(part.left for part in self._parts.values()) + sum(map(len, self.trials))

    def work(self) -> float:
        """The work in `left`, in expected answer tokens."""
        per_piece = {b: part.requests * self._expected(b, part) for b, part in self._parts.items() if part.left}
        trials = sum(len(trial) for trial in self.trials)
        mean = sum(per_piece.values()) / len(per_piece) if per_piece else 1.0
        return sum(self._parts[b].left * each for b, each in per_piece.items()) + trials * mean

    def _expected(self, benchmark: str, part: _Part) -> float:
        found = self._lengths.measured(self.variant, benchmark)
        return part.assumed if found is None else found

    def _expected_longest(self, benchmark: str, part: _Part) -> float:
        return expected_tokens(self._lengths.measured(self.variant, benchmark), part.assumed, benchmark in self._tested)

    def finished(self) -> bool:
        """True where nothing is to be done any more, nor under way."""
        return not self._open and not self.left()

    def take(self, most: int) -> list[Piece]:
        """At most so many pieces of one benchmark, that first whose answers may be longest."""
        waiting = [(self._expected_longest(b, part), part) for b, part in self._parts.items() if part.left]
        return self._taken(max(waiting, key=lambda entry: entry[0])[1].take(most)) if waiting else []

    def take_trial(self) -> list[Piece]:
        """The pieces of the next trial."""
        return self._taken(self.trials.popleft())

    def _taken(self, pieces: list[Piece]) -> list[Piece]:
        for piece in pieces:
            requests = self.requests(piece)
            piece.missing = len(requests)
            self._open.update((request_key(request), piece) for request in requests)
        return pieces

    def requests(self, piece: Piece) -> Sequence[Request]:
        """The requests of a piece, in order."""
        return [self._requests[piece.index]] if piece.made is None else piece.made

    def ended(self, sample: Sample) -> Piece | None:
        """Note an answer; its piece where that is whole now. None too for an answer that nobody waits for."""
        piece = self._open.pop(request_key(sample), None)
        if piece is None:
            return None
        self._lengths.note(self.variant, sample)
        piece.missing -= 1
        return None if piece.missing else piece

    def give_back(self, pieces: Iterable[Piece]) -> None:
        """Pieces whose device is gone: they come next."""
        for piece in pieces:
            self.close(piece)
            self._put(piece)

    def close(self, piece: Piece) -> list[Request]:
        """Nobody works on a piece any more; its requests without an answer."""
        return [r for r in self.requests(piece) if self._open.pop(request_key(r), None) is not None]

    def _put(self, piece: Piece) -> None:
        requests = self.requests(piece)
        part = self._parts.setdefault(piece.benchmark, _Part(iter(()), 0, len(requests), _assumed(requests)))
        part.returned.append(piece)
        part.left += 1

    def follow(self, sample: Sample) -> tuple[list[Piece], list[Sample]]:
        """The pieces that build on a stored answer, for the device that gave it, and samples that have no room."""
        if self._batches is not None:
            add_answers(self._chains, [sample])
            return [], []
        requests, full = fitting(self._chains, following(self._chains, [sample]))
        return self._taken([_single(request) for request in requests]), full

    def deepen(self) -> list[Sample]:
        """Put in the batches that build on what is finished; the samples of requests that have no room."""
        assert self._batches is not None, "the caller has asked `deeper`"
        self._depth += 1
        requests, full = fitting(self._chains, at_depth(self._chains, self._depth))
        self._add_batches(self._batches(requests))
        return full

    def deeper(self) -> bool:
        """True where `deepen` may bring more."""
        return self._batches is not None and self._depth + 1 < depth_of(self._chains)

    def drop(self, benchmark: str) -> None:
        """Drop all of a benchmark that no device holds; what builds on its answers is asked no more."""
        self._chains.pop(benchmark, None)
        if (part := self._parts.get(benchmark)) is not None and part.left:
            part.fresh, part.left = iter(()), 0
            part.returned.clear()

    def abandon(self) -> None:
        """Drop all that no device holds."""
        # deeper than any chain, so that nothing follows
        self._parts, self._depth = {}, 1 << 30
        self.trials.clear()


def spans(requests: Sequence[Request]) -> Iterator[tuple[str, int, int]]:
    """(benchmark, start, stop) of each benchmark's requests in a row."""
    if isinstance(requests, UnansweredRequests):
        yield from requests.spans()
        return
    start = 0
    for benchmark, group in itertools.groupby(requests, lambda r: r.benchmark):
        stop = start + sum(1 for _ in group)
        yield benchmark, start, stop
        start = stop


def _single(request: Request) -> Piece:
    return Piece(request.benchmark, 1, made=(request,))


def _assumed(requests: Sequence[Request]) -> float:
    """The work that one of these requests is taken for: its whole budget, or a scored one's prompt."""
    return max(1.0 if r.scored is not None else float(r.sampling.max_tokens) for r in requests)
