"""Lock of a run directory: one process writes, and stops where the directory is no longer its own.

The lock file holds the process and the host of the writer. Whatever writes a file calls `check_place` before: it looks
at the lock of the run in which the file lies, if this process holds one. A directory that was moved, removed or made
anew has another lock file or none, and where a file system keeps its locks to one host, the writer of another host has
put its own name in.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from contextlib import suppress
from pathlib import Path

from bitparity.errors import RunError
from bitparity.store.faults import storage_error

LOCK_FILE = ".lock"
_MOST_BYTES = 400  # of a process id and a host name
_held: list[RunLock] = []  # the locks of this process, the newest last
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class RunLock:
    """The lock of a run directory, held by this process until `close`.

    Raises RunError where another process holds it or it cannot be had.
    """

    def __init__(self, run: Path) -> None:
        self._run, self._path = run, run / LOCK_FILE
        try:
            run.mkdir(parents=True, exist_ok=True)
            # appending: the name of the one who holds it must not be cut off before the lock is had
            self._file = self._path.open("ab+", buffering=0)
        except OSError as error:
            raise storage_error(error, self._path) from None
        try:
            # flock and not lockf, whose lock ends when any descriptor of the file is closed in this process
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            with self._file:
                raise self._refusal(error) from None
        with suppress(OSError):  # a full disk: nobody is told who holds the run
            self._file.truncate(0)
            self._file.write(f"{os.getpid()} {socket.gethostname()}\n".encode())
        # as it can be read: a full disk may have taken nothing
        self._mark = self._content()
        self.folder = run.absolute()
        _held.append(self)

    def _refusal(self, error: OSError) -> RunError:
        if isinstance(error, BlockingIOError):
            return RunError(
                f"{self._run} is in use by another bitparity process ({_named(self._content())}); "
                "wait for it or give another folder with --out"
            )
        if error.errno in _NO_LOCKS:
            return RunError(
                f"{self._path} cannot be locked ({error.strerror}): its file system has no locks, or they are switched "
                "off where it is mounted; give a folder on another disk with --out"
            )
        return RunError(f"{self._path} cannot be locked: {storage_error(error, self._path)}")

    def check(self) -> None:
        """Raise RunError where the directory is not this process's any more."""
        try:
            is_there = os.path.samestat(self._path.stat(), os.fstat(self._file.fileno()))
        except (FileNotFoundError, NotADirectoryError):
            is_there = False
        except OSError as error:
            raise storage_error(error, self._path) from None
        if not is_there:
            raise RunError(self._lost())
        if (content := self._content()) != self._mark:
            raise RunError(
                f"{self._run} is written by another bitparity process too ({_named(content)}): its file system keeps "
                "locks to one host. This process stops, all it had finished is kept; leave the run to the other one"
            )

    def _lost(self) -> str:
        """The message where the lock file is not in its place: where the directory is now, if it was moved."""
        with suppress(OSError):
            now = Path(f"/proc/self/fd/{self._file.fileno()}").readlink()
            if now.name == LOCK_FILE and now.parent != self._run.resolve():
                return (
                    f"{self._run} was moved while this process wrote the run, which stops; all that was finished is "
                    f"in {now.parent}. Go on there: --out {now.parent}"
                )
        return (
            f"{self._run}, or the file {LOCK_FILE} in it, was removed or replaced while this process wrote the run, "
            "which stops. Put the folder back if you can, then run the same command again"
        )

    def _content(self) -> bytes:
        with suppress(OSError):
            return os.pread(self._file.fileno(), _MOST_BYTES, 0)
        return b""

    def close(self) -> None:
        """Release the run."""
        _held.remove(self)
        self._file.close()


def check_place(path: Path) -> None:
    """Raise RunError where `path` lies in a run that this process held and that is not its own any more.

    Called before each write, by whatever writes: a file of a moved run would land in what another process has begun.
    """
    place = path.absolute()
    if (lock := next((lock for lock in reversed(_held) if place.is_relative_to(lock.folder)), None)) is not None:
        lock.check()


def is_locked(run: Path) -> bool:
    """True if a process of this host holds the run. Takes the lock for a moment only where nobody has it."""
    with suppress(OSError), (run / LOCK_FILE).open("rb") as lock:  # no file, or a file system without locks
        try:
            # a shared lock, or two that look at once would take each other for the run
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def holder(run: Path) -> int | None:
    """The process that holds the run, as it wrote into the lock."""
    try:
        return int((run / LOCK_FILE).read_bytes().split()[0])
    except (OSError, ValueError, IndexError):
        return None


def _named(content: bytes) -> str:
    """A writer as it wrote into the lock: its process, and its host where that is another one."""
    pid, _, host = content.decode("ascii", "replace").strip().partition(" ")
    return f"pid {pid or 'unknown'}" + (f" on {host}" if host and host != socket.gethostname() else "")
