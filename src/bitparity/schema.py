"""The resolved study: variants and benchmarks, each with its protocol or engine, and nothing left implicit.

`study/resolve.py` makes it from the file that the user writes. It is stored with the run, and its fingerprint decides
whether a run directory may be continued.
"""

from __future__ import annotations

import hashlib
import json
import re
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from bitparity.plugins import nearest
from bitparity.records import Sampling

LM_EVAL_PREFIX = "lm_eval:"
NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def _variable_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", value):
        raise ValueError("this is no variable's name; give the name of the variable that holds the key, not the key")
    return value


def _plain_url(value: str) -> str:
    """No secret can hide in what is written down: no user, password, query or fragment."""
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


VariableName = Annotated[str, AfterValidator(_variable_name)]  # of a variable that holds a key
ServerUrl = Annotated[str, AfterValidator(_plain_url)]
# a bound, so that a slip of the keyboard is told as one and does not fill the memory
Positive = Annotated[int, Field(ge=1, le=10_000_000)]
Repeats = Annotated[int, Field(ge=1, le=10_000)]
Form = Literal["chat", "lm-eval"]  # of prompts
Reference = Literal["first", "both"]  # runs of the baseline


class Strict(BaseModel):
    """A model that refuses unknown keys and names the nearest known one."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)

    @model_validator(mode="before")
    @classmethod
    def _known_keys(cls, value: object) -> object:
        if isinstance(value, dict) and cls.model_config["extra"] == "forbid":
            check_keys(value, list(cls.model_fields))
        return value


def check_keys(given: Iterable[object], known: Sequence[str]) -> None:
    """Raise ValueError for the first unknown key, naming the nearest known one."""
    for key in given:
        if key not in known:
            hint = nearest(str(key), known) or f"; known keys: {', '.join(known)}"
            raise ValueError(f"unknown key '{key}'{hint}")


class ReasoningSpec(Strict):
    """The texts that open and close a reasoning. The opening one may be supplied by the chat template."""

    start: Annotated[str, Field(min_length=1)] = "<think>"
    end: Annotated[str, Field(min_length=1)] = "</think>"


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
    """Engine keys that a study or a variant sets: those below, and the ones that a kind of engine declares itself.

    Which keys a kind takes stands in the engine's file and is checked when the study is resolved.
    """

    model_config = ConfigDict(extra="allow")

    kind: str | None = None
    dtype: Literal["auto", "bfloat16", "float16", "float32"] | None = None
    device: str | None = None
    batch_size: Positive | None = None
    max_model_len: Positive | None = None
    trust_remote_code: bool | None = None
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = None
    kv_cache_dtype: str | None = None
    quantization: str | None = None
    tensor_parallel_size: Positive | None = None
    disable_custom_all_reduce: bool | None = None
    enforce_eager: bool | None = None
    attention_backend: str | None = None
    linear_backend: str | None = None
    max_num_seqs: Positive | None = None
    max_num_batched_tokens: Positive | None = None
    batch_invariant: bool | None = None
    base_url: ServerUrl | None = None
    api_key_env: VariableName | None = None
    endpoint: Literal["completions", "chat"] | None = None
    concurrency: Positive | None = None
    retries: Annotated[int, Field(ge=0)] | None = None
    request_timeout: Annotated[float, Field(gt=0)] | None = None
    stall_timeout: Annotated[float, Field(gt=0)] | None = None


class EngineSpec(EngineOverrides):
    """The engine of one variant, resolved. None means that the engine's own choice holds and is recorded.

    `batch_size` is the number of requests in a fixed batch. `max_model_len` is in tokens; None takes the model's own
    limit. `base_url` to `request_timeout` (in seconds) are about a server; `api_key_env` names the environment
    variable that holds the key. An engine that computes nothing for `stall_timeout` seconds while requests wait is
    stopped and started again; loading may take several times as long.
    """

    kind: str
    dtype: Literal["auto", "bfloat16", "float16", "float32"]
    batch_size: Positive
    trust_remote_code: bool

    @property
    def own(self) -> dict[str, object]:
        """The keys that this kind of engine declares itself, with their values."""
        return self.model_extra or {}


class Variant(Strict):
    """A checkpoint at a precision, with the engine that runs it.

    `model` is a hub id or an absolute path; with engine openai the model's name at the server.

    `control` marks the baseline's second run, with other seeds and in another order: the noise floor. Where its answers
    must be the first run's (`batch_invariant`) it is a spot check: a few of them, with the same seeds. `named` is the
    model as the study file writes it, where that is a link with another name than what it leads to. It decides no
    figure, so it is no part of the resolved study.
    """

    model: str
    revision: str | None
    tokenizer: str | None
    baseline: bool
    engine: EngineSpec
    control: bool | Literal["spot_check"] = False
    named: str | None = Field(default=None, exclude=True)


class RecoveryMargin(Strict):
    """A margin in proportion: candidates may lose all but `recovery` of the baseline's score, a fraction below 1."""

    recovery: Annotated[float, Field(gt=0, lt=1)]


class BenchmarkSpec(Strict):
    """A benchmark of a study, resolved.

    `margin` is in points or in proportion, `limit` in items, `data` an absolute path.
    """

    name: str
    form: Form
    samples: Repeats
    margin: float | RecoveryMargin
    limit: Positive | None
    data: str | None
    fewshot_data: str | None
    metric: str | None
    settings: dict[str, Any] = {}
    """Settings that only this benchmark has, such as a release or a split; see its `settings_type`."""
    protocol: Protocol
    stop_early: bool = False
    """True where a comparison may end before all items are asked; it stands in a study only then."""

    @model_serializer(mode="wrap")
    def _without_default(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if not self.stop_early:
            values.pop("stop_early", None)
        return values

    @property
    def recovery(self) -> float | None:
        """The share of the baseline's score that must be kept; None where the margin is in points."""
        return self.margin.recovery if isinstance(self.margin, RecoveryMargin) else None

    def margin_at(self, baseline: float | None) -> float:
        """The margin as a fraction, at a score of the baseline; 0 where that decides it and is not known."""
        if isinstance(self.margin, RecoveryMargin):
            return (1 - self.margin.recovery) * (baseline or 0.0)
        return self.margin / 100


class DistanceSpec(Strict):
    """Readings of the baseline's answers by every variant; see docs/distance.md.

    `items` is the number of answers, together over all benchmarks; None takes a tenth of a variant's answers, at least
    100 and at most 1,000. `top_k` is the number of likeliest tokens that are compared one by one; "all" compares the
    whole vocabulary; None takes that where every engine can, and `engines.readings.TOP` elsewhere.
    """

    items: Positive | None = None
    top_k: Annotated[int, Field(ge=1, le=256)] | Literal["all"] | None = None


class Study(Strict):
    """A resolved study: every default filled in.

    `reference` is what candidates are compared with where there is a control: the baseline's first run, or the mean of
    both. Runs of before it was a choice have the first. `distance` is None where nothing is read.
    """

    name: str
    profile: str
    variants: Annotated[dict[str, Variant], Field(min_length=1)]
    benchmarks: list[BenchmarkSpec]
    reference: Reference = "first"
    distance: DistanceSpec | None = None

    @property
    def stops_early(self) -> bool:
        """True if a benchmark may end before all its items are asked."""
        return any(spec.stop_early for spec in self.benchmarks)

    @property
    def baseline(self) -> str:
        """The baseline's name; the only variant's where there is one."""
        return baseline_name(self.variants)

    @property
    def candidates(self) -> list[str]:
        """The names of the variants that are compared with the baseline; the control is none of them."""
        return [name for name, v in self.variants.items() if name != self.baseline and not v.control]

    @property
    def control(self) -> str | None:
        """The name of the baseline's second run, where the study has one that shows the noise floor."""
        return None if self.spot_check else self.second_run

    @property
    def spot_check(self) -> str | None:
        """The name of the baseline's second run where it is a spot check."""
        return next((name for name, v in self.variants.items() if v.control == "spot_check"), None)

    @property
    def second_run(self) -> str | None:
        """The name of the baseline's second run of either kind."""
        return next((name for name, v in self.variants.items() if v.control), None)

    def second_run_as(self, begun: Study) -> Study:
        """The study with the second run of the kind that a run of it began with, if that has one."""
        name = self.second_run
        if name is None or begun.second_run != name:
            return self
        kept = self.variants[name].model_copy(update={"control": begun.variants[name].control})
        return self.model_copy(update={"variants": {**self.variants, name: kept}})

    def fingerprint(self) -> str:
        """SHA-256 over the canonical JSON of the resolved study, 16 hex digits.

        The control is left out: it can be added to a run that has begun without it. So is the reference, which
        matters with a control only and changes no answer, and so are the readings, which come after all answers.
        """
        document = self.model_dump(mode="json", exclude={"reference", "distance"})
        document["variants"] = {
            name: {k: v for k, v in variant.items() if k != "control"}
            for name, variant in document["variants"].items()
            if not variant["control"]
        }
        for variant in document["variants"].values():
            if variant["engine"]["batch_invariant"] is None:  # runs of before it was a choice go on
                del variant["engine"]["batch_invariant"]
        text = json.dumps(document, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()[:16]


class MayBeBaseline(typing.Protocol):
    """A variant, as the user writes it or resolved."""

    @property
    def baseline(self) -> bool:
        """True for the baseline."""


def baseline_name(variants: Mapping[str, MayBeBaseline]) -> str:
    """The variant that is flagged as the baseline, or the only one."""
    return next((name for name, v in variants.items() if v.baseline), next(iter(variants)))
