"""Check of the memory: weights and key-value cache on the devices, for the study's longest answers."""

from __future__ import annotations

from dataclasses import dataclass

from bitparity.doctor.checkpoints import Checkpoint, Loading, unknown_remedy, width_of
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.vllm import VLLM
from bitparity.engines.registry import engine_of
from bitparity.hardware.devices import gigabytes
from bitparity.models.config import Config
from bitparity.models.quantization import UNQUANTIZED
from bitparity.schema import EngineSpec

OVERHEAD = 3 * 10**9  # bytes a device: CUDA context, activations, CUDA graphs; about what vLLM reports for 32B models
FEW = 2  # of the study's longest answers at once; below, one long answer holds up all others
# of weights in 16 bits, scales and unquantized layers included
_SHRINK = {"FP8": 0.55, "MXFP8": 0.55, "INT8": 0.55, "INT4": 0.35, "NVFP4": 0.35, "MXFP4": 0.35}


@dataclass(frozen=True, slots=True)
class Cache:
    """Bytes a token on one device: in layers that keep every token, and in layers that keep a window of tokens."""

    whole: float
    windowed: float = 0.0
    window: int = 0

    def of(self, length: int) -> float:
        """Bytes of one sequence of so many tokens."""
        return self.whole * length + self.windowed * min(length, self.window)


def planned_cache(load: Loading) -> Cache | None:
    """The cache of a variant on each of its devices; None where config.json or the study's kind does not tell."""
    kind, spec = load.spec.kv_cache_dtype or "auto", load.spec
    width = VLLM.cache_bytes.get(kind)
    if kind == "auto":
        # vLLM takes an 8-bit cache where the checkpoint has scales for one
        declared = load.checkpoint.quantization() or {}
        scheme = str(declared.get("kv_cache") or declared.get("kv_cache_quant_algo"))
        in_8_bits = engine_of(spec).runs_vllm and ("8 bit" in scheme or "FP8" in scheme.upper())
        width = 1 if in_8_bits else width_of(load.checkpoint.dtype(spec))
    return None if width is None else cache_of(load.checkpoint.language_model(), width, len(load.used))


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


def check_memory(load: Loading) -> Finding:
    """Weights, then room for sequences."""
    topic, weights, memory = Topic(f"memory of {load.name}"), loaded_bytes(load.checkpoint, load.spec), load.memory()
    if weights is None:
        return topic.warning("size_unknown", model=load.variant.model, remedy=unknown_remedy(load.variant))
    if memory is None:
        return topic.warning("memory_unknown", device=load.used[0], weights=gigabytes(weights))
    on = {"weights": gigabytes(weights), "memory": gigabytes(memory)}
    if engine_of(load.spec).runs_vllm:
        return _in_vllm(topic, load, weights, memory, on)
    return _in_transformers(topic, load, weights, on)


def _in_vllm(topic: Topic, load: Loading, weights: float, memory: int, on: dict[str, str]) -> Finding:
    """vLLM reserves its share of each device, and starts where one sequence of the longest length fits."""
    kind, ranks = load.spec.kv_cache_dtype, len(load.used)
    heads = load.checkpoint.language_model().count("num_attention_heads")
    if heads and heads % ranks:  # vLLM 0.32, verify_with_parallel_config in vllm/config/model.py
        fitting = ", ".join(str(n) for n in range(1, 9) if heads % n == 0)
        return topic.error("heads", heads=heads, ranks=ranks, fitting=fitting)
    room = _room(load, weights, memory)
    if room < 0:
        overhead = OVERHEAD * ranks
        usable = gigabytes(room + weights + overhead)
        return topic.error("weights_too_large", usable=usable, overhead=gigabytes(overhead), **on)
    if kind not in (None, "auto", *VLLM.cache_bytes):
        kinds, version = tuple(VLLM.cache_bytes), VLLM.read_in[0]
        if load.installed is not None and load.installed.cache_kinds:
            kinds, version = load.installed.cache_kinds, load.installed.version
        if kind in kinds:
            return topic.warning("cache_width", kind=kind, **on)
        others = ", ".join(each for each in kinds if each != "auto")
        return topic.warning("cache_kind", kind=kind, version=version, kinds=others, **on)
    cache = planned_cache(load)
    if cache is None:
        return topic.warning("cache_unknown", **on)
    length = _length(load)
    longest, one = min(length, load.needed), ranks * cache.of(length)
    figures = {"length": length, "one": gigabytes(one), "room": gigabytes(room), **on}
    if room < one:
        return topic.error("no_sequence", needed=load.needed, **figures)
    # by the study's own longest answer, of which several keep the device busy: the engine's longest sequence decides
    # only whether vLLM starts
    at_once = int(room // (ranks * cache.of(longest)))
    find = topic.ok if at_once >= FEW else topic.warning
    return find("sequences", at_once=at_once, longest=longest, **figures)


def room_for_cache(load: Loading) -> float | None:
    """Bytes that vLLM has left for the cache on all devices; None where a size is not known, or none is."""
    weights, memory = loaded_bytes(load.checkpoint, load.spec), load.memory()
    room = 0.0 if weights is None or memory is None else _room(load, weights, memory)
    return room if room > 0 else None


def _room(load: Loading, weights: float, memory: float) -> float:
    """Each device needs its own context and activations, so the overhead grows with them."""
    share = load.spec.gpu_memory_utilization or VLLM.gpu_memory_utilization
    return share * memory - weights - OVERHEAD * len(load.used)


def _length(load: Loading) -> int:
    """The longest sequence that the engine allows, in tokens."""
    return load.spec.max_model_len or load.checkpoint.context() or load.needed


def _in_transformers(topic: Topic, load: Loading, weights: float, on: dict[str, str]) -> Finding:
    """Transformers reserves nothing ahead: the cache of a batch grows with its answers, into what is free."""
    free = load.used[0].part.free or 0
    room = free - weights - OVERHEAD
    if room < 0:
        return topic.error("too_large_for_transformers", free=gigabytes(free), overhead=gigabytes(OVERHEAD), **on)
    cache = planned_cache(load)
    if cache is None:
        return topic.warning("cache_unknown", **on)
    size, length = load.spec.batch_size, min(load.needed, _length(load))
    one, batch = cache.of(length), size * cache.of(length)
    takes = {"size": size, "length": length, "batch": gigabytes(batch), "room": gigabytes(room), **on}
    if room < one:
        return topic.error("no_batch", **takes)
    if room < batch:
        return topic.warning("smaller_batch", fitting=int(room // one), **takes)
    return topic.ok("batch", **takes)


def loaded_bytes(checkpoint: Checkpoint, spec: EngineSpec) -> float | None:
    """Bytes of weights once they are on the device; None where they are not known.

    Plain weights are turned into the number type that is computed in, or quantized. Quantized ones stay as they are,
    but for compressed-tensors in transformers, which are unpacked.
    """
    if checkpoint.weights is None:
        return None
    stored = checkpoint.precisions(None)
    if stored == {UNQUANTIZED}:
        in_16_bits = checkpoint.weights * 2 / width_of(checkpoint.stored_dtype())
        at_load = VLLM.at_load.get(spec.quantization or "")
        return in_16_bits * (_SHRINK[at_load] if at_load else width_of(checkpoint.dtype(spec)) / 2)
    packed = (checkpoint.quantization() or {}).get("method") == "compressed-tensors"
    if not engine_of(spec).runs_vllm and packed and stored:
        return checkpoint.weights / max(_SHRINK.get(precision, 1.0) for precision in stored)
    return checkpoint.weights
