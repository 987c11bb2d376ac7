"""Warm workers: scripts start with numpy or scipy already imported.

A worker inside the sandbox imports the modules once and forks a fresh process for each script, in namespaces of its own
(`_zygote.py`). The watch is the same as for other programs. At levels that cannot have such a worker each script gets
a fresh interpreter: slower, with the same meaning.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from base64 import b64encode
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from bitparity.errors import SandboxError
from bitparity.sandbox import _zygote, bubblewrap, rlimits, seccomp
from bitparity.sandbox.contract import DEFAULT, Ended, Files, Limits, Sandbox
from bitparity.sandbox.gate import GATE
from bitparity.sandbox.supervise import FILES_A_MB, Pump, Watch, fault, judge, kill
from bitparity.sandbox.tree import Tree

_SCRIPT = "__main__.py"
_IMPORT_S = 300.0  # scipy from a cold network disk
_ANSWER_S = 20.0
_MESSAGE_BYTES = 1 << 16


class WarmWorker:
    """Runs Python scripts with modules already imported: as many at once as threads call. A context manager.

    Each running script has a worker of its own; a worker whose script has ended waits for the next one.

    Args:
        sandbox: confines every script.
        preload: names of modules to import beforehand.

    Raises:
        SandboxError: a module cannot be imported inside.
    """

    def __init__(self, sandbox: Sandbox, preload: Sequence[str] = ()) -> None:
        self._sandbox, self._preload = sandbox, tuple(preload)
        self._idle: deque[_Worker] = deque()  # of one end only, so it needs no lock
        if isinstance(sandbox, bubblewrap.Bubblewrap):
            self._idle.append(_Worker(sandbox, self._preload))

    def run(self, files: Files, script: str, stdin: bytes = b"", limits: Limits = DEFAULT) -> Ended:
        """One script in a fresh, confined process; the same meaning as `Sandbox.run`."""
        files = {**files, _SCRIPT: script.encode()}
        if not isinstance(self._sandbox, bubblewrap.Bubblewrap):
            return self._sandbox.run(files, [self._sandbox.python, _SCRIPT], stdin, limits)
        with GATE.beside_others():
            started = time.monotonic()
            worker: _Worker | None = None
            try:
                # two threads may find the last one at the same moment: only popping tells who has it
                with contextlib.suppress(IndexError):
                    worker = self._idle.pop()
                worker = worker or _Worker(self._sandbox, self._preload)
                ended = worker.run(files, stdin, limits, started)
            except (OSError, ValueError, SandboxError) as error:
                if worker is not None:
                    worker.close()  # the next script gets a new one
                return fault(f"the warm worker failed: {error}", started)
            self._idle.append(worker)
            return ended

    def close(self) -> None:
        """Ends the workers that wait; one that still runs a script ends with this process."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Worker:
    """The parent's side of one worker process."""

    def __init__(self, sandbox: bubblewrap.Bubblewrap, preload: Sequence[str]) -> None:
        self._filter = seccomp.program(listening=False) if sandbox.filter else b""
        # packets, so that each message comes whole and with its own descriptors
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.settimeout(_IMPORT_S)
        source = Path(_zygote.__file__).read_bytes()
        with contextlib.ExitStack() as stack, theirs, tempfile.TemporaryFile() as complaints:
            command, fds = sandbox.worker(source, [str(theirs.fileno()), *preload], stack)
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=complaints,
                env=bubblewrap.environment(sandbox.python),
                cwd="/",
                pass_fds=[*fds, theirs.fileno()],
                start_new_session=True,
            )
            theirs.close()  # or its end would not be seen here
            if self._control.recv(_MESSAGE_BYTES) != b"imported":
                self.close()
                complaints.seek(0)
                said = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
                raise SandboxError(
                    f"the warm worker could not import {', '.join(preload) or 'its modules'} with {sandbox.python}: "
                    f"{said or 'no answer'}. Install what is missing into that interpreter's environment"
                )
        self._control.settimeout(_ANSWER_S)

    def run(self, files: Files, stdin: bytes, limits: Limits, started: float) -> Ended:
        """One script; raises OSError or ValueError where the worker itself fails."""
        watch = Watch(limits, bubblewrap.box_use, started)
        with contextlib.ExitStack() as stack:
            pump = stack.enter_context(contextlib.closing(Pump(stdin, watch)))
            try:
                request = bubblewrap.memory_file(self._request(files, limits), stack)
                socket.send_fds(self._control, [b"run"], [request, *pump.theirs])
            finally:
                pump.hand_over()
            message, descriptors, _, _ = socket.recv_fds(self._control, 16, 1)
            if message != b"started" or len(descriptors) != 1:
                raise OSError("it ended before the script began")
            (first,) = descriptors
            stack.callback(os.close, first)
            watch.kill = lambda: kill(first)
            watch.tree = Tree(_pid(first), shared_network=True)
            pump.until(first)
            answer = json.loads(self._control.recv(_MESSAGE_BYTES))
            # the kernel's own sum, which counts what came between two looks
            watch.cpu_s = max(watch.cpu_s, answer["cpu_s"])
            pump.rest()
            if answer["error"]:
                raise OSError(answer["error"])
            if not answer["ready"] and watch.reason is None:
                raise OSError("a script's process ended before the script began")
            return judge(watch, pump, int(answer["status"]))

    def close(self) -> None:
        """The worker ends when its control socket does, and all it started with it."""
        self._control.close()
        try:
            self._process.wait(_ANSWER_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _request(self, files: Files, limits: Limits) -> bytes:
        request = {
            "box": bubblewrap.BOX,
            "script": _SCRIPT,
            "files": {bubblewrap.inside(name): b64encode(content).decode() for name, content in files.items()},
            "file_bytes": limits.file_mb << 20,
            "inodes": limits.file_mb * FILES_A_MB,
            "rlimits": [[kind, soft, hard] for _, kind, soft, hard in rlimits.wanted(limits)],
            "filter": b64encode(self._filter).decode(),
        }
        return json.dumps(request).encode()


def _pid(pidfd: int) -> int:
    """The process behind a pidfd, as this process sees it."""
    told = dict(line.split(":", 1) for line in Path(f"/proc/self/fdinfo/{pidfd}").read_text().splitlines())
    if "Pid" in told:
        return int(told["Pid"])
    raise OSError("this kernel does not tell the process behind a descriptor (Linux 5.5 or newer does)")
