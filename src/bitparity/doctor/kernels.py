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

# the compute capability from which on a chip or kernel can be used
_MARLIN = (7, 5)
_BF16_UNITS = (8, 0)
_FP8_UNITS = (8, 9)
_FP8_BLOCKS = (9, 0)  # DeepGEMM and CUTLASS with block scales; on 8.9 Marlin stands before Triton in vLLM's list
_MXFP8_UNITS = (10, 0)
_REMEDY = (
    "compare on a device with such units (FP8: Ada, Hopper, Blackwell; NVFP4: Blackwell) if the quantized "
    "arithmetic is what you ship; here the figure holds for the rounded weights only"
)
_NEWER = (
    "compare on a newer GPU (scales for blocks: from 9.0, Hopper; MXFP8: from 10.0, Blackwell), or a checkpoint with "
    "a scale for each channel, if the quantized arithmetic is what you ship; here the figure holds for the rounded "
    "weights only"
)


def check_kernels(name: str, variant: Variant, checkpoint: Checkpoint, device: VisibleDevice) -> Iterator[Finding]:
    """One line for each precision of a checkpoint's weights, and one where the chip lacks the arithmetic."""
    topic, spec, capability = Topic(f"kernels of {name}"), variant.engine, device.gpu.capability
    if capability < _BF16_UNITS and checkpoint.dtype(spec) == "bfloat16":
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


def _no_bfloat16(topic: Topic, asked: bool, capability: tuple[int, int]) -> Finding:
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


def _kernel(topic: Topic, precision: str, capability: tuple[int, int], weight_only: bool, blocks: bool) -> Finding:
    on = f"{precision} on compute capability {capability[0]}.{capability[1]}"
    if precision == UNQUANTIZED:
        return topic.ok(f"{on}: plain matrix products")
    if capability < _MARLIN:
        return topic.error(f"{on}: vLLM has no kernel", "a GPU from Turing (7.5) on is needed")
    if not weight_only:
        if precision in ("NVFP4", "MXFP4"):
            return _four_bits(topic, on, precision, capability)
        if precision in ("FP8", "MXFP8"):
            return _eight_bits(topic, on, precision, capability, blocks)
        if precision == "INT8":
            return topic.ok(f"{on}: CUTLASS or Triton")
    kernel = "Machete or Marlin" if capability[0] == 9 and precision in ("INT4", "INT8") else "Marlin"
    return topic.ok(f"{on}: {kernel}, weights only, as the checkpoint means it")


def _eight_bits(topic: Topic, on: str, precision: str, capability: tuple[int, int], blocks: bool) -> Finding:
    if precision == "MXFP8":
        units, kernel = _MXFP8_UNITS, "FlashInfer"
    elif blocks:
        units, kernel = _FP8_BLOCKS, "DeepGEMM or CUTLASS"
    else:
        units, kernel = _FP8_UNITS, "FlashInfer or CUTLASS" if capability >= (10, 0) else "CUTLASS"
    on += " with scales for blocks" if blocks else ""
    if capability >= units:
        return topic.ok(f"{on}: {kernel}, weights and activations in 8 bits (W8A8)")
    remedy = _REMEDY if capability < _FP8_UNITS else _NEWER
    return topic.warning(f"{on}: Marlin, weights only; activations stay in 16 bits (W8A16)", remedy)


def _four_bits(topic: Topic, on: str, precision: str, capability: tuple[int, int]) -> Finding:
    if capability[0] < 10:
        return topic.warning(f"{on}: Marlin, weights only; activations stay in 16 bits (W4A16)", _REMEDY)
    if precision == "MXFP4":
        return topic.ok(f"{on}: FlashInfer where installed, else Marlin (weights only); the run records which")
    if capability[0] == 12:
        return topic.warning(
            f"{on}: FlashInfer-CUTLASS or CUTLASS, weights and activations in 4 bits (W4A4); several versions were "
            "faulty on this chip (garbage or zeros), others fell back to Marlin without a word",
            "after the first items look at the kernel in environment.json and at some answers",
        )
    return topic.ok(f"{on}: FlashInfer-CuteDSL or -CUTLASS, weights and activations in 4 bits (W4A4)")
