"""Session of a run: what every executor records and tells, whichever devices generate."""

from __future__ import annotations

import platform
import time
from dataclasses import asdict, dataclass

from pydantic_core import to_jsonable_python

from bitparity.errors import ChangedModelError, DiskFullError
from bitparity.generation.background import BackgroundJobs
from bitparity.generation.hours import Hours
from bitparity.generation.prepare import Prepared
from bitparity.hardware.devices import device_of
from bitparity.models.identity import differing
from bitparity.progress.events import LOADING, Events, Noted, PhaseChanged, VariantEnded, VariantStarted
from bitparity.store.environment import EngineRecord, Facts, Loads, join_engine, join_sent, this_invocation


def utc_now() -> str:
    """The time as environment.json has it, in whole seconds."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def loaded_model(facts: Facts) -> Facts:
    """The identity of the checkpoint that an engine has loaded; empty where it does not tell."""
    model = facts.get("model")
    return model if isinstance(model, dict) else {}


@dataclass(slots=True)
class Session:
    """A prepared study that is being run: the listeners of its progress, and the thread that grades beside it.

    `hours` is its time, where it ends by the clock.
    """

    prepared: Prepared
    events: Events
    background: BackgroundJobs
    hours: Hours | None = None

    def start(self, name: str) -> None:
        """Tell that a variant begins, and record which exams it is asked with which sampling values."""
        stored = self.prepared.environment.variants[name]
        for benchmark, exam in self.prepared.exams.items():
            stored.exam.setdefault(benchmark, exam.sha256)
            stored.sampling.setdefault(benchmark, to_jsonable_python(asdict(exam.sampling)))
        self.events.emit(VariantStarted(name))
        self.events.emit(PhaseChanged(name, LOADING))

    def record_engine(self, name: str, facts: Facts, place: Facts | None = None) -> None:
        """Record what really runs, and at which `place` of several; another kind of device makes a second entry.

        Raises ChangedModelError where the engine has loaded other files than those that were looked at before.
        """
        loaded = loaded_model(facts)
        if changed := differing(self.prepared.models[name].identity, loaded):
            raise ChangedModelError(
                f"variant '{name}': the files in {loaded.get('path')} changed while the run went on "
                f"({', '.join(changed)} differ between what was looked at and what the engine loaded), so no answer "
                "was taken from it. Put back the files that the run was started with and run the same command, or "
                "start a new run with --out"
            )
        at, devices, here = utc_now(), device_of(facts) if place is None else [place], this_invocation()
        for key, value in here.items():
            setattr(self.prepared.environment, key, value)
        start = {"at": at, "host": platform.node(), **here, **(devices[0] if devices else {})}
        entry = EngineRecord(facts=facts, sessions=[at], starts=[start], devices=devices)
        join_engine(self.prepared.environment.variants[name].engines, entry)
        self.prepared.save_environment()

    def record_load(self, name: str, seconds: float) -> None:
        """Add a load to those of a variant; the next one to save the record stores it."""
        stored = self.prepared.environment.variants[name]
        before = stored.loads or Loads()
        stored.loads = Loads(count=(before.count or 0) + 1, seconds=round((before.seconds or 0) + seconds, 3))

    def record_sent(self, name: str, benchmark: str, values: Facts) -> None:
        """Record the sampling values of a benchmark's first request, where no earlier session sent the same."""
        known = self.prepared.environment.variants[name].sent.setdefault(benchmark, [])
        if join_sent(known, [values]):
            self.prepared.save_environment()

    def end(self, name: str, failure: str | None = None) -> None:
        """Tell that a variant is finished or, with a failure, given up."""
        if failure is not None:
            self.prepared.outcome.failures[name] = failure
            if self.hours is not None:
                self.hours.failed(name)
        self.events.emit(VariantEnded(name, failure))


def tell_full_disk(events: Events, error: DiskFullError | None) -> None:
    """Tell that the run waits for room on the disk (the error), or that it goes on (None)."""
    if error is None:
        events.emit(PhaseChanged(None, None))
        events.emit(Noted("there is room on the disk again: going on"))
    else:
        events.emit(PhaseChanged(None, "waiting: the disk is full"))
        full = str(error).partition(";")[0]
        events.emit(Noted(f"{full}: paused; the run goes on as soon as there is room"))
