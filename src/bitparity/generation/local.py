"""Runs a study: what is missing -> engine -> store -> grades. The same call continues an unfinished run.

run_study(load_study(Path("study.yaml")), Path("artifacts/my-study"), make_progress())
"""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

from bitparity.errors import ChangedModelError, EngineError
from bitparity.generation.background import BackgroundJobs
from bitparity.generation.chains import generate
from bitparity.generation.engine_starter import EngineStarter
from bitparity.generation.plan import VariantPlan, longest_first, plan_variant
from bitparity.generation.prepare import Prepared
from bitparity.generation.recorder import Recorder
from bitparity.generation.restarts import Restarts
from bitparity.generation.session import record_engine, show_start
from bitparity.grading.live import idle_cores
from bitparity.models.checkpoint import weight_files
from bitparity.models.prefetch import read_ahead
from bitparity.progress.events import GENERATING, Events, PhaseChanged, TokensComputed, VariantEnded
from bitparity.schema import Variant
from bitparity.store.environment import join_sent

NEARLY_DONE = 0.1  # share of a variant's samples at whose rest the next variant is made ready


class _Turn:
    """One variant's turn at the device. `following` is the variant that comes next, if any."""

    def __init__(
        self,
        prepared: Prepared,
        name: str,
        engines: EngineStarter,
        events: Events,
        background: BackgroundJobs,
        following: list[str],
    ) -> None:
        self.prepared, self.name, self.events = prepared, name, events
        self._engines, self._background = engines, background
        self._following = following

    def take(self, work: VariantPlan) -> None:
        """Answer what is missing; an engine that dies is started again with what is left."""
        restarts = Restarts(self.prepared, self.name, self.events)
        while True:
            try:
                self._answer(work, restarts.variant)
                self.events.emit(VariantEnded(self.name))
                return
            except (EngineError, ChangedModelError) as error:
                if isinstance(error, ChangedModelError) or not restarts.again(error):
                    self.prepared.outcome.failures[self.name] = str(error)
                    self.events.emit(VariantEnded(self.name, str(error)))
                    return
            work = plan_variant(self.prepared, self.name)

    def _answer(self, work: VariantPlan, variant: Variant) -> None:
        name, prepared = self.name, self.prepared
        show_start(prepared, name, self.events)
        with ExitStack() as stack:
            engine = stack.enter_context(self._engines.start(variant, prepared.run.log_path(name)))
            engine.on_progress = lambda count: self.events.emit(TokensComputed(name, count))
            engine.on_sent = partial(_record_sent, prepared, name)
            record_engine(prepared, name, engine.facts)
            recorder = stack.enter_context(Recorder(prepared, name, self.events, idle_cores(variant, engine.facts)))
            work = longest_first(prepared, name, work)
            left = total = work.missing
            ready = False
            self.events.emit(PhaseChanged(name, GENERATING))
            with recorder.timed():
                for burst in generate(engine.run, work.requests, work.chains, work.batches):
                    recorder.store(burst)
                    left -= len(burst)
                    if not ready and left <= NEARLY_DONE * total:
                        ready = True
                        self._make_ready()
            self._background.put(recorder.keep_grading())
            engine.close(at_once=True)  # all it gave is stored, and the next one waits for the device

    def _make_ready(self) -> None:
        """The next variant's weights into the page cache, and its engine's libraries into memory."""
        for name in self._following:
            model, variant = self.prepared.models[name], self.prepared.study.variants[name]
            self._engines.warm(model.loadable(variant), self.prepared.run.log_path(name))
            if model.folder is not None:
                read_ahead(weight_files(model.folder))


def _record_sent(prepared: Prepared, name: str, benchmark: str, values: dict[str, Any]) -> None:
    """Note the sampling values of a benchmark's first request, again where another session sends others."""
    known = prepared.environment.variants[name].sent.setdefault(benchmark, [])
    if join_sent(known, [values]):
        prepared.note()
