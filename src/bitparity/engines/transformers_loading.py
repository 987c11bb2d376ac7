"""Loading of checkpoints for the transformers engine, with proof that what runs is what they declare.

A weight that is missing is filled with random numbers by transformers, a quantization that it does not
know is skipped, an activation may stay unquantized: each without an error. Here each is one.
"""

from __future__ import annotations

import inspect
import json
import platform
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional
from transformers import AutoModelForCausalLM, CompressedTensorsConfig, GenerationConfig
from transformers.quantizers.auto import AUTO_QUANTIZATION_CONFIG_MAPPING

from bitparity.engines.checks import kind_and_message
from bitparity.engines.decoding import end_token_ids
from bitparity.errors import EngineError, ModelError, UserInputError
from bitparity.models.config import Config
from bitparity.models.quantization import Quantization, declared_quantization, scheme_in_words
from bitparity.schema import EngineSpec


def choose_device(wanted: str | None) -> torch.device:
    """The device of the study, else CUDA where there is one, else the CPU."""
    if wanted is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wanted)
    except RuntimeError:
        raise UserInputError(f"engine.device '{wanted}' is no device; write cpu, cuda or cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserInputError(
            f"engine.device is {wanted}, but torch sees {torch.cuda.device_count()} CUDA devices; "
            "check nvidia-smi, CUDA_VISIBLE_DEVICES and that torch is a CUDA build"
        )
    return device


def load_model(folder: Path, spec: EngineSpec, device: torch.device) -> tuple[Any, dict[str, object]]:
    """(the model, ready to run; facts of its loading).

    Raises ModelError where a weight is missing, has another shape, or the quantization is unknown.
    """
    try:
        model, info = AutoModelForCausalLM.from_pretrained(
            str(folder),
            dtype=spec.dtype if spec.dtype == "auto" else getattr(torch, spec.dtype),
            trust_remote_code=spec.trust_remote_code,
            attn_implementation=spec.attention_backend,
            device_map={"": device} if device.type != "cpu" else None,
            output_loading_info=True,
            **_quantization_arguments(folder),
        )
    except (ValueError, OSError, ImportError, KeyError) as error:
        raise ModelError(f"the model in {folder} cannot be loaded: {kind_and_message(error)}") from error
    _check_complete(folder, info)
    _drop_offloading(model)
    facts = {"parameters": model.num_parameters(), "unexpected_weights": len(info["unexpected_keys"])}
    if device.type == "cpu" and not _multiplies_natively(model.dtype):
        _multiply_in_float32(model)
    return model.eval(), facts


def _drop_offloading(model: Any) -> None:
    """Take away the offloading hooks that unpacking leaves on every module, also where nothing is offloaded."""
    try:
        from compressed_tensors.offload.module import remove_module_offload
    except ImportError:
        return
    for module in model.modules():
        remove_module_offload(module, onload_tensors=True)
        own = vars(module).get("forward")  # it leaves the class's own method bound to the instance
        if own is not None and own.__func__ is type(module).forward:
            del module.forward


class Float32Linear(torch.nn.Linear):  # type: ignore[misc]
    """A 16-bit linear layer computed by float32 kernels, for CPUs without 16-bit ones (some 20 times faster).

    The numbers are those of a 16-bit kernel: 16-bit values multiplied, summed in float32, and the result
    rounded to 16 bits. Only the order of summation is the kernel's own, as between any two kernels.
    """

    def forward(self, input: torch.Tensor) -> torch.Tensor:  # noqa: A002 - torch's own name
        """The product in the input's number type."""
        return functional.linear(input.float(), self.weight, self.bias).to(input.dtype)


def _multiplies_natively(dtype: torch.dtype) -> bool:
    """True where this CPU has fast matrix products of a number type."""
    checks = {torch.bfloat16: "_is_mkldnn_bf16_supported", torch.float16: "_is_mkldnn_fp16_supported"}
    if dtype not in checks:
        return True
    check = getattr(torch.ops.mkldnn, checks[dtype], None)
    return bool(check and check())


def _multiply_in_float32(model: Any) -> None:
    for module in model.modules():
        if type(module) is torch.nn.Linear:
            module.__class__ = Float32Linear  # keeps what compressed-tensors hung on the instance
            for name in ("weight", "bias"):
                if (values := getattr(module, name)) is not None:
                    setattr(module, name, torch.nn.Parameter(values.detach().float(), requires_grad=False))


def _quantization_arguments(folder: Path) -> dict[str, object]:
    """Compressed-tensors weights are unpacked at loading; activations stay quantized at each call."""
    declared = declared_quantization(folder)
    if declared is None:
        return {}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    in_config = "quantization_config" in config or "compression_config" in config
    if not in_config or declared["method"] not in AUTO_QUANTIZATION_CONFIG_MAPPING:
        raise ModelError(
            f"the model in {folder} is quantized by '{declared['method']}', which transformers would skip without a "
            "word; use engine kind vllm, or a checkpoint in the compressed-tensors format"
        )
    if declared["method"] != "compressed-tensors":
        return {}
    known = inspect.signature(CompressedTensorsConfig.__init__).parameters
    unpack = {"dequantize": True} if "dequantize" in known else {"run_compressed": False}
    return {"quantization_config": CompressedTensorsConfig(**unpack)}


def _check_complete(folder: Path, info: dict[str, Any]) -> None:
    for key, what in (("missing_keys", "lacks"), ("mismatched_keys", "has in another shape")):
        if names := sorted(map(str, info.get(key) or [])):
            raise ModelError(
                f"the model in {folder} {what} {len(names)} weights, like {names[0]}; transformers would run it "
                "with random numbers there. The download is broken or config.json belongs to another checkpoint"
            )
    if scales := sorted(k for k in info.get("unexpected_keys") or [] if "scale" in k or "packed" in k):
        raise ModelError(
            f"the model in {folder} has {len(scales)} quantization tensors that would not be used, like "
            f"{scales[0]}; config.json lacks its quantization_config, or transformers is too old for it"
        )


def take_generation_config(model: Any, tokenizer: Any) -> list[int]:
    """The end tokens that the checkpoint declares; everything else in its generation_config is dropped.

    transformers fills whatever a call leaves open from there: a temperature, a penalty, forced tokens.
    """
    text_config = model.config.get_text_config()
    declared = [model.generation_config.eos_token_id, getattr(text_config, "eos_token_id", None)]
    model.generation_config = GenerationConfig()
    return end_token_ids(tokenizer, declared)


def device_name(device: torch.device) -> str:
    """The name of the GPU, or of the processor."""
    if device.type == "cuda":
        return str(torch.cuda.get_device_name(device))
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def quantization_facts(model: Any, declared: Quantization | None) -> dict[str, Any] | None:
    """The quantization of the loaded model, counted and probed; None where nothing is quantized.

    `declared` is what the checkpoint says of itself. `activations_quantized` counts the modules whose
    output on a probe differs from the plain product with their weight. Raises EngineError where a module
    declares quantized activations and has none, or where the checkpoint's quantization left no trace.
    """
    config = getattr(model.config, "quantization_config", None)
    modules = [(name, m) for name, m in model.named_modules() if _has_scheme(m) and isinstance(m, torch.nn.Linear)]
    if declared is None and config is None and not modules:
        return None
    method = (declared or {}).get("method")
    linear = sum(isinstance(m, torch.nn.Linear) for m in model.modules())
    facts: dict[str, Any] = {"method": method, "linear_modules": linear}
    if not modules:
        if method == "compressed-tensors":
            raise EngineError(
                "the checkpoint declares compressed-tensors quantization, but no module of the loaded model has "
                "any; this version of transformers or compressed-tensors does not apply it: update both"
            )
        return facts
    formats = {str(getattr(m.quantization_scheme.format, "value", m.quantization_scheme.format)) for _, m in modules}
    return facts | {
        "format": sorted(formats),
        "quantized_modules": len(modules),
        "weights": _schemes(modules, "weights"),
        "activations": _schemes(modules, "input_activations"),
        "activations_quantized": _probe(modules, model.dtype),
    }


def linear_kernels(model: Any) -> dict[str, int]:
    """Counts of linear layers by the way in which they are computed."""
    linear = [module for module in model.modules() if "Linear" in type(module).__name__]
    found = Counter(type(m).__name__ + (", quantization simulated" if _has_scheme(m) else "") for m in linear)
    return dict(sorted(found.items()))


def _has_scheme(module: Any) -> bool:
    return getattr(module, "quantization_scheme", None) is not None


def _schemes(modules: list[tuple[str, Any]], part: str) -> dict[str, int]:
    """Counts of modules by scheme, in words."""
    found = [getattr(module.quantization_scheme, part) for _, module in modules]
    declared = [None if args is None else Config(args.model_dump(mode="json")) for args in found]
    return dict(sorted(Counter(map(scheme_in_words, declared)).items()))


def _probe(modules: list[tuple[str, Any]], dtype: torch.dtype) -> int:
    """The number of modules whose output is not the plain product of their input and weight."""
    count = 0
    generator = torch.Generator().manual_seed(0)
    for name, module in modules:
        values = torch.randn(2, module.in_features, generator=generator).to(module.weight.device, dtype)
        with torch.inference_mode():
            differs = not torch.equal(module(values), type(module).forward(module, values))
        if module.quantization_scheme.input_activations is not None and not differs:
            raise EngineError(
                f"module {name} declares quantized activations, but its output is that of plain ones; this "
                "version of transformers or compressed-tensors does not apply them: update both"
            )
        count += differs
    return count
