"""Pool of graders: threads, and processes that are killed at a deadline for graders that may hang.

A fast grader grades where its answers are put in, or beside an engine in one thread. Model-written code is run from
many threads; the sandbox stops it. A slow grader may hang, even inside C code, so each of its threads has a process of
its own, whose limit is in CPU seconds: a busy machine leaves no answer unscored.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, Pipe
from typing import Any, Self

from bitparity.benchmarks.contract import Benchmark
from bitparity.errors import BitparityError
from bitparity.grading.rules import Job, grade_job, grade_sample, unscored
from bitparity.records import Grade
from bitparity.sandbox.gate import Gate

GRADER_TIMEOUT_S = 20.0  # CPU seconds for one answer; Math-Verify needs milliseconds, its worst cases never end
LOAD_TIMEOUT_S = 120.0  # a process that has not loaded its grader by then is broken
GRACE_S = 5.0  # a process ends itself this long after its backstop, should its parent be gone
JOBS_PER_PROCESS = 32  # waiting jobs that justify another process; loading a grader takes as long as grading so many
QUEUE_PER_THREAD = 8  # code answers that wait for each thread
BATCH = 256  # grades stored together, at most

_WORKER = (  # Ctrl-C reaches the whole process group, also while this process imports: the parent ends it
    "import json, signal, sys; signal.signal(signal.SIGINT, signal.SIG_IGN); sys.path[:] = json.loads(sys.argv[2]); "
    "from bitparity.grading.process_pool import serve; serve()"
)

Graded = Sequence[tuple[Job, Grade]]
Keep = Callable[[Graded], None]
"""Stores or counts grades."""


class GradingPool:
    """Threads that grade from one queue; `keep` receives the grades, one call at a time.

    The pool fits benchmarks of one kind: fast, slow, or running code, which `run_code` grades. Threads start as jobs
    come in. Use it as a context manager: leaving the block finishes all jobs and raises the first failure; an error
    inside the block drops them. Whoever adds a code answer to a full queue waits; one that is `live` takes every answer
    and leaves those that wait at its end to a pass with more cores.
    """

    def __init__(
        self,
        benchmark: Benchmark,
        threads: int,
        keep: Keep,
        run_code: Callable[[Job], Grade] = grade_job,
        timeout_s: float = GRADER_TIMEOUT_S,
        live: bool = False,
    ) -> None:
        code, slow = benchmark.runs_code, benchmark.slow_grader and not benchmark.runs_code
        self._keep = keep
        self._processes = GraderProcesses(timeout_s)
        self._fast = not (code or slow)
        self._grade = run_code if code else self._processes.grade if slow else grade_job
        self._most_threads = threads if code or slow else 1
        self._jobs_per_thread = JOBS_PER_PROCESS if slow else 0
        # a test of code takes seconds: its grade is stored at once, and only few answers wait in memory
        self._batch = 1 if code else BATCH
        self._most_waiting = QUEUE_PER_THREAD * threads if code else None
        self._live = live
        self._queue: queue.Queue[Job | None] = queue.Queue(0 if live else self._most_waiting or 0)
        self._threads: list[threading.Thread] = []
        self._graded: list[tuple[Job, Grade]] = []
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._dropped = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(drop=kind is not None)

    def put(self, job: Job) -> None:
        """Add a job. A fast grader that is not live grades it now: handing it to a thread costs as much."""
        if self._fast and not self._live:
            self._add(job, more=True)
            return
        self._queue.put(job)
        running = len(self._threads)
        if running < self._most_threads and self._queue.qsize() > self._jobs_per_thread * running:
            self._threads.append(threading.Thread(target=self._work, name="grader", daemon=True))
            self._threads[-1].start()

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            if self._dropped or self._failure is not None:
                continue
            try:
                self._add(job, more=False)
            except BaseException as error:
                self._failure = error
        self._queue.put(None)  # for the next thread

    def _add(self, job: Job, *, more: bool) -> None:
        """Grade a job; keep what is graded where that is a batch, or no job waits and no `more` are to come."""
        grade = self._grade(job)
        with self._lock:
            self._graded.append((job, grade))
            if len(self._graded) >= self._batch or (not more and self._queue.empty()):
                self._flush()

    def _flush(self) -> None:
        graded, self._graded = self._graded, []
        if graded and not self._dropped:
            self._keep(graded)

    def close(self, *, drop: bool = False) -> None:
        """Finish the jobs. Raises the first failure of a grader or of `keep`. With `drop` nothing more is kept."""
        with self._lock:
            self._dropped = drop
        left = 0 if drop else self._most_waiting
        while left is not None and self._queue.qsize() > left:
            with contextlib.suppress(queue.Empty):
                self._queue.get_nowait()
        if self._threads:
            self._queue.put(None)
        try:
            for thread in () if drop else self._threads:
                thread.join()
            if self._failure is not None and not drop:
                raise self._failure
            self._flush()
        finally:
            self._dropped = True  # also where Ctrl-C ended the wait
            self._processes.close()


class ProcessFailedError(Exception):
    """A process for a grader was too late, and is killed, or has died; the message says which."""


class GraderProcesses:
    """Processes for slow graders, one for each thread that calls `grade` at the same time."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._gate = Gate()
        self._closed = False
        self._all: list[_Process] = []
        self._idle: list[_Process] = []

    def grade(self, job: Job) -> Grade:
        """The grade of one sample; unscored where its process was stopped or died, twice, the second time alone.

        Raises BitparityError where the grader cannot even be loaded.
        """
        with contextlib.suppress(ProcessFailedError), self._gate.beside_others():
            return self._ask(job)
        try:
            with self._gate.undisturbed():
                return self._ask(job)
        except ProcessFailedError as error:
            return unscored(f"the grader {error}")

    def _ask(self, job: Job) -> Grade:
        process = self._take(job.benchmark)
        try:
            grade: Grade = process.ask(job[1:], _backstop_s(self._timeout_s))
        except ProcessFailedError:
            with self._lock:
                self._all.remove(process)
            raise
        self._idle.append(process)
        return grade

    def _take(self, benchmark: Benchmark) -> _Process:
        with self._lock:
            if self._closed:
                raise ProcessFailedError("was stopped")
            process = next((p for p in self._idle if p.benchmark is benchmark), None)
            if process is not None:
                self._idle.remove(process)
                return process
            process = _Process(benchmark)
            self._all.append(process)
        process.load(self._timeout_s)
        return process

    def close(self) -> None:
        """Kill all processes, busy ones too."""
        with self._lock:
            self._closed = True
            for process in self._all:
                process.kill()


class _Process:
    """A fresh interpreter that grades one sample at a time.

    It is not forked, since this process may hold threads, and imports nothing that the grader does not need.
    """

    def __init__(self, benchmark: Benchmark) -> None:
        self.benchmark = benchmark
        self._cpu_s = 0.0
        self._pipe, theirs = Pipe()
        command = [sys.executable, "-c", _WORKER, str(theirs.fileno()), json.dumps(sys.path)]
        self._process = subprocess.Popen(
            command, pass_fds=(theirs.fileno(),), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        theirs.close()

    def load(self, timeout_s: float) -> None:
        """Load the grader; its answers may take `timeout_s` CPU seconds each. Raises BitparityError where it cannot."""
        self._cpu_s = timeout_s
        try:
            self.ask((type(self.benchmark), self.benchmark.spec, timeout_s), LOAD_TIMEOUT_S)
        except ProcessFailedError as error:
            raise BitparityError(f"the grader of {self.benchmark.spec.name} {error}; see the lines above") from None

    def ask(self, message: tuple[object, ...], timeout_s: float) -> Any:
        """Send one message and wait for the reply. Raises ProcessFailedError where the process is late or dead."""
        try:
            self._pipe.send(message)
            if self._pipe.poll(timeout_s):
                return self._pipe.recv()
            reason = f"took over {timeout_s:g} s and was stopped"
        except (EOFError, OSError):
            code = self._process.wait()
            reason = f"ended with code {code}"
            if code == -signal.SIGPROF:
                reason = f"took over {self._cpu_s:g} CPU seconds and was stopped"
        self.kill()
        raise ProcessFailedError(reason)

    def kill(self) -> None:
        """Kill the process; whoever waits for its reply meets the end of the pipe."""
        self._process.kill()
        self._process.wait()


def _backstop_s(cpu_s: float) -> float:
    """Seconds by the clock after which a grader that computes too little to reach its limit is stopped."""
    return 10 * cpu_s + 1


def serve() -> None:
    """Main function of a grading process: grade what comes until the parent goes."""
    # the default action of both signals ends the process even inside C code
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    pipe: Connection[Any, Any] = Connection(int(sys.argv[1]))
    with contextlib.suppress(EOFError, OSError):
        kind, spec, timeout_s = pipe.recv()
        benchmark = kind(spec)
        benchmark.load_grader()
        pipe.send(None)
        while True:
            arguments = pipe.recv()
            signal.setitimer(signal.ITIMER_PROF, timeout_s)
            signal.setitimer(signal.ITIMER_REAL, _backstop_s(timeout_s) + GRACE_S)
            grade = grade_sample(benchmark, *arguments)
            signal.setitimer(signal.ITIMER_PROF, 0)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pipe.send(grade)
    os._exit(0)
