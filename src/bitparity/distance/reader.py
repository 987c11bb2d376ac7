"""Reading: a running engine reads the baseline's answers, and what it makes of each is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from bitparity.distance.figures import TokenDistances, distances, estimated, exact
from bitparity.distance.store import (
    AGAIN,
    Reading,
    ReadingLog,
    compared_reading,
    first_reading,
    load_arrays,
    load_readings,
)
from bitparity.distance.texts import Answer
from bitparity.engines.readings import DRAWN, TOP, Arrays, arrays_of, named_text
from bitparity.records import Reading as Wanted
from bitparity.records import Request, Sample, SampleKey, Sampling, request_key
from bitparity.store.run import Run

TOKENS_AT_ONCE = 200_000  # asked of the engine before anything of it is stored: bounds memory at some 350 bytes a token
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
        return [answer for answer in self.answers if not self.has(stored[answer.benchmark].get(answer.key), answer)]

    def has(self, reading: Reading | None, answer: Answer) -> bool:
        """True for a whole reading of this very answer with these settings."""
        if reading is None or reading.error is not None:
            return False
        return (reading.answer, reading.top) == (answer.fingerprint, self.told)

    @property
    def told(self) -> int | None:
        """The `top` of a stored reading."""
        return None if self.beside is not None else self.top

    def waiting(self, variant: str) -> list[str]:
        """The readers of a variant with something left to read: the baseline reads twice."""
        readers = [variant, variant + AGAIN] if variant == self.baseline else [variant]
        return [reader for reader in readers if self.missing(reader)]

    def read(self, reader: str, run_engine: RunEngine, told: Callable[[int], None]) -> str | None:
        """Have an engine read what is missing; `told` is called with the number of answers that were stored.

        Returns the reason where the engine gave no reading of any answer of a whole round: then the rest is not asked.
        """
        with closing(OpenReader(self, reader)) as opened:
            for part in _rounds(opened.answers):
                failures = []
                for burst in run_engine(opened.requests(part)):
                    failures += opened.store(burst)
                    told(len(burst))
                if len(failures) == len(part):
                    return failures[0]
        return None


class OpenReader:
    """One reader at work: `answers` are those that it has not read yet, in the order in which it reads them."""

    def __init__(self, readers: Readers, reader: str) -> None:
        self._readers, self._reader, self._again = readers, reader, reader.endswith(AGAIN)
        # in the other order the second time: a batch holds other neighbours then
        self.answers = readers.missing(reader)[:: -1 if self._again else 1]
        self._known = {(answer.benchmark, *answer.key): answer for answer in self.answers}
        names = list(dict.fromkeys(answer.benchmark for answer in self.answers))
        self._logs = {name: ReadingLog(readers.run, reader, name) for name in names}
        # compared here with the baseline's stored numbers, or else by the engine
        here = reader != readers.baseline and readers.beside is None
        self._whole = {name: load_readings(readers.run, readers.baseline, name) for name in names if here}

    def requests(self, answers: Sequence[Answer]) -> list[Request]:
        """The requests for some of the answers."""
        names = dict.fromkeys(answer.benchmark for answer in answers)
        base = {name: self._base(name, [a for a in answers if a.benchmark == name]) for name in names}
        together = 2 if self._again else 1  # a batch's shape decides the rounding of its numbers
        return [
            Request(
                *(answer.benchmark, answer.item, answer.sample, Sampling(1), 0),
                scored=((answer.context, answer.ids),),
                batch=number // together,
                reading=self._wanted(base[answer.benchmark].get(answer.key)),
            )
            for number, answer in enumerate(answers)
        ]

    def store(self, burst: Sequence[Sample]) -> list[str]:
        """Store what an engine gave; returns the reasons of those samples that are no reading."""
        failures = []
        for name, log in self._logs.items():
            samples = [sample for sample in burst if sample.benchmark == name]
            base = self._base(name, [self._known[request_key(sample)] for sample in samples])
            pairs = [self._made(self._known[request_key(s)], s, base.get((s.item, s.sample))) for s in samples]
            failures += [reading.error for reading, _ in pairs if reading.error is not None]
            if pairs:
                log.append(pairs)
        return failures

    def _wanted(self, base: Arrays | None) -> Wanted:
        """The request for one answer: the baseline's first reading is to draw tokens, others are to tell of these."""
        top, beside = self._readers.top, self._readers.beside
        if beside is not None:
            return Wanted(top, beside)
        if self._reader == self._readers.baseline:
            return Wanted(top, drawn=DRAWN)
        return Wanted(top, named=None if base is None else named_text(base))

    def _base(self, benchmark: str, answers: Sequence[Answer]) -> dict[SampleKey, Arrays]:
        """The numbers of the baseline's first readings of these answers."""
        stored = self._whole.get(benchmark, {})
        there = [answer.key for answer in answers if self._readers.has(stored.get(answer.key), answer)]
        run, baseline = self._readers.run, self._readers.baseline
        arrays = load_arrays(run, baseline, benchmark, [stored[key] for key in there]) if there else []
        return dict(zip(there, arrays, strict=True))

    def _made(self, answer: Answer, sample: Sample, base: Arrays | None) -> tuple[Reading, Arrays | None]:
        told = self._readers.told
        try:
            if sample.finish == "error":
                raise ValueError(sample.error or "no reason was given")
            arrays = arrays_of(sample)
            if len(arrays["chosen"]) != len(answer.ids):
                raise ValueError(f"it told of {len(arrays['chosen'])} tokens where {len(answer.ids)} were asked for")
            if self._reader == self._readers.baseline:
                return first_reading(answer, arrays, told, sample.seconds)
            found, more = _distances(arrays, base)
            return compared_reading(answer, found, more, told, sample.seconds)
        except (ValueError, KeyError) as error:
            return Reading(answer.item, answer.sample, answer.fingerprint, told, error=str(error)), None

    def close(self) -> None:
        """Close the files."""
        for log in self._logs.values():
            log.close()


def _distances(own: Arrays, base: Arrays | None) -> tuple[TokenDistances, Arrays]:
    """The distances of one answer, and what else is kept by token."""
    bound = None
    if "divergence" in own:
        whole, bound = exact(own)
    elif base is None:
        raise ValueError("the baseline has not read this answer")
    elif "named" in own:
        whole, bound = estimated(base, own)
    else:
        whole = distances(base, own)
    return whole, {"surprise": -own["chosen"]} | ({} if bound is None else {"bound": bound.astype(np.float32)})


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
