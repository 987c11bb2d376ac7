"""Size of the key-value cache that a sequence takes on a device, by the model's configuration."""

from __future__ import annotations

from dataclasses import dataclass

from bitparity.doctor.checkpoints import Checkpoint
from bitparity.doctor.vllm import VLLM
from bitparity.engines.registry import engine_of
from bitparity.models.config import Config
from bitparity.schema import EngineSpec


@dataclass(frozen=True, slots=True)
class Cache:
    """Bytes a token on one device: in layers that keep every token, and in layers that keep a window of tokens."""

    whole: float
    windowed: float = 0.0
    window: int = 0

    def of(self, length: int) -> float:
        """Bytes of one sequence of so many tokens."""
        return self.whole * length + self.windowed * min(length, self.window)


def planned_cache(checkpoint: Checkpoint, spec: EngineSpec, ranks: int = 1) -> Cache | None:
    """The cache of a variant on each of `ranks` devices; None where config.json or the study's kind does not tell."""
    kind = spec.kv_cache_dtype or "auto"
    if kind == "auto":
        width: float | None = 1 if _declares_8_bits(checkpoint, spec) else checkpoint.loaded_width(spec)
    else:
        width = VLLM.cache_bytes.get(kind)
    return None if width is None else cache_of(checkpoint.language_model(), width, ranks)


def _declares_8_bits(checkpoint: Checkpoint, spec: EngineSpec) -> bool:
    """True where vLLM takes an 8-bit cache because the checkpoint has scales for one."""
    declared = checkpoint.quantization() or {}
    scheme = str(declared.get("kv_cache") or declared.get("kv_cache_quant_algo"))
    return engine_of(spec).runs_vllm and ("8 bit" in scheme or "FP8" in scheme.upper())


def cache_of(config: Config, width: float, ranks: int = 1) -> Cache | None:
    """The cache of a model on each of `ranks` devices, with `width` bytes a value; None where its config hides it.

    A layer takes 2 x key-value heads x head size values a token, of which each device holds the heads of its rank, at
    least one; with multi-head latent attention (DeepSeek) latent rank + rotary part, whole on each device (vLLM 0.32,
    get_num_kv_heads in vllm/config/model.py). The state of linear attention has a constant size and is left out.
    """
    whole, windowed, window = _layers(config)
    values = _values(config, ranks)
    if values is None or whole + windowed == 0:
        return None
    return Cache(whole * values * width, windowed * values * width, window)


def _values(config: Config, ranks: int) -> int | None:
    """Values that a layer keeps of a token on each device."""
    if latent := config.count("kv_lora_rank"):
        return latent + (config.count("qk_rope_head_dim") or 0)
    heads, hidden = config.count("num_attention_heads"), config.count("hidden_size")
    # null: each layer has its own number
    key_heads = config.count("num_key_value_heads") if "num_key_value_heads" in config.values else heads
    size = config.count("head_dim")
    if config.values.get("head_dim") is None and heads and hidden:
        size = hidden // heads
    return 2 * max(1, key_heads // ranks) * size if key_heads and size else None


def _layers(config: Config) -> tuple[int, int, int]:
    """(layers that keep every token, layers that keep a window, tokens of the window)."""
    layers = config.count("num_hidden_layers") or 0
    kinds = config.items("layer_types")
    if kinds is None:
        every = config.count("full_attention_interval")  # Qwen3-Next: the layers between are linear
        return (layers // every if every else layers), 0, 0
    names = [str(kind) for kind in kinds[:layers]]
    keeping = sum("attention" in name and "linear" not in name for name in names)
    window = config.count("sliding_window") or config.count("attention_chunk_size") or 0
    windowed = sum(name in ("sliding_attention", "chunked_attention") for name in names) if window else 0
    return keeping - windowed, windowed, window
