"""Check of the memory: weights and key-value cache on the devices, for the study's longest answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitparity.doctor.checkpoints import Checkpoint, unknown_remedy
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.vllm import VLLM
from bitparity.doctor.vllm_inquiry import Installed
from bitparity.engines.registry import engine_of
from bitparity.hardware.devices import VisibleDevice, gigabytes
from bitparity.models.config import Config
from bitparity.models.quantization import UNQUANTIZED
from bitparity.schema import EngineSpec, Variant

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


@dataclass(frozen=True, slots=True)
class _Loading:
    """A variant to be loaded. `weights` is in bytes, `needed` the study's longest prompt and answer in tokens."""

    topic: Topic
    variant: Variant
    checkpoint: Checkpoint
    weights: float
    needed: int

    def on(self, memory: float | None) -> dict[str, str]:
        """The figures of every line: the weights, and the memory in bytes that they are to be loaded into."""
        return {"weights": gigabytes(self.weights), "memory": gigabytes(memory)}

    def length(self) -> int:
        """The longest sequence that the engine allows, in tokens."""
        return self.variant.engine.max_model_len or self.checkpoint.context() or self.needed


def check_memory(
    name: str,
    variant: Variant,
    checkpoint: Checkpoint,
    used: Sequence[VisibleDevice],
    needed: int,
    installed: Installed | None = None,
) -> Finding:
    """Weights, then room for sequences. `needed` is the study's longest prompt and answer in tokens.

    `installed` is what the installed vLLM answered.
    """
    topic, weights = Topic(f"memory of {name}"), loaded_bytes(checkpoint, variant)
    if weights is None:
        return topic.warning("size_unknown", model=variant.model, remedy=unknown_remedy(variant))
    sizes = [device.part.memory for device in used if device.part.memory is not None]
    if len(sizes) < len(used):
        return topic.warning("memory_unknown", device=used[0], weights=gigabytes(weights))
    load = _Loading(topic, variant, checkpoint, weights, needed)
    if engine_of(variant.engine).runs_vllm:
        return _in_vllm(load, min(sizes), len(used), installed)
    return _in_transformers(load, used[0])


def _in_vllm(load: _Loading, smallest: int, ranks: int, installed: Installed | None) -> Finding:
    """vLLM reserves its share of each device; every device holds as much as the smallest can, in bytes."""
    spec, kind, memory = load.variant.engine, load.variant.engine.kv_cache_dtype, smallest * ranks
    heads = load.checkpoint.language_model().count("num_attention_heads")
    if heads and heads % ranks:  # vLLM 0.32, verify_with_parallel_config in vllm/config/model.py
        fitting = ", ".join(str(n) for n in range(1, 9) if heads % n == 0)
        return load.topic.error("heads", heads=heads, ranks=ranks, fitting=fitting)
    on, room = load.on(memory), _room(spec, load.weights, memory, ranks)
    if room < 0:
        overhead = OVERHEAD * ranks
        figures = {"usable": gigabytes(room + load.weights + overhead), "overhead": gigabytes(overhead)}
        return load.topic.error("weights_too_large", **figures, **on)
    if kind not in (None, "auto", *VLLM.cache_bytes):
        kinds, version = tuple(VLLM.cache_bytes), VLLM.read_in[0]
        if installed is not None and installed.cache_kinds:
            kinds, version = installed.cache_kinds, installed.version
        if kind in kinds:
            return load.topic.warning("cache_width", kind=kind, **on)
        others = ", ".join(each for each in kinds if each != "auto")
        return load.topic.warning("cache_kind", kind=kind, version=version, kinds=others, **on)
    cache = planned_cache(load.checkpoint, spec, ranks)
    return load.topic.warning("cache_unknown", **on) if cache is None else _sequences(load, cache, memory, room, ranks)


def room_for_cache(variant: Variant, checkpoint: Checkpoint, used: Sequence[VisibleDevice]) -> float | None:
    """Bytes that vLLM has left for the cache on these devices together; None where a size is not known, or none is."""
    weights = loaded_bytes(checkpoint, variant)
    sizes = [device.part.memory for device in used if device.part.memory is not None]
    if weights is None or len(sizes) < len(used):
        return None
    # every device holds an equal part, so the smallest one bounds them all
    room = _room(variant.engine, weights, min(sizes) * len(used), len(used))
    return room if room > 0 else None


def _room(spec: EngineSpec, weights: float, memory: float, ranks: int) -> float:
    """Each device needs its own context and activations, so the overhead grows with them."""
    return (spec.gpu_memory_utilization or VLLM.gpu_memory_utilization) * memory - weights - OVERHEAD * ranks


def _sequences(load: _Loading, cache: Cache, memory: int, room: float, ranks: int) -> Finding:
    """vLLM starts where one sequence of the longest length fits; several of the study's keep the device busy."""
    length, longest = load.length(), min(load.length(), load.needed)
    one = ranks * cache.of(length)
    figures = {"length": length, "one": gigabytes(one), "room": gigabytes(room), **load.on(memory)}
    if room < one:
        return load.topic.error("no_sequence", needed=load.needed, **figures)
    # by the study's own longest answer: the engine's longest sequence decides only whether vLLM starts
    at_once = int(room // (ranks * cache.of(longest)))
    find = load.topic.ok if at_once >= FEW else load.topic.warning
    return find("sequences", at_once=at_once, longest=longest, **figures)


def _in_transformers(load: _Loading, device: VisibleDevice) -> Finding:
    """Transformers reserves nothing ahead: the cache of a batch grows with its answers, into what is free."""
    spec, memory, free = load.variant.engine, device.part.memory, device.part.free or 0
    room = free - load.weights - OVERHEAD
    if room < 0:
        figures = {"free": gigabytes(free), "overhead": gigabytes(OVERHEAD)}
        return load.topic.error("too_large_for_transformers", **figures, **load.on(memory))
    cache = planned_cache(load.checkpoint, spec)
    if cache is None:
        return load.topic.warning("cache_unknown", **load.on(memory))
    length = min(load.needed, load.length())
    one, batch = cache.of(length), spec.batch_size * cache.of(length)
    takes = {"size": spec.batch_size, "length": length, "batch": gigabytes(batch), "room": gigabytes(room)}
    if room < one:
        return load.topic.error("no_batch", **takes, **load.on(memory))
    if room < batch:
        return load.topic.warning("smaller_batch", fitting=int(room // one), **takes, **load.on(memory))
    return load.topic.ok("batch", **takes, **load.on(memory))


def loaded_bytes(checkpoint: Checkpoint, variant: Variant) -> float | None:
    """Bytes of weights once they are on the device; None where they are not known.

    Plain weights are turned into the number type that is computed in, or quantized. Quantized ones stay as they are,
    but for compressed-tensors in transformers, which are unpacked.
    """
    if checkpoint.weights is None:
        return None
    spec, stored = variant.engine, checkpoint.precisions(None)
    if stored == {UNQUANTIZED}:
        in_16_bits = checkpoint.weights * 2 / checkpoint.stored_width()
        at_load = VLLM.at_load.get(spec.quantization or "")
        return in_16_bits * (_SHRINK[at_load] if at_load else checkpoint.loaded_width(spec) / 2)
    packed = (checkpoint.quantization() or {}).get("method") == "compressed-tensors"
    if not engine_of(spec).runs_vllm and packed and stored:
        return checkpoint.weights / max(_SHRINK.get(precision, 1.0) for precision in stored)
    return checkpoint.weights
