"""Launcher of one program where there are no namespaces (`python -I -S _confine.py REQUEST_FD STATUS_FD`).

This process adopts the processes that the program leaves behind, and kills all of them when the program has ended,
when it is asked to (SIGTERM), or when its own parent dies. The program itself is held by Landlock (files), by a seccomp
filter (network, signals, attributes of files, everything else) and by rlimits; or, where nothing else works and the
user wants it so, by rlimits alone. Standard library only.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from typing import Any

_LIBC = ctypes.CDLL(None, use_errno=True)
_SET_PARENT_DEATH_SIGNAL, _SET_SECCOMP, _SET_SUBREAPER, _NO_NEW_PRIVILEGES = 1, 22, 36, 38
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_MAKE_CHAR, _MAKE_BLOCK, _TRUNCATE = 1 << 6, 1 << 11, 1 << 14
_SCOPES = 3  # abstract sockets and signals stay inside


class Ruleset(ctypes.Structure):
    """`struct landlock_ruleset_attr`."""

    _fields_ = (("files", ctypes.c_uint64), ("network", ctypes.c_uint64), ("scoped", ctypes.c_uint64))


class PathBeneath(ctypes.Structure):
    """`struct landlock_path_beneath_attr`, which is packed."""

    _pack_ = 1
    _fields_ = (("access", ctypes.c_uint64), ("parent", ctypes.c_int32))


class Filter(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_ushort), ("program", ctypes.c_char_p))


def check(result: int, what: str) -> int:
    """Raises OSError where a call to the kernel failed."""
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")
    return result


def landlock_version() -> int:
    """The version of Landlock here, 0 where there is none."""
    return max(0, int(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), 1)))


def _landlock(readable: list[str], devices: list[str], writable: str) -> None:
    # a right that the kernel does not know is refused: version 5 (Linux 6.10) adds those for devices' commands
    version = landlock_version()
    every = (1 << 16 if version >= 5 else 1 << 15) - 1
    ruleset = Ruleset(every, 0, _SCOPES if version >= 6 else 0)
    # the structure as it was in each version: version 4 adds the network, 6 the scopes
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    rules = check(_LIBC.syscall(_CREATE_RULESET, ctypes.byref(ruleset), ctypes.c_size_t(size), 0), "Landlock")
    for path in readable:
        _allow(rules, path, _EXECUTE | _READ_FILE | (_READ_DIR if os.path.isdir(path) else 0))  # noqa: PTH112
    for path in devices:
        _allow(rules, path, _READ_FILE | _WRITE_FILE | _TRUNCATE)
    _allow(rules, writable, every & ~(_MAKE_CHAR | _MAKE_BLOCK))
    check(_LIBC.syscall(_RESTRICT_SELF, rules, 0), "Landlock")
    os.close(rules)


def _allow(rules: int, path: str, access: int) -> None:
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    beneath = PathBeneath(access, descriptor)
    check(_LIBC.syscall(_ADD_RULE, rules, _PATH_BENEATH, ctypes.byref(beneath), 0), f"Landlock rule for {path}")
    os.close(descriptor)


def _become(asked: dict[str, Any], tell: int) -> None:
    """Turns this process into the program. Never returns; `tell` receives an error, or is closed at the start."""
    try:
        os.setsid()  # no terminal, and signals to its group reach nobody else
        os.chdir(asked["folder"])
        for kind, soft, hard in asked["rlimits"]:
            resource.setrlimit(kind, (soft, hard))
        if asked["confined"]:
            check(_LIBC.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0), "prctl")
            _landlock(asked["readable"], asked["devices"], asked["folder"])
            placeholder, own_pid = (pid.to_bytes(4, sys.byteorder) for pid in (asked["own_pid"], os.getpid()))
            program = bytes.fromhex(asked["filter"]).replace(placeholder, own_pid)
            filtered = Filter(len(program) // 8, program)
            check(_LIBC.prctl(_SET_SECCOMP, 2, ctypes.byref(filtered), 0, 0), "seccomp")
        os.execve(asked["argv"][0], asked["argv"], asked["env"])
    except BaseException as error:
        os.write(tell, repr(error).encode())
    finally:
        os._exit(125)


def _descendants() -> list[int]:
    found = [os.getpid()]
    for pid in found:
        with contextlib.suppress(OSError):
            for task in os.listdir(f"/proc/{pid}/task"):  # noqa: PTH208
                with open(f"/proc/{pid}/task/{task}/children") as file:  # noqa: PTH123
                    found += map(int, file.read().split())
    return found[1:]


def _end_all() -> None:
    """Kills until nothing is left: all descendants come to this process when their parents end."""
    # again and again: one that forks faster than a single round kills would be left
    while pids := _descendants():
        for pid in pids:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _killed(*_: object) -> None:
    _end_all()
    os._exit(0)


def main() -> None:
    """Start the program, wait for its end, and leave nothing of it."""
    check(_LIBC.prctl(_SET_SUBREAPER, 1, 0, 0, 0), "prctl")
    signal.signal(signal.SIGTERM, _killed)
    request, status = int(sys.argv[1]), int(sys.argv[2])
    with open(request) as file:
        asked = json.load(file)
    if (user := asked["user"]) is not None:
        # the groups first: it takes root's rights to give them up
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
    check(_LIBC.prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0), "prctl")
    # the parent died before it was asked to tell
    if os.getppid() != asked["parent"]:
        return
    heard, tell = os.pipe()
    os.set_inheritable(status, False)  # or the program could write its own exit status
    program = os.fork()
    if program == 0:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        _become(asked, tell)
    os.close(tell)
    # empty where the program has started: the pipe closes itself with execve
    error, ended = os.read(heard, 4096), 0
    while ended != program:  # orphans end here as well; only the program's own end counts
        ended, raw = os.waitpid(-1, 0)
    _end_all()
    if error:
        sys.stderr.write(f"the program could not be started: {error.decode(errors='replace')}\n")
        return
    code = os.waitstatus_to_exitcode(raw)
    os.write(status, json.dumps({"exit-code": code if code >= 0 else 128 - code}).encode() + b"\n")


if __name__ == "__main__":
    main()
