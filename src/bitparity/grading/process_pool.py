"""Grading: what holds for every benchmark before and around its own `grade`.

The reasoning is parted from the answer and never graded, failures of the engine or of a grader stay
unscored, and graders that may hang run in processes of their own, which are killed at a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, Pipe, wait
from typing import Any, Self

from bitparity.benchmarks.contract import Benchmark
from bitparity.errors import BitparityError
from bitparity.grading.rules import _unscored, grade_sample
from bitparity.records import Grade, Item, Sample
from bitparity.schema import Protocol

WORTH_A_WORKER = 32  # pairs; loading a grader takes as long as grading so many


LEAD = 8  # pairs in flight a worker, so that one slow item does not idle the others


GRACE_S = 5.0  # a worker ends itself this long after its deadline, should its parent be gone


WORKER_CODE = (  # Ctrl-C reaches the whole group: whoever holds the pipe decides, also while this one imports
    "import json, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = json.loads(sys.argv[2]); "
    "from bitparity.grading.process_pool import _serve; _serve()"
)


LOAD_S = 120.0  # a worker that has not loaded its grader by then is broken


def grade_all(
    benchmark: Benchmark,
    pairs: Sequence[tuple[Item, Sample]],
    protocol: Protocol,
    workers: int,
    timeout_s: float,
    opened: bool | None = None,
) -> Iterator[Grade]:
    """The verdicts on all pairs, lazily and in their order; `opened` as in `split_reasoning`.

    A benchmark with a slow grader is graded by a `Crew` of `workers` processes.
    """
    if not benchmark.slow_grader:
        yield from (grade_sample(benchmark, item, sample, protocol, opened) for item, sample in pairs)
        return
    with Crew(benchmark, protocol, workers, timeout_s, opened) as crew:
        yield from crew.grade(pairs)


class Crew:
    """Processes for a slow grader, at most `most`, started as there is work for them.

    One pair that takes over `timeout_s` seconds has its process killed and is unscored. Verdicts do not depend on
    the number of workers.
    """

    def __init__(
        self, benchmark: Benchmark, protocol: Protocol, most: int, timeout_s: float, opened: bool | None
    ) -> None:
        self._job = (benchmark, protocol, timeout_s, opened)
        self._most = most
        self._workers: list[_Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def grade(self, pairs: Sequence[tuple[Item, Sample]]) -> Iterator[Grade]:
        """The verdicts, lazily and in the pairs' order; one call must be read to its end before the next."""
        while len(self._workers) < min(self._most, -(-len(pairs) // WORTH_A_WORKER)):
            self._workers.append(_Worker(*self._job))
        yield from _conduct(self._workers, pairs)

    def close(self) -> None:
        """End the processes."""
        for worker in self._workers:
            worker.kill()
        self._workers = []


def _conduct(crew: list[_Worker], pairs: Sequence[tuple[Item, Sample]]) -> Iterator[Grade]:
    done: dict[int, Grade] = {}
    given = 0
    for index in range(len(pairs)):
        while index not in done:
            for worker in crew:
                if worker.index is None and given < min(len(pairs), index + LEAD * len(crew)):
                    worker.give(given, *pairs[given])
                    given += 1
            done.update(_collect([w for w in crew if w.index is not None]))
        yield done.pop(index)


def _collect(busy: list[_Worker]) -> Iterator[tuple[int, Grade]]:
    """Wait for the first answer or the next deadline, then give all that ended."""
    patience = max(0.0, min(w.deadline for w in busy) - time.monotonic())
    ready = wait([w.pipe for w in busy], timeout=patience)
    for worker in busy:
        if worker.pipe in ready or time.monotonic() >= worker.deadline:
            index, grade = worker.index, worker.take()
            if grade is not None and index is not None:
                worker.index = None
                yield index, grade


class _Worker:
    """A process that grades one pair at a time; it is started anew after it died or was killed."""

    def __init__(self, benchmark: Benchmark, protocol: Protocol, timeout_s: float, opened: bool | None) -> None:
        self.benchmark, self.protocol, self.timeout_s, self.opened = benchmark, protocol, timeout_s, opened
        self.index: int | None = None
        self.start()

    def start(self) -> None:
        self.pipe, theirs = Pipe()
        # a fresh interpreter: no fork of a process that may hold threads, nothing imported that is not needed
        command = [sys.executable, "-c", WORKER_CODE, str(theirs.fileno()), json.dumps(sys.path)]
        self.process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        theirs.close()
        self.loaded = False
        self.deadline = time.monotonic() + LOAD_S
        self.pipe.send((type(self.benchmark), self.benchmark.spec, self.protocol, self.timeout_s, self.opened))

    def give(self, index: int, item: Item, sample: Sample) -> None:
        """Hand over a pair. Its deadline runs from now, or from when the grader has been loaded."""
        self.index = index
        if self.loaded:
            self.deadline = time.monotonic() + self.timeout_s
        with contextlib.suppress(OSError):  # a dead worker shows when its verdict is taken
            self.pipe.send((item, sample))

    def take(self) -> Grade | None:
        """The verdict on the pair given, None where the grader has only been loaded now.

        A process that hangs or died is replaced and its pair unscored. Raises BitparityError where the grader
        cannot even be loaded.
        """
        try:
            message: Grade | None = self.pipe.recv() if self.pipe.poll() else self._replace(hangs=True)
        except (EOFError, OSError):
            message = self._replace(hangs=False)
        if message is None:
            self.loaded, self.deadline = True, time.monotonic() + self.timeout_s
        return message

    def _replace(self, hangs: bool) -> Grade:
        if hangs:
            self.process.kill()
        code = self.process.wait()
        if not self.loaded:
            reason = f"was not ready after {LOAD_S:g} s" if hangs else f"ended with code {code}"
            raise BitparityError(f"the grader of {self.benchmark.spec.name} {reason}; see the lines above")
        self.kill()
        self.start()
        return _unscored(
            f"the grader took over {self.timeout_s:g} s and was stopped"
            if hangs
            else f"the grader's process ended with code {code}"
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.pipe.close()


def _serve() -> None:
    """The main function of a worker: grade what comes until the parent goes."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, OSError):
        kind, spec, protocol, timeout_s, opened = pipe.recv()
        benchmark = kind(spec)
        benchmark.load_grader()
        pipe.send(None)
        while True:
            item, sample = pipe.recv()
            # the default action of SIGALRM ends the process even inside C code
            signal.setitimer(signal.ITIMER_REAL, timeout_s + GRACE_S)
            grade = grade_sample(benchmark, item, sample, protocol, opened)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send(grade)
    os._exit(0)
