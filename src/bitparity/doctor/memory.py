"""Whether weights and key-value cache fit the device, for the study's lengths."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitparity.doctor.checkpoints import Checkpoint, unquantized
from bitparity.doctor.devices import UTILIZATION, Target
from bitparity.doctor.findings import Finding, error, gigabytes, ok, warning
from bitparity.study import Variant

OVERHEAD = 3 * 10**9  # bytes a device: CUDA context, activations, CUDA graphs; about what vLLM reports for 32B models
FEW = 2  # of the study's longest answers at once; below, one long answer holds up all others
_SHRINK = {"FP8": 0.55, "INT8": 0.55, "INT4": 0.35, "NVFP4": 0.35}  # of 16-bit weights quantized at load


def check_memory(
    name: str, variant: Variant, checkpoint: Checkpoint, used: Sequence[Target], needed: int
) -> Iterator[Finding]:
    """Weights, then room for sequences. `needed` is the study's longest budget in tokens."""
    spec, topic = variant.engine, f"memory of {name}"
    share = spec.gpu_memory_utilization or UTILIZATION
    weights = _loaded(checkpoint, variant)
    if weights is None:
        yield warning(
            topic, f"the size of {variant.model} is not known here", "let this host reach the hub, or give a folder"
        )
        return
    if any(t.memory is None for t in used):
        yield warning(
            topic,
            f"NVML does not tell the memory of {used[0]}: whether {gigabytes(weights)} of weights fit is not known",
            "compare with the device's data sheet, or with free -h where GPU and host share one memory",
        )
        return
    total = sum(t.memory or 0 for t in used)
    usable = share * total if spec.kind == "vllm" else total
    where = f"{gigabytes(weights)} of weights on {gigabytes(total)}"
    if weights + OVERHEAD * len(used) > usable:
        yield error(
            topic,
            f"{where} do not fit ({gigabytes(usable)} usable, {gigabytes(OVERHEAD * len(used))} for the engine itself)",
            "take a larger GPU or slice, several GPUs (tensor_parallel_size), or leave this variant out",
        )
        return
    per_token = checkpoint.cache_bytes(spec.kv_cache_dtype)
    if per_token is None:
        yield warning(
            topic, f"{where} fit; the cache's need is not known (config.json)", "watch the engine's log at start"
        )
        return
    yield _cache(topic, where, usable - weights - OVERHEAD * len(used), per_token, variant, checkpoint, needed)


def _cache(
    topic: str, where: str, room: float, per_token: int, variant: Variant, checkpoint: Checkpoint, needed: int
) -> Finding:
    length = variant.engine.max_model_len or checkpoint.context() or needed
    one = per_token * length
    said = f"{where}; one sequence of {length:,} tokens takes {gigabytes(one)}, {gigabytes(max(room, 0))} are left"
    if room < one:
        return error(
            topic,
            f"{said}: not one fits, and vLLM refuses to start",
            f"set max_model_len (the study needs about {needed:,}), kv_cache_dtype: fp8 (for all), or a larger device",
        )
    at_once = int(room // (per_token * min(length, needed)))
    said = f"{said}: {at_once:,} of the study's longest ({min(length, needed):,} tokens) at once"
    if at_once < FEW:
        return warning(topic, said, "expect a slow run; kv_cache_dtype: fp8 (for every variant) doubles the room")
    return ok(topic, said)


def _loaded(checkpoint: Checkpoint, variant: Variant) -> float | None:
    """Bytes of weights once they are on the device."""
    if checkpoint.weights is None:
        return None
    plain = unquantized(checkpoint.precisions(None))
    (precision,) = (checkpoint.precisions(variant.engine.quantization) or {""}) if plain else {""}
    return checkpoint.weights * _SHRINK.get(precision, 1.0)
