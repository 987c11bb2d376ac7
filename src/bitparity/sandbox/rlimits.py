"""Resource limits that the kernel keeps for each process; sums over the process tree are watched from outside."""

from __future__ import annotations

import contextlib
import os
import platform
import resource
from pathlib import Path

from bitparity.sandbox.contract import Limits

_MB = 1 << 20
_STACK = 256 << 20  # deep recursion in C code; threads reserve as much address space, and use what they need
_OPEN_FILES = 256


def wanted(limits: Limits, shared: bool = False) -> list[tuple[str, int, int, int]]:
    """Name (as `prlimit` has it), resource, soft and hard limit, never above what this process may set.

    Address space is no measure of memory (threads and numpy reserve what they never use), so its limit is only there
    for a balloon that grows faster than the watch looks. `shared`: there is no user namespace of the program's own.
    """
    cpu = int(limits.cpu_s) + 1
    address_space = 2 * limits.memory_mb * _MB + (4 << 30)
    processes = _processes(limits, shared)
    asked = [
        ("cpu", resource.RLIMIT_CPU, cpu, cpu + 1),
        ("as", resource.RLIMIT_AS, address_space, address_space),
        ("fsize", resource.RLIMIT_FSIZE, limits.file_mb * _MB, limits.file_mb * _MB),
        ("nproc", resource.RLIMIT_NPROC, processes, processes),
        ("nofile", resource.RLIMIT_NOFILE, _OPEN_FILES, _OPEN_FILES),
        ("stack", resource.RLIMIT_STACK, _STACK, _STACK),
        ("core", resource.RLIMIT_CORE, 0, 0),
        ("memlock", resource.RLIMIT_MEMLOCK, 0, 0),
        ("msgqueue", resource.RLIMIT_MSGQUEUE, 0, 0),
    ]
    return [
        (name, kind, min(soft, _most(kind, soft)), min(hard, _most(kind, hard))) for name, kind, soft, hard in asked
    ]


def options(limits: Limits) -> list[str]:
    """The same as options of the command `prlimit`."""
    return [f"--{name}={soft}:{hard}" for name, _, soft, hard in wanted(limits)]


def _most(kind: int, otherwise: int) -> int:
    most = resource.getrlimit(kind)[1]
    return otherwise if most == resource.RLIM_INFINITY else most


def _processes(limits: Limits, shared: bool) -> int:
    """RLIMIT_NPROC: since Linux 5.14 it counts within the sandbox's user namespace; before, all of the user's.

    One more than asked for: the namespace's first process.
    """
    release = tuple(int(part) for part in platform.release().split("-")[0].split(".")[:2] if part.isdigit())
    return limits.processes + 1 + (0 if release >= (5, 14) and not shared else _others())


def _others() -> int:
    """Threads of this user now; for root nothing, whose programs run under a user id of their own."""
    count = 0
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if os.geteuid() != 0 and folder.name.isdigit() and folder.stat().st_uid == os.geteuid():
                count += len(list((folder / "task").iterdir()))
    return count
