"""Sandbox level container: Podman or Docker, for hosts without bubblewrap.

An empty image is made once; the system's programs and the interpreter are mounted read-only, as for bubblewrap. There
is no network, no capability, no new privilege; memory and processes are limited by the engine's cgroup, CPU time by the
watch. Starting a container takes some tenths of a second for each program.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import secrets
import shutil
import signal
import subprocess
import tarfile
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bitparity.errors import SandboxError
from bitparity.sandbox import bubblewrap, proof, rlimits, supervise
from bitparity.sandbox.contract import DEFAULT, Ended, Files, Limits
from bitparity.sandbox.gate import GATE
from bitparity.sandbox.tree import Tree

_ENGINES = ("podman", "docker")  # Podman first: it needs no service that runs as root
_ENGINE_S = 30.0
_ENGINE_FAILED = (125, 126, 127)
# these statuses are how an engine tells that it could not start the program, so a program's own become 1
_INIT = (
    f"mkdir -p {bubblewrap.WORK} {bubblewrap.TEMPORARY} && cp -R /in/. {bubblewrap.WORK} && cd {bubblewrap.WORK}"
    f" || exit {_ENGINE_FAILED[0]}; "
    '"$@"; code=$?; case $code in 125|126|127) code=1;; esac; exit $code'
)
_PROCESSES = 4096  # shared by all programs in containers; each one's limit is --pids-limit
_CONFINED = (
    *("--network=none", "--read-only", "--cap-drop=ALL", "--user=65534:65534", "--hostname=sandbox"),
    *("--security-opt=no-new-privileges", "--security-opt=label=disable", "--log-driver=none"),
)
_KERNEL_LIMITS = ("cpu", "fsize", "nofile", "core", "memlock", "msgqueue", "stack")


class Container(proof.ProvenSandbox):
    """One fresh container for each program."""

    level = "container"

    def __init__(self, python: str | None = None, readable: Sequence[Path] = ()) -> None:
        found = [path for name in _ENGINES if (path := shutil.which(name)) is not None]
        engine = next((engine for engine in found if _told(engine, "info").returncode == 0), None)
        if engine is None:
            raise SandboxError(
                f"{', '.join(found)} does not answer (is its service running, may this user use it?)"
                if found
                else "there is no container engine (Podman or Docker) on this machine"
            )
        self._engine = engine
        super().__init__(python, readable)
        self._refuse_hidden("a container")
        self._image = self._empty_image()

    def facts(self) -> dict[str, str]:
        """The level and the engine."""
        told = _told(self._engine, "--version")
        return super().facts() | {"version": told.stdout.decode(errors="replace").strip()}

    def run(self, files: Files, argv: Sequence[str], stdin: bytes = b"", limits: Limits = DEFAULT) -> Ended:
        """One program in a fresh container; see the contract."""
        with GATE.beside_others(), tempfile.TemporaryDirectory(prefix="bitparity-") as folder:
            bubblewrap.write_files(Path(folder), files)
            for path in (Path(folder), *Path(folder).rglob("*")):
                path.chmod(0o755 if path.is_dir() else 0o644)  # the program runs under another user id
            name = f"bitparity-{secrets.token_hex(8)}"
            try:
                return self._run(name, self._command(name, folder, argv, limits), stdin, limits)
            finally:
                _told(self._engine, "rm", "--force", name)

    def _run(self, name: str, command: Sequence[str], stdin: bytes, limits: Limits) -> Ended:
        watch = supervise.Watch(limits, bubblewrap.box_use, kill=lambda: _kill(self._engine, name))
        with contextlib.closing(supervise.Pump(stdin, watch)) as pump, contextlib.ExitStack() as stack:
            process = stack.enter_context(pump.start(command, env=None))
            ended = os.pidfd_open(process.pid)
            stack.callback(os.close, ended)
            # a container's processes are no children of this command, so the engine is asked for them
            finder = threading.Thread(target=_find, args=(self._engine, name, watch, process), daemon=True)
            finder.start()
            pump.until(ended)
            code = process.wait()
            finder.join()
            pump.rest()
            # a client that was killed cannot tell how the program ended
            end = supervise.judge(watch, pump, None if code in {*_ENGINE_FAILED, -signal.SIGKILL} else code)
        # nobody else kills in there but the kernel, on behalf of the memory limit
        out_of_memory = end.end == "runtime_error" and end.status == -signal.SIGKILL
        return replace(end, end="memory_limit") if out_of_memory else end

    def _command(self, name: str, folder: str, argv: Sequence[str], limits: Limits) -> list[str]:
        kernel = [limit for limit in rlimits.wanted(limits) if limit[0] in _KERNEL_LIMITS]
        options = ["--interactive", f"--name={name}", f"--pids-limit={limits.processes + 1}"]
        options += [f"--memory={limits.memory_mb}m", f"--memory-swap={limits.memory_mb}m"]
        options += [f"--tmpfs={bubblewrap.BOX}:rw,nosuid,nodev,mode=1777,size={limits.file_mb}m"]
        options += [f"--shm-size={limits.file_mb}m", f"--ulimit=nproc={_PROCESSES}:{_PROCESSES}"]
        options += [f"--ulimit={kernel_name}={soft}:{hard}" for kernel_name, _, soft, hard in kernel]
        options += [f"--env={name}={value}" for name, value in bubblewrap.environment(self.python).items()]
        options += [f"--volume={path}:{path}:ro" for path in self._view.shown]
        options += [f"--volume={folder}:/in:ro"]
        return [self._engine, "run", *_CONFINED, *options, self._image, "/bin/sh", "-c", _INIT, "sh", *argv]

    def _empty_image(self) -> str:
        """An image with the root's links and mount points only; made once for each shape of root."""
        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as archive:
            for folder in ("usr", "etc", "proc", "dev", "sys", "in", bubblewrap.BOX[1:], "tmp"):
                entry = tarfile.TarInfo(folder)
                # the program runs as a user without a name, so the box is open to everybody
                entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if folder == bubblewrap.BOX[1:] else 0o755
                archive.addfile(entry)
            for link, target in self._view.links:
                entry = tarfile.TarInfo(link[1:])
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
        name = f"bitparity-empty:{hashlib.sha256(packed.getvalue()).hexdigest()[:16]}"
        if _told(self._engine, "image", "inspect", name).returncode == 0:
            return name
        made = _told(self._engine, "import", "-", name, data=packed.getvalue())
        if made.returncode != 0:
            raise SandboxError(f"{self._engine} cannot make an image: {made.stderr.decode(errors='replace').strip()}")
        return name


def _told(engine: str, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """The engine's answer; exit status 1 where it gives none in time."""
    try:
        return subprocess.run([engine, *arguments], check=False, capture_output=True, timeout=_ENGINE_S, input=data)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([engine, *arguments], 1, b"", b"no answer")


def _kill(engine: str, name: str) -> None:
    """Kills the container, which may not have started yet; the engine's client ends with it."""
    deadline = time.monotonic() + _ENGINE_S
    while _told(engine, "kill", name).returncode != 0 and time.monotonic() < deadline:
        if _told(engine, "inspect", "--format", "{{.State.Running}}", name).stdout.strip() == b"false":
            return
        time.sleep(0.05)


def _find(engine: str, name: str, watch: supervise.Watch, process: subprocess.Popen[bytes]) -> None:
    """Tells the watch the container's first process as soon as there is one."""
    while process.poll() is None:
        told = _told(engine, "inspect", "--format", "{{.State.Pid}}", name).stdout.strip()
        if told.isdigit() and int(told) > 0:
            watch.tree = Tree(int(told))
            return
        time.sleep(0.05)
