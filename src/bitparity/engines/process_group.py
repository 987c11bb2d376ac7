"""End of an engine's process group, but for the processes that clean up after it."""

from __future__ import annotations

import contextlib
import os
import signal
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
