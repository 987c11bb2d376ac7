"""Whether weights and key-value cache fit the device, for the study's lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitparity.doctor.cache import KINDS, Cache, count
from bitparity.doctor.checkpoints import AT_LOAD, Checkpoint, unknown_remedy, unquantized
from bitparity.engines.registry import engine_of
from bitparity.hardware.devices import UTILIZATION, Target
from bitparity.hardware.findings import Finding, error, gigabytes, ok, warning
from bitparity.schema import Variant

OVERHEAD = 3 * 10**9  # bytes a device: CUDA context, activations, CUDA graphs; about what vLLM reports for 32B models
FEW = 2  # of the study's longest answers at once; below, one long answer holds up all others
# of weights in 16 bits, scales and unquantized layers included
_SHRINK = {"FP8": 0.55, "MXFP8": 0.55, "INT8": 0.55, "INT4": 0.35, "NVFP4": 0.35, "MXFP4": 0.35}


def check_memory(
    name: str, variant: Variant, checkpoint: Checkpoint, used: Sequence[Target], needed: int
) -> Iterator[Finding]:
    """Weights, then room for sequences. `needed` is the study's longest budget in tokens."""
    topic = f"memory of {name}"
    weights = _loaded(checkpoint, variant)
    if weights is None:
        yield warning(topic, f"the size of {variant.model} is not known here", unknown_remedy(variant))
        return
    sizes = [t.memory for t in used if t.memory is not None]
    if len(sizes) < len(used):
        yield warning(
            topic,
            f"NVML does not tell the memory of {used[0]}: whether {gigabytes(weights)} of weights fit is not known",
            "compare with the device's data sheet, or with free -h where GPU and host share one memory",
        )
    elif engine_of(variant.engine).runs_vllm:
        yield from _in_vllm(topic, variant, checkpoint, min(sizes), len(used), weights, needed)
    else:
        yield from _in_transformers(topic, variant, checkpoint, used[0], weights, needed)


def _in_vllm(
    topic: str, variant: Variant, checkpoint: Checkpoint, memory: int, ranks: int, weights: float, needed: int
) -> Iterator[Finding]:
    """vLLM reserves its share of each device; every device holds as much as the smallest can."""
    spec = variant.engine
    heads = count(checkpoint.text_config().get("num_attention_heads"))
    if heads and heads % ranks:  # vLLM 0.32, verify_with_parallel_config in vllm/config/model.py
        fitting = ", ".join(str(n) for n in range(1, 9) if heads % n == 0)
        yield error(
            topic,
            f"{heads} attention heads cannot be divided by tensor_parallel_size {ranks}: vLLM refuses to start",
            f"set tensor_parallel_size to one of {fitting}",
        )
        return
    total, overhead = memory * ranks, OVERHEAD * ranks
    usable = (spec.gpu_memory_utilization or UTILIZATION) * total
    where = f"{gigabytes(weights)} of weights on {gigabytes(total)}"
    if weights + overhead > usable:
        yield error(
            topic,
            f"{where} do not fit ({gigabytes(usable)} usable, {gigabytes(overhead)} for the engine itself)",
            "take a larger GPU or slice, several GPUs (tensor_parallel_size), or leave this variant out",
        )
        return
    kind = spec.kv_cache_dtype
    if kind is not None and kind != "auto" and kind not in KINDS:
        yield warning(
            topic,
            f"{where} fit; kv_cache_dtype '{kind}' is none of vLLM 0.32's, so what the cache takes is not known",
            f"set one that this vLLM has: auto, {', '.join(KINDS)}",
        )
        return
    cache = checkpoint.cache(spec, ranks)
    if cache is None:
        yield _unknown_cache(topic, where)
        return
    length = spec.max_model_len or checkpoint.context() or needed
    one, room = ranks * cache.of(length), usable - weights - overhead
    said = f"{where}; one sequence of {length:,} tokens takes {gigabytes(one)}, {gigabytes(room)} are left"
    if room < one:
        yield error(
            topic,
            f"{said}: not one fits, and vLLM refuses to start",
            f"set max_model_len (the study needs about {needed:,}), kv_cache_dtype: fp8 (for all), or a larger device",
        )
        return
    longest = min(length, needed)
    at_once = int(room // (ranks * cache.of(longest)))
    said = f"{said}: {at_once:,} of the study's longest ({longest:,} tokens) at once"
    if at_once < FEW:
        yield warning(topic, said, "expect a slow run; kv_cache_dtype: fp8 (for every variant) doubles the room")
    else:
        yield ok(topic, said)


def _in_transformers(
    topic: str, variant: Variant, checkpoint: Checkpoint, target: Target, weights: float, needed: int
) -> Iterator[Finding]:
    """Transformers reserves nothing ahead: the cache of a batch grows with its answers, into what is free."""
    spec, free = variant.engine, target.free or 0
    where = f"{gigabytes(weights)} of weights on {gigabytes(target.memory)}"
    room = free - weights - OVERHEAD
    if room < 0:
        yield error(
            topic,
            f"{where} do not fit ({gigabytes(free)} free, {gigabytes(OVERHEAD)} for what is computed)",
            "take a larger GPU, end what else uses it, or set device: cpu",
        )
        return
    cache = checkpoint.cache(spec)
    if cache is None:
        yield _unknown_cache(topic, where)
        return
    length = min(needed, spec.max_model_len or checkpoint.context() or needed)
    yield _batch(topic, where, room, cache, length, spec.batch_size)


def _batch(topic: str, where: str, room: float, cache: Cache, length: int, batch_size: int) -> Finding:
    one = cache.of(length)
    said = (
        f"{where}; batch_size {batch_size} x {length:,} tokens of the study take up to {gigabytes(batch_size * one)}, "
        f"{gigabytes(room)} are left"
    )
    if room < one:
        return error(
            topic, f"{said}: not one sequence fits", "take a larger GPU, or lower max_tokens for every variant"
        )
    if room < batch_size * one:
        return warning(
            topic,
            f"{said}: a batch of long answers would run out of memory",
            f"set batch_size: {int(room // one)} for every variant",
        )
    return ok(topic, said)


def _unknown_cache(topic: str, where: str) -> Finding:
    return warning(
        topic, f"{where} fit; the cache's need is not known (config.json)", "watch the engine's log at start"
    )


def _loaded(checkpoint: Checkpoint, variant: Variant) -> float | None:
    """Bytes of weights once they are on the device; None where they are not known.

    Plain weights are turned into the number type that is computed in, or quantized. Quantized ones stay as they are,
    but for compressed-tensors in transformers, which are unpacked.
    """
    if checkpoint.weights is None:
        return None
    spec, stored = variant.engine, checkpoint.precisions(None)
    if unquantized(stored):
        in_16_bits = checkpoint.weights * 2 / checkpoint.stored_width()
        at_load = AT_LOAD.get(spec.quantization or "")
        return in_16_bits * (_SHRINK[at_load] if at_load else checkpoint.loaded_width(spec) / 2)
    packed = (checkpoint.quantization() or {}).get("method") == "compressed-tensors"
    if not engine_of(spec).runs_vllm and packed and stored:
        return checkpoint.weights / max(_SHRINK.get(precision, 1.0) for precision in stored)
    return checkpoint.weights
