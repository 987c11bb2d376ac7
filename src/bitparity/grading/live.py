"""Grading code beside generation: in threads, on the cores that the engine leaves idle, never holding it up.

A sample is stored before it is graded, and a grade is stored before it counts. The queue is bounded: a sample that
finds it full is left for the pass after the generation, which has all cores.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from bitparity.benchmarks.contract import Benchmark
from bitparity.engines.registry import engine_of
from bitparity.grading.rules import grade_sample
from bitparity.records import Grade, Item, Sample
from bitparity.schema import Protocol, Variant

LEAD = 8  # answers in the queue for each worker


ENGINE_CORES = 3  # of an engine on a GPU: its loop, its worker and the process that stores the samples


class Job(NamedTuple):
    """One answer to grade, with the answers that it is built on."""

    benchmark: Benchmark
    protocol: Protocol
    item: Item
    sample: Sample
    opened: bool | None = None
    earlier: tuple[Sample, ...] = ()


Kept = Callable[[Job, Grade], None]


def grade_job(job: Job) -> Grade:
    """The verdict on one answer."""
    return grade_sample(job.benchmark, job.item, job.sample, job.protocol, job.opened, job.earlier)


def usable_cores() -> int:
    """The cores that this process may use: its affinity, and the quota of its control group where it has one."""
    cores = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        return max(1, min(cores, int(quota) // int(period)))
    except (OSError, ValueError):  # no quota
        return cores


def idle_cores(variant: Variant, facts: Mapping[str, Any]) -> int:
    """The cores that a running engine leaves idle; none beside one that computes on the CPU."""
    cores = usable_cores()
    if not engine_of(variant.engine).has_local_weights:  # nothing is computed here
        return cores
    if str(facts.get("device", "")).startswith("cuda"):
        return max(0, cores - ENGINE_CORES - (variant.engine.tensor_parallel_size or 1))
    threads = facts.get("threads")
    return max(0, cores - threads) if isinstance(threads, int) else 0


class Beside:
    """Graders that run beside an engine. `keep` is called from their threads, one call at a time."""

    def __init__(self, workers: int, keep: Kept, grade: Callable[[Job], Grade] = grade_job) -> None:
        self._keep, self._grade = keep, grade
        self._lock = threading.Lock()
        self._queue: queue.Queue[Job | None] = queue.Queue(maxsize=LEAD * workers)
        self._failure: BaseException | None = None
        self._stopped = False
        self._threads = [threading.Thread(target=self._work, name="grader", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def offer(self, job: Job) -> bool:
        """Hand an answer over; False where the queue is full (or nobody works) and it is left for later."""
        if not self._threads:
            return False
        try:
            self._queue.put_nowait(job)
        except queue.Full:
            return False
        return True

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._stopped or self._failure is not None:
                continue
            try:
                grade = self._grade(job)
                with self._lock:
                    if not self._stopped:
                        self._keep(job, grade)
            except BaseException as error:
                self._failure = error

    def close(self, *, drop: bool = False) -> None:
        """Finish what was handed over. Raises what a grader could not store. With `drop` nothing more is kept."""
        with self._lock:
            self._stopped = drop
        while drop and not self._queue.empty():
            with suppress(queue.Empty):
                self._queue.get_nowait()
        for _ in self._threads:
            self._queue.put(None)
        for thread in () if drop else self._threads:
            thread.join()
        self._threads = []
        if self._failure is not None and not drop:
            raise self._failure


def grade_jobs(jobs: Iterable[Job], workers: int) -> Iterator[tuple[Job, Grade]]:
    """The verdicts on all jobs, as they end."""
    waiting = iter(jobs)
    running: dict[Future[Grade], Job] = {}
    pool = ThreadPoolExecutor(workers, thread_name_prefix="grader")
    try:
        while True:
            while len(running) < LEAD * workers and (job := next(waiting, None)) is not None:
                running[pool.submit(grade_job, job)] = job
            if not running:
                return
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(future), future.result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)  # a test that runs must not hold up Ctrl-C
