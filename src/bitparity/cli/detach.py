"""Detached runs: `bitparity run --detach` is the same run in a session of its own, which survives a lost terminal.

The child has no controlling terminal, ignores SIGHUP, reads nothing, and writes to `logs/run.log` of the run. The
command returns once the child holds the run's lock and has passed everything that is checked before a model is loaded.
A host that ends all processes of a user who logs out (systemd's KillUserProcesses) ends this one too, unless that
user may linger: `loginctl enable-linger`.
"""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bitparity.cli.output import say
from bitparity.progress.file import read_progress
from bitparity.schema import Study
from bitparity.store.run import WritableRun

LOOK_SECONDS = 0.1


def run_log(path: Path) -> Path:
    """The log of a detached run."""
    return path / "logs" / "run.log"


def start(study: Study, path: Path, arguments: Sequence[str]) -> int | None:
    """Start `bitparity run` with these arguments, detached, and wait until it has begun.

    Prints how to follow and how to stop it. Gives its exit code where it is over already, else None. Raises RunError
    where another process has the run, or where it is another study's.
    """
    with WritableRun(path, study):  # what the child would be refused for is said here, and its log left alone
        run_log(path).parent.mkdir(exist_ok=True)
        run_log(path).touch()
    offset = run_log(path).stat().st_size
    child = _spawn(path, arguments)
    code = await_start(child, path, offset)
    say(f"detached: pid {child.pid}" if code is None else f"the run is over already, with exit code {code}")
    say(f"log: {run_log(path)}")
    if code is None:
        say(f"watch: bitparity status {shlex.quote(str(path))} --watch")
        say(f"stop: kill -INT {child.pid}")
    return code


def _spawn(path: Path, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
    # -P: a file in the working directory must not stand in for a library
    command = [sys.executable, "-P", "-m", "bitparity", "run", *arguments]
    with run_log(path).open("ab") as log, _signals_of_the_child():
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


@contextmanager
def _signals_of_the_child() -> Iterator[None]:
    """SIGHUP ignored and SIGINT as usual, also where a shell started this process with SIGINT ignored.

    Both are handed on to a child: an ignored signal stays ignored, one with a handler is as by default.
    """
    before = {
        signal.SIGHUP: signal.signal(signal.SIGHUP, signal.SIG_IGN),
        signal.SIGINT: signal.signal(signal.SIGINT, signal.default_int_handler),
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def await_start(child: subprocess.Popen[bytes], path: Path, offset: int) -> int | None:
    """Wait until the run has begun: None, or the exit code where it is over already.

    What it writes into its log after `offset` meanwhile is shown on stderr. Who interrupts the waiting interrupts the
    run too.
    """
    with run_log(path).open(encoding="utf-8", errors="replace") as log:
        log.seek(offset)
        try:
            while True:
                code, begun = child.poll(), _has_begun(path, child.pid)
                sys.stderr.write(log.read())
                sys.stderr.flush()
                if code is not None or begun:
                    return code
                time.sleep(LOOK_SECONDS)
        except KeyboardInterrupt:
            child.send_signal(signal.SIGINT)
            child.wait()
            raise


def _has_begun(path: Path, pid: int) -> bool:
    """True if that process has come to a variant."""
    found = read_progress(path)
    there = found["variants"].values() if found is not None and found["pid"] == pid else ()
    return any(variant["state"] != "waiting" for variant in there)
