"""Loop over all devices: gives out work, records the answers, and brings back what a fault took away.

It is the only writer of the run directory. An answer counts once it is recorded, so whatever dies, the same command
goes on with what is missing. A device that is gone gives its pieces back. Where an engine dies, one of the pieces
that it held may be why: they are computed again apart from all others, in halves of what died, until the one is found
that ends an engine by itself. That one is recorded as an error and named.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from bitparity.cluster.pieces import Piece, PieceQueue, cost
from bitparity.cluster.pool import Answered, Computed, Died, Ended, Event, Joined, Loaded, Lost, Pool, Refused
from bitparity.cluster.scheduling import Scheduler
from bitparity.progress.events import DeviceChanged, Events, Noted, TokensComputed
from bitparity.records import Sample, request_key
from bitparity.store.environment import Facts

LOAD_TRIES = 2  # of one variant on one device
MOST_LOSSES = 3  # devices that may go away with a piece before it is suspected
MOST_ISOLATED = 3  # pieces in a row that end an engine each, without an answer between: then it is the variant
NO_DEVICE_SECONDS = 1800.0  # without any device; a host that is scaled up or restarts is there by then
TOLD_SECONDS = 30.0  # without any device, after which people are told
LOOK_AGAIN_SECONDS = 5.0  # for idle devices: what was measured meanwhile may make a change worth its while


class Hooks:
    """Callbacks of a driver; by default they do nothing."""

    needed = "a device"
    """The words for what the driver waits for where there is no device."""

    def loaded(self, device: str, variant: str, facts: Facts, seconds: float) -> None:
        """A device has loaded a variant."""

    def finished(self, variant: str) -> None:
        """All that could be answered of a variant is stored."""

    def stopped(self, variant: str) -> Collection[str]:
        """The benchmarks of which the variant need not be asked more."""
        return ()


class Driver:
    """Runs the work of several variants on the devices of a pool.

    `record` makes the answers of a variant durable and returns once they are. `failures` says after `run` why a
    variant was given up, `isolated` which samples ended their engine twice and why.
    """

    def __init__(
        self,
        queues: Mapping[str, PieceQueue],
        pool: Pool,
        record: Callable[[str, list[Sample]], None],
        hooks: Hooks | None = None,
        events: Events | None = None,
    ) -> None:
        self.failures: dict[str, str] = {}
        self.isolated: list[tuple[str, Sample]] = []
        self.scheduler = Scheduler(queues)
        self._queues, self._pool, self._record = queues, pool, record
        self._hooks, self._events = hooks or Hooks(), events or Events()
        self._devices = self.scheduler.devices
        self._load_failures: dict[tuple[str, str], int] = {}
        self._isolated_in_a_row = dict.fromkeys(queues, 0)
        self._touched: set[str] = set()  # devices that may have something to do now
        self._open = list(queues)  # variants that are not through
        self._woken = self._alone_since = pool.now()
        self._last_loss = "none has come"
        self._told = False  # that there is no device

    def run(self) -> None:
        """Answer everything; returns when nothing is left that could be done."""
        for variant, queue in self._queues.items():
            queue.give_back(self._follow(variant, queue.start()))
        while self._unfinished():
            self._take_in(self._pool.poll())
            if self._pool.now() - self._woken > LOOK_AGAIN_SECONDS:
                self._wake()
            touched, self._touched = self._touched, set()
            for device in touched & self._devices.keys():
                self._occupy(device)
            self._give_up_without_devices()

    def _wake(self) -> None:
        self._touched |= {name for name, device in self._devices.items() if device.idle}
        self._woken = self._pool.now()

    def _unfinished(self) -> bool:
        """True while anything is left to do; calls `finished` for the variants that are through."""
        for variant in self._open:
            for benchmark in self._hooks.stopped(variant):
                self._queues[variant].drop(benchmark)
        for variant in tuple(self._open):
            queue = self._queues[variant]
            while queue.finished() and queue.deeper():
                self._follow(variant, queue.deepen())
                self._wake()
            if queue.finished():
                self._open.remove(variant)
                self._hooks.finished(variant)
        return bool(self._open)

    def _take_in(self, events: list[Event]) -> None:
        """Handle events; the answers of all devices are made durable together, before anything else."""
        answers: dict[str, list[tuple[str, Sample]]] = {}
        # answers first: of a device that died meanwhile they are stored before its pieces are suspected
        for event in events:
            if isinstance(event, Answered):
                found = answers.setdefault(self._devices[event.device].loaded, [])
                found.extend((event.device, sample) for sample in event.samples)
        for variant, pairs in answers.items():
            self._record(variant, [sample for _, sample in pairs])
            # an engine that answers is not at fault itself
            self._isolated_in_a_row[variant] = 0
            for device, sample in pairs:
                self._ended(variant, device, sample)
        for event in events:
            if not isinstance(event, Answered):
                self._touched.add(event.device)
                self._handle(event)

    def _ended(self, variant: str, device: str, sample: Sample) -> None:
        """Note a stored answer and send what builds on it to the same device."""
        self.scheduler.end(device, 0, cost(sample), self._pool.now())
        piece = self._queues[variant].ended(sample)
        if piece is not None:
            del self._devices[piece.device].pieces[id(piece)]
            self.scheduler.end(piece.device, 1, 0.0, self._pool.now())
            self._touched.add(piece.device)
        if pieces := self._follow(variant, [], sample):
            self._send(device, pieces)

    def _follow(self, variant: str, full: list[Sample], *stored: Sample) -> list[Piece]:
        """The pieces that follow from stored samples, and from those that end at once because the context is full."""
        pieces: list[Piece] = []
        waiting = list(stored)
        while full or waiting:
            if full:
                self._record(variant, full)
            ended, full, waiting = [*waiting, *full], [], []
            for sample in ended:
                found, more = self._queues[variant].follow(sample)
                pieces += found
                full += more
        return pieces

    def _send(self, device: str, pieces: list[Piece]) -> None:
        queue = self._queues[self._devices[device].loaded]
        for piece in pieces:
            piece.device = device
            self._devices[device].pieces[id(piece)] = piece
        self.scheduler.give(device, len(pieces), self._pool.now())
        self._pool.send(device, [queue.requests(piece) for piece in pieces])

    def _occupy(self, name: str) -> None:
        """Give a device its next pieces, or another variant, where it has room for them."""
        device = self._devices[name]
        device.idle = False
        if device.loading:
            return
        # a trial is over once all of it is answered
        device.trial = device.trial and bool(device.pieces)
        if device.variant is not None and not device.trial:
            queue = self._queues[device.variant]
            device.trial = bool(queue.trials) and not device.pieces
            if pieces := queue.take_trial() if device.trial else self._range(name, queue):
                self._send(name, pieces)
        if device.pieces:
            # once it gets no more of its variant, it prepares the one that it would load now
            over = not device.ready and not self._queues[device.loaded].left()
            if over and (following := self.scheduler.choose(name)) is not None:
                device.ready = True
                self._pool.warm(name, following)
        elif (variant := self.scheduler.choose(name)) is None:
            device.idle = True
            self._events.emit(DeviceChanged(name, f"{device.variant or 'nothing loaded'}: waits"))
        else:
            self.scheduler.load(name, variant, self._pool.now())
            self._events.emit(DeviceChanged(name, f"{variant}: loading"))
            self._pool.load(name, variant)

    def _range(self, name: str, queue: PieceQueue) -> list[Piece]:
        pieces: list[Piece] = []
        size = self.scheduler.range_size(name)
        while len(pieces) < size and (more := queue.take(size - len(pieces))):
            pieces += more
        return pieces

    def _handle(self, event: Event) -> None:
        name = event.device
        match event:
            case Computed(_, variant, count):
                self._events.emit(TokensComputed(variant, count, name))
            case Joined():
                self.scheduler.join(name)
            case Loaded(_, facts, room):
                variant, began = self._devices[name].loaded, self._devices[name].since
                self.scheduler.loaded(name, room, self._pool.now())
                self._hooks.loaded(name, variant, facts, self._pool.now() - began)
                self._events.emit(DeviceChanged(name, f"{variant}: running"))
            case Lost():
                self._lost(event)
            case Refused():
                self._load_failed(event, LOAD_TRIES)
            case Died() if self._devices[name].loading:
                self._load_failed(event, 1)
            case Died():
                self._died(event)

    def _load_failed(self, event: Ended, weight: int) -> None:
        """A device that cannot load a variant, or failed to twice, is given others; without any device it is over."""
        name, variant = event.device, self._devices[event.device].loaded
        self.scheduler.unload(name)
        self._events.emit(DeviceChanged(name, f"{variant}: did not load"))
        failures = self._load_failures[name, variant] = self._load_failures.get((name, variant), 0) + weight
        if failures >= LOAD_TRIES:
            self._devices[name].barred.add(variant)
            if all(variant in device.barred for device in self._devices.values()):
                self._fail(variant, event.reason)

    def _fail(self, variant: str, reason: str) -> None:
        if not self._queues[variant].finished():
            self.failures[variant] = reason
            self._queues[variant].abandon()

    def _died(self, event: Died) -> None:
        """An engine died at work: what it held is suspected."""
        name, variant = event.device, self._devices[event.device].loaded
        pieces = list(self._devices[name].pieces.values())
        self.scheduler.unload(name)
        self._events.emit(DeviceChanged(name, f"{variant}: its engine died"))
        for piece in pieces:
            piece.deaths += 1
        self._suspect(variant, pieces, event.reason)
        self._wake()

    def _suspect(self, variant: str, pieces: list[Piece], reason: str) -> None:
        """Try pieces again in halves; one that was alone, and not for the first time, is the cause and an error."""
        queue = self._queues[variant]
        # one death alone may have been the device's fault
        if len(pieces) == 1 and (pieces[0].deaths > 1 or pieces[0].losses > MOST_LOSSES):
            why = f"its engine ended whenever it was asked: {reason}"
            samples = [
                Sample(*request_key(r), "", "error", 0, len(r.token_ids or ()), 0.0, error=why)
                for r in queue.close(pieces[0])
            ]
            self._record(variant, samples)
            self._follow(variant, [], *samples)
            self.isolated += [(variant, sample) for sample in samples]
            self._isolated_in_a_row[variant] += 1
            if self._isolated_in_a_row[variant] >= MOST_ISOLATED:
                self._fail(variant, f"its engine ends whatever it is asked: {reason}")
            return
        unanswered = [piece for piece in pieces if queue.close(piece)]
        half = (len(unanswered) + 1) // 2
        # the second half first: extendleft turns their order round
        queue.trials.extendleft(part for part in (unanswered[half:], unanswered[:half]) if part)

    def _lost(self, event: Lost) -> None:
        """A device is gone. Only what was lost with several of them is suspected."""
        name, device = event.device, self._devices[event.device]
        self.scheduler.leave(name)
        self._alone_since, self._last_loss = self._pool.now(), event.reason
        self._events.emit(DeviceChanged(name, None))
        self._events.emit(Noted(f"{name} is gone, what it had not finished goes to others: {event.reason}"))
        pieces = list(device.pieces.values())
        if not pieces:
            return
        for piece in pieces:
            piece.losses += 1
        suspects = [piece for piece in pieces if device.trial or piece.losses >= MOST_LOSSES]
        self._queues[device.loaded].give_back(piece for piece in pieces if piece not in suspects)
        if suspects:
            self._suspect(device.loaded, suspects, event.reason)
        self._wake()

    def _give_up_without_devices(self) -> None:
        if self._devices:
            self._told = False
            return
        alone = self._pool.now() - self._alone_since
        if alone > TOLD_SECONDS and not self._told:
            self._told = True
            self._events.emit(Noted(f"waiting for {self._hooks.needed} ({self._last_loss})"))
        if alone > NO_DEVICE_SECONDS:
            for variant in self._queues:
                self._fail(variant, f"no device is left ({self._last_loss})")
