"""Runs a study: what is missing -> engine -> store -> grades. The same call continues an unfinished run.

run_study(load_study(Path("study.yaml")), Path("artifacts/my-study"), make_progress())
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from bitparity import judging
from bitparity.afterwards import Afterwards
from bitparity.board import GENERATING, GRADING, LOADING, Board, publishing
from bitparity.engine_facts import device_of, join_engine, join_sent, this_invocation
from bitparity.engines.spare import Engines
from bitparity.errors import ChangedModelError, EngineError
from bitparity.exam import groups_of, samples_asked
from bitparity.grades import grade_benchmark
from bitparity.live_grading import idle_cores
from bitparity.models import differing, weight_files
from bitparity.page_cache import read_ahead
from bitparity.preparation import Outcome, Prepared, Work, found, in_order, open_models, plan_variant, prepare
from bitparity.progress import Task
from bitparity.recording import Recorder, WaitForRoom
from bitparity.restarts import Restarts
from bitparity.shards import Shard
from bitparity.steps import ask
from bitparity.store import WritableRun
from bitparity.study import Study, Variant

PROGRESS_FILE = "progress.json"
NEARLY_DONE = 0.1  # share of a variant's samples at whose rest the next variant is made ready


def run_study(
    study: Study,
    path: Path,
    progress: Task,
    *,
    unsafe_exec: bool = False,
    board: Board | None = None,
    ray: str | None = None,
    shard: Shard | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Outcome:
    """Run what is missing of a study, grade it, and keep everything in `path`.

    `unsafe_exec` runs a model's code without a sandbox where none works, and the results say so; `board` is told how
    it goes, and progress.json in `path` tells others; `ray` is the address of a Ray cluster whose devices are used,
    or "auto"; `shard` is the part that is run; `meanwhile` is done while the first engine loads. Raises RunError,
    DataError or ModelError where the study cannot be run as it stands. An engine that dies is started again a few
    times, then costs its variant only: the others go on and `Outcome.failures` names it.
    """
    judging.check(study)
    board = board or Board(study)
    with ExitStack() as stack:
        if ray is not None:
            from bitparity.cluster.running import connected, run_on_cluster

            stack.enter_context(connected(ray))
        run = stack.enter_context(WritableRun(path, study))
        run.patience = WaitForRoom(board)
        stack.enter_context(publishing(board, path / PROGRESS_FILE))
        engines = stack.enter_context(Engines())
        if ray is None and not any(run.exam_path(spec.name).exists() for spec in study.benchmarks):
            first, variant = next(iter(study.variants.items()))  # nothing is done yet: it loads while exams are made
            engines.launch(found(first, variant), run.log_path(first))
        models = open_models(study)
        prepared = stack.enter_context(prepare(study, run, models, progress, unsafe_exec=unsafe_exec, shard=shard))
        show_exams(prepared, board)
        if meanwhile is not None:
            meanwhile()
        planned = {name: plan_variant(prepared, name) for name in study.variants}
        for name, work in planned.items():
            board.planned(name, work.counts)
            if not work.count:
                board.ended(name)
        afterwards = stack.enter_context(Afterwards())
        waiting = [name for name, work in planned.items() if work.count]
        if ray is not None and waiting:
            run_on_cluster(prepared, {name: planned[name] for name in waiting}, board, progress, afterwards)
            waiting = []
        for name in study.variants:
            if name in waiting:
                waiting.remove(name)
                _Turn(prepared, name, engines, board, progress, afterwards, waiting[:1]).take(planned[name])
            afterwards.put(partial(_grade_variant, prepared, name, board, progress))
        afterwards.finish()
        return prepared.outcome


def show_exams(prepared: Prepared, board: Board) -> None:
    """Tell the board what is asked."""
    for spec in prepared.study.benchmarks:
        if (exam := prepared.exams.get(spec.name)) is not None:
            ids = [entry.item.id for entry in exam.items]
            board.exam(spec.name, ids, samples_asked(exam, spec), groups_of(exam), exam.sampling.max_tokens)
    for name, reason in prepared.outcome.not_run.items():
        board.not_run(name, reason)


class _Turn:
    """One variant's turn at the device. `following` is the variant that comes next, if any."""

    def __init__(
        self,
        prepared: Prepared,
        name: str,
        engines: Engines,
        board: Board,
        progress: Task,
        afterwards: Afterwards,
        following: list[str],
    ) -> None:
        self.prepared, self.name, self.board, self.progress = prepared, name, board, progress
        self._engines, self._afterwards = engines, afterwards
        self._following = following

    def take(self, work: Work) -> None:
        """Answer what is missing; an engine that dies is started again with what is left."""
        restarts = Restarts(self.prepared, self.name, self.board)
        while True:
            try:
                self._answer(work, restarts.variant)
                self.board.ended(self.name)
                return
            except (EngineError, ChangedModelError) as error:
                if isinstance(error, ChangedModelError) or not restarts.again(error):
                    self.prepared.outcome.failures[self.name] = str(error)
                    self.board.ended(self.name, str(error))
                    return
            work = plan_variant(self.prepared, self.name)

    def _answer(self, work: Work, variant: Variant) -> None:
        name, prepared = self.name, self.prepared
        show_start(prepared, name, self.board)
        with ExitStack() as stack:
            with self.progress(f"{name}: loading", None, "models"):
                engine = stack.enter_context(self._engines.start(variant, prepared.run.log_path(name)))
            engine.on_progress = partial(self.board.computed, name)
            engine.on_sent = partial(_record_sent, prepared, name)
            record_engine(prepared, name, engine.facts)
            recorder = stack.enter_context(Recorder(prepared, name, self.board, idle_cores(variant, engine.facts)))
            work = in_order(prepared, name, work)
            left = total = work.count
            ready = False
            self.board.phase(name, GENERATING)
            with self.progress(name, total, "samples") as advance, recorder.timed():
                for burst in ask(engine.run, work.first, work.ladders, work.batches):
                    recorder.store(burst)
                    advance(len(burst))
                    left -= len(burst)
                    if not ready and left <= NEARLY_DONE * total:
                        ready = True
                        self._make_ready()
            self._afterwards.put(recorder.keep_grading())
            engine.close(at_once=True)  # all it gave is stored, and the next one waits for the device

    def _make_ready(self) -> None:
        """The next variant's weights into the page cache, and its engine's libraries into memory."""
        for name in self._following:
            model, variant = self.prepared.models[name], self.prepared.study.variants[name]
            self._engines.warm(model.loadable(variant), self.prepared.run.log_path(name))
            if model.folder is not None:
                read_ahead(weight_files(model.folder))


def show_start(prepared: Prepared, name: str, board: Board) -> None:
    """Tell the board that a variant begins, and note which exams it sits with which sampling values."""
    stored = prepared.environment["variants"][name]
    for spec in prepared.study.benchmarks:
        if (exam := prepared.exams.get(spec.name)) is not None:
            stored.setdefault("exam", {}).setdefault(spec.name, exam.sha256)
            stored.setdefault("sampling", {}).setdefault(spec.name, asdict(exam.sampling))
    board.begin(name)
    board.phase(name, LOADING)


def record_engine(prepared: Prepared, name: str, facts: dict[str, Any], place: dict[str, Any] | None = None) -> None:
    """Note what really runs, and at which `place` of several; a run on another kind of device has a second entry.

    Raises ChangedModelError where the engine has loaded other files than those that were looked at before.
    """
    _check_loaded(name, prepared.models[name].identity, facts.get("model", {}))
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    devices = device_of(facts) if place is None else [place]
    here = this_invocation()
    prepared.environment |= here
    start = {"at": at, "host": platform.node(), **here, **(devices[0] if devices else {})}
    entry = {"facts": facts, "sessions": [at], "starts": [start], "devices": devices}
    join_engine(prepared.environment["variants"][name]["engines"], entry)
    prepared.note()


def _record_sent(prepared: Prepared, name: str, benchmark: str, values: dict[str, Any]) -> None:
    """Note the sampling values of a benchmark's first request, again where another session sends others."""
    known = prepared.environment["variants"][name].setdefault("sent", {}).setdefault(benchmark, [])
    if join_sent(known, [values]):
        prepared.note()


def _check_loaded(name: str, seen: Mapping[str, Any], loaded: Mapping[str, Any]) -> None:
    if changed := differing(seen, loaded):
        raise ChangedModelError(
            f"variant '{name}': the files in {loaded.get('path')} changed while the run went on ({', '.join(changed)} "
            "differ between what was looked at and what the engine loaded), so no answer was taken from it. Put back "
            "the files that the run was started with and run the same command, or start a new run with --out"
        )


def _grade_variant(prepared: Prepared, name: str, board: Board, progress: Task) -> None:
    board.phase(None, f"{GRADING} {name}")
    for spec in prepared.study.benchmarks:
        if spec.name in prepared.exams:
            exam, grader = prepared.exams[spec.name], prepared.graders[spec.name]
            _, grades = grade_benchmark(prepared.run, spec, name, exam, grader, progress, again=False)
            for (item, sample), grade in grades.items():
                board.graded(name, spec.name, item, sample, grade.score)
    board.phase(None, None)
