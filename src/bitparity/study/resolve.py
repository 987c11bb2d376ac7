"""From a study file to a resolved study: every default filled in from the profiles, every path and key checked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bitparity.benchmarks.registry import benchmark_class, check_name
from bitparity.engines.registry import engine_class, engine_of, engine_spec
from bitparity.errors import StudyError, UserInputError
from bitparity.inputs.input_files import LARGEST_STUDY, read_regular
from bitparity.redaction import remember_keys
from bitparity.schema import (
    LM_EVAL_PREFIX,
    BenchmarkSpec,
    DistanceSpec,
    EngineOverrides,
    EngineSpec,
    Form,
    Protocol,
    Study,
    Variant,
    baseline_name,
)
from bitparity.study.files import (
    BenchmarkFile,
    BenchmarkOverrides,
    ProfileFile,
    ProtocolOverrides,
    StudyFile,
    VariantFile,
    checked_name,
    load_profile,
    read_yaml,
)

MOST_PROBLEMS = 10  # told in one message
_ALSO = "; also: "  # between problems: a remedy stands behind a semicolon


def load_study(path: Path, limit: int | None = None, *, control: bool = False, stop_early: bool = False) -> Study:
    """Read, validate and resolve a study file.

    `limit`, in items, replaces the limit of every benchmark; `control` adds the baseline's second run
    where the file asks for none, `stop_early` lets every benchmark stop early that the file does not forbid to. Raises
    StudyError with one clear line.
    """
    try:
        text = read_regular(path, LARGEST_STUDY).decode("utf-8")
    except FileNotFoundError:
        raise StudyError(f"study file {path} does not exist; write one with: bitparity init {path}") from None
    except IsADirectoryError:
        raise StudyError(f"{path} is a folder; give the study file in it") from None
    except OSError as error:
        raise StudyError(f"study file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise StudyError(f"study file {path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return parse_study(text, str(path), path.resolve().parent, limit, control=control, stop_early=stop_early)


def parse_study(
    text: str, origin: str, folder: Path, limit: int | None = None, *, control: bool = False, stop_early: bool = False
) -> Study:
    """Validate and resolve the text of a study; relative paths are looked up in `folder`."""
    document = read_yaml(text, origin)
    if not isinstance(document, dict):
        raise StudyError(f"{origin} holds no mapping; it needs the keys study, variants and benchmarks")
    try:
        return resolve(StudyFile.model_validate(document), folder, limit, control=control, stop_early=stop_early)
    except ValidationError as error:
        raise StudyError(f"{origin}: {_problems(error)}") from None


def _problems(error: ValidationError) -> str:
    """Every problem that pydantic found, in one line."""
    problems = error.errors()
    more = [f"{len(problems) - MOST_PROBLEMS} more problems"] if len(problems) > MOST_PROBLEMS else []
    return _ALSO.join([*map(_problem, problems[:MOST_PROBLEMS]), *more])


def _problem(problem: ErrorDetails) -> str:
    where = ".".join(str(part) for part in problem["loc"])
    message = problem["msg"].removeprefix("Value error, ")
    given = problem.get("input")
    # shown where it fits: a list or a mapping would fill the line
    if problem["type"] not in ("value_error", "missing") and isinstance(given, str | int | float | bool):
        message += f" (given: {given!r:.80})"
    return f"{where}: {message}" if where else message


@contextmanager
def _gathered(faults: list[UserInputError]) -> Iterator[None]:
    """Keep the fault that ends the block, so that those in other parts of the study are told with it."""
    try:
        yield
    except UserInputError as error:
        faults.append(error)


def resolve(
    file: StudyFile, folder: Path, limit: int | None = None, *, control: bool = False, stop_early: bool = False
) -> Study:
    """Fill in every default from the profiles. Raises StudyError for what is not there."""
    default = load_profile("default")
    profile = load_profile(file.profile)
    shared = [default.engine, profile.engine, file.engine]
    variants: dict[str, Variant] = {}
    benchmarks: list[BenchmarkSpec] = []
    faults: list[UserInputError] = []
    file = file.model_copy(update={"stop_early": file.stop_early or stop_early})
    for name, v in file.variants.items():
        # a control takes the model and engine of the baseline, which may stand behind it
        if v.model is not None and (v.baseline or not v.control):
            with _gathered(faults):
                engine = _engine(name, [*shared, v.engine or EngineOverrides()])
                variants[name] = _variant(name, v, v.model, engine, folder)
    for bench in file.benchmarks:
        with _gathered(faults):
            benchmarks.append(_resolve_benchmark(bench, file, (default, profile), folder, limit))
    if faults:
        raise faults[0] if len(faults) == 1 else StudyError(_ALSO.join(map(str, faults)))
    if control_name := _control_name(file, control):
        variants[control_name] = _control(
            control_name, file.variants.get(control_name), variants[baseline_name(variants)], folder
        )
    study = Study(
        name=file.study,
        profile=file.profile,
        variants=variants,
        benchmarks=benchmarks,
        reference=file.reference,
        distance=_distance(file.distance, variants),
    )
    # before anything of it can be printed
    remember_keys(study.model_dump())
    return study


def _engine(name: str, layers: Iterable[EngineOverrides]) -> EngineSpec:
    """The engine of a variant; the last layer wins. Raises StudyError for a key that its kind does not take."""
    given = {key: value for layer in layers for key, value in layer.model_dump(exclude_none=True).items()}
    kind = engine_class(given["kind"])
    try:
        return engine_spec(kind, given)
    except ValidationError as error:
        raise StudyError(f"variants.{name}.engine: {_problems(error)}") from None
    except (ValueError, UserInputError) as error:
        raise StudyError(f"variants.{name}.engine: {error}") from None


def _variant(name: str, given: VariantFile, model: str, engine: EngineSpec, folder: Path) -> Variant:
    served = engine_of(engine).served  # the model's name is the server's own affair
    place = model if served else _model_place(model, folder, f"variants.{name}.model")
    return Variant(
        model=place,
        named=model if Path(model).name != Path(place).name else None,
        revision=given.revision,
        tokenizer=_model_place(given.tokenizer, folder, f"variants.{name}.tokenizer") if given.tokenizer else None,
        baseline=given.baseline,
        engine=engine,
    )


def _control(name: str, given: VariantFile | None, baseline: Variant, folder: Path) -> Variant:
    """The baseline once more. Raises StudyError where the study gives the control something else."""
    kind = "spot_check" if baseline.engine.batch_invariant else True
    control = baseline.model_copy(update={"baseline": False, "control": kind})
    given = given or VariantFile(control=True)
    model = given.model or baseline.model
    if model != baseline.model:
        model = _model_place(model, folder, f"variants.{name}.model")
    if engine_of(baseline.engine).recorded:  # whose second run is a recording of its own
        return control.model_copy(update={"model": model})
    own = {"model": model, "revision": given.revision, "tokenizer": given.tokenizer, "engine": given.engine}
    for key, value in own.items():
        if value not in (None, getattr(baseline, key)):
            raise StudyError(
                f"variants.{name}: the control is the baseline run again, but has another {key}; "
                f"remove its key '{key}', or 'control: true' if it is a candidate"
            )
    return control


def _control_name(file: StudyFile, asked: bool) -> str | None:
    """The name of the control: its own, or one made from the baseline's where only `control` is asked for."""
    named = next((name for name, v in file.variants.items() if v.control), None)
    if named is not None and not file.variants[named].baseline:
        return named
    if named is None and not asked:
        return None
    name = f"{baseline_name(file.variants)}-control"
    if name.casefold() in {other.casefold() for other in file.variants}:
        raise StudyError(f"the control needs the name '{name}', which another variant has; rename that variant")
    return checked_name(name, "variant")


def _distance(given: DistanceSpec | bool | None, variants: Mapping[str, Variant]) -> DistanceSpec | None:
    """The reading of answers: as the study says, else wherever every engine can and there is a candidate.

    Raises StudyError where the study asks for what its engines cannot do.
    """
    engines = {name: engine_of(variant.engine) for name, variant in variants.items()}
    unable = [name for name, engine in engines.items() if engine.reads == "nothing"]
    if given is None:
        can = not unable and not any(engine.recorded for engine in engines.values())
        named = all(not engines[name].served or variant.tokenizer for name, variant in variants.items())
        return DistanceSpec() if can and named and sum(not v.control for v in variants.values()) > 1 else None
    if not given:
        return None
    spec = DistanceSpec() if given is True else given
    if unable:
        kind = variants[unable[0]].engine.kind
        raise StudyError(f"distance: engine {kind} of variant '{unable[0]}' cannot read answers; write distance: off")
    partial = [name for name, engine in engines.items() if engine.reads != "vocabulary"]
    if spec.top_k == "all" and partial:
        kind = variants[partial[0]].engine.kind
        raise StudyError(
            f"distance.top_k: engine {kind} of variant '{partial[0]}' tells of the likeliest tokens only; "
            "give a number, or run every variant with engine transformers"
        )
    return spec


def _resolve_benchmark(
    bench: BenchmarkFile, file: StudyFile, profiles: tuple[ProfileFile, ProfileFile], folder: Path, limit: int | None
) -> BenchmarkSpec:
    """A benchmark with its values from the default profile, the study's profile and the study itself."""
    check_name(bench.name)
    default, profile = profiles
    # what a named profile and the study set is explicit and wins over a task's own settings; defaults do not
    usual, profiled = ([p.benchmark, p.benchmarks.get(bench.name, BenchmarkOverrides())] for p in profiles)
    chosen = [] if file.profile == "default" else [profile.protocol, *profiled]
    explicit = _set([*chosen, file.protocol, bench])
    layers = [*usual, *profiled, bench]
    keys = ("form", "samples", "margin", "limit", "metric")
    given: dict[str, Any] = {"limit": None, "metric": None} | _set(layers, keys)
    given |= {"form": _form(bench, given["form"]), "limit": limit or given["limit"]}
    given["stop_early"] = _set(layers, ["stop_early"]).get("stop_early", file.stop_early)
    return BenchmarkSpec(
        name=bench.name,
        data=_data_place(bench.data, folder, f"{bench.name}: data"),
        fewshot_data=_data_place(bench.fewshot_data, folder, f"{bench.name}: fewshot_data"),
        settings=_settings(bench.name, layers, folder),
        protocol=Protocol(**_set([default.protocol, *usual]) | explicit, explicit=sorted(explicit)),
        **given,
    )


def _set(layers: Iterable[ProtocolOverrides], keys: Iterable[str] = ProtocolOverrides.model_fields) -> dict[str, Any]:
    """The values that are set, of the protocol or of other `keys`; the last layer wins."""
    return {key: value for layer in layers for key in keys if (value := getattr(layer, key)) is not None}


def _settings(name: str, layers: Iterable[BenchmarkOverrides], folder: Path) -> dict[str, object]:
    """The benchmark's own settings, every one of them; relative paths are looked up in `folder`."""
    given = {key: value for layer in layers for key, value in (layer.settings or {}).items()}
    if not given and name.startswith(LM_EVAL_PREFIX):
        return {}
    kind = benchmark_class(name).settings_type
    try:
        found = kind.model_validate(given)
    except ValidationError as error:
        raise StudyError(f"{name}: settings: {_problems(error)}") from None
    resolved: dict[str, object] = found.model_dump(mode="json")
    for key in kind.model_fields:
        if isinstance(path := getattr(found, key), Path):
            place = _find(path, folder)
            if place is None:
                raise StudyError(f"{name}: settings.{key}: {path} does not exist (looked in {folder})")
            resolved[key] = str(place.absolute())  # links stay: an environment's interpreter is one
    return resolved


def _form(bench: BenchmarkFile, form: Form) -> Form:
    """A profile's form, or the benchmark's only one; a form that the study itself names must exist."""
    forms: tuple[Form, ...] = benchmark_class(bench.name).info.forms
    if form in forms:
        return form
    if bench.form is not None:
        raise StudyError(f"{bench.name}: there is no form '{form}' of it, only: {', '.join(forms)}; correct 'form'")
    return forms[0]


def _find(path: str | Path, folder: Path) -> Path | None:
    """Where a path lies: beside the study file, or else in the working directory; None where there is nothing."""
    given = Path(path).expanduser()
    with suppress(OSError):  # a name that is too long for any file
        return next((place for place in (folder / given, given) if place.exists()), None)
    return None


def _data_place(path: str | None, folder: Path, what: str) -> str | None:
    if path is None:
        return None
    found = _find(path, folder)
    if found is None:
        raise StudyError(f"{what}: file {path:.200} does not exist (looked in {folder} and the working directory)")
    if found.is_dir():
        raise StudyError(f"{what}: {path} is a folder; give a .jsonl or .jsonl.gz file")
    return str(found.resolve())


def _model_place(model: str, folder: Path, what: str) -> str:
    found = _find(model, folder)
    if found is not None:
        return str(found.resolve())
    # what can be no hub id was meant as a path
    if model.startswith((".", "/", "~")) or model.count("/") != 1 or model.endswith((".jsonl", ".gz", ".gguf")):
        raise StudyError(
            f"{what}: model folder {model:.200} does not exist (looked in {folder} and the working directory); "
            "give an existing folder or a hub id like Qwen/Qwen3-32B"
        )
    return model
