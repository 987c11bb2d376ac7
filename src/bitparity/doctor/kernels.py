"""Which kernel vLLM will choose for each variant's weights on this device, and what that means for the figure.

Read in vLLM 0.32: `vllm/model_executor/kernels/linear/__init__.py` (the order) and each kernel's `is_supported`.
Other versions may choose otherwise; the run records what was chosen.
"""

from __future__ import annotations

from collections.abc import Iterator

from bitparity.doctor.checkpoints import Checkpoint
from bitparity.doctor.devices import Target
from bitparity.doctor.findings import Finding, error, ok, warning
from bitparity.doctor.nvml import Machine
from bitparity.study import Variant
from bitparity.validity.precision import UNQUANTIZED

MARLIN = (7, 5)
FP8_UNITS = (8, 9)
BF16_UNITS = (8, 0)
_NOT_HERE = "compare on a device with such units (FP8: Ada, Hopper, Blackwell; NVFP4: Blackwell) if the quantized "
_REMEDY = _NOT_HERE + "arithmetic is what you ship; here the figure holds for the rounded weights only"
# CUDA major of torch's build -> oldest driver on Linux (NVIDIA, CUDA Toolkit release notes, table 3)
_DRIVERS = {12: "525.60", 13: "580.65"}


def check_kernels(name: str, variant: Variant, checkpoint: Checkpoint, target: Target) -> Iterator[Finding]:
    """One line for each kind of weights in a checkpoint."""
    topic, spec = f"kernels of {name}", variant.engine
    precisions = checkpoint.precisions(spec.quantization)
    if precisions is None:
        yield warning(topic, f"how {variant.model} is quantized is not known here", "let this host reach the hub")
        return
    if spec.linear_backend is not None:
        yield ok(topic, f"{_said(precisions)}: the study sets linear_backend {spec.linear_backend}")
        return
    activations = (checkpoint.quantization() or {}).get("activations")
    weight_only = isinstance(activations, list) and set(activations) <= {"not quantized"}
    for precision in sorted(precisions):
        yield _kernel(topic, precision, target.gpu.capability, weight_only)


def _said(precisions: set[str]) -> str:
    return " + ".join(sorted(precisions))


def _kernel(topic: str, precision: str, capability: tuple[int, int], weight_only: bool) -> Finding:
    on = f"{precision} on compute capability {capability[0]}.{capability[1]}"
    if precision == UNQUANTIZED:
        if capability < BF16_UNITS:
            return error(topic, f"{on}: no bfloat16 arithmetic", "set dtype: float16 for every variant, or a newer GPU")
        return ok(topic, f"{on}: plain matrix products")
    if capability < MARLIN:
        return error(topic, f"{on}: vLLM has no kernel", "a GPU from Turing (7.5) on is needed")
    if precision in ("NVFP4", "MXFP4") and not weight_only:
        return _four_bits(topic, on, precision, capability)
    if precision in ("FP8", "MXFP8") and not weight_only:
        if capability >= FP8_UNITS:
            kernel = "FlashInfer or CUTLASS" if capability >= (10, 0) else "CUTLASS"
            return ok(topic, f"{on}: {kernel}, weights and activations in 8 bits")
        return warning(topic, f"{on}: Marlin, weights only; activations stay in 16 bits (W8A16)", _REMEDY)
    if precision == "INT8":
        return ok(topic, f"{on}: CUTLASS or Triton")
    kernel = "Machete or Marlin" if capability[0] == 9 and precision == "INT4" else "Marlin"
    return ok(topic, f"{on}: {kernel}, weights only, as the checkpoint means it")


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
