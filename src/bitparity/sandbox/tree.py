"""Process tree seen from outside: CPU time, memory, number of processes."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from dataclasses import dataclass, field

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")
_PIPE_BYTES = 65536  # what a pipe holds
_SOCKET_BYTES = 212992  # what a socket holds, where the system says nothing else
_MAPPING_BYTES = 256  # what the kernel keeps for one mapping (vm_area_struct, a part of its tree's node)
_MOST_MAPPINGS, _MOST_READS = 65_530, 100  # of Linux for a process; of some 70 mappings each
_RECORDS_S = 0.2  # between two counts of them


@dataclass(slots=True)
class Tree:
    """A process and its descendants.

    CPU time is the greater of two sums: what the living processes and the children they have waited for used, and what
    each process seen so far used itself; the second also counts children that nobody waits for. `shared_network`: other
    programs have sockets in the tree's network.
    """

    root: int
    shared_network: bool = False
    _seen: dict[tuple[int, int], float] = field(default_factory=dict)
    _cpu_s: float = 0.0
    _records: int = 0
    _next_records: float = 0.0

    def pids(self) -> list[int]:
        """The living processes of the tree, the root first."""
        found = [self.root]
        # children that start while this reads are found at the next look
        for pid in found:
            for task in _threads(pid):
                found += map(int, _read(f"/proc/{pid}/task/{task}/children").split())
        return found

    def living(self, pids: list[int]) -> list[int]:
        """The ids under which `/proc` shows what these processes hold, the root first.

        A process that has ended and that nobody waited for shows nothing. One whose first thread has ended goes on, and
        shows it under the id of another thread.
        """
        shown = (pid if _resident(pid) else next(filter(_resident, map(int, _threads(pid))), None) for pid in pids)
        return [thread for thread in shown if thread is not None] or pids[:1]

    def cpu_s(self, pids: list[int]) -> float:
        """CPU seconds of the tree so far; never falls."""
        with_children = 0.0
        for pid in pids:
            if (times := _times(pid)) is not None:
                started, own, waited = times
                # with its start: the number may be given to another process later
                self._seen[pid, started] = own
                with_children += own + waited
        self._cpu_s = max(self._cpu_s, with_children, sum(self._seen.values()))
        return self._cpu_s

    def memory(self, pids: list[int], limit: int) -> int:
        """Bytes resident; pages that processes share are told apart only where the plain sum goes beyond the limit."""
        resident = sum(map(_resident, pids))
        # for the shares the kernel walks all page tables of a process: not at every look
        if resident <= limit:
            return resident
        return sum(_field(pid, "smaps_rollup", b"Pss:") or _resident(pid) for pid in pids)

    def buffers(self, pids: list[int]) -> int:
        """Bytes that the tree's pipes and sockets can hold in the kernel, which counts them to no process."""
        held: set[str] = set()
        for pid in pids:
            with contextlib.suppress(OSError), os.scandir(f"/proc/{pid}/fd") as descriptors:
                for one in descriptors:
                    with contextlib.suppress(OSError):  # closed meanwhile
                        held.add(os.readlink(one.path))  # noqa: PTH115
        sockets = sum(name.startswith("socket:") for name in held)
        if not self.shared_network:  # then also those that no process has open: sent to another, or not yet accepted
            sockets = max(sockets, _sockets_beside(pids[-1]))
        return sockets * _socket_bytes() + sum(name.startswith("pipe:") for name in held) * _PIPE_BYTES

    def records(self, pids: list[int]) -> int:
        """Bytes that the kernel keeps on the tree's memory: page tables and mappings. Not counted at every look."""
        if (now := time.monotonic()) >= self._next_records:
            self._records = sum(_field(pid, "status", b"VmPTE:") + _mappings(pid) * _MAPPING_BYTES for pid in pids)
            self._next_records = now + _RECORDS_S
        return self._records


def _field(pid: int, file: str, name: bytes) -> int:
    """Bytes that a file below `/proc/PID` names in kB; 0 where it has no such line, as of a process that has ended."""
    after = _read(f"/proc/{pid}/{file}").partition(b"\n" + name)[2].split(maxsplit=1)
    return int(after[0]) * 1024 if after else 0


def _mappings(pid: int) -> int:
    """Number of a process's mappings; where they are too many to be counted, the most that Linux allows."""
    count = 0
    with contextlib.suppress(OSError), open(f"/proc/{pid}/maps", "rb", buffering=0) as file:  # noqa: PTH123
        for _ in range(_MOST_READS):  # of a page each
            if not (part := file.read(1 << 16)):
                return count
            count += part.count(b"\n")
        return _MOST_MAPPINGS
    return count


def _sockets_beside(pid: int) -> int:
    """Number of sockets in a process's network; zero where that is this process's own."""
    with contextlib.suppress(OSError):
        if not os.path.samefile(f"/proc/{pid}/ns/net", "/proc/self/ns/net"):  # noqa: PTH121
            fields = _read(f"/proc/{pid}/net/sockstat").split()
            return int(fields[2]) if len(fields) > 2 else 0
    return 0


@functools.cache
def _socket_bytes() -> int:
    return int(_read("/proc/sys/net/core/wmem_default") or _SOCKET_BYTES)


def files_in(pid: int, folder: str) -> tuple[int, int]:
    """Bytes used and files made in the file system of `folder`, as process `pid` sees it; zeros where it is gone."""
    try:
        there = os.statvfs(f"/proc/{pid}/root{folder}")
    except OSError:
        return 0, 0
    return (there.f_blocks - there.f_bfree) * there.f_frsize, there.f_files - there.f_ffree


def _threads(pid: int) -> list[str]:
    try:
        return os.listdir(f"/proc/{pid}/task")  # noqa: PTH208 (a Path object costs more than the call)
    except OSError:
        return []  # it ended meanwhile


def _read(path: str) -> bytes:
    try:
        # not a Path: it would remember the name of every process there ever was
        with open(path, "rb", buffering=0) as file:  # noqa: PTH123
            return file.readall()
    except OSError:
        return b""


def _times(pid: int) -> tuple[int, float, float] | None:
    """Start time in ticks, own CPU seconds, CPU seconds of children waited for."""
    # behind the name, in which the program may have put brackets and spaces
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    if len(fields) < 20:
        return None
    user, system, children_user, children_system = map(int, fields[11:15])
    return int(fields[19]), (user + system) * _TICK_S, (children_user + children_system) * _TICK_S


def _resident(pid: int) -> int:
    fields = _read(f"/proc/{pid}/statm").split()
    return int(fields[1]) * _PAGE if len(fields) > 1 else 0
