"""Policies for a full disk: end the write, or wait until there is room again."""

from __future__ import annotations

import threading
from collections.abc import Callable

from bitparity.errors import DiskFullError

WAIT_SECONDS = 5.0  # between two tries


class FailOnFullDisk:
    """The policy of readers and of single commands: the error ends the write."""

    def wait(self, error: DiskFullError) -> None:
        """Called where a write found the disk full: raises the error, or returns to let the write be tried again."""
        raise error

    def resume(self) -> None:
        """Called where a write that had waited has succeeded."""

    def give_up(self) -> None:
        """End all waiting, in every thread."""


class WaitForRoom(FailOnFullDisk):
    """The policy of a run: each write waits until there is room.

    `tell` is called once with the error where waiting begins, and once with None where it ends. The engine meanwhile
    goes on until what it has finished fills its own queue, and then waits too.
    """

    def __init__(self, tell: Callable[[DiskFullError | None], None]) -> None:
        self._tell = tell
        self._told = False
        self._given_up = threading.Event()  # wakes every thread that waits, in the middle of its wait

    def wait(self, error: DiskFullError) -> None:
        """Wait a little; raises the error where the run is to end."""
        if self._given_up.is_set():
            raise error
        if not self._told:
            self._told = True
            self._tell(error)
        if self._given_up.wait(WAIT_SECONDS):
            raise error

    def resume(self) -> None:
        """Tell that there is room again."""
        if self._told:
            self._told = False
            self._tell(None)

    def give_up(self) -> None:
        """End all waiting, in every thread: the run ends."""
        self._given_up.set()


def write_under(policy: FailOnFullDisk, write: Callable[[], None]) -> None:
    """Call `write`; where the disk is full, again and again as the policy allows. Raises DiskFullError."""
    waited = False
    while True:
        try:
            write()
            break
        except DiskFullError as error:
            waited = True
            policy.wait(error)
    if waited:
        policy.resume()
