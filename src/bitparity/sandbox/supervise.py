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
    stored: Use
    started: float = field(default_factory=time.monotonic)
    kill: Callable[[], None] = lambda: None  # nothing, until there is a process that could be killed
    tree: Tree | None = None
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

    With `handshake` the program is started by a shell that first writes `READY` to standard error and then waits for a
    line of input: it starts nothing when this process has died meanwhile, at a time when the kernel could not yet tell
    it so. `theirs` are the program's ends of its pipes, until `hand_over`.
    """

    def __init__(self, data: bytes, watch: Watch, *, handshake: bool = False) -> None:
        (their_in, stdin), (stdout, their_out), (stderr, their_error) = (os.pipe2(os.O_CLOEXEC) for _ in range(3))
        self.theirs = their_in, their_out, their_error
        self._stdin: int | None = stdin
        # the line that the shell waits for goes before the program's own input
        self._input = memoryview(b"\n" + data if handshake else data)
        self._watch = watch
        self.started = not handshake
        self.stdout = Output(watch.limits.output_bytes)
        self.stderr = Output(watch.limits.output_bytes, keep_last=True)
        self._readers: dict[int, Callable[[bytes], None]] = {}
        self._owned: list[int] = []
        self._poll = select.poll()
        self.listen(stdout, self.stdout.add)
        self.listen(stderr, self._until_ready if handshake else self.stderr.add)
        os.set_blocking(stdin, False)
        if self.started:
            self._poll.register(stdin, select.POLLOUT)

    def start(
        self, command: Sequence[str], env: Mapping[str, str] | None, fds: Sequence[int] = (), group: int | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a process that has the program's ends; it gets a session of its own where it joins no `group`."""
        stdin, stdout, stderr = self.theirs
        try:
            return subprocess.Popen(
                command,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                env=env,
                cwd="/",
                pass_fds=fds,
                start_new_session=group is None,
                process_group=group,
            )
        finally:
            self.hand_over()

    def hand_over(self) -> None:
        """Closes the program's ends here: a pipe with one left open would never tell that the program closed it."""
        for fd in self.theirs:
            os.close(fd)

    def listen(self, fd: int, heard: Callable[[bytes], None]) -> None:
        """Reads another descriptor too; the pump closes it."""
        # a program that neither reads nor writes must not keep the watch from looking
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
    watch = Watch(limits, stored)
    with contextlib.closing(Pump(stdin, watch, handshake=group is not None)) as pump:
        told, tell = os.pipe2(os.O_CLOEXEC)
        try:
            process = pump.start(command(tell), env, [*pass_fds, tell], group)
        except OSError as error:
            os.close(told)
            return fault(f"the sandbox did not start: {error}", watch.started)
        finally:
            os.close(tell)
        with contextlib.closing(_Command(process, watch, ending)) as running:
            pump.listen(told, running.learn)
            pump.until(running.ended)
            return running.end(pump)


def fault(detail: str, started: float) -> Ended:
    """A fault of the harness or the machine, never of the program."""
    return Ended("infrastructure_error", None, b"", b"", 0.0, time.monotonic() - started, detail)


class _Command:
    """A running command that confines a program."""

    def __init__(self, process: subprocess.Popen[bytes], watch: Watch, ending: signal.Signals) -> None:
        self._process, self._watch, self._ending = process, watch, ending
        self._status = b""
        self._first: int | None = None  # a pidfd of the namespace's first process
        # a descriptor of the process: unlike its number it never comes to mean another one
        self.ended = os.pidfd_open(process.pid)
        watch.kill, watch.tree = self._kill, Tree(process.pid)

    def learn(self, data: bytes) -> None:
        """The status pipe first tells the namespace's first process, and in the end the program's exit status."""
        self._status += data
        if self._first is None and (pid := self._told("child-pid")) is not None:
            with contextlib.suppress(ProcessLookupError):
                self._first = os.pidfd_open(pid)

    def end(self, pump: Pump) -> Ended:
        """Takes the usage, makes sure that nothing of the tree is left, and judges."""
        # not Popen.wait, which throws the usage away
        _, raw, usage = os.wait4(self._process.pid, 0)
        self._process.returncode = os.waitstatus_to_exitcode(raw)
        # the kernel's own sum, which counts what came between two looks
        self._watch.cpu_s = max(self._watch.cpu_s, usage.ru_utime + usage.ru_stime)
        waiting = select.poll()
        if self._first is not None:
            waiting.register(self._first, select.POLLIN)
        # a namespace's first process ends only when all the others have ended
        gone = self._first is None or waiting.poll(_ENDING_S * 1000)
        pump.rest()
        ended = judge(self._watch, pump, self._told("exit-code") if pump.started else None)
        if gone:
            return ended
        detail = "a killed program did not end within 20 seconds: look at this machine's disk and memory"
        return replace(ended, end="infrastructure_error", detail=detail)

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


def judge(watch: Watch, pump: Pump, code: int | None) -> Ended:
    """The end of a program, from its measurements and its exit code as a shell tells it (None: it never started)."""
    stderr, detail, end = bytes(pump.stderr.kept), "", watch.reason
    status = 128 - code if code is not None and code > 128 else code
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
