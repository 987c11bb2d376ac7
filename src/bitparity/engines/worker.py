"""What runs in an engine's process: `python -m bitparity.engines.worker SOCKET_FD HOST_PID`.

Loads the engine, answers runs of requests, and dies with its whole process group as soon as the host is
gone, even by kill -9: an engine without a host would hold the device's memory for nobody.
"""

from __future__ import annotations

import asyncio
import os
import resource
import socket
import sys
import threading
import time
import traceback
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from bitparity.engines import wire
from bitparity.engines.contract import Engine
from bitparity.engines.groups import kill_group
from bitparity.engines.registry import engine_class, load_engine
from bitparity.errors import BitparityError, ModelError, UserInputError
from bitparity.records import Request
from bitparity.schema import Variant

_READ_AHEAD = 512  # requests held here at most; the host waits meanwhile, and may still put others first
_WRITE_BEHIND = 20_000  # lines
_HOST_CHECK_SECONDS = 0.5
_PROGRESS_SECONDS = 5.0


def die() -> None:
    """Kill this process and all it started."""
    kill_group(os.getpgrp())


class Inbox:
    """Requests from the host, read by a thread, given to the event loop one run at a time."""

    def __init__(self, connection: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        self._lines = wire.Lines(connection)
        self._loop = loop
        self._ready: deque[list[Any]] = deque()
        self._wake = asyncio.Event()
        self._room = threading.Condition()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def _read(self) -> None:
        while (messages := self._lines.receive()) is not None:
            with self._room:
                self._room.wait_for(lambda: len(self._ready) < _READ_AHEAD)
                self._ready.extend(messages)
            if messages:
                self._loop.call_soon_threadsafe(self._wake.set)
        die()  # the host has gone

    async def message(self) -> list[Any]:
        """The next message."""
        while not self._ready:
            self._wake.clear()
            if not self._ready:
                await self._wake.wait()
        with self._room:
            message = self._ready.popleft()
            if len(self._ready) == _READ_AHEAD // 2:
                self._room.notify()
        return message

    async def requests(self, first: list[Any]) -> AsyncIterator[Request]:
        """The requests of one run, from its first message to the mark of its end."""
        message = first
        while message[0] == "request":
            yield wire.decode_request(message)
            message = await self.message()


class Outbox:
    """Lines to the host, written by a thread, so that a busy host does not hold up the engine."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._pending: list[bytes] = []
        self._changed = threading.Condition()
        self._writing = False
        threading.Thread(target=self._write, name="outbox", daemon=True).start()

    def put(self, line: bytes) -> None:
        """Queue a line; waits where the host is far behind."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._pending) < _WRITE_BEHIND)
            self._pending.append(line)
            if not self._writing:
                self._changed.notify_all()

    def flush(self) -> None:
        """Wait until all is written."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending and not self._writing)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._pending))
                lines, self._pending = self._pending, []
                self._writing = True
                self._changed.notify_all()
            try:
                self._connection.sendall(b"".join(lines))
            except OSError:
                die()


def die_with_host(host: int) -> None:
    """Watch the host by its process id: a fork of it may hold the socket open after its death."""

    def watch() -> None:
        while os.getppid() == host:
            time.sleep(_HOST_CHECK_SECONDS)
        die()

    threading.Thread(target=watch, name="host-watch", daemon=True).start()


async def serve(connection: socket.socket) -> int:
    """Load and answer until the host says "close". Returns the exit code."""
    inbox, outbox = Inbox(connection, asyncio.get_running_loop()), Outbox(connection)
    try:
        _, kind = await inbox.message()
        engine_class(kind).import_libraries()
        _, fields = await inbox.message()
        engine = load_engine(Variant.model_validate(fields))
        await engine.prepare()
        outbox.put(wire.encode("ready", engine.facts()))
        report_progress(engine, outbox)
        await _answer(engine, inbox, outbox)
        engine.close()
    except Exception as error:
        traceback.print_exc()
        outbox.put(wire.encode("failed", *describe(error)))
        outbox.flush()
        return 1
    return 0


def report_progress(engine: Engine, outbox: Outbox) -> None:
    """Tell the host now and then how much the engine has computed, from a thread: a busy loop must not hide it."""

    def report() -> None:
        while True:
            time.sleep(_PROGRESS_SECONDS)
            outbox.put(wire.encode("alive", engine.progress()))

    threading.Thread(target=report, name="progress", daemon=True).start()


async def _answer(engine: Engine, inbox: Inbox, outbox: Outbox) -> None:
    told: set[str] = set()
    while (first := await inbox.message())[0] != "close":
        async for sample in engine.stream(_telling(engine, inbox.requests(first), outbox, told)):
            outbox.put(wire.encode_sample(sample))
        outbox.put(wire.encode("done"))


async def _telling(
    engine: Engine, requests: AsyncIterator[Request], outbox: Outbox, told: set[str]
) -> AsyncIterator[Request]:
    """The requests; of each benchmark's first one the host is told what is sent."""
    async for request in requests:
        if request.benchmark not in told:
            told.add(request.benchmark)
            if (values := engine.sent(request)) is not None:
                values = {"item": request.item, "sample": request.sample, **values}
                outbox.put(wire.encode("sent", request.benchmark, values))
        yield request


def describe(error: Exception) -> tuple[str, str]:
    """(kind for the host, message) of an error."""
    if isinstance(error, ModelError):
        return "ModelError", str(error)
    if isinstance(error, UserInputError):
        return "UserInputError", str(error)
    if isinstance(error, BitparityError):
        return "EngineError", str(error)
    return "EngineError", f"the engine failed: {type(error).__name__}: {' '.join(str(error).split())[:2000]}"


def main(descriptor: int, host: int) -> int:
    """Serve on the inherited socket."""
    die_with_host(host)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of a model's memory would fill the disk
    os.set_inheritable(descriptor, False)
    with socket.socket(fileno=descriptor) as connection:
        return asyncio.run(serve(connection))


if __name__ == "__main__":
    code = main(int(sys.argv[1]), int(sys.argv[2]))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # libraries' threads and exit handlers must not hold up the end
