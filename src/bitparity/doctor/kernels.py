"""Which kernel vLLM will choose for each variant's weights on this device, and what that means for the figure.

Read in vLLM 0.32: `vllm/model_executor/kernels/linear/__init__.py` (the order) and each kernel's `is_supported`.
Other versions may choose otherwise; the run records what was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

from bitparity.doctor.checkpoints import Checkpoint, unknown_remedy
from bitparity.hardware.devices import Target
from bitparity.hardware.findings import Finding, error, ok, warning
from bitparity.hardware.nvml import Machine
from bitparity.models.precision import UNQUANTIZED
from bitparity.schema import EngineSpec, Variant

MARLIN = (7, 5)
FP8_UNITS = (8, 9)
FP8_BLOCKS = (9, 0)  # DeepGEMM and CUTLASS with block scales; on 8.9 Marlin stands before Triton in vLLM's list
MXFP8_UNITS = (10, 0)
BF16_UNITS = (8, 0)
_NOT_HERE = "compare on a device with such units (FP8: Ada, Hopper, Blackwell; NVFP4: Blackwell) if the quantized "
_REMEDY = _NOT_HERE + "arithmetic is what you ship; here the figure holds for the rounded weights only"
_NEWER = (
    "compare on a newer GPU (scales for blocks: from 9.0, Hopper; MXFP8: from 10.0, Blackwell), or a checkpoint with "
    "a scale for each channel, if the quantized arithmetic is what you ship; here the figure holds for the rounded "
    "weights only"
)
# CUDA major of torch's build -> oldest driver on Linux (NVIDIA, CUDA Toolkit release notes, table 3)
_DRIVERS = {12: "525.60", 13: "580.65"}


def check_kernels(name: str, variant: Variant, checkpoint: Checkpoint, target: Target) -> Iterator[Finding]:
    """One line for each kind of weights in a checkpoint, and one where the chip lacks its arithmetic."""
    topic, spec, capability = f"kernels of {name}", variant.engine, target.gpu.capability
    if capability < BF16_UNITS and checkpoint.dtype(spec) == "bfloat16":
        yield _no_bfloat16(topic, spec.dtype == "bfloat16", capability)
    precisions = checkpoint.precisions(spec.quantization)
    if precisions is None:
        remedy = "the run records what is chosen" if checkpoint.missing == 0 and not checkpoint.problem else None
        said = f"how {variant.model} is quantized is not known here"
        yield warning(topic, said, remedy or unknown_remedy(variant))
        return
    if spec.linear_backend is not None:
        yield ok(topic, f"{_said(precisions)}: the study sets linear_backend {spec.linear_backend}")
        return
    weight_only, blocks = _weight_only(checkpoint), _in_blocks(checkpoint, spec)
    for precision in sorted(precisions):
        yield _kernel(topic, precision, capability, weight_only, blocks)


def _no_bfloat16(topic: str, asked: bool, capability: tuple[int, int]) -> Finding:
    """vLLM 0.32: _resolve_auto_dtype in vllm/config/model.py, supported_dtypes in vllm/platforms/cuda.py."""
    said = f"compute capability {capability[0]}.{capability[1]} has no bfloat16 arithmetic"
    remedy = "set dtype: float16 for every variant, or take a newer GPU"
    if asked:
        return error(topic, f"{said}: vLLM refuses dtype bfloat16", remedy)
    return warning(topic, f"{said}: vLLM takes float16 without being told", remedy)


def _weight_only(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint itself means its activations to stay as they are."""
    declared = checkpoint.quantization() or {}
    activations = declared.get("activations")
    if isinstance(activations, list):
        return set(activations) <= {"not quantized"}
    return str(declared.get("method")).lower() in ("awq", "gptq", "auto-round", "bitsandbytes", "hqq")


def _in_blocks(checkpoint: Checkpoint, spec: EngineSpec) -> bool:
    """Whether FP8 weights have a scale for each block of, say, 128 x 128, as DeepSeek's and Qwen's own have."""
    if spec.quantization == "fp8_per_block":
        return True
    declared = checkpoint.text_config().get("quantization_config")
    if isinstance(declared, dict) and declared.get("weight_block_size"):
        return True
    schemes = (checkpoint.quantization() or {}).get("weights") or []
    return any(scheme.startswith("float 8 bit, block") for scheme in schemes)


def _said(precisions: set[str]) -> str:
    return " + ".join(sorted(precisions))


def _kernel(topic: str, precision: str, capability: tuple[int, int], weight_only: bool, blocks: bool) -> Finding:
    on = f"{precision} on compute capability {capability[0]}.{capability[1]}"
    if precision == UNQUANTIZED:
        return ok(topic, f"{on}: plain matrix products")
    if capability < MARLIN:
        return error(topic, f"{on}: vLLM has no kernel", "a GPU from Turing (7.5) on is needed")
    if precision in ("NVFP4", "MXFP4") and not weight_only:
        return _four_bits(topic, on, precision, capability)
    if precision in ("FP8", "MXFP8") and not weight_only:
        return _eight_bits(topic, on, precision, capability, blocks)
    if precision == "INT8" and not weight_only:
        return ok(topic, f"{on}: CUTLASS or Triton")
    kernel = "Machete or Marlin" if capability[0] == 9 and precision in ("INT4", "INT8") else "Marlin"
    return ok(topic, f"{on}: {kernel}, weights only, as the checkpoint means it")


def _eight_bits(topic: str, on: str, precision: str, capability: tuple[int, int], blocks: bool) -> Finding:
    units = MXFP8_UNITS if precision == "MXFP8" else FP8_BLOCKS if blocks else FP8_UNITS
    with_blocks = " with scales for blocks" if blocks else ""
    if capability < units:
        what = f"{on}{with_blocks}: Marlin, weights only; activations stay in 16 bits (W8A16)"
        return warning(topic, what, _REMEDY if capability < FP8_UNITS else _NEWER)
    kernel = "CUTLASS"
    if precision == "MXFP8":
        kernel = "FlashInfer"
    elif blocks:
        kernel = "DeepGEMM or CUTLASS"
    elif capability >= (10, 0):
        kernel = "FlashInfer or CUTLASS"
    return ok(topic, f"{on}{with_blocks}: {kernel}, weights and activations in 8 bits (W8A8)")


def _four_bits(topic: str, on: str, precision: str, capability: tuple[int, int]) -> Finding:
    if capability[0] < 10:
        return warning(topic, f"{on}: Marlin, weights only; activations stay in 16 bits (W4A16)", _REMEDY)
    if precision == "MXFP4":
        return ok(topic, f"{on}: FlashInfer where installed, else Marlin (weights only); the run records which")
    if capability[0] == 12:
        return warning(
            topic,
            f"{on}: FlashInfer-CUTLASS or CUTLASS, weights and activations in 4 bits (W4A4); several versions were "
            "faulty on this chip (garbage or zeros), others fell back to Marlin without a word",
            "after the first items look at the kernel in environment.json and at some answers",
        )
    return ok(topic, f"{on}: FlashInfer-CuteDSL or -CUTLASS, weights and activations in 4 bits (W4A4)")


def check_driver(machine: Machine, torch_cuda: tuple[int, int] | None, has_torch: bool) -> Iterator[Finding]:
    """Whether the driver runs the CUDA version that torch is built for."""
    if not machine.gpus:
        return
    if machine.cuda is None:
        yield warning(
            "driver",
            "the driver does not tell which CUDA it runs, so torch's cannot be compared",
            "compare 'CUDA Version' in nvidia-smi with torch.version.cuda",
        )
        return
    has = f"driver {machine.driver or 'of unknown version'} runs CUDA up to {machine.cuda[0]}.{machine.cuda[1]}"
    if not has_torch:
        yield error("driver", f"{has}, but torch is not installed", "pip install 'bitparity[vllm]', or [transformers]")
    elif torch_cuda is None:
        yield error("driver", f"{has}, but torch here is built without CUDA", "install torch's CUDA build")
    elif torch_cuda[0] > machine.cuda[0]:
        oldest = _DRIVERS.get(torch_cuda[0])
        yield error(
            "driver",
            f"{has}, torch is built for {torch_cuda[0]}.{torch_cuda[1]}",
            f"update the driver{f' to {oldest} or newer' if oldest else ''}, or install a build for its CUDA",
        )
    elif torch_cuda > machine.cuda:
        yield warning(
            "driver",
            f"{has}, torch is built for {torch_cuda[0]}.{torch_cuda[1]}: kernels compiled at run time may not load",
            "update the driver",
        )
    else:
        yield ok("driver", f"{has}; torch is built for {torch_cuda[0]}.{torch_cuda[1]}")
