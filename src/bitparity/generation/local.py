"""Executor for the device of this host: one variant after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial

from bitparity.engines.model_files import with_folder
from bitparity.engines.registry import engine_of, idle_cores
from bitparity.errors import ChangedModelError, EngineError
from bitparity.generation.chains import generate_samples
from bitparity.generation.engine_starter import EngineStarter
from bitparity.generation.plan import VariantPlan, in_order, longest_first, plan_variant
from bitparity.generation.prepare import Prepared
from bitparity.generation.reading import note_unread, read_answers, readings_waiting
from bitparity.generation.recorder import Recorder
from bitparity.generation.restarts import Restarts
from bitparity.generation.session import Session
from bitparity.generation.stops import Stops
from bitparity.models.checkpoint import weight_files
from bitparity.models.prefetch import read_ahead
from bitparity.progress.events import GENERATING, LOADING, PhaseChanged, TokensComputed
from bitparity.schema import Study, Variant
from bitparity.store.run import Run

NEARLY_DONE = 0.1  # share of a variant's samples at whose rest the next variant is made ready


@contextmanager
def local_executor() -> Iterator[LocalExecutor]:
    """The executor for this host's device; its engines end with the block."""
    with closing(EngineStarter()) as engines:
        yield LocalExecutor(engines)


class LocalExecutor:
    """Generates on the device of this host. See `executor.Executor`."""

    def __init__(self, engines: EngineStarter) -> None:
        self._engines = engines

    def preload(self, study: Study, run: Run) -> None:
        """Begin to load the first variant of a new run; one that goes on may have nothing to ask of it.

        Raises MissingDependencyError where the libraries of any engine are absent.
        """
        for variant in study.variants.values():
            engine_of(variant.engine).check_installed()
        if not any(run.exam_path(spec.name).exists() for spec in study.benchmarks):
            name = in_order(study)[0]
            variant = study.variants[name]
            self._engines.ahead(with_folder(name, variant), run.log_path(name)).launch()

    def generate(self, session: Session, plans: Mapping[str, VariantPlan]) -> Iterator[str]:
        """Generate what is missing of each variant in turn. See `executor.Executor`."""
        waiting = [name for name, plan in plans.items() if plan.missing]
        for name, plan in plans.items():
            if plan.missing:
                waiting.remove(name)
                if session.hours is None or session.hours.due(name):
                    self._generate_variant(session, name, plan, waiting[0] if waiting else None)
            yield name
        for name in readings_waiting(session.prepared):
            self._read_alone(session, name)

    def _read_alone(self, session: Session, name: str) -> None:
        """Load a variant only to read the baseline's answers: these were not there when it was loaded before."""
        prepared = session.prepared
        session.events.emit(PhaseChanged(name, LOADING))
        try:
            with self._engines.start(prepared.loadable(name), prepared.run.log_path(name)) as engine:
                session.record_engine(name, engine.facts)
                read_answers(session, name, engine.run)
        except (EngineError, ChangedModelError) as error:
            note_unread(session, name, str(error))
        session.events.emit(PhaseChanged(None, None))

    def _generate_variant(self, session: Session, name: str, plan: VariantPlan, following: str | None) -> None:
        """Generate what is missing of a variant; an engine that dies is started again with what is left."""
        restarts = Restarts(session.prepared, name, session.events)
        while True:
            try:
                self._run_engine(session, name, restarts.variant, plan, following)
                return session.end(name)
            except (EngineError, ChangedModelError) as error:
                if isinstance(error, ChangedModelError) or not restarts.again(error):
                    return session.end(name, str(error))
            plan = plan_variant(session.prepared, name)  # anew: less is missing than when the engine was started

    def _run_engine(
        self, session: Session, name: str, variant: Variant, plan: VariantPlan, following: str | None
    ) -> None:
        """Load a variant and generate; when little is left, make the `following` variant ready."""
        prepared, events = session.prepared, session.events
        session.start(name)
        with ExitStack() as stack:
            began = time.monotonic()
            engine = stack.enter_context(self._engines.start(variant, prepared.run.log_path(name)))
            session.record_load(name, time.monotonic() - began)
            engine.on_progress = lambda count: events.emit(TokensComputed(name, count))
            engine.on_sent = partial(session.record_sent, name)
            session.record_engine(name, engine.facts)
            stops = Stops(prepared, name, events, session.background)
            cores = idle_cores(variant, engine.facts) if prepared.graders else None
            recorder = stack.enter_context(Recorder(prepared, name, events, cores, stops=stops))
            plan, hours = longest_first(prepared, name, plan), session.hours
            wanted, held = stops.wanted, stops.held if stops.may_stop else None
            if hours is not None:
                hours.start(name, stops)
                wanted = hours.wanted
                plan = replace(plan, requests=[request for request in plan.requests if wanted(request)])
            left = plan.missing
            nearly_done = NEARLY_DONE * left
            events.emit(PhaseChanged(name, GENERATING))
            with recorder.timed():
                for burst in generate_samples(engine.run, plan.requests, plan.chains, plan.batches, wanted, held):
                    if burst:
                        recorder.store(burst)
                    left -= len(burst)
                    if following is not None and left <= nearly_done:
                        self._make_ready(prepared, following)
                        following = None
                    if hours is not None and hours.over(burst):
                        break
            session.background.put(recorder.keep_grading())
            try:
                read_answers(session, name, engine.run)
            except EngineError as error:  # every answer is stored: only the distance is missing
                note_unread(session, name, str(error))
            engine.close(at_once=True)  # all it gave is stored, and the next one waits for the device
            if hours is not None:
                hours.ended(name)

    def _make_ready(self, prepared: Prepared, name: str) -> None:
        """Read a variant's weights into the page cache, and its engine's libraries into memory."""
        self._engines.ahead(prepared.loadable(name), prepared.run.log_path(name)).warm()
        if (folder := prepared.models[name].folder) is not None:
            read_ahead(weight_files(folder))
