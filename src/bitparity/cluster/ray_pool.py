"""Pool of a Ray cluster's devices, and the actor that serves each."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before Ray reads it
# an actor without a GPU of its own keeps CUDA_VISIBLE_DEVICES as its node has it
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

from bitparity.errors import MissingDependencyError, RunError

try:
    import ray
    from ray._private import utils as ray_files
    from ray.cluster_utils import Cluster
    from ray.exceptions import RayError
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as missing:
    raise MissingDependencyError("ray", "ray", "running on several devices (--ray)") from missing

import bitparity
from bitparity.cluster.places import RESOURCE, Node, Seat, gpus_of, local_devices, seats
from bitparity.cluster.pool import Event, Joined, Loaded, Lost, Printed
from bitparity.cluster.serving import DeviceServer, without_place
from bitparity.hardware.devices import VISIBLE_DEVICES
from bitparity.hardware.nvml import read_machine
from bitparity.models.config import one_line
from bitparity.records import Request
from bitparity.schema import Variant
from bitparity.store.environment import Facts
from bitparity.store.lock import check_place

THREADS = 4  # of an actor: a long `poll` beside `load` and `send`
NODES_SECONDS = 5.0  # between two looks at which nodes there are
WAIT_SECONDS = 0.5  # for an event
TOGETHER_SECONDS = 0.02  # for further ones, so that they are stored together
POLL_SECONDS = 5.0  # that an actor waits for a message
SILENT_SECONDS = 120.0  # without any answer, after which an actor is given up
CLOSE_SECONDS = 25.0
LOOPBACK = "127.0.0.2"  # Ray takes 127.0.0.1 for a wish to be seen from outside
ANSWER_SECONDS = 5.0  # for a connection to a cluster's head
RETRY_SECONDS = (5.0, 300.0)  # before an actor that was lost is started anew: at first, at most


@contextmanager
def connected(address: str) -> Iterator[None]:
    """A connection to a Ray cluster: that at an address, or with "auto" the running one, else one of this host alone.

    A cluster started here listens on the loopback interface only and ends with the block. Raises RunError where
    there is none at the address.
    """
    if ray.is_initialized():  # the caller's own
        yield
        return
    place: str | None = os.environ.get("RAY_ADDRESS", address) if address == "auto" else address
    if place in ("auto", ""):  # the cluster that this host belongs to, if it answers: its file outlives it
        known = ray_files.read_ray_address()
        place = known if known and _answers(known) else None
    cluster = None
    if place is None:
        cluster = _local_cluster()
        place = cluster.address
    elif not _answers(place):
        raise RunError(
            f"no Ray cluster answers at {place}; start one with 'ray start --head', or give --ray auto to use the "
            "GPUs of this host alone"
        )
    try:
        try:
            ray.init(address=place, log_to_driver=False, logging_level=logging.CRITICAL)
        except (ConnectionError, ValueError, RuntimeError) as error:  # another Ray or Python version, for example
            raise RunError(f"the Ray cluster at {place} cannot be used: {one_line(error)}") from None
        yield
    finally:
        ray.shutdown()
        if cluster is not None:
            cluster.shutdown()
            file = ray_files.get_ray_address_file(None)
            Path(file).unlink(missing_ok=True)  # or the next one would look for it


def _answers(address: str) -> bool:
    """True where something listens; Ray itself would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        with socket.create_connection((host, int(port)), ANSWER_SECONDS):
            return True
    except (OSError, ValueError):
        return False


def _local_cluster() -> Any:
    logging.getLogger("ray").setLevel(logging.CRITICAL)
    os.environ.setdefault("RAY_worker_niceness", "0")  # by itself it gives engines less of the host than its graders
    devices = local_devices(os.environ, read_machine())
    if devices:
        os.environ[VISIBLE_DEVICES] = ",".join(devices)
    node = {"node_ip_address": LOOPBACK, "num_cpus": os.cpu_count(), "num_gpus": len(devices)}
    return Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False})


def nodes() -> list[Node]:
    """The cluster's nodes as Ray describes them, those that are gone included."""
    found: list[Node] = ray.nodes()
    return found


class EngineActor(DeviceServer):
    """One device of a Ray cluster; Ray shows it the GPUs that are its own and no others."""

    def __init__(self, device: str, threads: str | None) -> None:
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it to 1: an engine on the CPU would crawl
        else:
            os.environ["OMP_NUM_THREADS"] = threads
        self._logs = tempfile.TemporaryDirectory(prefix="bitparity-")
        super().__init__(Path(self._logs.name), device)

    def hello(self) -> tuple[str, Facts]:
        """The version here, for the driver to check, and the host and visible devices, to be recorded."""
        devices = os.environ.get(VISIBLE_DEVICES) or None
        return bitparity.__version__, {"host": socket.gethostname(), "devices": devices}

    def close(self) -> None:
        """End the engine."""
        super().close()
        self._logs.cleanup()


@dataclass(slots=True)
class _Actor:
    seat: Seat
    handle: Any
    place: Facts | None = None  # once it has said where it is
    polled: float = 0.0  # when it was last asked for messages
    answered: bool = False  # it has loaded an engine, so what ends it later is no fault of its place


class RayPool:
    """The devices of the cluster that this process is connected to; see `pool.Pool`.

    `identities` are the checkpoints as the driver knows them; what engines print goes into the folder `logs`.
    """

    def __init__(self, variants: Mapping[str, Variant], identities: Mapping[str, Facts], logs: Path) -> None:
        self._variants = {name: without_place(variant) for name, variant in variants.items()}
        self._identities, self._logs = identities, logs
        self._gpus = max(map(gpus_of, variants.values()))
        self._actors: dict[str, _Actor] = {}
        self._waiting: dict[Any, str] = {}  # what an actor was asked, and its device
        self._retry: dict[Seat, tuple[float, float]] = {}  # when a seat may be taken again, and the next delay
        self._counts: dict[str, int] = {}
        self._names: dict[Seat, str] = {}
        self._looked = -math.inf
        self._remote: Any = ray.remote(EngineActor)

    def now(self) -> float:
        """Seconds of this host's monotonic clock."""
        return time.monotonic()

    def poll(self) -> list[Event]:
        """See `pool.Pool`."""
        if self.now() - self._looked > NODES_SECONDS:
            self._take_seats()
            if silent := self._lose_silent():
                return silent
        if not self._waiting:
            time.sleep(WAIT_SECONDS)
            return []
        waiting = list(self._waiting)
        if not ray.wait(waiting, num_returns=1, timeout=WAIT_SECONDS)[0]:
            return []
        # one has answered; others that do so in the same moment share its write to the disk
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=TOGETHER_SECONDS)
        return [event for ref in ready for event in self._answer(ref)]

    def _take_seats(self) -> None:
        """Start an actor on every seat that has none: nodes may come late, and come back."""
        self._looked = self.now()
        taken = {actor.seat for actor in self._actors.values()}
        known = nodes()
        hosts = {node["NodeID"]: node["NodeManagerHostname"] for node in known}
        for seat in seats(known, self._gpus):
            if seat in taken or self._retry.get(seat, (0.0, 0.0))[0] > self.now():
                continue
            if seat not in self._names:
                host = hosts[seat.node]
                number = self._counts[host] = self._counts.get(host, -1) + 1
                self._names[seat] = f"{host}-{number}"
            device = self._names[seat]
            handle: Any = self._remote.options(
                # engines share the cores: Ray must not hold one back for want of them
                num_cpus=0,
                num_gpus=seat.gpus,
                resources={RESOURCE: 1} if seat.custom else None,
                max_concurrency=THREADS,
                # one that Ray started again would have lost its engine, and nobody would know
                max_restarts=0,
                scheduling_strategy=NodeAffinitySchedulingStrategy(seat.node, soft=False),
            ).remote(device, os.environ.get("OMP_NUM_THREADS"))
            self._actors[device] = _Actor(seat, handle)
            self._waiting[handle.hello.remote()] = device

    def _answer(self, ref: Any) -> list[Event]:
        device = self._waiting.pop(ref)
        actor = self._actors.get(device)
        if actor is None:
            return []
        try:
            found = ray.get(ref)
        except RayError as error:
            return self._lose(device, actor, one_line(error))
        if actor.place is None:
            version, place = found
            if version != bitparity.__version__:
                why = f"{place['host']} has bitparity {version}, this host {bitparity.__version__}"
                return self._lose(device, actor, f"{why}; install the same on all")
            actor.place, found = place, [Joined(device)]
        for event in found:
            if isinstance(event, Printed):
                self._log(event.variant, device, event.data)
            actor.answered |= isinstance(event, Loaded)
        actor.polled = self.now()
        self._waiting[actor.handle.poll.remote(POLL_SECONDS)] = device
        return [event for event in found if not isinstance(event, Printed)]

    def _lose_silent(self) -> list[Event]:
        """Ray notices processes and hosts that end, not those that hang."""
        late = self.now() - SILENT_SECONDS
        events: list[Event] = []
        for ref, name in tuple(self._waiting.items()):
            actor = self._actors[name]
            # one that has answered waits for this process, which is late itself
            if actor.polled < late and actor.place is not None and not ray.wait([ref], timeout=0)[0]:
                del self._waiting[ref]
                events += self._lose(name, actor, "it does not answer any more")
        return events

    def _lose(self, device: str, actor: _Actor, reason: str) -> list[Event]:
        del self._actors[device]
        ray.kill(actor.handle)  # one that only hangs would keep its GPU
        first, most = RETRY_SECONDS
        # a place where no engine starts is tried less and less often
        delay = first if actor.answered else self._retry.get(actor.seat, (0.0, first))[1]
        self._retry[actor.seat] = self.now() + delay, min(most, 2 * delay)
        return [Lost(device, reason)] if actor.place is not None else []

    def _log(self, variant: str, device: str, data: bytes) -> None:
        check_place(self._logs)
        with (self._logs / f"{variant}-{device}.log").open("ab") as file:
            file.write(data)

    def place(self, device: str) -> Facts:
        """The host and visible devices of a device that has joined."""
        return self._actors[device].place or {}

    def load(self, device: str, variant: str) -> None:
        """See `pool.Pool`."""
        self._log(variant, device, b"")  # an engine that prints nothing has a log too
        self._actors[device].handle.load.remote(variant, self._variants[variant], self._identities[variant])

    def warm(self, device: str, variant: str) -> None:
        """See `pool.Pool`."""
        self._actors[device].handle.warm.remote(variant, self._variants[variant])

    def send(self, device: str, pieces: Sequence[Sequence[Request]]) -> None:
        """See `pool.Pool`."""
        self._actors[device].handle.send.remote(pieces)

    def close(self) -> None:
        """End all engines, each in its own time, and all actors."""
        closing = [actor.handle.close.remote() for actor in self._actors.values() if actor.place is not None]
        with contextlib.suppress(RayError):
            ray.wait(closing, num_returns=len(closing), timeout=CLOSE_SECONDS) if closing else None
        for actor in self._actors.values():
            ray.kill(actor.handle)
        self._actors.clear()
        self._waiting.clear()
