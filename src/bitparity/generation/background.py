"""Background thread for grading, so that the device never waits for it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from typing import Self


class BackgroundJobs:
    """Runs jobs in a thread, one after another; use it as a context manager. An error drops those that wait."""

    def __init__(self) -> None:
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="background", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._jobs.put(None)  # without waiting: the thread is a daemon, and a run that failed ends at once

    def put(self, job: Callable[[], None]) -> None:
        """Run a job after those that were put before it. Raises what an earlier job raised."""
        if self._failure is not None:
            raise self._failure
        self._jobs.put(job)

    def finish(self) -> None:
        """Wait until all is done. Raises what a job raised; those after it were not begun."""
        self._jobs.put(None)
        while self._thread.is_alive():
            self._thread.join(1.0)  # in slices, so that Ctrl-C comes through
        if self._failure is not None:
            raise self._failure

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                job()
            except BaseException as error:  # raised again where the next job is put, or at the end
                self._failure = error
                return
