"""Executor for the devices of a Ray cluster: several variants beside each other, recorded as on a single device."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Container, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager

from bitparity.cluster.driver import Driver, Hooks
from bitparity.cluster.pieces import Lengths, PieceQueue
from bitparity.cluster.places import gpus_of
from bitparity.cluster.ray_pool import RayPool, connected, nodes
from bitparity.cluster.ray_testers import Testers
from bitparity.distance.reader import OpenReader, Readers
from bitparity.distance.store import AGAIN
from bitparity.engines.registry import engine_of
from bitparity.generation.plan import VariantPlan
from bitparity.generation.prepare import Prepared
from bitparity.generation.reading import comparable, open_readers, record_read
from bitparity.generation.recorder import Recorder
from bitparity.generation.session import Session, utc_now
from bitparity.generation.stops import Stops
from bitparity.hardware.cores import usable_cores
from bitparity.progress.events import GENERATING, PhaseChanged
from bitparity.records import Sample, output_tokens
from bitparity.schema import Study
from bitparity.store.environment import ClusterSession, Facts
from bitparity.store.lock import check_place
from bitparity.store.run import Run

DRIVER_CORES = 2  # for this process and Ray's own
SHOWN_ISOLATED = 5
GRADED_BESIDE = 100_000  # answers of a variant, at most: their texts stay in memory meanwhile


@contextmanager
def cluster_executor(address: str) -> Iterator[ClusterExecutor]:
    """The executor for the cluster at an address, or "auto". Raises RunError where there is none."""
    with connected(address):
        yield ClusterExecutor()


class ClusterExecutor:
    """Generates on the cluster that this process is connected to. See `generation.executor.Executor`."""

    def preload(self, study: Study, run: Run) -> None:
        """Nothing: which device comes first is not known."""

    def generate(self, session: Session, plans: Mapping[str, VariantPlan]) -> Iterator[str]:
        """Generate what is missing of all variants, then give their names. See `generation.executor.Executor`.

        Variants whose engines take as many GPUs each run beside each other, the others one group after another, those
        with the largest engines first; before all of them the baseline where benchmarks may stop early.
        """
        study = session.prepared.study
        waiting = [name for name, plan in plans.items() if plan.missing]
        # what the others are looked at beside is there first
        first = [name for name in waiting if study.stops_early and name == study.baseline]
        for names in (first, [name for name in waiting if name not in first]):
            for gpus, group in _by_gpus(study, names):
                _generate_group(session, {name: plans[name] for name in group}, gpus)
        yield from plans
        _read_all(session)


def _by_gpus(study: Study, names: Collection[str]) -> Iterator[tuple[int, list[str]]]:
    """The variants whose engines take as many GPUs each, with that number, the largest engines first."""
    gpus = {name: gpus_of(study.variants[name]) for name in names}
    for count in sorted(set(gpus.values()), reverse=True):
        yield count, [name for name in names if gpus[name] == count]


def _read_all(session: Session) -> None:
    """Have the variants read the baseline's answers beside each other, once the baseline has done so itself."""
    prepared = session.prepared
    if (readers := open_readers(prepared)) is None:
        return
    baseline = prepared.study.baseline
    later = {baseline: baseline + AGAIN} | {name: name for name in prepared.study.candidates}
    for step in ({baseline: baseline}, later):
        waiting = {n: reader for n, reader in step.items() if readers.missing(reader) and comparable(prepared, n)}
        for gpus, group in _by_gpus(prepared.study, waiting):
            _read_group(session, readers, {name: waiting[name] for name in group}, gpus)


def _read_group(session: Session, readers: Readers, names: Mapping[str, str], gpus: int) -> None:
    """Have variants read whose engines take so many GPUs each; `names` has each one's reader."""
    prepared = session.prepared
    with ExitStack() as stack:
        opened = {name: stack.enter_context(closing(OpenReader(readers, reader))) for name, reader in names.items()}
        missing = {name: list(each.answers) for name, each in opened.items()}
        plans = {}
        for name, each in opened.items():
            fixed = engine_of(prepared.study.variants[name].engine).fixed_batches
            plans[name] = VariantPlan(each.requests(each.answers), batches=list if fixed else None)
        failures: dict[str, list[str]] = {name: [] for name in names}
        pool = stack.enter_context(closing(_pool(prepared, names)))

        def record(name: str, samples: list[Sample]) -> None:
            failures[name].extend(opened[name].store(samples))

        driver = Driver(_queues(plans), pool, record, _Engines(session, pool, gpus), session.events)
        driver.run()
    for name, reader in names.items():
        unread = failures[name][0] if missing[name] and len(failures[name]) >= len(missing[name]) else None
        seconds = driver.scheduler.busy_seconds(name)
        record_read(session, reader, missing[name], seconds, driver.failures.get(name, unread))


def _generate_group(session: Session, plans: Mapping[str, VariantPlan], gpus: int) -> None:
    """Generate what is missing of variants whose engines take so many GPUs each."""
    prepared = session.prepared
    with ExitStack() as stack:
        testers = stack.enter_context(closing(Testers(prepared, nodes(), gpus > 0)))
        # the cores that may grade beside the engines: none where engines compute on cores
        idle = max(0, usable_cores() // 2 if gpus else usable_cores() - DRIVER_CORES) + testers.cores
        if any(variant.engine.device == "cpu" for variant in prepared.study.variants.values()):
            idle = 0
        recorders, stops = {}, {}
        for name, plan in plans.items():
            # of very many answers, grading would hold the texts in memory, so it comes after the run
            large = sum(total for _, total in plan.counts.values()) > GRADED_BESIDE
            cores = None if large else math.ceil(idle / len(plans))
            stops[name] = Stops(prepared, name, session.events, session.background)
            recorders[name] = stack.enter_context(
                Recorder(prepared, name, session.events, cores, testers.grade, stops[name])
            )
        for name in plans:
            session.start(name)
        # entered last and so closed first: the engines end before the files that their answers go to
        pool = stack.enter_context(closing(_pool(prepared, plans)))
        group = _Group(session, pool, gpus, recorders, stops)
        driver = Driver(_queues(plans, prepared.tested), pool, group.record, group, session.events)
        try:
            driver.run()
        finally:
            group.save(driver)
        _end_variants(session, driver)


def _pool(prepared: Prepared, names: Iterable[str]) -> RayPool:
    """The devices, for engines of these variants."""
    logs = prepared.run.path / "logs"
    check_place(logs)
    logs.mkdir(exist_ok=True)
    variants = {name: prepared.study.variants[name] for name in names}
    return RayPool(variants, {name: prepared.models[name].identity for name in variants}, logs)


def _queues(plans: Mapping[str, VariantPlan], tested: Container[str] = ()) -> dict[str, PieceQueue]:
    """The work of each variant; what one has measured of the lengths of answers helps the others."""
    lengths = Lengths()
    return {name: PieceQueue(name, plan, lengths, tested) for name, plan in plans.items()}


class _Engines(Hooks):
    """Records the engines of variants that run beside each other, each on so many GPUs."""

    def __init__(self, session: Session, pool: RayPool, gpus: int) -> None:
        self.needed = f"a node with {gpus} free GPU{'s' if gpus > 1 else ''}" if gpus else "a node"
        self._session, self._pool = session, pool

    def loaded(self, device: str, variant: str, facts: Facts, seconds: float) -> None:
        """A device has loaded a variant."""
        place = {"device": device, **self._pool.place(device), "uuid": facts.get("device_uuid")}
        self._session.record_engine(variant, facts, place)


class _Group(_Engines):
    """Records also the answers and times of such variants."""

    def __init__(
        self, session: Session, pool: RayPool, gpus: int, recorders: Mapping[str, Recorder], stops: Mapping[str, Stops]
    ) -> None:
        super().__init__(session, pool, gpus)
        self._recorders, self._stops = recorders, stops
        self._started, self._at = time.monotonic(), utc_now()
        self._samples = 0
        self._tokens: int | None = 0

    def record(self, variant: str, samples: list[Sample]) -> None:
        """Store answers."""
        self._recorders[variant].store(samples)
        self._samples += len(samples)
        self._tokens = output_tokens(samples, self._tokens)

    def loaded(self, device: str, variant: str, facts: Facts, seconds: float) -> None:
        """A device has loaded a variant."""
        super().loaded(device, variant, facts, seconds)
        self._session.record_load(variant, seconds)
        self._session.events.emit(PhaseChanged(variant, GENERATING))

    def finished(self, variant: str) -> None:
        """All that could be answered of a variant is stored."""
        self._session.background.put(self._recorders[variant].keep_grading())
        self._session.events.emit(PhaseChanged(variant, None))

    def stopped(self, variant: str) -> set[str]:
        """The benchmarks of which the variant need not be asked more."""
        return self._stops[variant].stopped

    def save(self, driver: Driver) -> None:
        """Record the seconds from the start of the group to its end, those of each variant and of each device."""
        for name, recorder in self._recorders.items():
            recorder.add_seconds(driver.scheduler.busy_seconds(name))
        devices = {
            name: {"busy_seconds": round(spent.busy, 3), "loading_seconds": round(spent.loading, 3)}
            for name, spent in driver.scheduler.spent.items()
        }
        seconds = round(time.monotonic() - self._started, 3)
        group = ClusterSession(
            at=self._at, seconds=seconds, samples=self._samples, output_tokens=self._tokens, devices=devices
        )
        self._session.prepared.environment.cluster_sessions.append(group)
        self._session.prepared.save_environment()


def _end_variants(session: Session, driver: Driver) -> None:
    """Name what could not be answered, and end every variant."""
    for name in driver.scheduler.stocks:
        failure = driver.failures.get(name)
        isolated = [sample for variant, sample in driver.isolated if variant == name]
        if isolated and failure is None:
            shown = ", ".join(f"{s.benchmark} {s.item}#{s.sample}" for s in isolated[:SHOWN_ISOLATED])
            more = f" and {len(isolated) - SHOWN_ISOLATED} more" if len(isolated) > SHOWN_ISOLATED else ""
            failure = f"the engine ended twice over {shown}{more}, left unscored: {isolated[0].error}"
        session.end(name, failure)
