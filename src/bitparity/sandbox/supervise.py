"""Supervisor of one confined program: feeds it, reads it, measures it, and kills it where a limit is passed."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bitparity.sandbox.contract import End, Ended, Limits
from bitparity.sandbox.tree import Tree

READY = b"\x06"  # ASCII's "acknowledge", which no message of a shell holds
_LOOK_S = 0.02  # between two looks at the tree: at 2 GB/s a balloon passes its limit by 40 MB
_READ = 1 << 16  # as much as a pipe holds
_STDERR_KEPT = 16 << 10
_ENDING_S = 20.0  # a killed tree is gone in milliseconds; later something is wrong with the machine
FILES_A_MB = 256  # an empty file costs the kernel about a KiB that the file system's size does not show
_OUR_PROCESSES = 4  # what confines the program
_OUT_OF_MEMORY = re.compile(rb"(?:[\w.]*\.)?_?(?:Array)?MemoryError\b|.*std::bad_alloc")

Use = Callable[[list[int]], tuple[int, int]]
"""Tells the bytes and files that the program with these processes has written; the last one is surely inside."""


@dataclass(slots=True)
class Output:
    """One of the program's outputs: the first bytes (or the last) are kept, all are counted, none are stored beyond."""

    limit: int
    keep_last: bool = False
    total: int = 0
    kept: bytearray = field(default_factory=bytearray)

    def add(self, data: bytes) -> None:
        """Take what was read."""
        self.total += len(data)
        self.kept += data
        # an answer counts from its beginning; of an error the end tells most
        del self.kept[slice(-_STDERR_KEPT) if self.keep_last else slice(self.limit, None)]

    @property
    def over(self) -> bool:
        """True if the program wrote more than it may."""
        return self.total > self.limit


@dataclass(slots=True)
class Watch:
    """Measurements and limits of one program, seen from outside."""

    limits: Limits
    kill: Callable[[], None]
    tree: Tree | None = None
    stored: Use = lambda pids: (0, 0)
    started: float = field(default_factory=time.monotonic)
    reason: End | None = None
    cpu_s: float = 0.0
    _next_look: float = 0.0

    def look(self) -> float:
        """Measures, kills where a limit is passed, and returns the seconds until the next look."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + _LOOK_S
            self._measure(now)
        return max(0.0, self._next_look - now)

    def stop(self, reason: End) -> None:
        """Kills the tree, once; the first reason stands."""
        if self.reason is None:
            self.reason = reason
            self.kill()

    def _measure(self, now: float) -> None:
        if now - self.started > self.limits.wall_s:
            self.stop("time_limit")
        if self.tree is None or self.reason is not None:
            return
        pids = self.tree.pids()
        self.cpu_s = self.tree.cpu_s(pids)
        limit = self.limits.memory_mb << 20
        living = self.tree.living(pids)
        stored, files = self.stored(living)
        outside = stored + self.tree.buffers(living) + self.tree.records(living)
        if self.cpu_s > self.limits.cpu_s:
            self.stop("time_limit")
        elif len(pids) > self.limits.processes + _OUR_PROCESSES:
            self.stop("runtime_error")  # RLIMIT_NPROC holds before, but not for root without a sandbox
        elif outside > limit or self.tree.memory(living, limit - outside) + outside > limit:
            self.stop("memory_limit")
        elif stored > self.limits.file_mb << 20 or files > self.limits.file_mb * FILES_A_MB:
            self.stop("output_limit")


class Pump:
    """Carries a program's input and outputs while it runs, and lets the watch look at it.

    The three descriptors are the parent's ends of the program's pipes; they are closed by `close`. With `handshake` the
    program is started by a shell that first writes `READY` to standard error and then waits for a line of input: it
    starts nothing when this process has died meanwhile, at a time when the kernel could not yet tell it so.
    """

    def __init__(
        self, stdin: int, stdout: int, stderr: int, data: bytes, watch: Watch, *, handshake: bool = False
    ) -> None:
        self._stdin: int | None = stdin
        # the line that the shell waits for goes before the program's own input
        self._input = memoryview(b"\n" + data if handshake else data)
        self._watch = watch
        self.started = not handshake
        self.stdout = Output(watch.limits.output_bytes)
        self.stderr = Output(watch.limits.output_bytes, keep_last=True)
        complain = self._until_ready if handshake else self.stderr.add
        self._readers: dict[int, Callable[[bytes], None]] = {stdout: self.stdout.add, stderr: complain}
        self._owned = [stdout, stderr]
        self._poll = select.poll()
        # a program that neither reads nor writes must not keep the watch from looking
        for fd in (stdin, stdout, stderr):
            os.set_blocking(fd, False)
        for fd in (stdout, stderr):
            self._poll.register(fd, select.POLLIN)
        if self.started:
            self._poll.register(stdin, select.POLLOUT)

    def listen(self, fd: int, heard: Callable[[bytes], None]) -> None:
        """Reads another descriptor too; the pump closes it."""
        os.set_blocking(fd, False)
        self._owned.append(fd)
        self._readers[fd] = heard
        self._poll.register(fd, select.POLLIN)

    def until(self, ended: int) -> None:
        """Carries and watches until the descriptor `ended` becomes readable."""
        self._poll.register(ended, select.POLLIN)
        while ended not in (ready := dict(self._poll.poll(self._watch.look() * 1000 + 0.5))):
            for fd in ready:
                if fd in self._readers:
                    self._read(fd)
                elif fd == self._stdin:
                    self._feed()
        self._poll.unregister(ended)

    def rest(self) -> None:
        """Reads what is left in the pipes once the program is gone."""
        for fd in tuple(self._readers):
            while fd in self._readers and self._read(fd):
                pass

    def close(self) -> None:
        """Closes the pipes."""
        self._close_stdin()
        for fd in self._owned:
            os.close(fd)

    def _until_ready(self, data: bytes) -> None:
        before, ready, after = data.partition(READY)
        self.stderr.add(before)
        if ready and self._stdin is not None:
            self.started = True
            self._readers[self._owned[1]] = self.stderr.add
            self._poll.register(self._stdin, select.POLLOUT)
            self.stderr.add(after)

    def _read(self, fd: int) -> bool:
        """Reads once; whether there may be more."""
        try:
            data = os.read(fd, _READ)
        except BlockingIOError:
            return False
        if not data:
            self._poll.unregister(fd)
            del self._readers[fd]
            return False
        self._readers[fd](data)
        if self.stdout.over or self.stderr.over:
            self._watch.stop("output_limit")
            return False
        return True

    def _feed(self) -> None:
        """Writes as much input as the pipe takes; a program need not read it."""
        assert self._stdin is not None
        try:
            while self._input:
                self._input = self._input[os.write(self._stdin, self._input[:_READ]) :]
        except BlockingIOError:
            return
        except BrokenPipeError:
            pass
        self._close_stdin()

    def _close_stdin(self) -> None:
        if self._stdin is not None:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._stdin)
            os.close(self._stdin)
            self._stdin = None


def run(
    command: Callable[[int], Sequence[str]],
    *,
    stdin: bytes,
    limits: Limits,
    env: Mapping[str, str],
    pass_fds: Sequence[int],
    stored: Use,
    ending: signal.Signals = signal.SIGKILL,
    group: int | None = None,
) -> Ended:
    """Run a command line that confines a program, under watch. The command dies with this thread.

    Args:
        command: makes the command line from a descriptor that it writes to as bubblewrap does to `--json-status-fd`.
        pass_fds: descriptors that the command reads (the caller closes them); `env` is the whole environment.
        stored: bytes and files that the program with these processes has written.
        ending: the signal that makes the command end the program.
        group: the process group of a `Lifeline` for the command to join, where the program is started by a shell that
            waits for a line (see `Pump`); without it the command gets a session of its own.
    """
    started = time.monotonic()
    ours, theirs = pipes()
    told, tell = os.pipe2(os.O_CLOEXEC)
    fds = [*pass_fds, tell]
    try:
        process = subprocess.Popen(
            command(tell),
            stdin=theirs[0],
            stdout=theirs[1],
            stderr=theirs[2],
            env=dict(env),
            cwd="/",
            pass_fds=fds,
            start_new_session=group is None,
            process_group=group,
        )
    except OSError as error:
        for fd in (*ours, told):
            os.close(fd)
        return fault(f"the sandbox did not start: {error}", started)
    finally:
        # with an end of its own left open here, a pipe would never tell that the program has closed it
        for fd in (*theirs, tell):
            os.close(fd)
    run = _Command(process, limits, stored, ending, started)
    with (
        contextlib.closing(Pump(*ours, stdin, run.watch, handshake=group is not None)) as pump,
        contextlib.closing(run),
    ):
        pump.listen(told, run.learn)
        pump.until(run.ended)
        run.wait()
        pump.rest()
        return run.judge(pump)


def pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    """Three pipes for a program's standard streams: the parent's ends, the program's ends."""
    (their_in, our_in), (our_out, their_out), (our_error, their_error) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
    return (our_in, our_out, our_error), (their_in, their_out, their_error)


def fault(detail: str, started: float) -> Ended:
    """A fault of the harness or the machine, never of the program."""
    return Ended("infrastructure_error", None, b"", b"", 0.0, time.monotonic() - started, detail)


class _Command:
    """A running command that confines a program."""

    def __init__(
        self, process: subprocess.Popen[bytes], limits: Limits, stored: Use, ending: signal.Signals, started: float
    ) -> None:
        self._process, self._ending = process, ending
        self._status = b""
        self._first: int | None = None  # a pidfd of the namespace's first process
        self._gone = True
        # a descriptor of the process: unlike its number it never comes to mean another one
        self.ended = os.pidfd_open(process.pid)
        self.watch = Watch(limits, self._kill, Tree(process.pid), stored, started)

    def learn(self, data: bytes) -> None:
        """The status pipe first tells the namespace's first process, and in the end the program's exit status."""
        self._status += data
        if self._first is None and (pid := self._told("child-pid")) is not None:
            with contextlib.suppress(ProcessLookupError):
                self._first = os.pidfd_open(pid)

    def wait(self) -> None:
        """Takes the usage and makes sure that nothing of the tree is left."""
        # not Popen.wait, which throws the usage away
        _, raw, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(raw)
        # the kernel's own sum, which counts what came between two looks
        self.watch.cpu_s = max(self.watch.cpu_s, usage.ru_utime + usage.ru_stime)
        if self._first is not None:
            # a namespace's first process ends only when all the others have ended
            waiting = select.poll()
            waiting.register(self._first, select.POLLIN)
            self._gone = bool(waiting.poll(_ENDING_S * 1000))

    def judge(self, pump: Pump) -> Ended:
        """The end of the program, once everything is read."""
        status = self._told("exit-code") if pump.started else None
        ended = judge(self.watch, pump, None if status is None else 128 - status if status > 128 else status)
        if not self._gone:
            detail = "a killed program did not end within 20 seconds: look at this machine's disk and memory"
            return replace(ended, end="infrastructure_error", detail=detail)
        return ended

    def close(self) -> None:
        """Gives back the descriptors; kills what an error of this harness left running."""
        if self._process.returncode is None:
            self._kill()
            self._process.wait()
        for fd in (self.ended, self._first):
            if fd is not None:
                os.close(fd)

    def _told(self, key: str) -> int | None:
        for line in self._status.split(b"\n")[:-1]:  # the last one has not come whole
            told = json.loads(line)
            if key in told:
                return int(told[key])
        return None

    def _kill(self) -> None:
        """The namespace's first process takes all others with it; the command, outside, then ends by itself."""
        if self._first is not None:
            kill(self._first)
        else:
            # not Popen.send_signal, which would take the exit status and the usage of one that has just ended
            kill(self.ended, self._ending)


def kill(pidfd: int, by: signal.Signals = signal.SIGKILL) -> None:
    """Sends a signal to the process of a descriptor, if that has not ended."""
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, by)


def judge(watch: Watch, pump: Pump, status: int | None) -> Ended:
    """The end of a program, from its measurements and its exit status (None where it never started)."""
    stderr, detail, end = bytes(pump.stderr.kept), "", watch.reason
    if end is not None:  # the watch has killed it
        status = -signal.SIGKILL
    elif status is None:
        end = "infrastructure_error"
        detail = f"the sandbox ended before the program did: {stderr.decode(errors='replace').strip()[-500:]}"
    else:
        end = natural_end(status, stderr, watch.cpu_s, watch.limits)
    wall_s = time.monotonic() - watch.started
    return Ended(end, status, bytes(pump.stdout.kept), stderr, watch.cpu_s, wall_s, detail)


def natural_end(status: int, stderr: bytes, cpu_s: float, limits: Limits) -> End:
    """The end of a program that was not killed from outside."""
    # before the status: a program may catch SIGXCPU, or have used the time in children, and still end with 0
    if cpu_s > limits.cpu_s or status == -signal.SIGXCPU:
        return "time_limit"
    if status == 0:
        return "exit"
    # the interpreter and the C++ library name the exception in the last line
    last = stderr.rstrip().rpartition(b"\n")[2]
    if (status == 1 and _OUT_OF_MEMORY.match(last)) or b"std::bad_alloc" in last:
        return "memory_limit"
    return "runtime_error"
