"""Self-test at start-up: a program tries to escape, and a sandbox that it escapes from is not used."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from bitparity.errors import SandboxError
from bitparity.sandbox import interpreter
from bitparity.sandbox.contract import Limits, Sandbox

_LIMITS = Limits(cpu_s=5, wall_s=20, memory_mb=512)
_PROBE = """
import json, os, socket, subprocess, sys, time
asked = json.load(open("asked.json"))
reached = []
def attempt(name, action):
    try:
        action()
    except Exception:  # refused, in whatever way: as it should be
        return
    reached.append(name)
def connect(family, address):
    with socket.socket(family) as client:
        client.settimeout(2)
        client.connect(address)
attempt("the network", lambda: connect(socket.AF_INET, ("127.0.0.1", asked["port"])))
attempt("another program's socket", lambda: connect(socket.AF_UNIX, "\\0" + asked["socket"]))
attempt("the temporary folder", lambda: open(asked["canary"]).read())
def listed(folder):
    if not set(os.listdir(folder)) & set(asked["home_names"]) - set(asked["allowed"]):
        raise FileNotFoundError
attempt("the home folder", lambda: listed(asked["home"]))
for folder in ["/", "/etc", "/usr", "/usr/bin", "/var", "/proc", asked["home"], *asked["folders"]]:
    def write(folder=folder):
        path = os.path.join(folder, asked["token"])
        open(path, "w").close()
        os.unlink(path)
    attempt("writing in " + folder, write)
attempt("a signal to the parent", lambda: os.kill(asked["parent"], 0))
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        for descriptor in range(3):
            os.close(descriptor)
        os.execv(sys.executable, [sys.executable, "-S", "-c", "import time; time.sleep(60)", asked["token"]])
    os._exit(0)
os.wait()
time.sleep(0.05)
print(json.dumps(reached))
"""


class ProvenSandbox(Sandbox):
    """A sandbox that shows programs a part of the file system, and is put to the test before it is used."""

    _namespace: int | None = None  # a mount namespace that was prepared for root

    def __init__(self, python: str | None = None, readable: Sequence[Path] = ()) -> None:
        self._view = interpreter.view(python or sys.executable, readable)
        self.python = self._view.python

    def _refuse_hidden(self, what: str) -> None:
        """Raise SandboxError where the view hides a folder, which this level cannot do."""
        if hidden := [path for step, path in self._view.steps if step == "hide"]:
            raise SandboxError(f"{what} cannot hide {', '.join(hidden)}, which lies where the interpreter does")

    def self_test(self) -> None:
        """Runs the attempts. Raises SandboxError naming what was reached, or where no program runs."""
        token, folders = f"bitparity-{secrets.token_hex(8)}", self._view.shown
        with _bait(token) as asked:
            # an interpreter may lie below a name in the home folder, which can then be seen
            asked |= {"folders": list(folders), "allowed": sorted({part for f in folders for part in Path(f).parts})}
            files = {"probe.py": _PROBE.encode(), "asked.json": json.dumps(asked).encode()}
            ended = self.run(files, [self.python, "-S", "probe.py"], limits=_LIMITS)
        try:
            if ended.end != "exit":
                raise ValueError
            reached = list(json.loads(ended.stdout))
        except ValueError:
            said = ended.detail or ended.stderr.decode(errors="replace").strip()[-500:] or ended.end
            raise SandboxError(
                f"no program runs in the sandbox ({self.level}) on this machine: {said}. Usual causes: user namespaces "
                "are off (sysctl kernel.unprivileged_userns_clone, kernel.apparmor_restrict_unprivileged_userns), or a "
                "container forbids them (Docker: --security-opt seccomp=unconfined)"
            ) from None
        if _alive(token):
            reached.append("life after its end (a child process was left behind)")
        if reached:
            raise SandboxError(
                f"the sandbox ({self.level}) does not hold on this machine: a test program reached "
                f"{', '.join(reached)}. Update bubblewrap and the kernel, or run as an ordinary user"
            )

    def close(self) -> None:
        """Closes the namespace."""
        if self._namespace is not None:
            os.close(self._namespace)
            self._namespace = None


@contextlib.contextmanager
def _bait(token: str) -> Iterator[dict[str, object]]:
    """Things on this machine that a program must not reach: two listening sockets and a readable file."""
    with (
        socket.socket() as listener,
        socket.socket(socket.AF_UNIX) as abstract,
        tempfile.NamedTemporaryFile(prefix=token) as canary,
    ):
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        abstract.bind(f"\0{token}")
        abstract.listen()
        Path(canary.name).chmod(0o644)  # only the sandbox keeps a program of another user from it
        home, names = interpreter.home(), list[str]()
        with contextlib.suppress(OSError):
            names = [path.name for path in home.iterdir()]
        yield {
            "token": token,
            "port": listener.getsockname()[1],
            "socket": token,
            "canary": canary.name,
            "home": str(home),
            "home_names": names,
            "parent": os.getpid(),
        }


def _alive(token: str) -> bool:
    """True if a process with `token` among its arguments still exists a moment after the run."""
    deadline = time.monotonic() + 0.2  # a killed process stays in /proc until somebody has waited for it
    while True:
        alive = False
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit() and folder.name != str(os.getpid()):
                with contextlib.suppress(OSError):
                    alive |= token in (folder / "cmdline").read_text(errors="replace")
        if not alive or time.monotonic() > deadline:
            return alive
        time.sleep(0.02)
