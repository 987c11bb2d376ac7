"""Kernels that vLLM will choose for each variant's weights on this device, and what that means for the figures.

Read in vLLM 0.32: `vllm/model_executor/kernels/linear/__init__.py` (the order) and each kernel's `is_supported`.
Other versions may choose otherwise; the run records what was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

from bitparity.doctor.checkpoints import Checkpoint, unknown_remedy
from bitparity.doctor.findings import Finding, Topic
from bitparity.hardware.devices import VisibleDevice
from bitparity.models.precision import UNQUANTIZED
from bitparity.models.quantization import PLAIN
from bitparity.schema import EngineSpec, Variant

Capability = tuple[int, int]
_TURING, _AMPERE, _ADA, _HOPPER, _BLACKWELL = (7, 5), (8, 0), (8, 9), (9, 0), (10, 0)
_BLACKWELL_DESKTOP = (12, 0)  # GeForce RTX 50 and RTX PRO

_W4A4, _W8A8 = "weights and activations in 4 bits (W4A4)", "weights and activations in 8 bits (W8A8)"
_MARLIN = "Marlin, weights only; activations stay in 16 bits"
_ROUNDED = "if the quantized arithmetic is what you ship; here the figure holds for the rounded weights only"
_NO_UNITS = f"compare on a device with such units (FP8: Ada, Hopper, Blackwell; NVFP4: Blackwell) {_ROUNDED}"
_OLD_UNITS = (
    "compare on a newer GPU (scales for blocks: from 9.0, Hopper; MXFP8: from 10.0, Blackwell), or a checkpoint with "
    f"a scale for each channel, {_ROUNDED}"
)
_FAULTY = (
    f"FlashInfer-CUTLASS or CUTLASS, {_W4A4}; several versions were faulty on this chip (garbage or zeros), others "
    "fell back to Marlin without a word"
)
_LOOK = "after the first items look at the kernel in environment.json and at some answers"
_BLOCKS = " with scales for blocks"  # of 128 x 128 weights, as DeepSeek's and Qwen's own FP8 checkpoints have

# By precision: (compute capability from which on it holds, kernel and arithmetic, remedy where that is not what the
# checkpoint means), the oldest first. Ada's FP8 units take no block scales: there vLLM lists Marlin before Triton.
_4_BITS_STORED = (_TURING, f"{_MARLIN} (W4A16)", _NO_UNITS)
_8_BITS_STORED = (_TURING, f"{_MARLIN} (W8A16)", _NO_UNITS)
_8_BITS_ON_ADA = (_ADA, f"{_MARLIN} (W8A16)", _OLD_UNITS)
_KERNELS = {
    "NVFP4": (
        _4_BITS_STORED,
        (_BLACKWELL, f"FlashInfer-CuteDSL or -CUTLASS, {_W4A4}", ""),
        (_BLACKWELL_DESKTOP, _FAULTY, _LOOK),
    ),
    "MXFP4": (
        _4_BITS_STORED,
        (_BLACKWELL, "FlashInfer where installed, else Marlin (weights only); the run records which", ""),
    ),
    "FP8": (_8_BITS_STORED, (_ADA, f"CUTLASS, {_W8A8}", ""), (_BLACKWELL, f"FlashInfer or CUTLASS, {_W8A8}", "")),
    f"FP8{_BLOCKS}": (_8_BITS_STORED, _8_BITS_ON_ADA, (_HOPPER, f"DeepGEMM or CUTLASS, {_W8A8}", "")),
    "MXFP8": (_8_BITS_STORED, _8_BITS_ON_ADA, (_BLACKWELL, f"FlashInfer, {_W8A8}", "")),
    "INT8": ((_TURING, "CUTLASS or Triton", ""),),
}


def check_kernels(name: str, variant: Variant, checkpoint: Checkpoint, device: VisibleDevice) -> Iterator[Finding]:
    """One line for each precision of a checkpoint's weights, and one where the chip lacks the arithmetic."""
    topic, spec, capability = Topic(f"kernels of {name}"), variant.engine, device.gpu.capability
    if capability < _AMPERE and checkpoint.dtype(spec) == "bfloat16":
        yield _no_bfloat16(topic, spec.dtype == "bfloat16", capability)
    precisions = checkpoint.precisions(spec.quantization)
    if precisions is None:
        remedy = "the run records what is chosen" if checkpoint.whole else unknown_remedy(variant)
        yield topic.warning(f"how {variant.model} is quantized is not known here", remedy)
    elif spec.linear_backend is not None:
        yield topic.ok(f"{' + '.join(sorted(precisions))}: the study sets linear_backend {spec.linear_backend}")
    else:
        weight_only, blocks = _is_weight_only(checkpoint), _has_block_scales(checkpoint, spec)
        for precision in sorted(precisions):
            yield _kernel(topic, precision, capability, weight_only, blocks)


def _no_bfloat16(topic: Topic, asked: bool, capability: Capability) -> Finding:
    """vLLM 0.32: _resolve_auto_dtype in vllm/config/model.py, supported_dtypes in vllm/platforms/cuda.py."""
    lacks = f"compute capability {capability[0]}.{capability[1]} has no bfloat16 arithmetic"
    remedy = "set dtype: float16 for every variant, or take a newer GPU"
    if asked:
        return topic.error(f"{lacks}: vLLM refuses dtype bfloat16", remedy)
    return topic.warning(f"{lacks}: vLLM takes float16 without being told", remedy)


def _is_weight_only(checkpoint: Checkpoint) -> bool:
    """True where the checkpoint itself means its activations to stay as they are."""
    declared = checkpoint.quantization() or {}
    if "activations" in declared:
        return set(declared["activations"]) <= {PLAIN}
    return str(declared.get("method")).lower() in ("awq", "gptq", "auto-round", "bitsandbytes", "hqq")


def _has_block_scales(checkpoint: Checkpoint, spec: EngineSpec) -> bool:
    """True where FP8 weights have a scale for each block of, say, 128 x 128, as DeepSeek's and Qwen's own have."""
    declared = checkpoint.language_model().part("quantization_config")
    in_config = declared is not None and bool(declared.values.get("weight_block_size"))
    schemes = (checkpoint.quantization() or {}).get("weights", [])
    in_scheme = any(scheme.startswith("float 8 bit, block") for scheme in schemes)
    return spec.quantization == "fp8_per_block" or in_config or in_scheme


def _kernel(topic: Topic, precision: str, capability: Capability, weight_only: bool, blocks: bool) -> Finding:
    """The kernel for weights of one precision; `blocks`: with scales for blocks."""
    on = f"{precision} on compute capability {capability[0]}.{capability[1]}"
    if precision == UNQUANTIZED:
        return topic.ok(f"{on}: plain matrix products")
    if capability < _TURING:
        return topic.error(f"{on}: vLLM has no kernel", "a GPU from Turing (7.5) on is needed")
    in_blocks = _BLOCKS if blocks and precision == "FP8" else ""
    rules = _KERNELS.get(precision + in_blocks)
    if rules is None or weight_only:
        kernel = "Machete or Marlin" if capability[0] == 9 and precision in ("INT4", "INT8") else "Marlin"
        return topic.ok(f"{on}: {kernel}, weights only, as the checkpoint means it")
    _, kernel, remedy = [rule for rule in rules if rule[0] <= capability][-1]
    message = f"{on}{in_blocks}: {kernel}"
    return topic.warning(message, remedy) if remedy else topic.ok(message)
