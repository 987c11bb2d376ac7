"""Program of an engine's process: `python -m bitparity.engines.worker SOCKET_FD HOST_PID`.

Loads the engine, answers runs of requests, and dies with its whole process group as soon as the host is
gone, even by kill -9: an engine without a host would hold the device's memory for nobody.
"""

from __future__ import annotations

import asyncio
import os
import queue
import resource
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from bitparity.engines import messages
from bitparity.engines.contract import Engine
from bitparity.engines.registry import engine_of
from bitparity.engines.watchdog import kill_group
from bitparity.errors import BitparityError, ModelError, UserInputError
from bitparity.records import Request
from bitparity.redaction import RedactedStream, remember_environment
from bitparity.schema import Variant

_WRITE_BEHIND = 20_000  # lines
_HOST_CHECK_SECONDS = 0.5
_PROGRESS_SECONDS = 5.0


def die() -> None:
    """Kill this process and all it started."""
    kill_group(os.getpgrp())


class Requests:
    """Messages from the host, read when the engine wants more: the host waits meanwhile, and may put others first."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection, self._lines = connection, messages.Lines(connection)
        self._ready: deque[list[Any]] = deque()

    async def message(self) -> list[Any]:
        """The next message."""
        while not self._ready:
            try:
                received = self._lines.receive(socket.MSG_DONTWAIT)
            except BlockingIOError:
                await self._readable()
                continue
            if received is None:  # the host has gone
                die()
            self._ready.extend(received or ())
        return self._ready.popleft()

    async def _readable(self) -> None:
        readable, loop = asyncio.Event(), asyncio.get_running_loop()
        loop.add_reader(self._connection, readable.set)
        try:
            await readable.wait()
        finally:
            loop.remove_reader(self._connection)


class Answers:
    """Lines to the host, written by a thread, so that a busy host does not hold up the engine."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lines: queue.Queue[bytes] = queue.Queue(_WRITE_BEHIND)
        self.put = self._lines.put  # waits where the host is far behind
        self.flush = self._lines.join  # waits until all is written
        threading.Thread(target=self._write, name="answers", daemon=True).start()

    def _write(self) -> None:
        while True:
            lines = [self._lines.get()]
            while not self._lines.empty():
                lines.append(self._lines.get_nowait())
            try:
                self._connection.sendall(b"".join(lines))
            except OSError:
                die()
            for _ in lines:
                self._lines.task_done()


def die_with_host(host: int) -> None:
    """Watch the host by its process id: a fork of it may hold the socket open after its death."""

    def watch() -> None:
        while os.getppid() == host:
            time.sleep(_HOST_CHECK_SECONDS)
        die()

    threading.Thread(target=watch, name="host-watch", daemon=True).start()


async def serve(connection: socket.socket) -> int:
    """Load and answer until the host says "close". Returns the exit code."""
    requests, answers = Requests(connection), Answers(connection)
    try:
        _, fields = await requests.message()
        variant = Variant.model_validate(fields)
        load = engine_of(variant.engine).get_ready(variant)
        await requests.message()  # "load": the device is free
        engine = load()
        await engine.prepare()
        answers.put(messages.encode("ready", engine.facts()))
        report_progress(engine, answers)
        await _answer(engine, requests, answers)
        engine.close()
    except Exception as error:
        traceback.print_exc()
        answers.put(messages.encode("failed", *describe(error)))
        answers.flush()
        return 1
    return 0


def report_progress(engine: Engine, answers: Answers) -> None:
    """Tell the host now and then how much the engine has computed, from a thread: a busy loop must not hide it."""

    def report() -> None:
        while True:
            time.sleep(_PROGRESS_SECONDS)
            answers.put(messages.encode("alive", engine.progress()))

    threading.Thread(target=report, name="progress", daemon=True).start()


async def _answer(engine: Engine, requests: Requests, answers: Answers) -> None:
    told: set[str] = set()

    async def of_run(message: list[Any]) -> AsyncIterator[Request]:
        """The requests of one run, to its end; of each benchmark's first one the host is told what is sent."""
        while message[0] == "request":
            request = messages.decode_request(message)
            if request.benchmark not in told:
                told.add(request.benchmark)
                if (values := engine.sent(request)) is not None:
                    values = {"item": request.item, "sample": request.sample, **values}
                    answers.put(messages.encode("sent", request.benchmark, values))
            yield request
            message = await requests.message()

    while (first := await requests.message())[0] != "close":
        async for sample in engine.stream(of_run(first)):
            answers.put(messages.encode("sample", *messages.values_of(sample)))
        answers.put(messages.encode("done"))


def describe(error: Exception) -> tuple[str, str]:
    """(kind for the host, message) of an error."""
    if not isinstance(error, BitparityError):
        return "EngineError", f"the engine failed: {type(error).__name__}: {' '.join(str(error).split())[:2000]}"
    kinds = (ModelError, UserInputError, BitparityError)
    kind = next(kind for kind in kinds if isinstance(error, kind))
    return "EngineError" if kind is BitparityError else kind.__name__, str(error)


def main(descriptor: int, host: int) -> int:
    """Serve on the inherited socket."""
    die_with_host(host)
    remember_environment()
    sys.stdout, sys.stderr = RedactedStream(sys.stdout), RedactedStream(sys.stderr)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of a model's memory would fill the disk
    os.set_inheritable(descriptor, False)
    with socket.socket(fileno=descriptor) as connection:
        return asyncio.run(serve(connection))


if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # libraries' threads and exit handlers must not hold up the end
