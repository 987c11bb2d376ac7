"""The study: variants x benchmarks under a protocol. Load a YAML file, resolve it, fingerprint it.

What the user writes is a `StudyFile`; `resolve` fills in every default from `profiles/` and gives a
`Study`, in which nothing is left implicit. The resolved study is stored with the run and its
fingerprint decides whether a run directory may be continued.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from bitparity.benchmarks.registry import benchmark_class, check_name
from bitparity.engines.registry import built_in, engine_class, engine_of
from bitparity.errors import StudyError, UserInputError
from bitparity.schema import (
    LM_EVAL_PREFIX,
    BenchmarkSpec,
    EngineOverrides,
    EngineSpec,
    Protocol,
    Study,
    Variant,
    baseline_name,
    check_keys,
)
from bitparity.study.files import (
    BenchmarkFile,
    StudyFile,
    VariantFile,
    _construct_unique,
    _ProfileFile,
    _UniqueKeyLoader,
    checked_name,
    load_profile,
    read_yaml,
)

_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_unique)


def load_study(path: Path, limit: int | None = None, *, control: bool = False) -> Study:
    """Read, validate and resolve a study file.

    `limit`, in items, replaces the limit of every benchmark; `control` adds the baseline's second run
    where the file asks for none. Raises StudyError with one clear line.
    """
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        raise StudyError(f"study file {path} does not exist; write one with: bitparity init {path}") from None
    except IsADirectoryError:
        raise StudyError(f"{path} is a folder; give the study file in it") from None
    except OSError as error:
        raise StudyError(f"study file {path} cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise StudyError(f"study file {path} is not UTF-8 (byte {error.start}); save it as UTF-8") from None
    return parse_study(text, str(path), path.resolve().parent, limit, control=control)


def parse_study(text: str, origin: str, folder: Path, limit: int | None = None, *, control: bool = False) -> Study:
    """Validate and resolve the text of a study; relative paths are looked up in `folder`."""
    document = read_yaml(text, origin)
    if not isinstance(document, dict):
        raise StudyError(f"{origin} holds no mapping; it needs the keys study, variants and benchmarks")
    try:
        return resolve(StudyFile.model_validate(document), folder, limit, control=control)
    except ValidationError as error:
        raise StudyError(f"{origin}: {_first_problem(error)}") from None


def _first_problem(error: ValidationError) -> str:
    problems = error.errors()
    first = problems[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    given = first.get("input")
    if first["type"] not in ("value_error", "missing") and isinstance(given, str | int | float | bool):
        message += f" (given: {given!r})"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{where}: {message}{more}" if where else f"{message}{more}"


def resolve(file: StudyFile, folder: Path, limit: int | None = None, *, control: bool = False) -> Study:
    """Fill in every default from the profiles. Raises StudyError for what is not there."""
    default = load_profile("default")
    profile = load_profile(file.profile)
    engine = _merged(default.engine, profile.engine, file.engine)
    variants = {
        name: _variant(name, v, v.model, _engine(name, {**engine, **(_merged(v.engine) if v.engine else {})}), folder)
        for name, v in file.variants.items()
        if v.model is not None and (v.baseline or not v.control)
    }
    if name := _control_name(file, control):
        variants[name] = _control(name, file.variants.get(name), variants[baseline_name(variants)], folder)
    benchmarks = [_resolve_benchmark(b, file, default, profile, folder, limit) for b in file.benchmarks]
    return Study(name=file.study, profile=file.profile, variants=variants, benchmarks=benchmarks)


_ALL_KINDS = {"kind", "dtype", "batch_size", "max_model_len", "trust_remote_code", "stall_timeout"}


def _engine(name: str, given: Mapping[str, object]) -> EngineSpec:
    """The engine of a variant from all keys that are set. Raises StudyError for one that its kind does not take."""
    kind = engine_class(str(given["kind"]))
    own = {key: value for key, value in given.items() if key not in EngineSpec.model_fields}
    try:
        check_keys(own, [*EngineSpec.model_fields, *kind.settings.model_fields])
        settings = kind.settings.model_validate(own).model_dump(mode="json")
        spec = EngineSpec.model_validate({**given, **settings})
        if refused := [key for key in given if key not in {*_ALL_KINDS, *kind.takes, *own}]:
            raise ValueError(_not_taken(spec.kind, refused))
        kind.check(spec)
    except ValidationError as error:
        raise StudyError(f"variants.{name}.engine: {_first_problem(error)}") from None
    except (ValueError, UserInputError) as error:
        raise StudyError(f"variants.{name}.engine: {error}") from None
    return spec


def _not_taken(kind: str, keys: list[str]) -> str:
    names = ", ".join(keys)
    others = [other for other in built_in() if _takes(other, keys)]
    if engine_class(kind).served:
        said = f"engine {kind} cannot set {names}: the server decides that"
    else:
        said = f"engine {kind} takes no {names}" + (f", which engine {' or '.join(others)} has" if others else "")
    return f"{said}; remove it from this variant's engine, or from the study's and set it where other engines need it"


def _takes(kind: str, keys: list[str]) -> bool:
    engine = engine_class(kind)
    return not engine.recorded and {*keys} <= {*engine.takes}


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
    control = baseline.model_copy(update={"baseline": False, "control": True})
    if given is None or given.model is None or given.model == baseline.model:
        model = baseline.model
    else:
        model = _model_place(given.model, folder, f"variants.{name}.model")
    if engine_of(baseline.engine).recorded:
        return control.model_copy(update={"model": model})
    own = {"model": model, "revision": given and given.revision, "tokenizer": given and given.tokenizer}
    differing = [key for key, value in own.items() if value not in (None, getattr(baseline, key))]
    if given is not None and given.engine is not None:
        differing.append("engine")
    if differing:
        raise StudyError(
            f"variants.{name}: the control is the baseline run again, but has another {differing[0]}; "
            f"remove its key '{differing[0]}', or 'control: true' if it is a candidate"
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


def _merged(*layers: EngineOverrides) -> dict[str, Any]:
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {k: v for k, v in layer.model_dump().items() if v is not None}
    return merged


def _resolve_benchmark(
    bench: BenchmarkFile,
    file: StudyFile,
    default: _ProfileFile,
    profile: _ProfileFile,
    folder: Path,
    limit: int | None,
) -> BenchmarkSpec:
    check_name(bench.name)
    layers = [
        BenchmarkFile(name=bench.name, **{**source.benchmark, **source.benchmarks.get(bench.name, {})})
        for source in (default, profile)
    ]
    explicit: dict[str, Any] = {}
    sources = [] if file.profile == "default" else [profile.protocol, layers[1]]
    for source in (*sources, file.protocol, bench):
        explicit |= source.explicit()
    values = {**default.protocol.explicit(), **layers[0].explicit(), **explicit}
    keys = ("form", "samples", "margin", "limit", "metric")
    settings = {k: _first_given(getattr(b, k) for b in (bench, layers[1], layers[0])) for k in keys}
    settings["form"] = _form(bench, settings["form"])
    return BenchmarkSpec(
        name=bench.name,
        **{**settings, "limit": limit or settings["limit"]},
        data=_data_place(bench.data, folder, f"{bench.name}: data"),
        fewshot_data=_data_place(bench.fewshot_data, folder, f"{bench.name}: fewshot_data"),
        settings=_settings(bench.name, (layers[0], layers[1], bench), folder),
        protocol=Protocol(**values, explicit=sorted(explicit)),
    )


def _settings(name: str, layers: tuple[BenchmarkFile, ...], folder: Path) -> dict[str, Any]:
    """The benchmark's own settings, every one of them; relative paths are looked up in `folder`."""
    given = {key: value for layer in layers for key, value in (layer.settings or {}).items()}
    if not given and name.startswith(LM_EVAL_PREFIX):
        return {}
    kind = benchmark_class(name).settings_type
    try:
        found = kind.model_validate(given)
    except ValidationError as error:
        raise StudyError(f"{name}: settings: {_first_problem(error)}") from None
    resolved = found.model_dump(mode="json")
    for key in kind.model_fields:
        if isinstance(getattr(found, key), Path):
            given_path = Path(resolved[key]).expanduser()
            place = _lookup(given_path, folder)
            if place is None:
                raise StudyError(f"{name}: settings.{key}: {resolved[key]} does not exist (looked in {folder})")
            resolved[key] = str(place.absolute())  # links stay: an environment's interpreter is one
    return resolved


def _form(bench: BenchmarkFile, form: str) -> str:
    """A profile's form, or the benchmark's only one; a form that the study itself names must exist."""
    forms = benchmark_class(bench.name).info.forms
    if form in forms:
        return form
    if bench.form is not None:
        raise StudyError(f"{bench.name}: there is no form '{form}' of it, only: {', '.join(forms)}; correct 'form'")
    return forms[0]


def _first_given(values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def _find(path: str, folder: Path) -> Path | None:
    """A path as given, with its links followed; None where there is nothing."""
    place = _lookup(Path(path).expanduser(), folder)
    return None if place is None else place.resolve()


def _lookup(path: Path, folder: Path) -> Path | None:
    """Where a path lies: beside the study file, or else in the working directory."""
    return next((place for place in (folder / path, path) if place.exists()), None)


def _data_place(path: str | None, folder: Path, what: str) -> str | None:
    if path is None:
        return None
    found = _find(path, folder)
    if found is None:
        raise StudyError(f"{what}: file {path} does not exist (looked in {folder} and the working directory)")
    if found.is_dir():
        raise StudyError(f"{what}: {path} is a folder; give a .jsonl or .jsonl.gz file")
    return str(found)


def _model_place(model: str, folder: Path, what: str) -> str:
    found = _find(model, folder)
    if found is not None:
        return str(found)
    if model.startswith((".", "/", "~")) or model.count("/") != 1 or model.endswith((".jsonl", ".gz", ".gguf")):
        raise StudyError(
            f"{what}: model folder {model} does not exist (looked in {folder} and the working directory); "
            "give an existing folder or a hub id like Qwen/Qwen3-32B"
        )
    return model
