"""Giving up root's rights before a sandbox starts.

For root some limits do not hold (RLIMIT_NPROC), so the sandbox is started under a user id that nothing else has. That
user cannot reach an interpreter below `/root`; a mount namespace of the sandbox's own, made once, shows it the wanted
folders at their own places and empty folders around them. Nothing is mounted on the machine itself.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from collections.abc import Iterable
from pathlib import Path
from subprocess import PIPE, Popen

from bitparity.errors import SandboxError
from bitparity.sandbox import _mounts

UNPRIVILEGED = 64642  # a user and group id outside the ranges of people, services and containers


def drop(shown: Iterable[str]) -> tuple[list[str], int | None]:
    """The beginning of a command line that runs the rest without root's rights, and a descriptor to keep open.

    Both are empty for other users. The descriptor keeps the mount namespace alive; the caller closes it.
    """
    if os.geteuid() != 0:
        return [], None
    if (nsenter := shutil.which("nsenter", path="/usr/bin:/bin:/usr/sbin:/sbin")) is None:
        raise SandboxError("running model-written code as root needs nsenter: apt-get install util-linux")
    namespace = _mount_namespace(tuple(shown))
    mounts = f"--mount=/proc/{os.getpid()}/fd/{namespace}"
    return [nsenter, mounts, f"--setuid={UNPRIVILEGED}", f"--setgid={UNPRIVILEGED}", "--"], namespace


def _mount_namespace(shown: tuple[str, ...]) -> int:
    """A mount namespace, as a descriptor, in which any user can reach the paths in `shown`."""
    closed = {path: folder for path in shown if (folder := _closed_folder(Path(path))) is not None}
    # made by another process: this one must keep its own view of the file system
    with Popen([sys.executable, "-I", "-S", _mounts.__file__], stdin=PIPE, stdout=PIPE, stderr=PIPE) as maker:
        assert maker.stdin and maker.stdout and maker.stderr  # noqa: PT018
        maker.stdin.write(json.dumps(closed).encode() + b"\n")
        maker.stdin.flush()
        if maker.stdout.readline() != b"ready\n":
            raise SandboxError(
                f"root cannot prepare a mount namespace here ({maker.stderr.read().decode().strip()}): run as an "
                "ordinary user, or give the container the right to mount (CAP_SYS_ADMIN)"
            )
        # open, it outlives its maker, which ends with its input here
        return os.open(f"/proc/{maker.pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)


def _closed_folder(path: Path) -> str | None:
    """The outermost folder above `path` that other users may not pass through."""
    closed = (str(folder) for folder in reversed(path.parents) if not folder.stat().st_mode & stat.S_IXOTH)
    return next(closed, None)
