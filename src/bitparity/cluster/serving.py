"""Server of one device: runs one engine at a time and hands requests in and answers out, by threads."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from bitparity.cluster.pool import Answered, Computed, Died, Event, Loaded, Printed, Refused
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
Work = queue.SimpleQueue[list[Request] | None]
"""The requests for one engine; None where nothing more will come."""


class DeviceServer:
    """Serves one device. Every method may be called from any thread; only `poll` and `close` wait."""

    def __init__(self, folder: Path, device: str) -> None:
        self._folder, self._device = folder, device
        self._messages: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._work: Work | None = None
        self._thread: threading.Thread | None = None
        self._log: tuple[str, Path] | None = None
        self._log_read: dict[Path, int] = {}
        self._lowered: dict[str, dict[str, int]] = {}  # engine settings, by variant, after memory ran out
        self._engines = EngineStarter()
        self._ahead = threading.Lock()  # of `_engines`

    def load(self, name: str, variant: Variant, expected: Facts) -> None:
        """End the engine that is there and start one for a variant whose checkpoint must be the `expected` one."""
        self._stop()
        self._work = queue.SimpleQueue()
        self._log = name, self._log_path(name)
        arguments = (name, self._as_it_fits(name, variant), expected, self._work, self._thread)
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
            self._work.put([request for piece in pieces for request in piece])

    def poll(self, seconds: float) -> list[Event]:
        """The events since the last call; waits for the first one for at most so long."""
        found: list[Event] = []
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
            self._work.put(None)  # behind all that was sent: its thread answers these first
            self._work = None

    def _serve(self, name: str, variant: Variant, expected: Facts, work: Work, before: threading.Thread | None) -> None:
        kind, log, tell, device = engine_of(variant.engine), self._log_path(name), self._messages.put, self._device
        facts: Facts = {}
        if before is not None:
            before.join()  # its device memory is free then
        try:
            with self._ahead:
                started = self._engines.start(variant, log)
            with started as engine:
                facts = engine.facts
                check_identity(expected, facts)
                engine.on_progress = lambda count: tell(Computed(device, name, count))
                tell(Loaded(device, facts, room(variant, facts)))
                # one endless run, or for fixed batches a run for what has come at a time
                for requests in iter(work.get, None) if kind.fixed_batches else (_endless(work),):
                    for burst in filter(None, engine.run(requests)):
                        tell(Answered(device, burst))
        except UserInputError as error:
            tell(Refused(device, str(error)))
        except EngineError as error:
            if error.out_of_memory and not kind.fixed_batches:  # those cannot be made smaller here
                self._lowered.setdefault(name, {}).update(kind.less_at_once(variant.engine, facts))
            tell(Died(device, str(error).replace(str(log), f"logs/{log.name}")))
        except Exception as error:  # it must reach the driver, which alone can say so
            tell(Died(device, f"{type(error).__name__}: {error}"))

    def _new_log(self) -> list[Event]:
        """The engine's output since the last time."""
        if self._log is None:
            return []
        name, path = self._log
        data = b""
        with suppress(OSError), path.open("rb") as file:
            file.seek(self._log_read.get(path, 0))
            data = file.read(LOG_BYTES)
            self._log_read[path] = file.tell()
        return [Printed(self._device, name, data)] if data else []


def _endless(work: Work) -> Iterator[Request | None]:
    """The requests in turn; None before a wait, so that the engine begins with what it has."""
    while True:
        if work.empty():
            yield None
        if (requests := work.get()) is None:
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
