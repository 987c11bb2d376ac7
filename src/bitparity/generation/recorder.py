"""Recorder of a variant's samples: stored, counted, told to listeners and given to the graders, in this order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Self

from bitparity.errors import DiskFullError
from bitparity.generation.prepare import Prepared
from bitparity.generation.stops import Stops
from bitparity.grading.live import LiveGrading
from bitparity.grading.rules import Job, grade_job
from bitparity.progress.events import Events, SamplesStored
from bitparity.records import Grade, RequestKey, Sample, output_tokens, request_key
from bitparity.store.environment import Generation
from bitparity.store.jsonl import AppendLog
from bitparity.store.rows import sample_to_row


class Recorder:
    """The only writer of a variant's samples; use it as a context manager.

    What it stores is graded on `idle_cores` cores where there is time, also after the block has ended: `keep_grading`.
    With None nothing is graded here. What `stops` looks at is graded for the looks. `run_code` grades an answer whose
    code is run.
    """

    def __init__(
        self,
        prepared: Prepared,
        name: str,
        events: Events,
        idle_cores: int | None,
        run_code: Callable[[Job], Grade] = grade_job,
        stops: Stops | None = None,
    ) -> None:
        self._stops = stops
        self._prepared, self._name, self._events = prepared, name, events
        run = prepared.run
        self._stored = {bench: prepared.done(name, bench) for bench in prepared.exams}
        self._failed: set[RequestKey] = set()
        self._logs = {bench: AppendLog(run.samples_path(name, bench), run.write) for bench in prepared.exams}
        self._live: LiveGrading | None = None
        if idle_cores is not None:
            looked_at = stops.may_stop if stops is not None else set()
            exams = {bench: exam for bench, exam in prepared.exams.items() if bench not in looked_at}
            self._live = LiveGrading(run, name, exams, prepared.graders, idle_cores, events, run_code)
        stored = prepared.environment.variants[name]
        self._total = stored.generation = stored.generation or Generation(seconds=0.0, samples=0, output_tokens=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is KeyboardInterrupt:
            self._prepared.run.full_disk.give_up()  # a grader that waits for room holds up the end
        for log in self._logs.values():
            log.close()
        if self._live is not None:
            self._live.close(drop=True)

    def keep_grading(self) -> Callable[[], None]:
        """A function that ends the grading of the samples stored so far: to be called once, also after the block."""
        live, self._live = self._live, None
        return (lambda: None) if live is None else live.close

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Adds the wall seconds inside to the variant's generation, over all sessions."""
        started = time.monotonic()
        try:
            yield
        except KeyboardInterrupt:
            self._prepared.run.full_disk.give_up()
            raise
        finally:
            with suppress(DiskFullError):  # nobody waits for room any more
                self.add_seconds(time.monotonic() - started)

    def add_seconds(self, seconds: float) -> None:
        """Seconds that one device has generated, added to the variant's generation over all sessions and devices."""
        self._total.seconds = round(self._total.seconds + seconds, 3)
        self._prepared.save_environment()

    def store(self, burst: Sequence[Sample]) -> None:
        """Keep a burst; what was stored before is dropped. All of it is durable when this returns."""
        fresh = [sample for sample in burst if self._is_fresh(sample)]
        for bench, log in self._logs.items():
            if rows := [sample_to_row(sample) for sample in fresh if sample.benchmark == bench]:
                log.append(rows)
        self._total.samples = (self._total.samples or 0) + len(fresh)
        self._total.output_tokens = output_tokens(fresh, self._total.output_tokens)
        # only now, when the lines are durable: what listeners and graders see must not be lost again
        self._events.emit(SamplesStored(self._name, fresh))
        if self._live is not None:
            self._live.take(fresh)
        if self._stops is not None:
            self._stops.take(fresh)

    def _is_fresh(self, sample: Sample) -> bool:
        stored, key = self._stored[sample.benchmark], (sample.item, sample.sample)
        if key in stored or (sample.finish == "error" and request_key(sample) in self._failed):
            return False
        if sample.finish == "error":
            self._failed.add(request_key(sample))
        else:
            stored.add(key)
        return True
