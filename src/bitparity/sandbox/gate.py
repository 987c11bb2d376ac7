"""Gate for reruns alone: a time limit counts only after a run while no other test of this process runs.

CPU time hardly depends on the load, but it does a little (caches, sibling hardware threads), and the backstop by the
clock depends on it wholly. A program that was stopped beside others gets a second, undisturbed run.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bitparity.sandbox.contract import Ended


class Gate:
    """Many tests at once, or one alone. Whoever asks to be alone is let in before tests that come later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._waiting = 0
        self._alone: int | None = None

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """One test among others; inside `alone` of the same thread it goes straight through."""
        me = threading.get_ident()
        with self._changed:
            inside = self._alone == me
            if not inside:
                self._changed.wait_for(lambda: self._alone is None and self._waiting == 0)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no test runs, and keeps others out. Not to be entered from inside a test."""
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._alone is None and self._running == 0)
            self._waiting -= 1
            self._alone = threading.get_ident()
        try:
            yield
        finally:
            with self._changed:
                self._alone = None
                self._changed.notify_all()


GATE = Gate()


def rerun_alone(run: Callable[[], Ended]) -> Ended:
    """Calls `run` (one test) while no other test of this process runs; for a test that ended by `time_limit`."""
    with GATE.alone():
        return run()
