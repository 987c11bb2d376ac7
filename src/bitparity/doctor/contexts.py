"""How long a sequence each variant takes, and whether the engine will start with what the study asks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from bitparity.doctor.checkpoints import Checkpoint
from bitparity.engines.registry import engine_of
from bitparity.hardware.findings import Finding, error, warning
from bitparity.schema import Study, Variant

_ALLOWS = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"
# vLLM 0.32, transformers_utils/model_arch_config_convertor.py, derive_max_model_len_and_key: the smallest of these
_LENGTHS = (
    *("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "model_max_length"),
    *("max_target_positions", "max_sequence_length", "max_seq_length", "seq_len"),
)
# vLLM 0.32, config/model.py, _get_and_verify_max_len: with these the model's own length is already the scaled one
_SCALED = ("su", "longrope", "llama3", "yarn", "deepseek_yarn", "deepseek_llama_scaling")


def context_of(variant: Variant, checkpoint: Checkpoint | None, served: Mapping[str, Any] | None) -> int | None:
    """The longest sequence a variant can take, in tokens; None where it is not known."""
    own = checkpoint.context() if checkpoint is not None else None
    told = (served or {}).get("max_model_len")
    known = (variant.engine.max_model_len or own, told if isinstance(told, int) else None)
    return min((length for length in known if length), default=None)


def check_lengths(study: Study, checkpoints: Mapping[str, Checkpoint], environ: Mapping[str, str]) -> Iterator[Finding]:
    """Whether vLLM takes each variant's `max_model_len`: it refuses to start above the model's own limit."""
    for name, variant in study.variants.items():
        asked = variant.engine.max_model_len
        if not engine_of(variant.engine).runs_vllm or variant.control or name not in checkpoints or asked is None:
            continue
        limit = vllm_limit(checkpoints[name].text_config())
        if limit is not None and asked > limit:
            yield _above(f"model {name}", asked, limit, checkpoints[name].text_config(), environ)


def _above(topic: str, asked: int, limit: int, config: Mapping[str, Any], environ: Mapping[str, str]) -> Finding:
    said = f"max_model_len {asked:,} is above what the model allows, {limit:,} tokens"
    remedy = f"lower max_model_len to {limit}, or leave it out"
    if environ.get(_ALLOWS, "").strip().lower() in ("1", "true"):  # as vLLM 0.32 reads it, envs.py
        return warning(topic, f"{said}; {_ALLOWS} lets vLLM start, and answers beyond are worth nothing", remedy)
    if asked <= _extended(config):
        return warning(topic, f"{said}: vLLM 0.32 refuses to start, older ones scale it by YaRN's factor", remedy)
    return error(
        topic,
        f"{said}: vLLM refuses to start",
        f"{remedy}; longer texts need rope scaling in the checkpoint's config.json, as its card may describe",
    )


def vllm_limit(config: Mapping[str, Any]) -> int | None:
    """The `max_model_len` from which vLLM refuses a model, in tokens; None where its config.json names no length.

    `config` is the language model's part. As vLLM 0.32 derives it (see `_LENGTHS` and `_SCALED`): the smallest length,
    times the factor of a rope scaling that is not in it yet; `model_max_length` goes before the others.
    """
    lengths = [n for key in _LENGTHS if isinstance(n := config.get(key), int)]
    if not lengths:
        return None
    own = config.get("model_max_length")
    limit = own if isinstance(own, int) and own else min(lengths)
    if "gemma3" not in str(config.get("model_type")):
        limit = int(limit * _factor(config))
    return max(limit, own) if isinstance(own, int) else limit


def _factor(config: Mapping[str, Any]) -> float:
    factor = 1.0
    for rope in _ropes(config):
        value = rope.get("factor")
        if _kind(rope) not in _SCALED and isinstance(value, int | float):
            factor = value
    return factor


def _extended(config: Mapping[str, Any]) -> int:
    """The length that YaRN reaches, original length times factor; 0 without."""
    reached = [
        int(original * factor)
        for rope in _ropes(config)
        if _kind(rope) == "yarn"
        and isinstance(original := rope.get("original_max_position_embeddings"), int)
        and isinstance(factor := rope.get("factor"), int | float)
    ]
    return max(reached, default=0)


def _kind(rope: Mapping[str, Any]) -> Any:
    return rope.get("rope_type", rope.get("type"))


def _ropes(config: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rope parameters, several where kinds of layers have their own; `rope_scaling` is their older name."""
    found = config.get("rope_parameters") or config.get("rope_scaling")
    if not isinstance(found, dict):
        return []
    parts = [part for part in found.values() if isinstance(part, dict)]
    return parts or [found]
