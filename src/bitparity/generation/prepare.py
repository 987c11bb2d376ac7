"""What a run needs before an engine answers: models, exams, graders, and what each variant still has to do.

with prepare(study, run, models, events) as prepared:
    work = plan_variant(prepared, "fp8")
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitparity.engines.registry import engine_of
from bitparity.errors import GatedDataError, ModelError, RunError, UnavailableError
from bitparity.exam.build import build_exam
from bitparity.exam.frozen import Exam, load_if_frozen, save_exam
from bitparity.generation.shards import Shard, claim
from bitparity.grading.passes import Grader, open_graders
from bitparity.models.checkpoint import model_type, resolve_model, resolve_tokenizer
from bitparity.models.identity import differing, identity_of, other_tokenizer, tokenizer_identity
from bitparity.progress.events import Events
from bitparity.records import SampleKeys
from bitparity.schema import BenchmarkSpec, Study, Variant
from bitparity.store.environment import RunRecord, VariantRecord, this_invocation
from bitparity.store.run import WritableRun

if TYPE_CHECKING:
    from bitparity.exam.rendering import Renderer


@dataclass(slots=True)
class Outcome:
    """How a run ended: `failures` names the variants whose engine gave up, `not_run` the benchmarks left out, why."""

    run: WritableRun
    failures: dict[str, str] = field(default_factory=dict)
    not_run: dict[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Model:
    """A variant's files: where they lie, what they are, and its tokenizer (None for recorded answers)."""

    folder: Path | None
    identity: dict[str, Any]
    renderer: Renderer | None

    def loadable(self, variant: Variant) -> Variant:
        """The variant as its engine is given it: a hub id has become the folder that was looked at."""
        return variant if self.folder is None else variant.model_copy(update={"model": str(self.folder)})


@dataclass(slots=True)
class Prepared:
    """A study ready to run: `environment` is what environment.json will hold, `outcome` how the run ends."""

    run: WritableRun
    study: Study
    models: dict[str, Model]
    exams: dict[str, Exam]
    graders: dict[str, Grader]
    environment: RunRecord
    outcome: Outcome
    shard: Shard | None = None
    _done: dict[tuple[str, str], SampleKeys] = field(default_factory=dict)

    def done(self, name: str, benchmark: str) -> SampleKeys:
        """The samples of a variant that need not be run again: read once, then kept up to date by the recorder."""
        if (name, benchmark) not in self._done:
            self._done[name, benchmark] = self.run.done(name, benchmark)
        return self._done[name, benchmark]

    @property
    def reference(self) -> Renderer | None:
        """The tokenizer that makes the exams."""
        return reference_renderer(self.study, self.models)

    def numbered_exams(self) -> Iterator[tuple[int, BenchmarkSpec, Exam]]:
        """(number in the study, benchmark, exam) of the benchmarks that are run."""
        for number, spec in enumerate(self.study.benchmarks):
            if spec.name in self.exams:
                yield number, spec, self.exams[spec.name]

    @property
    def tested(self) -> set[str]:
        """The benchmarks whose answers are code that is run."""
        return {name for name, grader in self.graders.items() if grader.benchmark.runs_code}

    def note(self) -> None:
        """Write environment.json."""
        self.run.update_environment(self.environment)

    def loadable(self, name: str) -> Variant:
        """A variant as its engine is given it."""
        return self.models[name].loadable(self.study.variants[name])


@contextmanager
def prepare(
    study: Study,
    run: WritableRun,
    models: dict[str, Model],
    events: Events,
    *,
    unsafe_exec: bool = False,
    shard: Shard | None = None,
) -> Iterator[Prepared]:
    """Freeze the exams and open the graders of a study whose models are opened.

    Raises RunError, DataError, ModelError or SandboxError where the study cannot be run as it stands.
    """
    environment = _checked_environment(run, study, models, shard)
    outcome = Outcome(run)
    with open_graders(run, study, outcome.not_run, unsafe_exec) as graders:
        frozen = _freeze_exams(run, study, models, outcome, events)
        environment.not_run = outcome.not_run
        run.update_environment(environment)
        yield Prepared(run, study, models, frozen, graders, environment, outcome, shard)


def open_models(study: Study) -> dict[str, Model]:
    """Every variant's model; the control is the baseline's own, neither hashed nor loaded again.

    Raises ModelError naming the variant.
    """
    own = [name for name in study.variants if name != study.control]
    renderers: dict[str, Renderer] = {}
    with ThreadPoolExecutor() as pool:  # hashing weights is most of it, and takes one core a file
        hashed = {name: pool.submit(_open_files, name, study.variants[name]) for name in own}
        models = {name: _with_renderer(name, study.variants[name], hashed[name].result(), renderers) for name in own}
    if (control := study.control) is not None:
        recorded = engine_of(study.variants[control].engine).recorded  # a recording of its own
        models[control] = _open_files(control, study.variants[control]) if recorded else models[study.baseline]
    return {name: models[name] for name in study.variants}


def found(name: str, variant: Variant) -> Variant:
    """The variant with its model's folder, before anything of it is read. Raises ModelError naming the variant."""
    if not engine_of(variant.engine).has_local_weights:
        return variant
    try:
        return variant.model_copy(update={"model": str(resolve_model(variant))})
    except ModelError as error:
        raise ModelError(f"variant '{name}': {error}") from None


def _open_files(name: str, variant: Variant) -> Model:
    try:
        engine = engine_of(variant.engine)
        if engine.recorded:
            return Model(None, {"recorded": variant.model}, None)
        if engine.has_local_weights:
            return _local(variant)
        # a model behind a server: nothing of it is here but, where the study names one, its tokenizer
        served = {"server": variant.engine.base_url, "model": variant.model}
        tokenizer = {} if variant.tokenizer is None else other_tokenizer(resolve_tokenizer(variant))
        return Model(None, {**served, **tokenizer}, None)
    except ModelError as error:
        raise ModelError(f"variant '{name}': {error}") from None


def _local(variant: Variant) -> Model:
    folder = resolve_model(variant)
    named = {} if variant.named is None else {"named": variant.named}
    return Model(folder, {**identity_of(variant, folder), **named}, None)


def _with_renderer(name: str, variant: Variant, model: Model, known: dict[str, Renderer]) -> Model:
    """The model with its tokenizer; checkpoints whose tokenizer files are the same share one, and its prompts."""
    engine = engine_of(variant.engine)
    if engine.recorded or (engine.served and variant.tokenizer is None):
        return model
    from bitparity.exam.rendering import Renderer

    try:
        folder = resolve_tokenizer(variant)
        key = repr((tokenizer_identity(folder), model_type(folder), variant.engine.trust_remote_code))
        if key not in known:
            known[key] = Renderer(folder, trust_remote_code=variant.engine.trust_remote_code)
        model.renderer = known[key]
        return model
    except ModelError as error:
        raise ModelError(f"variant '{name}': {error}") from None


def _checked_environment(run: WritableRun, study: Study, models: Mapping[str, Model], shard: Shard | None) -> RunRecord:
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
    run: WritableRun, study: Study, models: Mapping[str, Model], outcome: Outcome, events: Events
) -> dict[str, Exam]:
    """The exam of each benchmark: the frozen one, or built now with the reference tokenizer."""
    renderer = reference_renderer(study, models)
    frozen: dict[str, Exam] = {}
    for spec in study.benchmarks:
        exam = load_if_frozen(run, spec.name)
        if exam is None and spec.name in outcome.not_run:
            continue
        if exam is None:
            try:
                with events.task(f"exam of {spec.name}", None, "items") as advance:
                    exam = save_exam(build_exam(spec, renderer), run.exam_path(spec.name))
                    advance(len(exam.items))
            except (GatedDataError, UnavailableError) as error:
                outcome.not_run[spec.name] = str(error)
                continue
        frozen[spec.name] = exam
    return frozen


def reference_renderer(study: Study, models: Mapping[str, Model]) -> Renderer | None:
    """The tokenizer that makes the exams: the baseline's, or that of the first candidate that has one."""
    names = [study.baseline, *study.candidates]  # the control's tokenizer is the baseline's
    return next((found for name in names if (found := models[name].renderer) is not None), None)
