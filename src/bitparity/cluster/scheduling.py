"""Scheduling of variants to devices: pure code without engines, processes or clocks of its own.

A *device* holds one engine and so one variant at a time. The work of a variant is a *stock* of *pieces*: single
requests, or whole batches for an engine that computes fixed ones. Rules:

1. A device goes on with the variant that it has loaded while that has pieces left.
2. It changes, once it holds nothing, only to a variant that its present devices need longer for than loading takes.
   Of k devices, a further one that comes after L seconds ends W seconds of work after (W + L) / (k + 1) instead of
   W / k, which is sooner exactly if W / k > L.
3. A device holds what its engine runs at once and what it will finish during one exchange of messages, so that it
   never waits; but never more than its share of what is unfinished, and a range is at most half of a device's share
   of what is left (guided self-scheduling; Polychronopoulos and Kuck 1987), so that all end together.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from bitparity.cluster.pieces import Piece

EXCHANGE_SECONDS = 2.0  # from an answer to the requests that follow from it, on a busy network
FIRST_LOAD_SECONDS = 60.0  # what a load is taken for until one was measured


class Stock(Protocol):
    """The work of a variant that no device holds."""

    def left(self) -> int:
        """Pieces that can be given out now."""

    def work(self) -> float:
        """The work in `left`, in expected tokens."""


@dataclass(slots=True)
class Spent:
    """The seconds of a device, or for a variant on all devices: `busy` with work, and `loading`; loads and tokens."""

    busy: float = 0.0
    loading: float = 0.0
    loads: int = 0
    tokens: float = 0.0


@dataclass(slots=True)
class Device:
    """A device with what it has loaded; another variant makes a new one of it, with `spent` and `barred` kept.

    `room` is how many pieces its engine runs at once, `held` how many it was given and has not ended: `pieces`, which
    in a `trial` are alone, to find out which of them ends engines. `barred` are the variants that it cannot run.
    """

    spent: Spent
    barred: set[str] = field(default_factory=set)
    variant: str | None = None
    loading: bool = False
    since: float = 0.0  # when it began to load, or when `busy` was last added up
    room: int = 1
    held: int = 0
    pieces: dict[int, Piece] = field(default_factory=dict)
    trial: bool = False
    idle: bool = False  # it had nothing to do
    ready: bool = False  # it prepares its next variant beside its present one
    busy: float = 0.0  # seconds with work
    ended: int = 0  # pieces

    @property
    def loaded(self) -> str:
        """The variant that it has loaded, or loads, where it must have one."""
        assert self.variant is not None, "this device has nothing loaded"
        return self.variant


class Scheduler:
    """The state of all devices and what follows from it. Times are in seconds of any one clock."""

    def __init__(self, stocks: Mapping[str, Stock]) -> None:
        self.stocks = stocks
        self.devices: dict[str, Device] = {}
        self.spent: dict[str, Spent] = {}  # by device, those that are gone included
        self._pace = {name: Spent() for name in stocks}

    def join(self, name: str) -> None:
        """A device is there, with nothing loaded."""
        self.devices[name] = Device(self.spent.setdefault(name, Spent()))

    def leave(self, name: str) -> None:
        """A device is gone; whoever calls puts back into the stock what it held."""
        del self.devices[name]

    def _on(self, variant: str) -> list[Device]:
        """The devices with a variant, those that load it included."""
        return [device for device in self.devices.values() if device.variant == variant]

    def choose(self, name: str) -> str | None:
        """The variant that a device with nothing to do should load; None where it should wait.

        The first of several where nothing tells them apart.
        """
        barred = self.devices[name].barred
        urgency: dict[str, tuple[float, float, float]] = {}
        for variant, stock in self.stocks.items():
            on, work = len(self._on(variant)), stock.work()
            seconds = self._seconds_left(variant, on)
            # no more devices than pieces
            if variant not in barred and stock.left() > on and seconds > self.load_seconds(variant):
                # several are infinite at the start: then the one with most work for each of its devices, or in all
                urgency[variant] = seconds, work / on if on else math.inf, work
        return max(urgency, key=urgency.__getitem__, default=None)

    def load(self, name: str, variant: str, now: float) -> None:
        """A device drops what it has loaded and begins to load a variant."""
        self.unload(name)
        device = self.devices[name]
        device.variant, device.loading, device.since = variant, True, now

    def loaded(self, name: str, room: int, now: float) -> None:
        """A device is ready for pieces, `room` of them at once."""
        device = self.devices[name]
        for spent in (device.spent, self._pace[device.loaded]):
            spent.loads += 1
            spent.loading += now - device.since
        device.loading, device.room, device.since = False, room, now

    def unload(self, name: str) -> None:
        """A device has nothing loaded any more, and holds nothing."""
        self.devices[name] = Device(self.devices[name].spent, self.devices[name].barred)

    def range_size(self, name: str) -> int:
        """The number of pieces of its variant that a device should be given now."""
        device = self.devices[name]
        if device.variant is None or device.loading:
            return 0
        left, on = self.stocks[device.variant].left(), self._on(device.variant)
        share = math.ceil((left + sum(other.held for other in on)) / len(on))
        # what it will have ended before more can reach it
        ahead = math.ceil(EXCHANGE_SECONDS * device.ended / device.busy) if device.busy else 0
        wanted = min(device.room + max(ahead, 1), share) - device.held
        return max(0, min(wanted, math.ceil(left / (2 * len(on))), left))

    def give(self, name: str, pieces: int, now: float) -> None:
        """A device was given pieces."""
        device = self.devices[name]
        self._clock(device, now)
        device.held += pieces

    def end(self, name: str, pieces: int, tokens: float, now: float) -> None:
        """A device ended pieces, or gave them back; `tokens` of work were done."""
        device = self.devices[name]
        self._clock(device, now)
        device.held -= pieces
        device.ended += pieces
        self._pace[device.loaded].tokens += tokens

    def _clock(self, device: Device, now: float) -> None:
        if device.held:
            for spent in (device, device.spent, self._pace[device.loaded]):
                spent.busy += now - device.since
        device.since = now

    def load_seconds(self, variant: str) -> float:
        """Seconds that loading a variant takes, from its measured loads, else from those of others."""
        own = self._pace[variant]
        known = [own] if own.loads else [p for p in self._pace.values() if p.loads]
        loads = sum(p.loads for p in known)
        return sum(p.loading for p in known) / loads if loads else FIRST_LOAD_SECONDS

    def busy_seconds(self, variant: str) -> float:
        """Seconds that devices had work of a variant, added up."""
        return self._pace[variant].busy

    def _seconds_left(self, variant: str, on: int) -> float:
        """Seconds that so many devices of a variant need for its stock; infinite without one or a known speed."""
        own = self._pace[variant]
        # the speed of a variant that has not answered is taken for that of all others together
        known = [own] if own.tokens and own.busy else self._pace.values()
        tokens, busy = sum(p.tokens for p in known), sum(p.busy for p in known)
        return self.stocks[variant].work() / (on * tokens / busy) if on and tokens and busy else math.inf
