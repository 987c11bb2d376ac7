"""The study: variants x benchmarks under a protocol. Load a YAML file, resolve it, fingerprint it.

What the user writes is a `StudyFile`; `resolve` fills in every default from `profiles/` and gives a
`Study`, in which nothing is left implicit. The resolved study is stored with the run and its
fingerprint decides whether a run directory may be continued.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from bitparity.errors import StudyError
from bitparity.records import Sampling

LM_EVAL_PREFIX = "lm_eval:"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Positive = Annotated[int, Field(ge=1)]


class Strict(BaseModel):
    """A model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: Any) -> Any:
        if isinstance(value, dict):
            known = list(cls.model_fields)
            for key in value:
                if key not in known:
                    near = difflib.get_close_matches(str(key), known, 1, cutoff=0.5)
                    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
                    raise ValueError(f"unknown key '{key}'; {hint}")
        return value


class ReasoningSpec(Strict):
    """The texts that open and close a reasoning. The opening one may be supplied by the chat template."""

    start: Annotated[str, Field(min_length=1)] = "<think>"
    end: Annotated[str, Field(min_length=1)] = "</think>"


class ProtocolOverrides(Strict):
    """Protocol values that a profile or a study sets; what is absent comes from further down."""

    apply_chat_template: bool | None = None
    chat_template_args: dict[str, Any] | None = None
    system: str | None = None
    reasoning: ReasoningSpec | Literal["none"] | None = None
    max_tokens: Positive | None = None
    temperature: Annotated[float, Field(ge=0, le=5)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    min_p: Annotated[float, Field(ge=0, lt=1)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] | None = None
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] | None = None
    stop: list[Annotated[str, Field(min_length=1)]] | None = None
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None

    def explicit(self) -> dict[str, Any]:
        """The values that were set, by name."""
        return {k: getattr(self, k) for k in ProtocolOverrides.model_fields if getattr(self, k) is not None}


class Protocol(Strict):
    """Prompt style, sampling and token budget of one benchmark, nothing left implicit."""

    apply_chat_template: bool
    chat_template_args: dict[str, Any]
    system: str
    reasoning: ReasoningSpec | Literal["none"]
    max_tokens: Positive
    temperature: float
    top_p: float
    top_k: int
    min_p: float
    presence_penalty: float
    repetition_penalty: float
    stop: list[str]
    seed: int
    explicit: list[str] = []
    """Names of the values that a named profile or the study set; they win over a task's own settings."""

    def sampling(self, task_settings: dict[str, Any] | None = None) -> Sampling:
        """The sampling of one benchmark: explicit values, then the task's own, then the defaults."""
        own = {k: v for k, v in (task_settings or {}).items() if k not in self.explicit}
        names = [f for f in Sampling.__dataclass_fields__ if f != "stop"]
        values = {name: own.get(name, getattr(self, name)) for name in names}
        return Sampling(stop=tuple(own.get("stop", self.stop)), **values)


class EngineOverrides(Strict):
    """Engine values that a study or a variant sets."""

    kind: Literal["transformers", "vllm", "openai", "replay"] | None = None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = None
    device: str | None = None
    batch_size: Positive | None = None
    max_model_len: Positive | None = None
    trust_remote_code: bool | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    tensor_parallel_size: Positive | None = None
    enforce_eager: bool | None = None
    attention_backend: str | None = None
    linear_backend: str | None = None
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    base_url: str | None = None
    api_key_env: str | None = None
    endpoint: Literal["completions", "chat"] | None = None
    concurrency: Positive | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    request_timeout: Annotated[float, Field(gt=0)] | None = None
    stall_timeout: Annotated[float, Field(gt=0)] | None = None

    @field_validator("api_key_env")
    @classmethod
    def _a_name_no_key(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value):
            raise ValueError(
                "this is no variable's name; give the name of the variable that holds the key, not the key"
            )
        return value

    @field_validator("base_url")
    @classmethod
    def _plain_url(cls, value: str | None) -> str | None:
        """No secret can hide in what is written down: no user, password, query or fragment."""
        if value is None:
            return None
        try:
            parts = urlsplit(value)
            whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            whole = False
        if not whole:
            raise ValueError("this is no http address; write one like http://localhost:8000/v1")
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError("it may hold neither user nor key; put the key into a variable and name that: api_key_env")
        return value.rstrip("/")


# What is decided where the model runs: passed on to vLLM, and a server's own affair.
RUNTIME_KEYS = (
    "gpu_memory_utilization",
    "kv_cache_dtype",
    "quantization",
    "tensor_parallel_size",
    "enforce_eager",
    "attention_backend",
    "linear_backend",
    "max_num_seqs",
    "max_num_batched_tokens",
)
_OF_THE_SERVER = ("device", *RUNTIME_KEYS)  # a study cannot set it there
_FOR_A_SERVER = ("base_url", "api_key_env", "endpoint", "concurrency", "retries", "request_timeout")


class EngineSpec(EngineOverrides):
    """The engine of one variant, resolved. None means that the engine's own choice holds and is recorded.

    `batch_size` is used by the transformers engine alone, which computes fixed batches of that many
    requests. `max_model_len` is in tokens; None takes the model's own limit. `base_url` to `request_timeout` (in
    seconds) belong to the engine openai alone; `api_key_env` names the environment variable that holds the key.
    An engine that computes nothing for `stall_timeout` seconds while requests wait is stopped and started again;
    loading may take several times as long.
    """

    kind: Literal["transformers", "vllm", "openai", "replay"]
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    batch_size: Positive
    trust_remote_code: bool

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind == "openai":
            if self.base_url is None:
                raise ValueError("engine openai needs the server's address: base_url: http://localhost:8000/v1")
            given = [key for key in _OF_THE_SERVER if getattr(self, key) is not None]
            given += ["dtype"] if self.dtype != "auto" else []
            if given:
                raise ValueError(
                    f"engine openai cannot set {', '.join(given)}: the server decides that; remove it from this "
                    "variant's engine, or from the study's and set it where other engines need it"
                )
        elif self.kind != "replay" and (given := [k for k in _FOR_A_SERVER if getattr(self, k) is not None]):
            raise ValueError(f"engine {self.kind} takes no {', '.join(given)}; that is for a server (kind: openai)")
        return self


class VariantFile(Strict):
    """A variant as the user writes it.

    With `control` it is the baseline once more and takes the baseline's model and engine; only a recording
    (engine kind replay) has a model of its own. On the baseline itself, `control` adds such a variant.
    """

    model: Annotated[str, Field(min_length=1)] | None = None
    revision: str | None = None
    tokenizer: str | None = None
    baseline: bool = False
    control: bool = False
    engine: EngineOverrides | None = None

    @model_validator(mode="after")
    def _has_a_model(self) -> Self:
        if self.model is None and (self.baseline or not self.control):
            raise ValueError("key 'model' is missing; give a model folder or a hub id like Qwen/Qwen3-32B")
        return self


class Variant(Strict):
    """A checkpoint at a precision, with the engine that runs it.

    `model` is a hub id or an absolute path; with engine openai the model's name at the server.

    `control` marks the baseline's second run, with other seeds and in another order: the noise floor. `named` is the
    model as the study file writes it, where that is a link with another name than what it leads to. It decides no
    figure, so it is no part of the resolved study.
    """

    model: str
    revision: str | None
    tokenizer: str | None
    baseline: bool
    engine: EngineSpec
    control: bool = False
    named: str | None = Field(default=None, exclude=True)


class BenchmarkFile(ProtocolOverrides):
    """A benchmark as the user writes it: any protocol value may be overridden in place."""

    name: Annotated[str, Field(min_length=1)]
    form: Literal["chat", "lm-eval"] | None = None
    samples: Positive | None = None
    margin: Annotated[float, Field(gt=0, le=100)] | None = None
    limit: Positive | None = None
    data: str | None = None
    fewshot_data: str | None = None
    metric: str | None = None
    settings: dict[str, Any] | None = None


class BenchmarkSpec(Strict):
    """A benchmark of a study, resolved. `margin` is in points, `limit` in items, `data` an absolute path."""

    name: str
    form: Literal["chat", "lm-eval"]
    samples: Positive
    margin: float
    limit: Positive | None
    data: str | None
    fewshot_data: str | None
    metric: str | None
    settings: dict[str, Any] = {}
    """What only this benchmark knows, such as a release or a split; see its `settings_type`."""
    protocol: Protocol


class StudyFile(Strict):
    """The study file as the user writes it."""

    study: str
    variants: dict[str, VariantFile]
    engine: EngineOverrides = EngineOverrides()
    profile: str = "default"
    protocol: ProtocolOverrides = ProtocolOverrides()
    benchmarks: list[BenchmarkFile]

    @field_validator("benchmarks", mode="before")
    @classmethod
    def _short_form(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": entry} if isinstance(entry, str) else entry for entry in value]
        return value

    @field_validator("study")
    @classmethod
    def _study_name(cls, value: str) -> str:
        return _checked_name(value, "study")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.variants:
            raise ValueError("'variants' is empty; give a baseline and at least one candidate")
        folded: dict[str, str] = {}
        for name in self.variants:
            _checked_name(name, "variant")
            if name.casefold() in folded:
                raise ValueError(f"variants '{folded[name.casefold()]}' and '{name}' differ only in case")
            folded[name.casefold()] = name
        baselines = [name for name, v in self.variants.items() if v.baseline]
        if len(self.variants) > 1 and not baselines:
            raise ValueError("no variant is the baseline; add 'baseline: true' to the one to compare with")
        if len(baselines) > 1:
            raise ValueError(f"{len(baselines)} baselines ({', '.join(baselines)}); exactly one is needed")
        self._check_control()
        if not self.benchmarks:
            raise ValueError("'benchmarks' is empty; name at least one (see: bitparity benchmarks)")
        seen: set[str] = set()
        for bench in self.benchmarks:
            if bench.name in seen:
                raise ValueError(f"benchmark '{bench.name}' is listed twice; keep one entry")
            seen.add(bench.name)
        return self

    def _check_control(self) -> None:
        controls = [name for name, v in self.variants.items() if v.control]
        if len(controls) > 1:
            raise ValueError(
                f"{len(controls)} controls ({', '.join(controls)}); one second run of the baseline is enough"
            )
        if controls and not any(v.baseline for v in self.variants.values()):
            raise ValueError("a control needs a baseline to repeat; add 'baseline: true' to a variant")


class Study(Strict):
    """A resolved study: every default filled in."""

    name: str
    profile: str
    variants: dict[str, Variant]
    benchmarks: list[BenchmarkSpec]

    @property
    def baseline(self) -> str:
        """The baseline's name; the only variant's where there is one."""
        return _baseline_name(self.variants)

    @property
    def candidates(self) -> list[str]:
        """The names of the variants that are compared with the baseline; the control is none of them."""
        return [name for name, v in self.variants.items() if name != self.baseline and not v.control]

    @property
    def control(self) -> str | None:
        """The name of the baseline's second run, where the study has one."""
        return next((name for name, v in self.variants.items() if v.control), None)

    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of the resolved study, 16 hex digits.

        The control is left out: it can be added to a run that has begun without it.
        """
        document = self.model_dump(mode="json")
        document["variants"] = {
            name: {k: v for k, v in variant.items() if k != "control"}
            for name, variant in document["variants"].items()
            if not variant["control"]
        }
        text = json.dumps(document, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


def _baseline_name(variants: Mapping[str, Variant] | Mapping[str, VariantFile]) -> str:
    """The variant that is flagged, or the only one."""
    return next((name for name, v in variants.items() if v.baseline), next(iter(variants)))


def _checked_name(value: str, what: str) -> str:
    if not NAME_PATTERN.fullmatch(value):
        raise ValueError(
            f"{what} name '{value}' cannot be a file name; use letters, digits, '.', '_' and '-', "
            "at most 64, starting with a letter or digit"
        )
    return value


class _UniqueKeyLoader(yaml.SafeLoader):
    """YAML with duplicate keys refused: the last one would win silently."""


def _construct_unique(loader: _UniqueKeyLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node)
        if isinstance(key, str | int | float | bool) and key in seen:
            raise yaml.MarkedYAMLError(problem=f"key '{key}' is given twice", problem_mark=key_node.start_mark)
        if isinstance(key, str | int | float | bool):
            seen.add(key)
    loader.flatten_mapping(node)
    return loader.construct_mapping(node, deep=True)


_UniqueKeyLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _construct_unique)


def read_yaml(text: str, origin: str) -> Any:
    """Parse YAML with duplicate keys refused. Raises StudyError naming line and column."""
    try:
        return yaml.load(text, Loader=_UniqueKeyLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise StudyError(f"{origin} is not valid YAML{where}: {error.problem}") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{origin} is not valid YAML: {' '.join(str(error).split())}") from None


def profile_names() -> list[str]:
    """The names of the profiles that ship with bitparity."""
    folder = resources.files("bitparity") / "profiles"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


class _ProfileFile(Strict):
    """A profile file: protocol values for all benchmarks and for single ones."""

    description: str
    source: str
    engine: EngineOverrides = EngineOverrides()
    protocol: ProtocolOverrides = ProtocolOverrides()
    benchmark: dict[str, Any] = {}
    benchmarks: dict[str, dict[str, Any]] = {}


def load_profile(name: str) -> _ProfileFile:
    """Read one profile. Raises StudyError where there is none of that name."""
    known = profile_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise StudyError(f"profile '{name}' does not exist{hint} (profiles: {', '.join(known)})")
    text = (resources.files("bitparity") / "profiles" / f"{name}.yaml").read_text(encoding="utf-8")
    return _ProfileFile.model_validate(read_yaml(text, f"profile {name}"))


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
        name: _variant(name, v, v.model, EngineSpec(**{**engine, **(_merged(v.engine) if v.engine else {})}), folder)
        for name, v in file.variants.items()
        if v.model is not None and (v.baseline or not v.control)
    }
    if name := _control_name(file, control):
        variants[name] = _control(name, file.variants.get(name), variants[_baseline_name(variants)], folder)
    benchmarks = [_resolve_benchmark(b, file, default, profile, folder, limit) for b in file.benchmarks]
    return Study(name=file.study, profile=file.profile, variants=variants, benchmarks=benchmarks)


def _variant(name: str, given: VariantFile, model: str, engine: EngineSpec, folder: Path) -> Variant:
    served = engine.kind == "openai"  # the model's name is the server's own affair
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
    if baseline.engine.kind == "replay":
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
    name = f"{_baseline_name(file.variants)}-control"
    if name.casefold() in {other.casefold() for other in file.variants}:
        raise StudyError(f"the control needs the name '{name}', which another variant has; rename that variant")
    return _checked_name(name, "variant")


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
    _check_benchmark_name(bench.name)
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
    from bitparity.benchmarks import benchmark_class

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
    from bitparity.benchmarks import benchmark_class

    forms = benchmark_class(bench.name).info.forms
    if form in forms:
        return form
    if bench.form is not None:
        raise StudyError(f"{bench.name}: there is no form '{form}' of it, only: {', '.join(forms)}; correct 'form'")
    return forms[0]


def _first_given(values: Any) -> Any:
    return next((v for v in values if v is not None), None)


def _check_benchmark_name(name: str) -> None:
    from bitparity.benchmarks import benchmark_names

    if name.startswith(LM_EVAL_PREFIX):
        if not name.removeprefix(LM_EVAL_PREFIX):
            raise StudyError(f"benchmark '{name}' names no task; write lm_eval:<task>, like lm_eval:gsm8k")
        return
    known = benchmark_names()
    if name not in known:
        near = difflib.get_close_matches(name, known, 1)
        hint = f"; did you mean '{near[0]}'?" if near else ""
        raise StudyError(
            f"benchmark '{name}' does not exist{hint} (known: {', '.join(known)}; any lm-eval task as lm_eval:<task>)"
        )


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
