"""Context lengths: the longest sequence of each variant, and a `max_model_len` with which vLLM would not start."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from bitparity.doctor.checkpoints import Checkpoint, Checkpoints
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.vllm import VLLM
from bitparity.engines.registry import engine_of
from bitparity.models.config import Config
from bitparity.schema import Study, Variant

_ALLOWS = "VLLM_ALLOW_LONG_MAX_MODEL_LEN"


def context_of(variant: Variant, checkpoint: Checkpoint | None, served: Mapping[str, object] | None) -> int | None:
    """The longest sequence a variant can take, in tokens; None where it is not known. `served` is a server's word."""
    own = checkpoint.context() if checkpoint is not None else None
    told = Config(served or {}).count("max_model_len")
    return min((length for length in (variant.engine.max_model_len or own, told) if length), default=None)


def check_lengths(study: Study, checkpoints: Checkpoints, environ: Mapping[str, str]) -> Iterator[Finding]:
    """A `max_model_len` above the model's own limit, with which vLLM refuses to start."""
    for name, variant in study.variants.items():
        asked = variant.engine.max_model_len
        if not engine_of(variant.engine).runs_vllm or variant.control or name not in checkpoints or asked is None:
            continue
        config = checkpoints[name].language_model()
        limit = vllm_limit(config)
        if limit is not None and asked > limit:
            yield _above(Topic(f"model {name}"), asked, limit, config, environ)


def _above(topic: Topic, asked: int, limit: int, config: Config, environ: Mapping[str, str]) -> Finding:
    if environ.get(_ALLOWS, "").strip().lower() in ("1", "true"):  # as vLLM 0.32 reads it, envs.py
        return topic.warning("length_allowed", asked=asked, limit=limit, variable=_ALLOWS)
    if asked <= _yarn_length(config):
        return topic.warning("length_by_yarn", asked=asked, limit=limit)
    return topic.error("length_refused", asked=asked, limit=limit)


def vllm_limit(config: Config) -> int | None:
    """The `max_model_len` from which vLLM refuses a model, in tokens; None where its config.json names no length.

    `config` is the language model's part. As vLLM 0.32 derives it (see `vllm.toml`): the smallest length,
    times the factor of a rope scaling that is not in it yet; `model_max_length` goes before the others.
    """
    own = config.count("model_max_length")
    limit = own or min((length for key in VLLM.length_keys if (length := config.count(key))), default=None)
    if limit is not None and "gemma3" not in str(config.values.get("model_type")):
        factors = [rope.number("factor") for rope in _ropes(config) if _kind(rope) not in VLLM.scaled_ropes]
        limit = int(limit * next((factor for factor in reversed(factors) if factor is not None), 1.0))
    return limit if limit is None or own is None else max(limit, own)


def _yarn_length(config: Config) -> int:
    """The length that YaRN reaches, original length times factor, in tokens; 0 without."""
    yarn = [rope for rope in _ropes(config) if _kind(rope) == "yarn"]
    reached = [(rope.count("original_max_position_embeddings") or 0) * (rope.number("factor") or 0) for rope in yarn]
    return int(max(reached, default=0))


def _kind(rope: Config) -> object:
    return rope.values.get("rope_type", rope.values.get("type"))


def _ropes(config: Config) -> list[Config]:
    """The rope parameters, several where kinds of layers have their own; `rope_scaling` is their older name."""
    key = "rope_parameters" if config.values.get("rope_parameters") else "rope_scaling"
    found = config.part(key)
    return [] if found is None else found.parts() or [found]
