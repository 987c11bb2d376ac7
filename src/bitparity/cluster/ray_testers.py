"""Code tests on the hosts of a Ray cluster, in a sandbox like the driver's; without one, on the driver's host."""

from __future__ import annotations

import math
import queue
import socket
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import load_benchmark
from bitparity.cluster.places import Node
from bitparity.engines.registry import ENGINE_CORES
from bitparity.errors import DataError, SandboxError
from bitparity.generation.prepare import Prepared
from bitparity.grading.rules import Job, grade_job, grade_sample
from bitparity.hardware.cores import usable_cores
from bitparity.records import Grade, Item, Sample
from bitparity.schema import BenchmarkSpec, Protocol

OPEN_SECONDS = 60.0  # for the sandboxes of all hosts


class TesterActor:
    """The sandboxes of one host."""

    def __init__(self, specs: list[BenchmarkSpec]) -> None:
        self._benchmarks: dict[str, Benchmark] = {}
        self._facts: dict[str, dict[str, object]] = {}
        for spec in specs:
            benchmark = load_benchmark(spec)
            try:
                self._facts[spec.name] = benchmark.open_grader(unsafe_exec=False)
            except (SandboxError, DataError):  # the driver's host does it then
                continue
            self._benchmarks[spec.name] = benchmark

    def look(self) -> tuple[int, dict[str, dict[str, object]]]:
        """The cores that may be used here, and how each benchmark's code is run."""
        return usable_cores(), self._facts

    def grade(
        self, item: Item, sample: Sample, protocol: Protocol, opened: bool | None, earlier: Sequence[Sample]
    ) -> Grade:
        """The verdict on one answer."""
        return grade_sample(self._benchmarks[sample.benchmark], item, sample, protocol, opened, earlier)


class Testers:
    """Gives answers whose code is to be run to the hosts that have a core free, else to this one.

    Only hosts whose sandbox and Python are the driver's are used, so that it does not matter where a test ran. `cores`
    counts theirs.
    """

    def __init__(self, prepared: Prepared, nodes: Sequence[Node], gpus: bool) -> None:
        self.cores = 0
        self._free: queue.SimpleQueue[tuple[Any, frozenset[str]]] = queue.SimpleQueue()
        self._actors: list[Any] = []
        specs = [spec for spec, _ in prepared.asked if spec.name in prepared.tested]
        others = [n for n in nodes if n["Alive"] and n["NodeManagerHostname"] != socket.gethostname()]
        if not specs or not others:
            return
        asked = {}
        remote: Any = ray.remote(TesterActor)
        for node in others:
            where = NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
            threads = math.ceil(node["Resources"].get("CPU", 1))
            # Ray must not hold it back for want of cores: the places below say how many it may use
            options = remote.options(num_cpus=0, max_concurrency=max(2, threads), scheduling_strategy=where)
            actor = options.remote(specs)
            self._actors.append(actor)
            asked[actor.look.remote()] = actor, node
        ready, _ = ray.wait(list(asked), num_returns=len(asked), timeout=OPEN_SECONDS)
        own = {spec.name: prepared.graders[spec.name].facts for spec in specs}
        for ref in ready:
            actor, node = asked[ref]
            try:
                cores, facts = ray.get(ref)
            except RayError:
                continue
            if same := frozenset(name for name, found in facts.items() if found == own[name]):
                engines = math.ceil(node["Resources"].get("GPU", 0) * (ENGINE_CORES + 1)) if gpus else 1
                idle = max(0, cores - engines)
                self.cores += idle
                for _ in range(idle):
                    self._free.put((actor, same))

    def grade(self, job: Job) -> Grade:
        """The verdict on one answer."""
        try:
            place = actor, benchmarks = self._free.get_nowait()
            there = job.sample.benchmark in benchmarks
            grade: Grade | None = ray.get(actor.grade.remote(*job[1:])) if there else None
        except (queue.Empty, RayError):  # none is free, or its host is gone: its places with it
            return grade_job(job)
        self._free.put(place)
        return grade or grade_job(job)

    def close(self) -> None:
        """End the actors; their sandboxes end with them."""
        for actor in self._actors:
            ray.kill(actor)
