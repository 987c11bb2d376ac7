"""What can be known of each variant's checkpoint before anything is downloaded or loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitparity.doctor.cache import KINDS, Cache, cache_of
from bitparity.doctor.hub import Hub
from bitparity.engines.registry import engine_of
from bitparity.errors import ModelError
from bitparity.models.checkpoint import chat_template, check_weights, context_length, weight_bytes
from bitparity.models.precision import UNQUANTIZED
from bitparity.models.quantization import Quantization, declared_quantization, loaded_precision
from bitparity.schema import EngineSpec, Variant

# What vLLM (0.32, vllm/config/quantization.py) makes of plain weights while it loads them.
AT_LOAD = {
    **dict.fromkeys(("fp8", "fp8_per_tensor", "fp8_per_block", "fp8_per_channel"), "FP8"),
    "mxfp8": "MXFP8",
    "mxfp4": "MXFP4",
}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What is known of a variant's files.

    `folder` has at least its config.json (None: not to be had). `weights` is their size in bytes, `missing` how much
    of it must still be downloaded; None is not known. `problem` says what is wrong with a folder on this host.
    """

    folder: Path | None
    weights: int | None
    missing: int | None
    problem: str | None = None

    def config(self) -> Mapping[str, Any]:
        """Its config.json; {} where there is none."""
        try:
            found = json.loads(((self.folder or Path()) / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def text_config(self) -> Mapping[str, Any]:
        """The language model's part of the configuration."""
        config = self.config()
        part = config.get("text_config")
        return {**config, **part} if isinstance(part, dict) else config

    def context(self) -> int | None:
        """The model's own limit in tokens; None where it is not known."""
        try:
            return None if self.folder is None else context_length(self.folder)
        except ModelError:
            return None

    def quantization(self) -> Quantization | None:
        """What the checkpoint declares."""
        try:
            return None if self.folder is None else declared_quantization(self.folder)
        except ModelError:
            return None

    def precisions(self, asked: str | None) -> set[str] | None:
        """The weights' precision, with `asked` the study's `quantization`; None where nothing is known."""
        if self.folder is None:
            return None
        try:
            declared = declared_quantization(self.folder)
        except ModelError:
            return None
        if declared is None and asked is not None:
            older = "INT4" if "awq" in asked or "gptq" in asked else None  # declared in a file of its own
            found = AT_LOAD.get(asked, older)
            return {found} if found else None
        return loaded_precision({"quantization": declared})

    def template(self) -> str | None:
        """The chat template; None where none is known."""
        try:
            return None if self.folder is None else chat_template(self.folder)
        except ModelError:
            return None

    def dtype(self, spec: EngineSpec) -> str | None:
        """The number type that an engine computes in; None where it is not known.

        vLLM turns float32 into 16 bits unless the study says otherwise (0.32, _resolve_auto_dtype).
        """
        if spec.dtype != "auto":
            return spec.dtype
        stored = self._stored_dtype()
        return "bfloat16" if engine_of(spec).runs_vllm and stored == "float32" else stored

    def stored_width(self) -> int:
        """Bytes of a plain weight in the files; two where config.json does not say."""
        return _width(self._stored_dtype())

    def loaded_width(self, spec: EngineSpec) -> int:
        """Bytes of a plain weight, or a value of a plain cache, once it is loaded."""
        return _width(self.dtype(spec))

    def _stored_dtype(self) -> str | None:
        config = self.text_config()
        found = config.get("dtype") or config.get("torch_dtype")
        return found if isinstance(found, str) else None

    def cache(self, spec: EngineSpec, ranks: int = 1) -> Cache | None:
        """The key-value cache on each of `ranks` devices; None where config.json or the study's kind does not tell."""
        kind = spec.kv_cache_dtype or "auto"
        if kind == "auto":
            return cache_of(self.text_config(), 1 if self._declares_8_bits(spec) else self.loaded_width(spec), ranks)
        return cache_of(self.text_config(), KINDS[kind], ranks) if kind in KINDS else None

    def _declares_8_bits(self, spec: EngineSpec) -> bool:
        """Whether vLLM takes an 8-bit cache because the checkpoint has scales for one."""
        declared = self.quantization() or {}
        said = str(declared.get("kv_cache") or declared.get("kv_cache_quant_algo"))
        return engine_of(spec).runs_vllm and ("8 bit" in said or "FP8" in said.upper())


def _width(dtype: str | None) -> int:
    return 4 if dtype in ("float32", "float") else 2


def look(variant: Variant, hub: Hub, online: bool) -> Checkpoint:
    """A variant's checkpoint: a local folder, the cache, or, where it is `online`, the hub's word."""
    place = Path(variant.model)
    if place.is_absolute():
        return _local(place)
    cached = hub.cached(variant.model, "model", variant.revision)
    if cached is not None and (whole := _local(cached)).problem is None:
        return whole
    folder = hub.small_files(variant.model, variant.revision) if online else cached
    size = hub.weight_bytes(variant.model, variant.revision) if online else None
    have = _here(cached) if cached is not None else 0
    has_config = folder is not None and (folder / "config.json").exists()
    return Checkpoint(folder if has_config else None, size, None if size is None else max(0, size - have))


def _here(folder: Path) -> int:
    try:
        return weight_bytes(folder)
    except ModelError:  # a broken index: what it belongs to is downloaded again
        return 0


def _local(folder: Path) -> Checkpoint:
    try:
        context_length(folder)
        declared_quantization(folder)
        chat_template(folder)
        check_weights(folder)
        return Checkpoint(folder, weight_bytes(folder), 0)
    except ModelError as error:
        return Checkpoint(folder if (folder / "config.json").exists() else None, None, 0, str(error))


def unknown_remedy(variant: Variant) -> str:
    """What helps where a checkpoint's files do not tell."""
    if Path(variant.model).is_absolute():
        return "mend or copy again the model's folder; its own line says what is wrong with it"
    return "let this host reach the hub, or give a folder"


def unquantized(precisions: set[str] | None) -> bool:
    """Whether the weights are known to be plain."""
    return precisions == {UNQUANTIZED}
