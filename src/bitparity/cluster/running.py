"""A study's variants on the devices of a Ray cluster, recorded as on a single device."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from bitparity.cluster.driver import Driver, Hooks
from bitparity.cluster.places import gpus_of, needs_gpu
from bitparity.cluster.ray_pool import RayPool, connected, nodes
from bitparity.cluster.ray_testers import Testers
from bitparity.cluster.sources import Lengths, Source
from bitparity.generation.background import BackgroundJobs
from bitparity.generation.plan import VariantPlan
from bitparity.generation.prepare import Prepared
from bitparity.generation.recorder import Recorder
from bitparity.generation.session import record_engine, show_start
from bitparity.grading.process_pool import usable_cores
from bitparity.progress.events import GENERATING, Events, PhaseChanged, VariantEnded
from bitparity.records import Sample, output_tokens
from bitparity.store.environment import ClusterSession, Loads

__all__ = ["connected", "run_on_cluster"]

DRIVER_CORES = 2  # for this process and Ray's own
SHOWN_ISOLATED = 5
GRADED_BESIDE = 100_000  # answers of a variant, at most: their texts stay in memory meanwhile


def run_on_cluster(
    prepared: Prepared, planned: Mapping[str, VariantPlan], events: Events, background: BackgroundJobs
) -> None:
    """Answer what is missing of several variants on the cluster that this process is `connected` to.

    What could not be answered is named in the run's outcome. Variants whose engines take as many GPUs each run beside
    each other, the others one group after another, those with the largest engines first.
    """
    variants = prepared.study.variants
    for gpus in sorted({gpus_of(variants[name]) for name in planned}, reverse=True):
        group = {name: work for name, work in planned.items() if gpus_of(variants[name]) == gpus}
        _run_group(prepared, group, events, background)


def _run_group(
    prepared: Prepared, planned: Mapping[str, VariantPlan], events: Events, background: BackgroundJobs
) -> None:
    with ExitStack() as stack:
        testers = stack.enter_context(closing(Testers(prepared, nodes(), _on_gpus(prepared, planned))))
        recorders = {
            name: stack.enter_context(
                Recorder(prepared, name, events, _idle_cores(prepared, planned, name, testers.cores), testers.grade)
            )
            for name in planned
        }
        for name in planned:
            show_start(prepared, name, events)
        pool = stack.enter_context(_devices(prepared, planned))
        session = _Session(prepared)

        def record(variant: str, samples: list[Sample]) -> None:
            recorders[variant].store(samples)
            session.count(samples)

        hooks = _Hooks(prepared, events, pool, recorders, background)
        lengths = Lengths()
        sources = {name: Source(name, work, lengths, prepared.tested) for name, work in planned.items()}
        driver = Driver(sources, pool, record, hooks, events)
        try:
            driver.run()
        finally:
            for name, recorder in recorders.items():
                recorder.add_seconds(driver.scheduler.busy_seconds(name))
            session.note(driver)
        _conclude(prepared, driver, events)


class _Session:
    """What the devices did until now, for environment.json."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._started, self._at = time.monotonic(), time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._samples = 0
        self._tokens: int | None = 0

    def count(self, samples: list[Sample]) -> None:
        """Count answers."""
        self._samples += len(samples)
        self._tokens = output_tokens(samples, self._tokens)

    def note(self, driver: Driver) -> None:
        """Write it down: seconds from the start of this group of variants to its end, and those of each device."""
        spent = driver.scheduler.spent.items()
        devices = {
            name: {"busy_seconds": round(s.busy, 3), "loading_seconds": round(s.loading, 3)} for name, s in spent
        }
        seconds = round(time.monotonic() - self._started, 3)
        session = ClusterSession(
            at=self._at, seconds=seconds, samples=self._samples, output_tokens=self._tokens, devices=devices
        )
        self._prepared.environment.cluster_sessions.append(session)
        self._prepared.note()


@contextmanager
def _devices(prepared: Prepared, planned: Mapping[str, VariantPlan]) -> Iterator[RayPool]:
    folder = prepared.run.path / "logs"
    folder.mkdir(exist_ok=True)

    def log(name: str, data: bytes) -> None:
        with (folder / name).open("ab") as file:
            file.write(data)

    variants = {name: prepared.study.variants[name] for name in planned}
    pool = RayPool(variants, {name: prepared.models[name].identity for name in planned}, log)
    try:
        yield pool
    finally:
        pool.close()


class _Hooks(Hooks):
    """Notes the facts of every engine, and grades on what a variant has left to grade."""

    def __init__(
        self,
        prepared: Prepared,
        events: Events,
        pool: RayPool,
        recorders: Mapping[str, Recorder],
        background: BackgroundJobs,
    ) -> None:
        self._prepared, self._events, self._pool = prepared, events, pool
        self._recorders, self._background = recorders, background
        gpus = max(gpus_of(prepared.study.variants[name]) for name in recorders)
        self.needed = f"a node with {gpus} free GPU{'s' if gpus > 1 else ''}" if gpus else "a node"

    def loaded(self, device: str, variant: str, facts: dict[str, Any], seconds: float) -> None:
        """A device has loaded a variant."""
        place = {"device": device, **self._pool.place(device), "uuid": facts.get("device_uuid")}
        record_engine(self._prepared, variant, facts, place)
        stored = self._prepared.environment.variants[variant]
        before = stored.loads or Loads()
        stored.loads = Loads(count=(before.count or 0) + 1, seconds=round((before.seconds or 0) + seconds, 3))
        self._events.emit(PhaseChanged(variant, GENERATING))

    def finished(self, variant: str) -> None:
        """All that could be answered of a variant is stored."""
        self._background.put(self._recorders[variant].keep_grading())
        self._events.emit(PhaseChanged(variant, None))


def _on_gpus(prepared: Prepared, planned: Mapping[str, VariantPlan]) -> bool:
    return any(needs_gpu(prepared.study.variants[name]) for name in planned)


def _idle_cores(prepared: Prepared, planned: Mapping[str, VariantPlan], name: str, others: int) -> int | None:
    """The cores that may grade a variant beside its engines, `others` on other hosts: none that engines compute on.

    None for a variant with very many answers: grading holds them in memory, which it may do after the run.
    """
    if sum(total for _, total in planned[name].counts.values()) > GRADED_BESIDE:
        return None
    if any(v.engine.device == "cpu" for v in prepared.study.variants.values()):
        return 0
    free = usable_cores() // 2 if _on_gpus(prepared, planned) else usable_cores() - DRIVER_CORES
    return math.ceil((max(0, free) + others) / len(planned))


def _conclude(prepared: Prepared, driver: Driver, events: Events) -> None:
    """Name what could not be answered, and end every variant."""
    failures = prepared.outcome.failures
    failures |= driver.failures
    for name in driver.scheduler.stocks:
        isolated = [sample for variant, sample in driver.isolated if variant == name]
        if isolated and name not in failures:
            shown = ", ".join(f"{s.benchmark} {s.item}#{s.sample}" for s in isolated[:SHOWN_ISOLATED])
            more = f" and {len(isolated) - SHOWN_ISOLATED} more" if len(isolated) > SHOWN_ISOLATED else ""
            failures[name] = f"the engine ended twice over {shown}{more}, left unscored: {isolated[0].error}"
        events.emit(VariantEnded(name, failures.get(name)))
