"""Resource limits that the kernel keeps for each process; sums over the process tree are watched from outside."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
import sys
from pathlib import Path

from bitparity.sandbox.contract import Limits

_MB = 1 << 20
_STACK = 256 << 20  # deep recursion in C code; threads reserve as much address space, and use what they need
_OPEN_FILES = 256  # each may hold a full pipe or socket in the kernel
_SIGNALS = 1024  # that wait, timers included: each holds memory of the kernel's


def wanted(limits: Limits, shared: bool = False) -> list[tuple[str, int, int, int]]:
    """Name (as `prlimit` has it), resource, soft and hard limit, never above what this process may set.

    Address space is no measure of memory (threads and numpy reserve what they never use), so its limit is only there
    for a balloon that grows faster than the watch looks. `shared`: there is no user namespace of the program's own.
    """
    asked = {
        # in whole seconds, and for each process alone: the backstop of the watch, which adds up the whole tree
        "cpu": int(limits.cpu_s) + 1,
        "as": 2 * limits.memory_mb * _MB + (4 << 30),
        "fsize": limits.file_mb * _MB,
        "nproc": _processes(limits, shared),
        "nofile": _OPEN_FILES,
        "sigpending": _SIGNALS,
        "stack": _STACK,
        **dict.fromkeys(("core", "memlock", "msgqueue"), 0),
    }
    found = []
    for name, value in asked.items():
        kind: int = getattr(resource, f"RLIMIT_{name.upper()}")
        most = resource.getrlimit(kind)[1]
        most = sys.maxsize if most == resource.RLIM_INFINITY else most
        # SIGXCPU comes at the soft limit, SIGKILL a second later
        found.append((name, kind, min(value, most), min(value + (name == "cpu"), most)))
    return found


def _processes(limits: Limits, shared: bool) -> int:
    """RLIMIT_NPROC: since Linux 5.14 it counts within the sandbox's user namespace; before, all of the user's.

    One more than asked for: the namespace's first process.
    """
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
    count = limits.processes + 1
    # the threads of this user now; for root none, whose programs run under a user id of their own
    if os.geteuid() != 0 and (shared or release < (5, 14)):
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if folder.name.isdigit() and folder.stat().st_uid == os.geteuid():
                    count += len(list((folder / "task").iterdir()))
    return count
