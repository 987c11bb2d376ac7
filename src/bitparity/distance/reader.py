"""Reading: a running engine reads the baseline's answers, and what it makes of each is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass

import numpy as np

from bitparity.distance.divergence import TokenDistances, distances
from bitparity.distance.store import (
    AGAIN,
    Reading,
    ReadingLog,
    compared_reading,
    first_reading,
    likeliest,
    load_arrays,
    load_readings,
)
from bitparity.distance.texts import Answer
from bitparity.engines.readings import TOP, Arrays, arrays_of
from bitparity.records import Reading as Wanted
from bitparity.records import Request, Sample, SampleKey, Sampling
from bitparity.store.run import Run

TOKENS_AT_ONCE = 200_000  # asked of the engine before anything of it is stored: bounds memory at 170 bytes a token
RunEngine = Callable[[Sequence[Request]], Iterator[list[Sample]]]


@dataclass(frozen=True, slots=True)
class Readers:
    """The readings of one run: the answers, who reads them how, and where they are stored.

    `top` is the number of likeliest tokens told at each position; `beside` is the baseline's resolved variant as JSON
    where its whole vocabulary is compared.
    """

    run: Run
    baseline: str
    answers: Sequence[Answer]
    top: int = TOP
    beside: dict[str, object] | None = None

    def missing(self, reader: str) -> list[Answer]:
        """The answers of which this reader has no whole reading with these settings."""
        benchmarks = dict.fromkeys(answer.benchmark for answer in self.answers)
        stored = {name: load_readings(self.run, reader, name) for name in benchmarks}
        return [answer for answer in self.answers if not self._has(stored[answer.benchmark].get(answer.key), answer)]

    def _has(self, reading: Reading | None, answer: Answer) -> bool:
        return (
            reading is not None
            and reading.error is None
            and reading.answer == answer.fingerprint
            and reading.top == self.told
        )

    @property
    def told(self) -> int | None:
        """What a stored reading has as its `top`."""
        return None if self.beside is not None else self.top

    def waiting(self, variant: str) -> list[str]:
        """The readers of a variant with something left to read: the baseline reads twice."""
        readers = [variant, variant + AGAIN] if variant == self.baseline else [variant]
        return [reader for reader in readers if self.missing(reader)]

    def read(self, reader: str, run_engine: RunEngine, told: Callable[[int], None]) -> str | None:
        """Have an engine read what is missing; `told` is called with the number of answers that were stored.

        Returns the reason where the engine gave no reading of any answer of a whole round: then the rest is not asked.
        """
        again = reader.endswith(AGAIN)
        waiting = self.missing(reader)
        if again:
            waiting.reverse()  # other neighbours in the batch than the first time
        with ExitStack() as stack:
            benchmarks = dict.fromkeys(answer.benchmark for answer in waiting)
            logs = {name: stack.enter_context(closing(ReadingLog(self.run, reader, name))) for name in benchmarks}
            whole = {name: load_readings(self.run, self.baseline, name) for name in self._compared_here(reader, logs)}
            for part in _rounds(waiting):
                failures = [
                    failure
                    for burst in _counted(run_engine(self._requests(part, again)), told)
                    for failure in self._store(reader, part, burst, logs, whole)
                ]
                if len(failures) == len(part):
                    return failures[0]
        return None

    def _requests(self, answers: Sequence[Answer], again: bool) -> list[Request]:
        wanted = Wanted(self.top, self.beside)
        together = 2 if again else 1  # a batch's shape decides the rounding of its numbers
        return [
            Request(
                *(answer.benchmark, answer.item, answer.sample, Sampling(1), 0),
                scored=((answer.context, answer.ids),),
                batch=number // together,
                reading=wanted,
            )
            for number, answer in enumerate(answers)
        ]

    def _store(
        self,
        reader: str,
        part: Sequence[Answer],
        burst: Sequence[Sample],
        logs: Mapping[str, ReadingLog],
        whole: Mapping[str, Mapping[SampleKey, Reading]],
    ) -> list[str]:
        """Store a burst; gives the reasons of the samples that are no reading."""
        known = {(answer.benchmark, *answer.key): answer for answer in part}
        failures = []
        for name, log in logs.items():
            pairs = []
            base = self._base(name, [known[name, s.item, s.sample] for s in burst if s.benchmark == name], whole)
            for sample in (s for s in burst if s.benchmark == name):
                answer = known[name, sample.item, sample.sample]
                pair = self._made(reader, answer, sample, base.get(answer.key))
                if (why := pair[0].error) is not None:
                    failures.append(why)
                pairs.append(pair)
            if pairs:
                log.append(pairs)
        return failures

    def _compared_here(self, reader: str, benchmarks: Iterable[str]) -> list[str]:
        """The benchmarks of which readings are compared with the baseline's stored ones, and not in the engine."""
        return [] if reader == self.baseline or self.beside is not None else list(benchmarks)

    def _base(
        self, benchmark: str, answers: Sequence[Answer], whole: Mapping[str, Mapping[SampleKey, Reading]]
    ) -> dict[SampleKey, Arrays]:
        """The numbers of the baseline's first readings of these answers."""
        stored = whole.get(benchmark, {})
        there = [answer.key for answer in answers if self._has(stored.get(answer.key), answer)]
        arrays = load_arrays(self.run, self.baseline, benchmark, [stored[key] for key in there]) if there else []
        return dict(zip(there, arrays, strict=True))

    def _made(self, reader: str, answer: Answer, sample: Sample, base: Arrays | None) -> tuple[Reading, Arrays | None]:
        try:
            if sample.finish == "error":
                raise ValueError(sample.error or "no reason was given")
            arrays = arrays_of(sample)
            if len(arrays["chosen"]) != len(answer.ids):
                raise ValueError(f"it told of {len(arrays['chosen'])} tokens where {len(answer.ids)} were asked for")
            if reader == self.baseline:
                return first_reading(answer, arrays, self.told, sample.seconds)
            found, more = self._distances(arrays, base)
            return compared_reading(answer, found, more, self.told, sample.seconds)
        except (ValueError, KeyError) as error:
            return Reading(answer.item, answer.sample, answer.fingerprint, self.told, error=str(error)), None

    def _distances(self, arrays: Arrays, base: Arrays | None) -> tuple[TokenDistances, Arrays]:
        """The distances of one answer, and what else is kept by token."""
        own = likeliest(arrays)
        surprise = {"surprise": -own.chosen}
        if "divergence" not in arrays:
            if base is None:
                raise ValueError("the baseline has not read this answer")
            return distances(likeliest(base), own), surprise
        bound = distances(likeliest(arrays, "base_"), own)
        whole = TokenDistances(arrays["divergence"], bound.lost, bound.differs, np.ones(len(own.chosen)))
        return whole, {**surprise, "bound": bound.divergence.astype(np.float32)}


def _counted(bursts: Iterator[list[Sample]], told: Callable[[int], None]) -> Iterator[list[Sample]]:
    """The bursts, each told of once it was taken care of."""
    for burst in bursts:
        yield burst
        told(len(burst))


def _rounds(answers: Sequence[Answer]) -> Iterator[list[Answer]]:
    """The answers in their order, in parts of at most TOKENS_AT_ONCE tokens; the first is small, as a trial."""
    part: list[Answer] = []
    tokens, most = 0, TOKENS_AT_ONCE // 50
    for answer in answers:
        length = len(answer.context) + len(answer.ids)
        if part and tokens + length > most:
            yield part
            part, tokens, most = [], 0, TOKENS_AT_ONCE
        part.append(answer)
        tokens += length
    if part:
        yield part
