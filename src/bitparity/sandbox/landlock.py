"""Sandbox level landlock, for hosts that forbid bubblewrap: Landlock for files, a seccomp filter for the rest.

Weaker than bubblewrap, but a program still reaches no network, no file outside its folder but the interpreter's, and no
other process. It sees that paths exist, it cannot signal its own children, and `/proc` and shared memory are closed
to it. As `Unsafe` the same launcher runs programs with rlimits and the watch only, with all the user's rights.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bitparity.errors import SandboxError
from bitparity.sandbox import _confine, bubblewrap, privileges, proof, rlimits, seccomp, supervise
from bitparity.sandbox.contract import DEFAULT, Ended, Files, Limits
from bitparity.sandbox.gate import GATE

_NEEDED_VERSION = 3  # before it, a file that may be read can be cut to nothing
_DEVICES = ("/dev/null", "/dev/full", "/dev/random", "/dev/urandom")  # those of bubblewrap
_OWN_PID = 0x5EAF00D5  # stands in the filter for the program's process id, which is not known yet
_MOST_LOOKED_AT, _MOST_DEPTH = 20_000, 15  # files, and folders in folders


class Landlock(proof.ProvenSandbox):
    """One program at a time in a folder of its own, held by Landlock and seccomp."""

    level = "landlock"
    _confined = True

    def __init__(self, python: str | None = None, readable: Sequence[Path] = ()) -> None:
        super().__init__(python, readable)
        self._filter, self._prefix = b"", list[str]()
        self._user: int | None = None  # that the launcher becomes, where it is started with root's rights
        if self._confined:
            self._prepare()

    def _prepare(self) -> None:
        """Make the filter, and find the way to give up root's rights. Raises SandboxError where this cannot hold."""
        if (version := _confine.landlock_version()) < _NEEDED_VERSION:
            has = f"version {version}" if version else "none"
            raise SandboxError(f"Landlock version 3 (Linux 6.2) is needed, this kernel offers {has}")
        if not seccomp.supported():
            raise SandboxError("there is no seccomp filter for this machine's architecture")
        self._refuse_hidden("Landlock")
        self._filter = seccomp.program(own_pid=_OWN_PID)
        if os.geteuid() == 0:
            self._user = privileges.UNPRIVILEGED
            with contextlib.suppress(SandboxError):  # the user id is enough where the interpreter is open to everybody
                # the launcher is a file that this user must be able to read
                self._prefix, self._namespace = privileges.drop((*self._view.shown, _confine.__file__))

    def run(self, files: Files, argv: Sequence[str], stdin: bytes = b"", limits: Limits = DEFAULT) -> Ended:
        """One program in a fresh folder; see the contract."""
        with GATE.beside_others(), contextlib.ExitStack() as stack:
            folder = tempfile.mkdtemp(prefix="bitparity-")
            # however deep a program has made it: Python's own way is recursive
            stack.callback(subprocess.run, ["rm", "-rf", "--", folder], stderr=subprocess.DEVNULL, check=False)
            bubblewrap.write_files(Path(folder), files)
            if self._user is not None:
                for path in (Path(folder), *Path(folder).rglob("*")):  # which the program's own user may then write
                    os.chown(path, self._user, self._user)
            request = bubblewrap.memory_file(self._request(folder, argv, limits), stack)
            start = [*self._prefix, self.python, "-I", "-S", _confine.__file__, str(request)]
            return supervise.run(
                lambda status: [*start, str(status)],
                stdin=stdin,
                limits=limits,
                env={"PYTHONDONTWRITEBYTECODE": "1"},
                pass_fds=[request],
                stored=lambda pids: _use(folder, pids, limits.file_mb << 20),
                # the launcher kills what it has adopted, and then ends
                ending=signal.SIGTERM,
            )

    def _request(self, folder: str, argv: Sequence[str], limits: Limits) -> bytes:
        request = {
            "argv": list(argv),
            "confined": self._confined,
            "devices": _DEVICES,
            "env": {**bubblewrap.environment(self.python), "HOME": folder, "TMPDIR": folder},
            "filter": self._filter.hex(),
            "folder": folder,
            "own_pid": _OWN_PID,
            "parent": os.getpid(),
            "readable": self._view.shown,
            "rlimits": [[kind, soft, hard] for _, kind, soft, hard in rlimits.wanted(limits, shared=True)],
            "user": None if self._prefix else self._user,
        }
        return json.dumps(request).encode()


class Unsafe(Landlock):
    """No sandbox: programs run with all rights of this user, under limits and the watch only."""

    level = "unsafe"
    _confined = False

    def self_test(self) -> None:
        """Tests only that programs run: nothing is confined."""
        ended = self.run({}, [self.python, "-c", "print(1)"])
        if ended.stdout != b"1\n":
            raise SandboxError(f"no program runs with {self.python}: {ended.detail or ended.stderr.decode()[-500:]}")


def _use(folder: str, pids: Sequence[int], largest: int) -> tuple[int, int]:
    """Bytes and files in a folder, those without a name that the processes `pids` hold included.

    Counting ends where there are far too many, or where they lie too deep. `largest` is the size of one file at most.
    """
    try:
        unnamed = _unnamed(folder, pids, largest)
    except PermissionError:
        if os.geteuid() != 0:  # a process of this user has hidden what it holds: it has something to hide
            return 0, _MOST_LOOKED_AT
        unnamed = {}  # root in a container, without the right to look into the processes of the programs' own user
    size, count, waiting = sum(unnamed.values()), len(unnamed), [(folder, 0)]
    while waiting and count <= _MOST_LOOKED_AT:
        path, depth = waiting.pop()
        if depth > _MOST_DEPTH:
            return size, _MOST_LOOKED_AT
        with contextlib.suppress(OSError), os.scandir(path) as entries:
            for entry in entries:
                count += 1
                size += entry.stat(follow_symlinks=False).st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry.path, depth + 1))
    return size, count


def _unnamed(folder: str, pids: Sequence[int], largest: int) -> dict[int, int]:
    """Bytes by inode of the files that were deleted, or never had a name, and that processes have open or mapped.

    Raises PermissionError for a process that does not show them.
    """
    found: dict[int, int] = {}
    for pid in pids:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            with open(f"/proc/{pid}/maps") as maps:  # noqa: PTH123
                # of a mapping one sees not how large its file is
                lines = [line.split(maxsplit=5) for line in maps if f" {folder}/" in line and "(deleted)" in line]
            found |= {int(line[4]): largest for line in lines}
            with os.scandir(f"/proc/{pid}/fd") as descriptors:
                for one in descriptors:
                    with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                        about = one.stat()
                        if stat.S_ISREG(about.st_mode) and about.st_nlink == 0:
                            found[about.st_ino] = about.st_blocks * 512
    return found
