"""Watchdog of an engine's process: notices its death, and that it hangs, and ends its whole process group."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path

_PROC = Path("/proc")
_TRACKER = b"multiprocessing.resource_tracker"
_TRIES = 200


def kill_group(group: int) -> None:
    """Kill (SIGKILL) every process of a group, the calling one last where it belongs to it.

    Python's resource trackers are spared: they remove the shared memory that the dead leave behind
    (vLLM's is some hundred MB of /dev/shm) and then end by themselves.
    """
    own = os.getpid()
    for _ in range(_TRIES):  # again, for processes that were born meanwhile
        found = members(group)
        others = [pid for pid in found if pid != own]
        for pid in others:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if own in found:
            os.kill(own, signal.SIGKILL)
        if not others:
            return
        time.sleep(0.01)


def dump_group(group: int, seconds: float = 5.0) -> None:
    """End every process of a group by SIGABRT: a Python one with PYTHONFAULTHANDLER writes its stacks first."""
    for pid in members(group):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGABRT)
            os.kill(pid, signal.SIGCONT)  # one that was stopped could not write them
    end = time.monotonic() + seconds
    while members(group) and time.monotonic() < end:
        time.sleep(0.05)
    kill_group(group)


def how_ended(code: int) -> str:
    """A process's exit code in words, for the middle of a sentence; a negative one is the signal that killed it."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = "unknown"
    return f"was killed by signal {-code} ({name})"


def members(group: int) -> list[int]:
    """The living processes of a group, without resource trackers."""
    found = []
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, pgrp = (entry / "stat").read_bytes().rpartition(b")")[2].split()[:3]
                # a zombie is dead, and only waits to be waited for
                if int(pgrp) == group and state != b"Z" and _TRACKER not in (entry / "cmdline").read_bytes():
                    found.append(int(entry.name))
    return found


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
