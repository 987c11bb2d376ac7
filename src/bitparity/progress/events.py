"""Events of a run: what happens, and the listeners that it is told to.

```
events = Events(Board(study))           # a listener is any function of one event
events.emit(PhaseChanged("fp8", LOADING))
with events.task("exam of math500", None, "items") as advance:
    advance(500)
```
Whoever works emits events and knows no listener. `Events()` tells nobody.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bitparity.records import Sample

LOADING, GENERATING, GRADING = "loading", "generating", "grading"  # phases with a meaning; all others are only shown
REPORTING = "making the report"  # of the whole run


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened in a run."""


@dataclass(frozen=True, slots=True)
class RunStarted(Event):
    """The run directory is there and locked by this process."""

    path: Path


class RunEnded(Event):
    """Nothing runs any more, whether the run is complete or broken off."""


@dataclass(frozen=True, slots=True)
class ExamFrozen(Event):
    """A benchmark's item ids, the samples asked of each, the group of each item, and the token budget of an answer."""

    benchmark: str
    items: Sequence[str]
    samples: int
    groups: Sequence[str] | None = None
    budget: int | None = None


@dataclass(frozen=True, slots=True)
class BenchmarkSkipped(Event):
    """A benchmark that this run leaves out."""

    benchmark: str
    reason: str


@dataclass(frozen=True, slots=True)
class _OfVariant(Event):
    variant: str


@dataclass(frozen=True, slots=True)
class VariantPlanned(_OfVariant):
    """By benchmark the samples of a variant that are stored already, and all of them."""

    samples: Mapping[str, tuple[int, int]]


class VariantStarted(_OfVariant):
    """The work on a variant begins, or begins again after its engine ended."""


@dataclass(frozen=True, slots=True)
class PhaseChanged(Event):
    """A variant, or with None the whole run, enters another phase. Rates count the time of phase GENERATING only."""

    variant: str | None
    phase: str | None


@dataclass(frozen=True, slots=True)
class SamplesStored(_OfVariant):
    """Samples of a variant that are durable, each told once. One whose `finish` is "error" is failed, not done."""

    samples: Sequence[Sample]


@dataclass(frozen=True, slots=True)
class TokensComputed(_OfVariant):
    """The tokens that an engine of a variant has computed since it was loaded, unfinished answers included."""

    count: int
    device: str = ""
    """Tells several engines of one variant apart."""


@dataclass(frozen=True, slots=True)
class SampleGraded(_OfVariant):
    """A grade, new or kept from before; the last one of a sample counts. None is unscored."""

    benchmark: str
    item: str
    sample: int
    score: float | None


@dataclass(frozen=True, slots=True)
class BenchmarkStopped(_OfVariant):
    """A variant is asked no more of a benchmark than so many `samples`: the verdict is certain, or the time over."""

    benchmark: str
    samples: int


@dataclass(frozen=True, slots=True)
class VariantEnded(_OfVariant):
    """A variant is finished or, with a reason, incomplete."""

    reason: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceChanged(Event):
    """The activity of one of several devices changes; None where the device is gone."""

    device: str
    state: str | None


@dataclass(frozen=True, slots=True)
class Noted(Event):
    """Something that people should know of, such as an engine's restart."""

    text: str


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """Work beside the samples, such as an exam that is built. `total` is None where unknown; unit "B" counts bytes."""

    name: str
    total: int | None
    unit: str
    started: float = field(default_factory=time.monotonic)


@dataclass(frozen=True, slots=True)
class TaskProgress(Event):
    """The finished units of a task: told at its start, at each step, and once it is done or has failed."""

    task: Task
    finished: int = 0
    state: Literal["running", "done", "failed"] = "running"


Listener = Callable[[Event], None]
"""Called with every event, in the thread that emits it: from several threads at once."""

Advance = Callable[[int], None]
"""Tells that so many more units of a task are finished."""


class Events:
    """Hands each event to all listeners, in their order. `emit` may be called from any thread."""

    def __init__(self, *listeners: Listener) -> None:
        self._listeners = listeners

    def emit(self, event: Event) -> None:
        """Tell all listeners."""
        for listener in self._listeners:
            listener(event)

    @contextmanager
    def run(self, path: Path) -> Iterator[None]:
        """A run in this directory while the block lasts."""
        self.emit(RunStarted(path))
        try:
            yield
        finally:
            self.emit(RunEnded())

    @contextmanager
    def task(self, name: str, total: int | None, unit: str) -> Iterator[Advance]:
        """A task while the block lasts; gives the function that tells its progress."""
        task, finished = Task(name, total, unit), 0

        def advance(count: int) -> None:
            nonlocal finished
            finished += count
            self.emit(TaskProgress(task, finished))

        self.emit(TaskProgress(task))
        try:
            yield advance
        except BaseException:  # Ctrl-C too: a bar that stays would be taken for work that goes on
            self.emit(TaskProgress(task, finished, "failed"))
            raise
        self.emit(TaskProgress(task, finished, "done"))
