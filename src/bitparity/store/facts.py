"""Facts that an engine or a checkpoint tells of itself: free JSON objects, in which the known keys have known types."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, JsonValue

from bitparity.store.document import JsonObject


class _Shape(BaseModel):
    """The known keys of a JSON object; each may be absent, and others may be there."""

    # strict: guards and reports use these values as they are, and a number in quotes would end in a TypeError there
    model_config = ConfigDict(extra="allow", strict=True)


class _Weights(_Shape):
    bytes: int | None = None
    sha256: str | None = None
    sampled_sha256: str | None = None
    sha256_by_file: dict[str, str] | None = None
    bytes_by_type: dict[str, int] | None = None


class _Identity(_Shape):
    path: str | None = None
    named: str | None = None
    revision: str | None = None
    architecture: str | None = None
    weights: _Weights | None = None
    server: str | None = None
    model: str | None = None
    tokenizer_sha256: dict[str, str] | None = None
    chat_template_sha256: str | None = None
    context_length: int | None = None


class _Quantization(_Shape):
    weights: list[str] | dict[str, int] | str | None = None
    activations: list[str] | dict[str, int] | str | None = None


class _Engine(_Shape):
    engine: str = ""
    version: str | None = None
    device: str | None = None
    device_name: str | None = None
    dtype: str | None = None
    quantization: _Quantization | None = None
    linear_kernels: dict[str, int] | None = None
    layer_kernels: dict[str, dict[str, int]] | None = None
    model: _Identity | None = None
    server: dict[str, JsonValue] | None = None
    threads: int | None = None
    mig: dict[str, JsonValue] | str | None = None
    device_uuid: str | None = None


class _Server(_Engine):
    """Facts of the engine `openai`, which the guard `unproved` reads."""

    server: dict[str, JsonValue]
    chat_template: str
    exam_tokens_sent: bool
    sampling_extensions: bool
    usage_reported: bool
    unproved: list[str]


def _checked_identity(facts: JsonObject) -> JsonObject:
    _Identity.model_validate(facts)
    return facts


def _checked_engine(facts: JsonObject) -> JsonObject:
    (_Server if facts.get("engine") == "openai" else _Engine).model_validate(facts)
    return facts


Identity = Annotated[JsonObject, AfterValidator(_checked_identity)]
"""The identity of a checkpoint: see `models/identity.py`."""

EngineFacts = Annotated[JsonObject, AfterValidator(_checked_engine)]
"""The facts of a loaded engine: see `facts` of each engine."""
