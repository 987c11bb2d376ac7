"""Watchdog of an engine's process: notices its death, and that it hangs."""

from __future__ import annotations

import socket
import subprocess
import threading
import time

from bitparity.engines.process_group import kill_group


class Watchdog:
    """Notices that nothing happens for `limit` seconds (None: it never does).

    Most engines count what they have computed. Such a count must rise: one that stands still is no sign of life.
    """

    def __init__(self, limit: float | None) -> None:
        self.limit = limit
        self._count: int | None = None
        self._since = time.monotonic()

    def alive(self) -> None:
        """Note that the engine did something, or has nothing to do."""
        self._since = time.monotonic()

    def counted(self, count: int | None) -> None:
        """Note the engine's own count; None where it cannot count, and is trusted."""
        if count is None or count != self._count:
            self.alive()
        self._count = count

    @property
    def is_overdue(self) -> bool:
        """True once nothing has happened for longer than the limit."""
        return self.limit is not None and time.monotonic() - self._since > self.limit


def death_of(process: subprocess.Popen[bytes]) -> socket.socket:
    """A socket that can be read once a process has ended; what it started is killed then.

    Its own socket does not tell: a child of it may still hold the other end open.
    """
    told, announce = socket.socketpair()

    def wait() -> None:
        process.wait()
        kill_group(process.pid)
        announce.close()

    threading.Thread(target=wait, name="engine-watch", daemon=True).start()
    return told
