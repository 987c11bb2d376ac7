"""Stages of a run, in order: exams, plans, generation, grading. The same call continues an unfinished run.

run_study(load_study(Path("study.yaml")), Path("artifacts/my-study"), Events())
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

from bitparity.engines.registry import engine_of
from bitparity.errors import DiskFullError, EngineError, UserInputError
from bitparity.generation.background import BackgroundJobs
from bitparity.generation.executor import Executor
from bitparity.generation.hours import Hours
from bitparity.generation.local import local_executor
from bitparity.generation.plan import VariantPlan, plan_study, plan_variant
from bitparity.generation.prepare import Outcome, Prepared, prepare
from bitparity.generation.reading import set_texts
from bitparity.generation.session import Session, tell_full_disk
from bitparity.generation.shards import Shard
from bitparity.grading import judge as judging
from bitparity.grading.passes import grade_benchmark
from bitparity.localization.document import FILE, Kernels, Localization, folder_of
from bitparity.progress.events import GRADING, REPORTING, Event, Events, PhaseChanged, SamplesStored
from bitparity.schema import Study
from bitparity.store.full_disk import FullDisk
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run, WritableRun
from bitparity.study.quick import answers_study


class Report(NamedTuple):
    """The report of a run: `load` brings what it needs into memory while the first engine loads, `make` writes it."""

    load: Callable[[], object]
    make: Callable[[], object]


def run_study(
    study: Study,
    path: Path,
    events: Events,
    *,
    unsafe_exec: bool = False,
    ray: str | None = None,
    shard: Shard | None = None,
    report: Report | None = None,
    hours: Hours | None = None,
) -> Outcome:
    """Run what is missing of a study, grade it, and keep everything in `path`.

    `unsafe_exec` runs a model's code without a sandbox where none works, and the results say so; the listeners of
    `events` are told how it goes; `ray` is the address of a Ray cluster whose devices are used, or "auto"; `shard` is
    the part that is run; `report` makes what people read, while the run still counts as running; `hours` is the time
    after which it ends, what people read included. Raises RunError, DataError or ModelError where the study cannot be
    run as it stands. An engine that dies is started again a few times, then costs its variant only: the others go on
    and `Outcome.failures` names it.
    """
    judging.check(study)
    if shard is not None and study.stops_early:
        raise UserInputError(
            "--shard and stop_early do not go together: whether a benchmark goes on is decided from whole blocks of "
            "both variants, and a shard sees only its own part. Run it on one machine or with --ray, or without "
            "stop_early"
        )
    if hours is not None and (shard is not None or ray is not None):
        raise UserInputError(
            f"--hours and --{'ray' if shard is None else 'shard'} do not go together: how far every variant gets in "
            "the time follows from what those before it took on the same device. Run it on one device, or give a limit "
            "for each benchmark, which bitparity plan --hours finds"
        )
    with ExitStack() as stack:
        executor = stack.enter_context(_open_executor(ray))
        run = stack.enter_context(WritableRun(path, study))
        run.full_disk = FullDisk(partial(tell_full_disk, events))
        stack.enter_context(events.run(path))
        executor.preload(study, run)
        given = None if hours is None else hours.hours
        prepared = stack.enter_context(prepare(study, run, events, unsafe_exec=unsafe_exec, shard=shard, hours=given))
        if report is not None:
            report.load()
        background = stack.enter_context(BackgroundJobs())
        session = Session(prepared, events, background, hours)
        if prepared.environment.hours is not None:
            prepared.environment.hours.asked = {}  # it goes on with what was left out
        if hours is None:
            _generate(session, executor)
        else:
            stack.callback(_note_time, hours)
            hours.begin(prepared)
            while hours.again():
                _generate(session, executor)
        background.finish()
        if hours is not None:
            hours.finish(events)
        if report is not None:
            events.emit(PhaseChanged(None, REPORTING))
            report.make()
        return prepared.outcome


def _note_time(hours: Hours) -> None:
    with suppress(DiskFullError):  # nobody waits for room any more
        hours.note()


def _generate(session: Session, executor: Executor) -> None:
    """Generate what is missing of all variants, and have each graded once it is there."""
    for name in executor.generate(session, plan_study(session.prepared, session.events)):
        session.background.put(partial(_grade_variant, session, name))


def measure_distance(
    study: Study, path: Path, events: Events, texts: Sequence[tuple[str, str]] | None = None
) -> WritableRun:
    """Have the baseline write what is missing of its answers, and all variants read them; nothing is graded.

    With `texts`, pairs of prompt and text, these are read and nothing is written. Raises what `run_study` raises, and
    ModelError where the baseline has no tokenizer here.
    """
    with _ungraded(study, path, events) as (prepared, generate):
        plans = {name: VariantPlan(()) for name in study.variants}
        if texts is not None:
            set_texts(prepared, texts)
        else:
            plans[study.baseline] = plan_variant(prepared, study.baseline)
        generate(plans)
        if failure := prepared.outcome.failures.get(study.baseline):
            raise EngineError(f"the baseline could not answer: {failure}")
        return prepared.run


def answer_missing(study: Study, path: Path, events: Events) -> None:
    """Have all variants write what is missing of their answers; nothing is graded. Raises what `run_study` raises.

    EngineError where a variant could not answer.
    """
    with _ungraded(study, path, events) as (prepared, generate):
        generate(plan_study(prepared, events))
        for name, failure in prepared.outcome.failures.items():
            raise EngineError(f"{name} could not answer: {failure}")


@contextmanager
def _ungraded(
    study: Study, path: Path, events: Events
) -> Iterator[tuple[Prepared, Callable[[Mapping[str, VariantPlan]], None]]]:
    """A study ready to be answered on this host without grading, and what answers plans of it."""
    with ExitStack() as stack:
        executor = stack.enter_context(local_executor())
        run = stack.enter_context(WritableRun(path, study))
        run.full_disk = FullDisk(partial(tell_full_disk, events))
        stack.enter_context(events.run(path))
        prepared = stack.enter_context(prepare(study, run, events, graded=False))
        background = stack.enter_context(BackgroundJobs())

        def generate(plans: Mapping[str, VariantPlan]) -> None:
            for _ in executor.generate(Session(prepared, events, background), plans):
                pass
            background.finish()

        yield prepared, generate


def locate_losses(
    study: Study, candidate: str, path: Path, events: Events, most: int, tokens: int, kernels: Kernels
) -> tuple[WritableRun, Localization]:
    """Take a candidate apart on the baseline's answers in `path`, or on new ones to the smoke set where it has none.

    At most `most` answers of `tokens` tokens are read. Returns the run whose answers they are, with localization.json
    written in it. Raises UserInputError for a variant that is no candidate, ModelError where a checkpoint cannot be
    taken apart, and what `run_study` raises.
    """
    if candidate not in study.candidates:
        known = ", ".join(study.candidates) or "none"
        raise UserInputError(f"'{candidate}' is no candidate of study {study.name}; its candidates: {known}")
    for name in (study.baseline, candidate):
        if not engine_of(study.variants[name].engine).has_local_weights:
            raise UserInputError(
                f"variant '{name}' has no weights here (engine {study.variants[name].engine.kind}), which is what "
                "is taken apart: give `locate` a study whose variants name folders or hub ids"
            )
    from bitparity.localization.locate import Names, chosen_answers, locate, open_pair  # imports torch

    chosen = chosen_answers(Run(path), study, most, tokens) if (path / "study.yaml").is_file() else []
    if not chosen:
        path, asked = path.with_name(f"{path.name}-locate"), answers_study(study, most, tokens)
        with _answers_told(study.baseline, events) as told:
            chosen = chosen_answers(measure_distance(asked, path, told), asked, most, tokens)
    with WritableRun(path) as run:
        names = Names(study.name, study.baseline, candidate, {name: v.model for name, v in study.variants.items()})
        folder = folder_of(run, candidate)
        pair = open_pair(study.variants[study.baseline], study.variants[candidate], kernels)
        found = locate(names, chosen, pair, folder / "state", events)
        run.write(lambda: write_json(folder / FILE, found.document()))
        return run, found


@contextmanager
def _answers_told(baseline: str, events: Events) -> Iterator[Events]:
    """Events of a run whose answers are also a task of `events`, for listeners that show tasks alone."""
    with events.task(f"{baseline}: answers to the smoke set", None, "answers") as advance:

        def count(event: Event) -> None:
            if isinstance(event, SamplesStored):
                advance(len(event.samples))

        yield Events(events.emit, count)


def _open_executor(ray: str | None) -> AbstractContextManager[Executor]:
    if ray is None:
        return local_executor()
    if not ray.strip():
        raise UserInputError("--ray is empty; give auto, or the address of a Ray cluster such as ray://host:10001")
    from bitparity.cluster.executor import cluster_executor  # imports Ray, which is optional

    return cluster_executor(ray)


def _grade_variant(session: Session, name: str) -> None:
    """Grade what was not graded beside the generation."""
    prepared, events, began = session.prepared, session.events, time.monotonic()
    events.emit(PhaseChanged(None, f"{GRADING} {name}"))
    for spec, exam in prepared.asked:
        grader = prepared.graders[spec.name]
        grade_benchmark(prepared.run, name, exam, grader, events, again=False)
    if session.hours is not None:
        session.hours.graded(name, time.monotonic() - began)
    events.emit(PhaseChanged(None, None))
