"""Writes to a disk that may be full: each ends with the error, or waits until there is room again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bitparity.errors import DiskFullError

WAIT_SECONDS = 5.0  # between two tries


class FullDisk:
    """The policy for a write that finds the disk full.

    Without `tell`, as for readers and single commands, the error ends the write. With it, as in a run, each write waits
    until there is room: `tell` is called once with the error where waiting begins, and once with None where it ends.
    The engine meanwhile goes on until what it has finished fills its own queue, and then waits too.
    """

    def __init__(self, tell: Callable[[DiskFullError | None], None] | None = None) -> None:
        self._tell = tell
        self._told = False
        self._given_up = threading.Event()  # wakes every thread that waits, in the middle of its wait

    def write(self, write: Callable[[], None]) -> None:
        """Call `write`, again and again while it finds the disk full. Raises DiskFullError where it does not wait."""
        waited = False
        while True:
            try:
                write()
                break
            except DiskFullError as error:
                waited = True
                self.wait(error)
        if waited:
            self.resume()

    def wait(self, error: DiskFullError) -> None:
        """Wait a little; raises the error where nothing waits, or not any more."""
        if self._tell is None or self._given_up.is_set():
            raise error
        if not self._told:
            self._told = True
            self._tell(error)
        if self._given_up.wait(WAIT_SECONDS):
            raise error

    def resume(self) -> None:
        """Tell that there is room again."""
        if self._told and self._tell is not None:
            self._told = False
            self._tell(None)

    def give_up(self) -> None:
        """End all waiting, in every thread: the run ends."""
        self._given_up.set()
