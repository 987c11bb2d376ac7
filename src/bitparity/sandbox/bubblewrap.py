"""Sandbox level bubblewrap: own namespaces, a small read-only root, no rights, few system calls.

Inside, a program is user 65534 with no capability, alone in its PID, network, IPC, UTS, cgroup and user namespaces.
It sees the system's programs and its interpreter read-only, and one file system in memory, of fixed size, that it may
write to: `/box`, with its working directory `/box/work`, `/tmp` and `/dev/shm` inside.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import shutil
import subprocess
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from bitparity.errors import SandboxError
from bitparity.sandbox import cgroup, interpreter, privileges, proof, rlimits, seccomp, supervise
from bitparity.sandbox.contract import DEFAULT, Ended, Files, Limits
from bitparity.sandbox.gate import GATE
from bitparity.sandbox.tree import files_in

BOX, WORK, TEMPORARY, WORKER = "/box", "/box/work", "/box/tmp", "/box/worker.py"
_DEVICES = ("null", "full", "random", "urandom")  # a shared mapping of /dev/zero would be memory of no process
# version 0.8 has the first two, without which a program could fill the memory or make namespaces of its own
_NEEDED_OPTIONS = ("--size", "--disable-userns", "--json-status-fd", "--unshare-user")
_TOOLS = "/usr/bin:/bin:/usr/local/bin:/usr/sbin:/sbin"
_MB = 1 << 20
_THREAD_COUNTS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
# waits for a line that never comes; when the pipe ends, it kills its own process group (0)
_LIFELINE = ("/bin/sh", "-c", "read -r line; kill -s KILL 0")
INSTALL = "install bubblewrap 0.8 or newer (apt-get install bubblewrap, dnf install bubblewrap)"


def environment(python: str) -> dict[str, str]:
    """The whole environment of a program. A fixed hash seed: the same program ends the same way for every variant."""
    return {
        "PATH": f"{Path(python).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": TEMPORARY,
        "TMPDIR": TEMPORARY,
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
        **dict.fromkeys(_THREAD_COUNTS, "1"),
    }


class Bubblewrap(proof.ProvenSandbox):
    """One fresh bubblewrap for each program."""

    level = "bubblewrap"

    def __init__(self, python: str | None = None, readable: Sequence[Path] = ()) -> None:
        self._tool = _tool("bwrap", INSTALL)
        self._prlimit = _tool("prlimit", "install util-linux (apt-get install util-linux)")
        options = subprocess.run([self._tool, "--help"], check=False, capture_output=True, text=True).stdout
        if missing := [option for option in _NEEDED_OPTIONS if option not in options]:
            raise SandboxError(f"this bubblewrap lacks {', '.join(missing)}: {INSTALL}")
        super().__init__(python, readable)
        self.filter = seccomp.program() if seccomp.supported() else b""
        self._prefix, self._namespace = privileges.drop(self._view.shown)
        self._groups = cgroup.delegated()
        self._lifeline = Lifeline()

    def facts(self) -> dict[str, str]:
        """The level, its version, and which protections this machine has."""
        told = subprocess.run([self._tool, "--version"], check=False, capture_output=True, text=True)
        return super().facts() | {
            "version": told.stdout.strip(),
            "seccomp": "on" if self.filter else f"none for {platform.machine()}",
            "cgroup": "delegated" if self._groups else "none: limits are watched from outside",
        }

    def run(self, files: Files, argv: Sequence[str], stdin: bytes = b"", limits: Limits = DEFAULT) -> Ended:
        """One program in a fresh sandbox; see the contract."""
        with GATE.beside_others(), contextlib.ExitStack() as stack:
            of = stack.enter_context(cgroup.group(self._groups, limits))
            start, confined, fds = self.command(files, argv, limits, stack)
            ended = supervise.run(
                lambda status: cgroup.wrap([*start, "--json-status-fd", str(status), "--", *confined], of),
                stdin=stdin,
                limits=limits,
                env=environment(self.python),
                pass_fds=fds,
                stored=box_use,
                group=self._lifeline.group,
            )
            # seen from outside, a program that the kernel kills for its memory ends by a signal like any other
            if of is not None and ended.end == "runtime_error" and cgroup.out_of_memory(of):
                return replace(ended, end="memory_limit")
            return ended

    def command(
        self, files: Files, argv: Sequence[str], limits: Limits, stack: contextlib.ExitStack
    ) -> tuple[list[str], list[str], list[int]]:
        """The command lines of bubblewrap and in it, and the descriptors that it reads; `stack` closes these."""
        passed = _Passed(stack)
        options = [*_ALONE, *self._file_system(limits, passed)]
        for name, content in files.items():
            options += ["--file", passed(content), f"{WORK}/{inside(name)}"]
        options += ["--remount-ro", "/", "--chdir", WORK]
        if self.filter:
            options += ["--seccomp", passed(self.filter)]
        kernel = [f"--{name}={soft}:{hard}" for name, _, soft, hard in rlimits.wanted(limits)]
        return self._start(options, passed), [self._prlimit, *kernel, "--", *_INIT, *argv], passed.fds

    def worker(
        self, script: bytes, arguments: Sequence[str], stack: contextlib.ExitStack
    ) -> tuple[list[str], list[int]]:
        """The command line of a warm worker, which confines its scripts itself, within namespaces of their own."""
        passed = _Passed(stack)
        options = [*self._file_system(Limits(file_mb=1), passed), "--file", passed(script), WORKER]
        options += ["--remount-ro", "/", "--chdir", WORK]
        return [*self._start(options, passed), "--", self.python, WORKER, *arguments], passed.fds

    def _start(self, options: Sequence[str], passed: _Passed) -> list[str]:
        return [*self._prefix, self._tool, "--args", passed(b"".join(option.encode() + b"\0" for option in options))]

    def _file_system(self, limits: Limits, passed: _Passed) -> list[str]:
        own = [*_OWN_NAMESPACES, *_NO_RIGHTS]
        return [*own, *_root(self._view), "--file", passed(_PASSWD), "/etc/passwd", *_box(limits, self._view)]


class Lifeline:
    """A process group that is killed when this object or this process ends, however it ends.

    bubblewrap's `--die-with-parent` has a gap: killed after it has made the namespaces and before it has told the
    process inside to go on, it leaves that process waiting for ever, and no signal from a file reaches a namespace's
    first process. So all bubblewraps of a harness join the group of a shell that waits for the end of a pipe which the
    harness holds open. What has left the group by then waits for the harness's answer (`supervise.Pump`) or dies with
    its bubblewrap.
    """

    def __init__(self) -> None:
        watched, held = os.pipe2(os.O_CLOEXEC)
        try:
            stdin = [(os.POSIX_SPAWN_DUP2, watched, 0)]
            self.group = os.posix_spawn(_LIFELINE[0], _LIFELINE, {}, file_actions=stdin, setpgroup=0)
        except OSError:
            os.close(held)
            raise
        finally:
            os.close(watched)
        weakref.finalize(self, _end_lifeline, self.group, held)


def _end_lifeline(watch: int, held: int) -> None:
    os.close(held)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(watch, 0)


class _Passed:
    """Data that bubblewrap reads from descriptors."""

    def __init__(self, stack: contextlib.ExitStack) -> None:
        self._stack = stack
        self.fds: list[int] = []

    def __call__(self, data: bytes) -> str:
        """A new descriptor from which `data` can be read, as bubblewrap's options name it."""
        self.fds.append(memory_file(data, self._stack))
        return str(self.fds[-1])


def box_use(pids: list[int]) -> tuple[int, int]:
    """Bytes and files in the writable file system that a program's deepest process sees."""
    return files_in(pids[-1], BOX)


def memory_file(data: bytes, stack: contextlib.ExitStack) -> int:
    """A descriptor from which `data` can be read; `stack` closes it."""
    descriptor = os.memfd_create("bitparity", os.MFD_CLOEXEC)
    stack.callback(os.close, descriptor)
    with open(descriptor, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


_PASSWD = b"nobody:x:65534:65534:nobody:/box/tmp:/bin/sh\n"
# The namespace's first process waits for the program and for orphans. It is a shell rather than bubblewrap's own,
# because a program can write to the memory of any process of its user, and bubblewrap's has no seccomp filter. It
# starts the program when the watch, still alive, has answered (`supervise.Pump`).
_INIT = ("/bin/sh", "-c", 'printf "\\006" >&2; read go || exit 1; "$@"; exit $?', "sh")
_OWN_NAMESPACES = ("--unshare-all", "--unshare-user", "--as-pid-1", "--new-session", "--hostname", "sandbox")
_NO_RIGHTS = ("--cap-drop", "ALL", "--uid", "65534", "--gid", "65534")
_ALONE = ("--disable-userns", "--die-with-parent")


def _tool(name: str, remedy: str) -> str:
    path = shutil.which(name, path=_TOOLS)
    if path is None:
        raise SandboxError(f"model-written code is run in a sandbox, and {name} is not installed: {remedy}")
    return path


@functools.cache
def _root(view: interpreter.View) -> tuple[str, ...]:
    """The read-only part of the file system."""
    options: list[str] = []
    for link, target in view.links:
        options += ["--symlink", target, link]
    for step, path in view.steps:
        options += ["--ro-bind", path, path] if step == "show" else ["--tmpfs", path]
    for step, path in view.steps:
        options += ["--remount-ro", path] if step == "hide" else []
    for device in _DEVICES:
        options += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
    options += ["--symlink", "/proc/self/fd", "/dev/fd", "--proc", "/proc"]
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        options += ["--symlink", f"/proc/self/fd/{number}", f"/dev/{name}"]
    return tuple(options)


def _box(limits: Limits, view: interpreter.View) -> list[str]:
    """The writable part: one file system, so that one size holds for all of it."""
    options = ["--size", str(limits.file_mb * _MB), "--tmpfs", BOX, "--dir", WORK, "--dir", TEMPORARY]
    options += ["--dir", f"{BOX}/shm", "--symlink", f"{BOX}/shm", "/dev/shm"]
    if not any(PurePosixPath(path).is_relative_to("/tmp") for path in view.shown):
        options += ["--symlink", TEMPORARY, "/tmp"]
    return options


def write_files(folder: Path, files: Files) -> None:
    """Write a program's files; raises ValueError where a name leads out of the folder."""
    for name, content in files.items():
        path = folder / inside(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def inside(name: str) -> str:
    """The name of a program's file, checked; raises ValueError where it leads out of the working directory."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.parts or "\0" in name:
        raise ValueError(f"a program's file must have a relative path inside its working directory: {name!r}")
    return str(path)
