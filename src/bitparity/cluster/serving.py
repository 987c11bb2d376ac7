"""Server of one device: runs one engine at a time and hands requests in and answers out, by threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bitparity.engines.messages import values_of
from bitparity.engines.registry import engine_of
from bitparity.errors import EngineError, UserInputError
from bitparity.generation.engine_starter import EngineStarter
from bitparity.generation.session import loaded_model
from bitparity.models.identity import differing
from bitparity.records import Request
from bitparity.schema import Variant
from bitparity.store.environment import Facts

GATHER_SECONDS = 0.05  # from the first message to the answer of `poll`
LOG_BYTES = 1 << 18  # of an engine's log in one answer: what is more comes with the next ones
DEFAULT_ROOM = 256  # vLLM's usual max_num_seqs, for an engine that does not tell its own

Message = tuple[Any, ...]
"""("loaded", facts, room), ("answered", [fields of a sample, ...]), ("computed", variant, count), ("died", reason),
("refused", reason) or ("log", variant, bytes)."""


class DeviceServer:
    """Serves one device. Every method may be called from any thread; only `poll` and `close` wait."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self._device = folder, device
        self._messages: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._work: _Work | None = None
        self._thread: threading.Thread | None = None
        self._log: tuple[str, Path] | None = None
        self._log_read: dict[Path, int] = {}
        self._lowered: dict[str, dict[str, int]] = {}  # engine settings, by variant, after memory ran out
        self._engines = EngineStarter()
        self._ahead = threading.Lock()  # of `_engines`

    def load(self, name: str, variant: Variant, expected: Facts) -> None:
        """End the engine that is there and start one for a variant whose checkpoint must be the `expected` one."""
        self._stop()
        self._work = _Work(engine_of(variant.engine).fixed_batches)
        path = self._log_path(name)
        self._log = name, path
        arguments = (name, self._as_it_fits(name, variant), expected, path, self._work, self._thread)
        # it waits for the thread before it, so that this call, like every other but `poll` and `close`, returns at once
        self._thread = threading.Thread(target=self._serve, args=arguments, name="engine", daemon=True)
        self._thread.start()

    def warm(self, name: str, variant: Variant) -> None:
        """Import what the engine of the variant that comes next needs; the device is not touched."""
        with self._ahead:
            self._engines.ahead(self._as_it_fits(name, variant), self._log_path(name)).warm()

    def _as_it_fits(self, name: str, variant: Variant) -> Variant:
        engine = variant.engine.model_copy(update=self._lowered.get(name, {}))
        return variant.model_copy(update={"engine": engine})

    def _log_path(self, name: str) -> Path:
        return self._folder / f"{name}-{self._device}.log"

    def send(self, pieces: Sequence[Sequence[Request]]) -> None:
        """Give more requests to the engine that is loaded."""
        if self._work is not None:
            self._work.pieces.put([request for piece in pieces for request in piece])

    def poll(self, seconds: float) -> list[Message]:
        """The messages since the last call; waits for the first one for at most so long."""
        found: list[Message] = []
        try:
            found.append(self._messages.get(timeout=seconds))
            time.sleep(GATHER_SECONDS)  # many answers in one message cost Ray and the disk hardly more than one
            while True:
                found.append(self._messages.get_nowait())
        except queue.Empty:
            return [*self._new_log(), *found]

    def close(self) -> None:
        """End the engine and wait until it is gone."""
        self._stop()
        if self._thread is not None:
            self._thread.join()
        with self._ahead:
            self._engines.close()

    def _stop(self) -> None:
        if self._work is not None:
            self._work.pieces.put(None)  # behind all that was sent: its thread answers these first
            self._work = None

    def _serve(
        self, name: str, variant: Variant, expected: Facts, log: Path, work: _Work, before: threading.Thread | None
    ) -> None:
        facts: Facts = {}
        if before is not None:
            before.join()  # its device memory is free then
        try:
            with self._ahead:
                started = self._engines.start(variant, log)
            with started as engine:
                facts = engine.facts
                check_identity(expected, facts)
                engine.on_progress = lambda count: self._messages.put(("computed", name, count))
                self._messages.put(("loaded", facts, room(variant, facts)))
                for requests in work.runs():
                    for burst in filter(None, engine.run(requests)):
                        # plain values travel at a fraction of the cost of objects
                        self._messages.put(("answered", [values_of(sample) for sample in burst]))
        except UserInputError as error:
            self._messages.put(("refused", str(error)))
        except EngineError as error:
            kind = engine_of(variant.engine)
            if error.out_of_memory and not kind.fixed_batches:  # those cannot be made smaller here
                self._lowered.setdefault(name, {}).update(kind.less_at_once(variant.engine, facts))
            self._messages.put(("died", str(error).replace(str(log), f"logs/{log.name}")))
        except Exception as error:  # it must reach the driver, which alone can say so
            self._messages.put(("died", f"{type(error).__name__}: {error}"))

    def _new_log(self) -> list[Message]:
        """The engine's output since the last time."""
        if self._log is None:
            return []
        name, path = self._log
        try:
            with path.open("rb") as file:
                file.seek(self._log_read.get(path, 0))
                data = file.read(LOG_BYTES)
                self._log_read[path] = file.tell()
        except OSError:
            return []
        return [("log", name, data)] if data else []


class _Work:
    """The requests for one loaded engine: one endless run, or, for `batches`, a run for what has come at a time."""

    def __init__(self, batches: bool) -> None:
        self.pieces: queue.SimpleQueue[list[Request] | None] = queue.SimpleQueue()  # None: nothing more will come
        self._batches = batches

    def runs(self) -> Iterator[Iterator[Request | None] | list[Request]]:
        yield from iter(self.pieces.get, None) if self._batches else (self._endless(),)

    def _endless(self) -> Iterator[Request | None]:
        """The requests in turn; None before a wait, so that the engine begins with what it has."""
        while True:
            if self.pieces.empty():
                yield None
            if (requests := self.pieces.get()) is None:
                return
            yield from requests


def room(variant: Variant, facts: Facts) -> int:
    """The number of pieces that an engine runs at once."""
    if engine_of(variant.engine).fixed_batches:
        return 1  # a batch
    known = (facts.get(key) for key in ("max_num_seqs", "concurrency"))
    return next((count for count in known if isinstance(count, int) and count), DEFAULT_ROOM)


def check_identity(expected: Facts, facts: Facts) -> None:
    """Raise UserInputError where an engine has loaded another checkpoint than the study's."""
    found = loaded_model(facts)
    if changed := differing(expected, found):
        raise UserInputError(
            f"the model at {found.get('path')} on this host is not the one that the run has ({', '.join(changed)} "
            "differ); copy it anew from the host that runs bitparity"
        )


def without_place(variant: Variant) -> Variant:
    """The variant for a device that is the only one visible: a device that the study names is another host's."""
    device = variant.engine.device
    if device is None or device in ("cpu", "cuda"):
        return variant
    return variant.model_copy(update={"engine": variant.engine.model_copy(update={"device": None})})
