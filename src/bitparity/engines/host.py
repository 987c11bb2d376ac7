"""The host's side of an engine: a process of its own for each variant.

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
import re
import selectors
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Self

from bitparity.engines import wire
from bitparity.engines.groups import dump_group, how_ended, kill_group
from bitparity.errors import BitparityError, EngineError, ModelError, UserInputError
from bitparity.records import Request, Sample
from bitparity.schema import Variant

BURST = 1000  # samples handed over at once, at most
_SEND_BYTES = 1 << 16
_CLOSE_SECONDS = 20.0
_LOOK_SECONDS = 1.0  # between two looks at whether the engine still produces
_LOAD_STALLS = 4  # a load that takes so many times the study's `stall_timeout` hangs: 1 h by default

# Quiet, and no telemetry: neither the libraries' nor the engines'.
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "VLLM_DO_NOT_TRACK": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "PYTHONUNBUFFERED": "1",
    "PYTHONFAULTHANDLER": "1",  # an engine that hangs is ended by SIGABRT, and its stacks go to the log
}


class EngineProcess:
    """A loaded engine in a process of its own; use it as a context manager.

    `facts` is what the engine says about itself once loaded. `start` raises ModelError (or another
    UserInputError) where the model cannot be used as the study asks, EngineError where the process
    failed, with the log's last lines, the likely cause and a remedy. `launch` begins to load and returns at once;
    `warm` only imports.
    """

    def __init__(self, variant: Variant, log: Path) -> None:
        self.facts: dict[str, Any] = {}
        self._variant = variant
        self.on_progress: Callable[[int], None] = lambda count: None  # told now and then how much is computed
        self.on_sent: Callable[[str, dict[str, Any]], None] = lambda benchmark, values: None  # see `Engine.sent`
        self._stall_seconds = variant.engine.stall_timeout
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
        """Start the process, which imports the engine's libraries and waits; no device is touched."""
        if self._process is None:
            self._spawn()
            self._send(wire.encode("warm", self._variant.engine.kind))

    def launch(self) -> None:
        """Begin to load the model."""
        self.warm()
        if not self._launched:
            self._launched = True
            self._send(wire.encode("variant", self._variant.model_dump(mode="json")))

    def start(self) -> None:
        """Wait until the model is loaded; begin now where nothing has begun."""
        try:
            self.launch()
            for message in self._messages():
                if message[0] == "ready":
                    self.facts = message[1]
                    return
        except BaseException:
            self.close(at_once=True)
            raise

    def _spawn(self) -> None:
        ours, theirs = socket.socketpair()
        self._connection, self._lines = ours, wire.Lines(ours)
        # -P: a file in the working directory must not stand in for a library
        command = [sys.executable, "-P", "-m", "bitparity.engines.worker", str(theirs.fileno()), str(os.getpid())]
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log, theirs:
            self._log_start = log.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
                env={**os.environ, **_ENVIRONMENT},
            )
        self._watch(self._process)

    def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Notice the worker's death even while a child of it still holds the other end of the socket."""
        self._death, announce = socket.socketpair()

        def wait() -> None:
            process.wait()
            kill_group(process.pid)
            announce.close()

        threading.Thread(target=wait, name="engine-watch", daemon=True).start()

    def run(self, requests: Iterable[Request | None]) -> Iterator[list[Sample]]:
        """Send the requests and give the samples as they end, in bursts of at most about a thousand.

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
        for message in self._messages(idle=True):
            if message and message[0] == "sample":
                self._given += 1
                burst.append(wire.decode_sample(message))
            elif message and message[0] == "sent":
                self.on_sent(message[1], message[2])
            done = bool(message) and message[0] == "done"
            if burst and (not message or done or len(burst) >= BURST):
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
                    block += wire.encode_request(request)
                    self._asked += 1
                if request is None or len(block) >= _SEND_BYTES:
                    self._send(bytes(block))
                    block.clear()
            self._send(bytes(block) + wire.encode("end"))
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

    def _messages(self, idle: bool = False) -> Iterator[list[Any]]:
        """The worker's messages; with `idle` an empty one whenever nothing more is there for now.

        Raises EngineError where requests are waiting and the engine's own count of what it has computed stands still
        for longer than the study's `stall_timeout`, or where the load takes several times as long.
        """
        limit = self._stall_seconds
        if limit is not None and not idle:
            limit *= _LOAD_STALLS
        with selectors.DefaultSelector() as selector:
            assert self._connection is not None
            selector.register(self._connection, selectors.EVENT_READ)
            selector.register(self._death, selectors.EVENT_READ)
            dead = False
            progress, since = None, time.monotonic()
            while True:
                try:
                    messages = self._lines.receive(socket.MSG_DONTWAIT)
                except BlockingIOError:
                    if idle:
                        yield []
                    if dead:
                        raise self._failure() from None
                    dead = any(key.fileobj is self._death for key, _ in selector.select(_LOOK_SECONDS))
                    if idle and self._asked <= self._given:
                        since = time.monotonic()
                    elif limit is not None and time.monotonic() - since > limit:
                        raise self._stalled(limit) from None
                    continue
                if messages is None:
                    raise self._failure()
                for message in messages:
                    if message[0] == "failed":
                        raise self._reported(message[1], message[2])
                    if message[0] != "alive" or message[1] is None or message[1] != progress:
                        since = time.monotonic()
                    if message[0] == "alive":
                        progress = message[1]
                        if progress is not None:
                            self.on_progress(progress)
                    else:
                        yield message

    def _reported(self, kind: str, text: str) -> BitparityError:
        if kind == "ModelError":
            return ModelError(text)
        if kind == "UserInputError":
            return UserInputError(text)
        return self._error(text)

    def _stalled(self, limit: float) -> EngineError:
        """An engine that computes nothing: its stacks go to the log, and it is ended."""
        assert self._process is not None
        dump_group(self._process.pid)
        waiting = f"has produced nothing for {limit:g} s with {self._asked - self._given} requests waiting"
        return EngineError(
            f"the engine {waiting if self.facts else f'was not loaded after {limit:g} s'}, and was stopped; where it "
            f"stood is in the log. If it was only slow, raise engine.stall_timeout. log: {self._log}",
            again=True,
        )

    def _failure(self) -> BaseException:
        """Why the worker is gone, in one readable message."""
        if self._sender_error is not None:
            return self._sender_error
        assert self._process is not None
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return self._error("the engine closed its connection")
        return self._error(f"the engine process {how_ended(code)}", code)

    def _error(self, text: str, code: int | None = None) -> EngineError:
        """The error with what the log tells of its cause, and what to do."""
        tail = _log_tail(self._log, self._log_start)
        cause = likely_cause(text + "\n" + tail)
        unsaid = code is not None or "root cause" in text  # vLLM's own process keeps the cause to its log
        last = "; ".join(_telling_lines(tail)) if unsaid else ""
        parts = [text, f"last lines: {last}" if last else "", cause, f"log: {self._log}"]
        message = ". ".join(part.rstrip(".") for part in parts if part)
        again = bool(self.facts) or _KILLED_FROM_OUTSIDE.search(text) is not None
        return EngineError(message, out_of_memory=cause in _MEMORY_CAUSES, again=again)

    @property
    def was_killed(self) -> bool:
        """Whether a signal has ended the process."""
        return self._process is not None and (self._process.poll() or 0) < 0

    def close(self, at_once: bool = False) -> None:
        """End the process and everything it started.

        It is asked first, so that it can clean up, unless `at_once` or in the middle of a run.
        """
        if self._process is None or self._connection is None:
            return
        if not at_once and not self._running and self._process.poll() is None:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
                self._connection.sendall(wire.encode("close"))
                self._process.wait(timeout=_CLOSE_SECONDS)
        if self._process.poll() is None:
            kill_group(self._process.pid)
        self._process.wait()
        self._connection.close()
        self._death.close()
        self._connection = None


def _log_tail(log: Path, start: int, size: int = 1 << 16) -> str:
    """The end of what this process wrote to the log."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - size))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


_TELLING = re.compile(r"\b\w*(Error|Exception|Killed|Aborted|Fatal|Segmentation)\b", re.IGNORECASE)
_RAISED = re.compile(r"(?:^|\s)(\w*(?:Error|Exception): .+)")
_HARMLESS = re.compile(r"^(?:\([^)]*\) ?)?(?:DEBUG|INFO|WARNING)\b")  # vLLM puts its process before the level
_HEARSAY = re.compile(r"See (?:root cause|stack trace)|initialization failed", re.IGNORECASE)


def _telling_lines(text: str, count: int = 2) -> list[str]:
    """The first error that was raised and not only passed on; else the last lines that name one, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not _HARMLESS.search(line)] or lines
    raised = [match[1] for line in lines if not _HEARSAY.search(line) and (match := _RAISED.search(line))]
    found = raised[:1] or [line for line in lines if _TELLING.search(line)] or lines
    return [line[:300] for line in found[-count:]]


_DEVICE_MEMORY = (
    "The device memory does not suffice: lower engine.batch_size (transformers) or max_model_len, "
    "max_num_seqs and max_num_batched_tokens (vllm), or free the device of other processes"
)
_MAIN_MEMORY = "The main memory does not suffice: lower engine.batch_size or use a host with more memory"
_KILLED = (
    "Most often the kernel killed it because the main memory ran out (see dmesg): "
    "lower engine.batch_size or use a host with more memory"
)
_MEMORY_CAUSES = (_DEVICE_MEMORY, _MAIN_MEMORY, _KILLED)

_BY_SIGNAL = r"killed by signal {0}\b|Failed core proc\(s\): .*: -{0}\b"  # the second is how vLLM says it of its own
# (pattern in the log, likely cause and remedy); the first match holds
_CAUSES = [
    (
        r"is less than desired (GPU|CPU) memory utilization",
        "Others use this device's memory: lower gpu_memory_utilization (on the CPU it is a share of the main memory), "
        "or free it",
    ),
    (
        r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|No available memory for the cache blocks"
        r"|larger than the (available|maximum number of tokens that can be stored in)",
        _DEVICE_MEMORY,
    ),
    (
        r"DefaultCPUAllocator|MemoryError|Cannot allocate memory|can't allocate memory",
        _MAIN_MEMORY,
    ),
    (
        r"No CUDA GPUs are available|Found no NVIDIA driver|NVIDIA driver on your system|CUDA driver version",
        "The device cannot be used: check nvidia-smi, CUDA_VISIBLE_DEVICES and that torch fits the driver",
    ),
    (
        r"CUDA error|device-side assert|illegal memory access|CUBLAS_STATUS|CUDNN_STATUS",
        "A CUDA kernel failed: run again (the run goes on where it stopped); if it recurs, try another "
        "attention_backend or linear_backend, or enforce_eager: true",
    ),
    (r"No space left on device", "A disk is full: free space in the temporary and cache folders"),
    (r"ModuleNotFoundError|ImportError", "A package is missing or does not fit the others: reinstall the engine"),
    (_BY_SIGNAL.format("9"), _KILLED),
]
# Not of its own accord: another start may do better. Other signals are an engine's own faults.
_KILLED_FROM_OUTSIDE = re.compile(_BY_SIGNAL.format("(9|15)"))


def likely_cause(text: str) -> str:
    """Likely cause and remedy, from what the engine wrote; "" where nothing is known."""
    return next((cause for pattern, cause in _CAUSES if re.search(pattern, text)), "")
