"""One sandbox and one warm worker for all attacks, and the checks that follow each of them."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bitparity.errors import SandboxError
from bitparity.sandbox import _confine, seccomp
from bitparity.sandbox.bubblewrap import Bubblewrap
from bitparity.sandbox.contract import Ended, Limits, Sandbox
from bitparity.sandbox.landlock import Landlock
from bitparity.sandbox.tree import Tree
from bitparity.sandbox.warm import WarmWorker

SHORT = Limits(cpu_s=0.5, wall_s=3.0, memory_mb=192, output_bytes=1 << 16, file_mb=8, processes=24)

Attack = Callable[..., Ended]


@pytest.fixture(scope="module")
def landlock() -> Iterator[Sandbox]:
    if _confine.landlock_version() < 3 or not seccomp.supported():
        pytest.skip("this kernel has no Landlock of version 3 or newer")
    with Landlock() as sandbox:
        sandbox.self_test()
        yield sandbox


@pytest.fixture(scope="session")
def box() -> Iterator[Sandbox]:
    if shutil.which("bwrap") is None:
        pytest.skip("bubblewrap is not installed (apt-get install bubblewrap)")
    with Bubblewrap() as sandbox:
        sandbox.self_test()
        yield sandbox


@pytest.fixture(scope="session")
def worker(box: Sandbox) -> Iterator[WarmWorker]:
    with WarmWorker(box, ["json", "ctypes", "socket"]) as warm:
        yield warm


@pytest.fixture(params=["fresh", "warm"])
def attack(request: pytest.FixtureRequest, box: Sandbox, worker: WarmWorker) -> Attack:
    """Runs a hostile program; then nothing of it may be left, and the next program must run."""

    def run(code: str, stdin: bytes = b"", **limits: float) -> Ended:
        token = f"attack-{secrets.token_hex(8)}"
        asked = replace(SHORT, **limits)
        processes, descriptors = _processes(), _descriptors()
        if request.param == "fresh":
            ended = box.run({"main.py": code.encode()}, [box.python, "main.py", token], stdin, asked)
        else:
            ended = worker.run({}, code, stdin, asked)
        assert ended.end != "infrastructure_error", ended.detail
        assert not _named(token)
        assert _processes() <= processes
        assert _descriptors() == descriptors
        following = worker.run({}, "print(6 * 7)") if request.param == "warm" else answer(box)
        assert (following.end, following.stdout) == ("exit", b"42\n")
        return ended

    return run


def answer(box: Sandbox) -> Ended:
    return box.run({}, [box.python, "-S", "-c", "print(6 * 7)"])


def _processes() -> set[int]:
    return set(Tree(os.getpid()).pids())


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _named(token: str) -> list[str]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                command = (folder / "cmdline").read_text(errors="replace")
            except OSError:
                continue
            if token in command:
                found.append(command)
    return found


def wait_until(condition: Callable[[], bool], seconds: float = 5.0) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


__all__ = ["SHORT", "Attack", "SandboxError", "answer", "wait_until"]
