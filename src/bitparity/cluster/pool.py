"""Interface of a pool of devices: the events that devices send and the orders that they take."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from bitparity.engines.messages import values_of
from bitparity.records import Request, Sample
from bitparity.store.environment import Facts


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened on a device."""

    device: str


class Joined(Event):
    """A device is there, with nothing loaded."""


@dataclass(frozen=True, slots=True)
class Loaded(Event):
    """A device has loaded what it was told to, and runs `room` requests (or batches) at once."""

    facts: Facts
    room: int


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """Answers, in the order in which they ended."""

    samples: list[Sample]

    def __reduce__(self) -> tuple[Callable[..., Answered], tuple[str, list[tuple[object, ...]]]]:
        # plain values travel at a fraction of the cost of objects
        return _answered, (self.device, [values_of(sample) for sample in self.samples])


def _answered(device: str, rows: Sequence[Sequence[object]]) -> Answered:
    return Answered(device, [Sample(*row) for row in rows])  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Computed(Event):
    """The tokens that a device's engine has computed of a variant since it was loaded (`Engine.progress`)."""

    variant: str
    count: int


@dataclass(frozen=True, slots=True)
class Printed(Event):
    """Output of a device's engine; the pool keeps it and tells nobody."""

    variant: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended(Event):
    """A device, or its engine, does not do what it was told."""

    reason: str


class Died(Ended):
    """An engine died, while loading or later; the device can load again."""


class Refused(Ended):
    """A device cannot run the variant that it was told to load, and would not the next time either."""


class Lost(Ended):
    """A device is gone: its process or its host ended."""


class Pool(Protocol):
    """Devices. Nothing here waits but `poll`."""

    def now(self) -> float:
        """Seconds of the pool's clock."""

    def poll(self) -> list[Event]:
        """The events since the last call, in order; waits a moment where there was none."""

    def load(self, device: str, variant: str) -> None:
        """Have a device drop its engine, if it has one, and load a variant."""

    def warm(self, device: str, variant: str) -> None:
        """Have a device make ready for the variant that it will load next, while its engine still works."""

    def send(self, device: str, pieces: Sequence[Sequence[Request]]) -> None:
        """Give a device with a loaded variant more to answer."""

    def close(self) -> None:
        """End all engines."""
