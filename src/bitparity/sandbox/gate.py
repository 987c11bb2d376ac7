"""Gate for undisturbed reruns: a time limit counts only after a run beside few others or none.

CPU time hardly depends on the load, but it does a little (caches, sibling hardware threads), and the backstop by the
clock depends on it wholly. A program that was stopped beside others gets a second, undisturbed run.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Gate:
    """Many tests at once, or a few that are undisturbed. These are let in before tests that come later."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._running = 0
        self._waiting = 0
        self._undisturbed: set[int] = set()  # their threads

    @contextmanager
    def beside_others(self) -> Iterator[None]:
        """One test among others; inside `undisturbed` of the same thread it does not wait."""
        if threading.get_ident() in self._undisturbed:
            yield
            return
        with self._changed:
            self._changed.wait_for(lambda: not self._undisturbed and self._waiting == 0)
            self._running += 1
        try:
            yield
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    @contextmanager
    def undisturbed(self, at_once: int = 1) -> Iterator[None]:
        """Keeps other tests out, and waits for their end. Not to be entered inside a test.

        At most `at_once` blocks of this kind run at one time.
        """
        me = threading.get_ident()
        with self._changed:
            # from here on no new test begins beside others, or a steady stream of them would keep this one waiting
            self._waiting += 1
            self._changed.wait_for(lambda: self._running == 0 and len(self._undisturbed) < at_once)
            self._waiting -= 1
            self._undisturbed.add(me)
        try:
            yield
        finally:
            with self._changed:
                self._undisturbed.remove(me)
                self._changed.notify_all()


GATE = Gate()
