"""How much key-value cache a sequence takes on a device, by the model's configuration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# vLLM's kinds of cache and the bytes that a value takes (0.32, CacheDType in vllm/config/cache.py). NVFP4 holds an FP8
# scale for 16 values (nvfp4_kv_cache_full_dim in vllm/utils/torch_utils.py); the scales of the others are left out.
KINDS = {
    "float16": 2.0,
    "bfloat16": 2.0,
    **dict.fromkeys(("fp8", "fp8_e4m3", "fp8_e5m2", "fp8_inc", "fp8_ds_mla", "fp8_per_token_head"), 1.0),
    "int8_per_token_head": 1.0,
    "int4_per_token_head": 0.5,
    **dict.fromkeys(("nvfp4", "nvfp4_4over6", "nvfp4_ds_mla"), 9 / 16),
    "turboquant_k8v4": 0.75,
    "turboquant_4bit_nc": 0.5,
    "turboquant_k3v4_nc": 7 / 16,
    "turboquant_3bit_nc": 3 / 8,
    "ultraquant_4bit": 0.5,
}


@dataclass(frozen=True, slots=True)
class Cache:
    """Bytes a token on one device: in layers that keep every token, and in layers that keep a window of tokens."""

    whole: float
    windowed: float = 0.0
    window: int = 0

    def of(self, length: int) -> float:
        """Bytes of one sequence of so many tokens."""
        return self.whole * length + self.windowed * min(length, self.window)


def cache_of(config: Mapping[str, Any], width: float, ranks: int = 1) -> Cache | None:
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


def count(value: Any) -> int | None:
    """A positive whole number of a configuration; None for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _values(config: Mapping[str, Any], ranks: int) -> int | None:
    """Values that a layer keeps of a token on each device."""
    if latent := count(config.get("kv_lora_rank")):
        return latent + (count(config.get("qk_rope_head_dim")) or 0)
    heads, hidden = count(config.get("num_attention_heads")), count(config.get("hidden_size"))
    key_heads = count(config.get("num_key_value_heads", heads))  # null: each layer has its own number
    if config.get("head_dim") is not None:
        size = count(config["head_dim"])
    else:
        size = hidden // heads if heads and hidden else None
    return 2 * max(1, key_heads // ranks) * size if key_heads and size else None


def _layers(config: Mapping[str, Any]) -> tuple[int, int, int]:
    """(layers that keep every token, layers that keep a window, tokens of the window)."""
    layers = count(config.get("num_hidden_layers")) or 0
    kinds = config.get("layer_types")
    if not isinstance(kinds, list):
        every = count(config.get("full_attention_interval"))  # Qwen3-Next: the layers between are linear
        return (layers // every if every else layers), 0, 0
    whole = windowed = 0
    window = count(config.get("sliding_window")) or count(config.get("attention_chunk_size"))
    for kind in map(str, kinds[:layers]):
        if kind in ("sliding_attention", "chunked_attention") and window:
            windowed += 1
        elif "attention" in kind and "linear" not in kind:
            whole += 1
    return whole, windowed, window or 0
