"""Places for engines: the GPUs and MIG slices of a host, and the seats on the nodes of a Ray cluster."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypedDict

from bitparity.engines.registry import engine_of
from bitparity.hardware.devices import VISIBLE_DEVICES
from bitparity.hardware.nvml import Machine
from bitparity.schema import Variant

RESOURCE = "bitparity"  # the custom resource that says how many engines without a GPU a node runs


def local_devices(environ: Mapping[str, str], machine: Machine) -> list[str]:
    """The devices of this host, as CUDA_VISIBLE_DEVICES names them: those it has already, else every GPU or slice."""
    if (given := environ.get(VISIBLE_DEVICES)) is not None:
        # -1, and NoDevFiles of NVIDIA's container tools, mean no device
        return [entry.strip() for entry in given.split(",") if entry.strip() not in ("", "-1", "NoDevFiles")]
    found: list[str] = []
    for gpu in machine.gpus:
        found += [part.uuid for part in gpu.slices] if gpu.mig else [str(gpu.index)]
    return found


def gpus_of(variant: Variant) -> int:
    """The GPUs that one engine of a variant takes; 0 for one that would use none."""
    on_gpus = engine_of(variant.engine).has_local_weights and variant.engine.device != "cpu"
    return (variant.engine.tensor_parallel_size or 1) if on_gpus else 0


class Node(TypedDict):
    """A node of the cluster, as Ray describes it; there is more that nobody reads."""

    NodeID: str
    NodeManagerHostname: str
    Alive: bool
    Resources: dict[str, float]


@dataclass(frozen=True, slots=True)
class Seat:
    """A place for an actor: a node, a number on it, and the resources of the node that it takes."""

    node: str
    number: int
    gpus: int = 0
    custom: bool = False


def seats(nodes: Sequence[Node], gpus: int) -> list[Seat]:
    """The places for engines that take so many GPUs each.

    Without GPUs in the cluster, or for engines that need none (`gpus` 0), a node has as many as its custom resource
    `bitparity` says, and one where no node has that resource.
    """
    alive = [(node["NodeID"], node["Resources"]) for node in nodes if node["Alive"]]
    on_gpus = gpus > 0 and any(resources.get("GPU") for _, resources in alive)
    if not on_gpus and not any(RESOURCE in resources for _, resources in alive):
        return [Seat(node, 0) for node, _ in alive]
    name, each = ("GPU", gpus) if on_gpus else (RESOURCE, 1)
    counts = {node: math.floor(resources.get(name, 0)) // each for node, resources in alive}
    seat = partial(Seat, gpus=gpus) if on_gpus else partial(Seat, custom=True)
    return [seat(node, number) for node, count in counts.items() for number in range(count)]
