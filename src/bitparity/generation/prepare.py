"""Preparation of a run: models, exams and graders, before an engine answers.

with prepare(study, run, events) as prepared:
    plan = plan_variant(prepared, "fp8")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

from bitparity.distance.reader import Readers
from bitparity.engines.model_files import ModelFiles, open_models
from bitparity.errors import DataError, MissingDependencyError, RunError, UnavailableError
from bitparity.exam.build import build_exam
from bitparity.exam.frozen import Exam, groups_of, load_if_frozen, samples_asked, save_exam
from bitparity.exam.rendering import Renderer
from bitparity.exam.spot_check import Drawn, drawn_for
from bitparity.generation.shards import Shard, claim
from bitparity.grading.passes import Grader, open_graders
from bitparity.models.identity import differing
from bitparity.progress.events import BenchmarkSkipped, Events, ExamFrozen
from bitparity.records import SampleKeys
from bitparity.schema import BenchmarkSpec, Study, Variant
from bitparity.store.environment import HoursRecord, RunRecord, VariantRecord, this_invocation
from bitparity.store.run import WritableRun


@dataclass(slots=True)
class Outcome:
    """The end of a run: `failures` names the variants whose engine gave up, `not_run` the benchmarks left out, why."""

    run: WritableRun
    failures: dict[str, str] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Prepared:
    """A study ready to run: `environment` is what environment.json will hold, `outcome` how the run ends.

    `readers` are set once the baseline's answers are there to be read.
    """

    run: WritableRun
    study: Study
    models: dict[str, ModelFiles]
    exams: dict[str, Exam]
    graders: dict[str, Grader]
    environment: RunRecord
    outcome: Outcome
    shard: Shard | None = None
    readers: Readers | None = None
    _done: dict[tuple[str, str], SampleKeys] = field(default_factory=dict)

    def done(self, name: str, benchmark: str) -> SampleKeys:
        """The samples of a variant that need not be run again: read once, then kept up to date by the recorder."""
        if (name, benchmark) not in self._done:
            self._done[name, benchmark] = self.run.done(name, benchmark)
        return self._done[name, benchmark]

    @property
    def asked(self) -> list[tuple[BenchmarkSpec, Exam]]:
        """The benchmarks that are run, with their exams, in the study's order."""
        return [(spec, self.exams[spec.name]) for spec in self.study.benchmarks if spec.name in self.exams]

    def drawn(self, name: str) -> Drawn | None:
        """The answers that a spot check asks; None for any other variant, which is asked all."""
        return drawn_for(self.study, name, self.asked)

    @property
    def tested(self) -> set[str]:
        """The benchmarks whose answers are code that is run."""
        return {name for name, grader in self.graders.items() if grader.benchmark.runs_code}

    def save_environment(self) -> None:
        """Write environment.json."""
        self.run.update_environment(self.environment)

    def loadable(self, name: str) -> Variant:
        """A variant as its engine is given it: a hub id has become the folder that was looked at."""
        variant, folder = self.study.variants[name], self.models[name].folder
        return variant if folder is None else variant.model_copy(update={"model": str(folder)})


@contextmanager
def prepare(
    study: Study,
    run: WritableRun,
    events: Events,
    *,
    unsafe_exec: bool = False,
    shard: Shard | None = None,
    graded: bool = True,
    hours: float | None = None,
) -> Iterator[Prepared]:
    """Open the models, freeze the exams and, where answers are `graded`, open the graders of a study.

    With `hours` it is a run that ends by the clock. Raises RunError, DataError, ModelError or SandboxError where the
    study cannot be run as it stands.
    """
    study = study.second_run_as(run.study())
    models = open_models(study)
    # before exams are made: other files of a model would give other prompts
    environment = _checked_environment(run, study, models, shard)
    _set_hours(run, study, environment, hours)
    outcome = Outcome(run)
    with ExitStack() as stack:
        # before the exams: a benchmark that cannot be graded here is not asked
        opened = open_graders(run, study, outcome.not_run, unsafe_exec)
        graders = stack.enter_context(opened) if graded else {}
        timed = environment.hours is not None
        exams = _freeze_exams(run, study, reference_renderer(study, models), outcome.not_run, events, timed=timed)
        environment.not_run = outcome.not_run
        prepared = Prepared(run, study, models, exams, graders, environment, outcome, shard)
        prepared.save_environment()  # also where nothing can be run: it says why
        if not exams:
            reasons = "; ".join(f"{name}: {reason}" for name, reason in outcome.not_run.items())
            raise DataError(f"no benchmark of the study can be run: {reasons}")
        for spec, exam in prepared.asked:
            ids = [entry.item.id for entry in exam.items]
            samples, budget = samples_asked(exam, spec), exam.sampling.max_tokens
            events.emit(ExamFrozen(spec.name, ids, samples, groups_of(exam), budget))
        for name, reason in outcome.not_run.items():
            events.emit(BenchmarkSkipped(name, reason))
        yield prepared


def _set_hours(run: WritableRun, study: Study, environment: RunRecord, hours: float | None) -> None:
    """Note the hours that the run may take in all. Raises RunError where it was begun without."""
    if hours is None:
        return
    if environment.hours is None:
        if any(run.exam_path(spec.name).exists() for spec in study.benchmarks):
            raise RunError(
                f"{run.path} was begun without --hours, and so its questions may be in an order of which a part is no "
                "fair part. Go on without --hours, or give --out a folder of its own"
            )
        environment.hours = HoursRecord(hours=hours)
    environment.hours.hours = hours


def _checked_environment(
    run: WritableRun, study: Study, models: Mapping[str, ModelFiles], shard: Shard | None
) -> RunRecord:
    """The run's environment record, with the models and the shard compared to those it was started with."""
    environment = run.environment()
    claim(run, environment, shard)
    for name, model in models.items():
        entry = environment.variants.setdefault(name, VariantRecord(identity=model.identity, engines=[]))
        stored, now = entry.identity, model.identity
        if changed := differing(stored, now):
            shown = "; ".join(f"{k}: {stored.get(k)} -> {now.get(k)}" for k in changed[:3])
            raise RunError(
                f"variant '{name}': the model at {study.variants[name].model} is no longer the one this run was "
                f"started with ({shown}). Restore it, or start a new run with --out"
            )
        entry.identity = stored | {k: v for k, v in now.items() if k != "path"}  # more than an earlier version noted
    for key, value in this_invocation().items():
        if getattr(environment, key) is None:
            setattr(environment, key, value)
    return environment


def _freeze_exams(
    run: WritableRun,
    study: Study,
    renderer: Renderer | None,
    not_run: dict[str, str],
    events: Events,
    *,
    timed: bool,
) -> dict[str, Exam]:
    """The exam of each benchmark: the frozen one, or built now. What cannot be built is named in `not_run`."""
    exams: dict[str, Exam] = {}
    for spec in study.benchmarks:
        if (frozen := load_if_frozen(run, spec.name)) is not None:
            exams[spec.name] = frozen
        elif spec.name not in not_run:
            try:
                with events.task(f"exam of {spec.name}", None, "items") as advance:
                    exam = build_exam(spec, renderer, study, timed=timed)
                    exams[spec.name] = save_exam(exam, run.exam_path(spec.name))
                    advance(len(exams[spec.name].items))
            except (UnavailableError, MissingDependencyError) as error:
                not_run[spec.name] = str(error)
    return exams


def reference_renderer(study: Study, models: Mapping[str, ModelFiles]) -> Renderer | None:
    """The tokenizer that makes the exams: the baseline's, or that of the first candidate that has one."""
    names = [study.baseline, *study.candidates]  # the control's tokenizer is the baseline's
    return next((found for name in names if (found := models[name].renderer) is not None), None)
