"""Control groups (version 2): limits that the kernel keeps, where this process may divide its own group.

`systemd-run --user --scope -p Delegate=yes bitparity run ...` gives one. The kernel then holds memory and processes of
each program that gets a sandbox of its own together; without it (and for scripts of the warm worker) the watch alone
does, by looking every few hundredths of a second. CPU time is the watch's in both cases.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bitparity.sandbox.contract import Limits
from bitparity.sandbox.tree import Tree

_NEEDED = frozenset({"memory", "pids"})
_HARNESS = "bitparity-harness"
_OURS = 8  # processes that confine the program
_JOIN = ("/bin/sh", "-c", 'echo 0 > "$1" && shift && exec "$@"', "sh")
_EMPTY_S = 2.0  # a group can be removed once its last process is gone, which takes the kernel a moment


def out_of_memory(group: Path) -> bool:
    """True if the kernel killed a process for a group's memory limit."""
    with contextlib.suppress(OSError):
        events = dict(line.split() for line in (group / "memory.events").read_text().splitlines())
        return events.get("oom_kill", "0") != "0"
    return False


def delegated() -> Path | None:
    """The group that this process may divide, prepared for it; None where there is none."""
    try:
        if (own := _own_group()) is not None and _prepare(own):
            return own.parent if own.name == _HARNESS else own
    except OSError:
        pass
    return None


@contextlib.contextmanager
def group(parent: Path | None, limits: Limits) -> Iterator[Path | None]:
    """The folder of a new group below `parent` with the limits set, removed at the end; None where none can be had."""
    made = None
    if parent is not None:
        folder = parent / f"bitparity-{secrets.token_hex(8)}"
        try:
            folder.mkdir()
            _write(folder / "memory.max", str(limits.memory_mb << 20))
            _write(folder / "pids.max", str(limits.processes + _OURS))
            if (swap := folder / "memory.swap.max").exists():
                _write(swap, "0")  # what was swapped out would not count
            made = folder
        except OSError:
            with contextlib.suppress(OSError):
                folder.rmdir()
    try:
        yield made
    finally:
        # what is left in the group, which should be nothing, is killed
        deadline = time.monotonic() + _EMPTY_S
        while made is not None and made.exists() and time.monotonic() < deadline:
            try:
                made.rmdir()
            except OSError:
                with contextlib.suppress(OSError):
                    _write(made / "cgroup.kill", "1")
                time.sleep(0.005)


def _own_group() -> Path | None:
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text().splitlines()]
    roots = [fields[4] for fields in mounts if fields[fields.index("-") + 1] == "cgroup2"]
    # a line "0::/path" is that of version 2; those of version 1 name a controller between the colons
    own = [line[3:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
    return Path(roots[0] + own[0].rstrip("/")) if roots and own else None


def _prepare(folder: Path) -> bool:
    """Hands the controllers on to groups below, which needs all processes of the group to be ours, and moved."""

    def has(where: Path, file: str) -> bool:
        return set((where / file).read_text().split()) >= _NEEDED

    if not has(folder, "cgroup.controllers"):
        return False
    if folder.name == _HARNESS:
        return has(folder.parent, "cgroup.subtree_control")
    if not os.access(folder / "cgroup.subtree_control", os.W_OK):
        return False
    if has(folder, "cgroup.subtree_control"):
        return True
    inside = set(map(int, (folder / "cgroup.procs").read_text().split()))
    if not inside <= set(Tree(os.getpid()).pids()):  # others' processes must not be moved
        return False
    harness = folder / _HARNESS
    harness.mkdir(exist_ok=True)
    for pid in inside:
        _write(harness / "cgroup.procs", str(pid))
    _write(folder / "cgroup.subtree_control", " ".join(f"+{name}" for name in sorted(_NEEDED)))
    return True


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def wrap(command: Sequence[str], of: Path | None) -> list[str]:
    """The command line, started inside the group where there is one."""
    return [*_JOIN, str(of / "cgroup.procs"), *command] if of else list(command)
