"""Interface of a pool of devices: the events that devices send and the orders that they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from bitparity.records import Request, Sample
from bitparity.store.environment import Facts


@dataclass(frozen=True, slots=True)
class _OfDevice:
    device: str


class Joined(_OfDevice):
    """A device is there, with nothing loaded."""


@dataclass(frozen=True, slots=True)
class Loaded(_OfDevice):
    """A device has loaded what it was told to, and runs `room` requests (or batches) at once."""

    facts: Facts
    room: int


@dataclass(frozen=True, slots=True)
class Answered(_OfDevice):
    """Answers, in the order in which they ended."""

    samples: list[Sample]


@dataclass(frozen=True, slots=True)
class Computed(_OfDevice):
    """The tokens that a device's engine has computed of a variant since it was loaded (`Engine.progress`)."""

    variant: str
    count: int


@dataclass(frozen=True, slots=True)
class _Failure(_OfDevice):
    reason: str


class Died(_Failure):
    """An engine died, while loading or later; the device can load again."""


class Refused(_Failure):
    """A device cannot run the variant that it was told to load, and would not the next time either."""


class Lost(_Failure):
    """A device is gone: its process or its host ended."""


Event = Joined | Loaded | Answered | Computed | Died | Refused | Lost


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
