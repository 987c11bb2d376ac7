"""An engine's process, started and fed by bitparity: one for each variant.

```
with EngineProcess(variant, log=folder / "engine.log") as engine:
    engine.facts
    for samples in engine.run(requests):
        ...
```
A process of its own gives all memory back at its end and a crash costs one variant only. What the
libraries print goes to the log file; requests and samples go over a socket that nothing else writes to.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from bitparity.engines.diagnosis import engine_error
from bitparity.engines.messages import Lines, decode_sample, encode, values_of
from bitparity.engines.registry import engine_of
from bitparity.engines.watchdog import Watchdog, death_of, dump_group, how_ended, kill_group
from bitparity.errors import EngineError, ModelError, UserInputError
from bitparity.inputs.packaged import packaged_toml
from bitparity.records import Request, Sample
from bitparity.schema import Variant
from bitparity.store.lock import check_place

BURST = 1000  # samples handed over at once, at most
_SEND_BYTES = 1 << 16
_CLOSE_SECONDS = 20.0
_LOOK_SECONDS = 1.0  # between two looks at whether the engine still produces
_LOAD_STALLS = 4  # a load that takes so many times the study's `stall_timeout` hangs: 1 h by default
_VARIABLES = packaged_toml(__package__, "process_variables.toml")


class EngineProcess:
    """A loaded engine in a process of its own; use it as a context manager.

    `facts` is what the engine says about itself once loaded. `start` raises ModelError (or another
    UserInputError) where the model cannot be used as the study asks, EngineError where the process
    failed, with the log's last lines, the likely cause and a remedy. `launch` begins to load and returns at once;
    `warm` does only what needs no device.
    """

    def __init__(self, variant: Variant, log: Path) -> None:
        self.facts: dict[str, Any] = {}
        self._variant = variant
        self.on_progress: Callable[[int], None] = lambda count: None  # told now and then how much is computed
        self.on_sent: Callable[[str, dict[str, Any]], None] = lambda benchmark, values: None  # see `Engine.sent`
        self._launched = False
        self._asked = 0  # requests sent in this run
        self._given = 0  # samples that came back
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None
        self._sender_error: BaseException | None = None
        self._running = False  # a run was begun and not read to its end

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(at_once=kind is not None)

    def warm(self) -> None:
        """Start the process, which gets ready to load and waits; no device is touched."""
        if self._process is not None:
            return
        check_place(self._log)
        ours, theirs = socket.socketpair()
        self._connection, self._lines = ours, Lines(ours)
        # -P: a file in the working directory must not stand in for a library
        command = [sys.executable, "-P", "-m", "bitparity.engines.worker", str(theirs.fileno()), str(os.getpid())]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        own = engine_of(self._variant.engine).variables(self._variant.engine)
        with self._log.open("ab") as log, theirs:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                # a group of its own: Ctrl-C reaches bitparity alone, and all that it starts can be killed
                start_new_session=True,
                env={**_VARIABLES["unless_set"], **os.environ, **_VARIABLES["always"], **own},
            )
        self._death = death_of(self._process)
        self._send(encode("variant", self._variant.model_dump(mode="json")))

    def launch(self) -> None:
        """Begin to load the model."""
        self.warm()
        if not self._launched:
            self._launched = True
            self._send(encode("load"))

    def start(self) -> None:
        """Wait until the model is loaded; begin now where nothing has begun."""
        try:
            self.launch()
            self.facts = next(filter(None, self._messages(_LOAD_STALLS)))[1]  # the first one: "ready"
        except BaseException:
            self.close(at_once=True)
            raise

    def run(self, requests: Iterable[Request | None]) -> Iterator[list[Sample]]:
        """Send the requests and give the samples as they end, in bursts of at most about a thousand.

        A burst is empty where none has ended for a second, so that whoever reads sees the time go by.

        An iterable that waits for samples before it goes on gives None first: what came before is sent at once.
        Raises EngineError where the engine fails or dies; samples given before are whole and valid.
        """
        if self._connection is None:
            raise EngineError("the engine is not running; start it first")
        if self._running:
            raise EngineError("the run before was not read to its end; close this engine and start another")
        self._running = True
        self._asked = self._given = 0
        sender = threading.Thread(target=self._send_all, args=(requests,), name="engine-send", daemon=True)
        sender.start()
        burst: list[Sample] = []
        for message in self._messages():
            match message:
                case ["sample", *_]:
                    self._given += 1
                    burst.append(decode_sample(message))
                case ["sent", benchmark, values]:
                    self.on_sent(benchmark, values)
            done = message == ["done"]
            if message is None or (burst and (done or len(burst) >= BURST)):
                yield burst
                burst = []
            if done:
                sender.join()
                self._running = False
                return

    def _send_all(self, requests: Iterable[Request | None]) -> None:
        """Feed the worker; it reads no further than it needs, so this blocks meanwhile."""
        try:
            block = bytearray()
            for request in requests:
                if request is not None:
                    block += encode("request", *values_of(request))
                    self._asked += 1
                if request is None or len(block) >= _SEND_BYTES:
                    self._send(bytes(block))
                    block.clear()
            self._send(bytes(block) + encode("end"))
        except OSError:
            pass  # the worker has gone; the reading side says why
        except BaseException as error:  # the caller's iterable failed: wake the reader, which raises it
            self._sender_error = error
            with contextlib.suppress(OSError, AttributeError):  # closed meanwhile
                self._connection.shutdown(socket.SHUT_RDWR)  # type: ignore[union-attr]

    def _send(self, data: bytes) -> None:
        if self._connection is not None:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                self._connection.sendall(data)

    def _received(self) -> Iterator[list[list[Any]]]:
        """The worker's messages, those of one read at a time; an empty list whenever nothing more is there for now.

        Raises the reason where the worker is gone.
        """
        assert self._connection is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._death, selectors.EVENT_READ)
            dead = False
            while True:
                try:
                    messages = self._lines.receive(socket.MSG_DONTWAIT)
                except BlockingIOError:
                    yield []
                    if dead:  # and all it wrote before is read
                        raise self._failure() from None
                    dead = any(key.fileobj is self._death for key, _ in selector.select(_LOOK_SECONDS))
                    continue
                if messages is None:
                    raise self._failure()
                if messages:
                    yield messages

    def _messages(self, stalls: int = 1) -> Iterator[list[Any] | None]:
        """The worker's messages to this run; None whenever nothing more is there for now.

        Raises EngineError where the worker fails, or has done nothing for so many times the study's `stall_timeout`
        with requests waiting.
        """
        limit = self._variant.engine.stall_timeout
        watchdog = Watchdog(limit and limit * stalls)
        for messages in self._received():
            if not messages:
                yield None
                # nothing is asked of it, so it may rest
                if self.facts and self._asked <= self._given:
                    watchdog.alive()
                elif watchdog.is_overdue:
                    raise self._stalled(watchdog)
            for message in messages:
                if message[0] == "alive":
                    watchdog.counted(message[1])
                    if message[1] is not None:
                        self.on_progress(message[1])
                    continue
                watchdog.alive()
                if message[0] == "failed":
                    refusal = {"ModelError": ModelError, "UserInputError": UserInputError}.get(message[1])
                    raise self._error(message[2]) if refusal is None else refusal(message[2])
                yield message

    def _stalled(self, watchdog: Watchdog) -> EngineError:
        """End an engine that computes nothing; its stacks go to the log."""
        assert self._process is not None
        dump_group(self._process.pid)
        waiting = f"has produced nothing for {watchdog.limit:g} s with {self._asked - self._given} requests waiting"
        return EngineError(
            f"the engine {waiting if self.facts else f'was not loaded after {watchdog.limit:g} s'}, and was stopped; "
            f"where it stood is in the log. If it was only slow, raise engine.stall_timeout. log: {self._log}",
            again=True,
        )

    def _failure(self) -> BaseException:
        """The reason why the worker is gone."""
        if self._sender_error is not None:
            return self._sender_error
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return self._error("the engine closed its connection")
        return self._error(f"the engine process {how_ended(code)}", died=True)

    def _error(self, text: str, *, died: bool = False) -> EngineError:
        return engine_error(text, self._log, self._log_start, died=died, had_loaded=bool(self.facts))

    @property
    def was_killed(self) -> bool:
        """True where a signal has ended the process."""
        return self._process is not None and (self._process.poll() or 0) < 0

    def close(self, at_once: bool = False) -> None:
        """End the process and everything it started.

        It is asked first, so that it can clean up, unless `at_once` or in the middle of a run.
        """
        if self._process is None or self._connection is None:
            return
        if not at_once and not self._running and self._process.poll() is None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._connection.sendall(encode("close"))
                self._process.wait(timeout=_CLOSE_SECONDS)
        if self._process.poll() is None:
            kill_group(self._process.pid)
        self._process.wait()
        self._connection.close()
        self._death.close()
        self._connection = None
