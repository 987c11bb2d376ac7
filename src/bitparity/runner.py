"""Runs a study: what is missing -> engine -> store -> grades. The same call continues an unfinished run.

run_study(load_study(Path("study.yaml")), Path("artifacts/my-study"), Events())
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from bitparity.generation.background import BackgroundJobs
from bitparity.generation.engine_starter import EngineStarter
from bitparity.generation.local import _Turn
from bitparity.generation.plan import plan_variant
from bitparity.generation.prepare import Outcome, Prepared, found, open_models, prepare
from bitparity.generation.session import show_exams, tell_full_disk
from bitparity.generation.shards import Shard
from bitparity.grading import judge as judging
from bitparity.grading.passes import grade_benchmark
from bitparity.progress.events import GRADING, Events, PhaseChanged, SampleGraded, VariantEnded, VariantPlanned
from bitparity.schema import Study
from bitparity.store.full_disk import WaitForRoom
from bitparity.store.run import WritableRun


def run_study(
    study: Study,
    path: Path,
    events: Events,
    *,
    unsafe_exec: bool = False,
    ray: str | None = None,
    shard: Shard | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Outcome:
    """Run what is missing of a study, grade it, and keep everything in `path`.

    `unsafe_exec` runs a model's code without a sandbox where none works, and the results say so; the listeners of
    `events` are told how it goes; `ray` is the address of a Ray cluster whose devices are used,
    or "auto"; `shard` is the part that is run; `meanwhile` is done while the first engine loads. Raises RunError,
    DataError or ModelError where the study cannot be run as it stands. An engine that dies is started again a few
    times, then costs its variant only: the others go on and `Outcome.failures` names it.
    """
    judging.check(study)
    with ExitStack() as stack:
        if ray is not None:
            from bitparity.cluster.ray_pool import connected
            from bitparity.cluster.running import run_on_cluster

            stack.enter_context(connected(ray))
        run = stack.enter_context(WritableRun(path, study))
        run.full_disk = WaitForRoom(partial(tell_full_disk, events))
        stack.enter_context(events.run(path))
        engines = stack.enter_context(EngineStarter())
        if ray is None and not any(run.exam_path(spec.name).exists() for spec in study.benchmarks):
            first, variant = next(iter(study.variants.items()))  # nothing is done yet: it loads while exams are made
            engines.launch(found(first, variant), run.log_path(first))
        models = open_models(study)
        prepared = stack.enter_context(prepare(study, run, models, events, unsafe_exec=unsafe_exec, shard=shard))
        show_exams(prepared, events)
        if meanwhile is not None:
            meanwhile()
        planned = {name: plan_variant(prepared, name) for name in study.variants}
        for name, work in planned.items():
            events.emit(VariantPlanned(name, work.counts))
            if not work.missing:
                events.emit(VariantEnded(name))
        background = stack.enter_context(BackgroundJobs())
        waiting = [name for name, work in planned.items() if work.missing]
        if ray is not None and waiting:
            run_on_cluster(prepared, {name: planned[name] for name in waiting}, events, background)
            waiting = []
        for name in study.variants:
            if name in waiting:
                waiting.remove(name)
                _Turn(prepared, name, engines, events, background, waiting[:1]).take(planned[name])
            background.put(partial(_grade_variant, prepared, name, events))
        background.finish()
        return prepared.outcome


def _grade_variant(prepared: Prepared, name: str, events: Events) -> None:
    events.emit(PhaseChanged(None, f"{GRADING} {name}"))
    for spec in prepared.study.benchmarks:
        if spec.name in prepared.exams:
            exam, grader = prepared.exams[spec.name], prepared.graders[spec.name]
            _, grades = grade_benchmark(prepared.run, name, exam, grader, events, again=False)
            for (item, sample), grade in grades.items():
                events.emit(SampleGraded(name, spec.name, item, sample, grade.score))
    events.emit(PhaseChanged(None, None))
