"""Tensors of a checkpoint, read one module at a time, and how each module is quantized."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from bitparity.errors import ModelError
from bitparity.localization import number_formats as formats
from bitparity.localization.document import Kernels
from bitparity.localization.number_formats import LARGEST, Activations, Kind
from bitparity.models.checkpoint import weight_files
from bitparity.models.config import Config, read_config, read_object
from bitparity.models.safetensors import read_tensors

_KINDS: dict[tuple[str, int], Kind] = {("float", 8): "fp8", ("float", 4): "fp4", ("int", 8): "int8"}
_OWN = ("weight", "bias", "g_idx")  # parts of a linear module; all others that are read begin with weight_ or input_
_OF_MODELOPT: dict[str | None, dict[str, object] | None] = {  # how it rounds activations; None: not at all
    "FP8": {},
    "NVFP4": {"num_bits": 4, "group_size": 16},
    "W4A16_NVFP4": None,
    "W4A8_NVFP4_FP8": {},
}
_OF_CACHE = ("k_scale", "v_scale")  # ModelOpt stores the key-value cache's scales with the modules that fill it


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """One linear module as a checkpoint has it: weight (out, in) and bias in float32, and how its input is rounded."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    activations: Activations | None


def in_fp8(weights: LinearWeights) -> LinearWeights:
    """A module in FP8 as llm-compressor's FP8_DYNAMIC makes it: a scale for each channel and each token."""
    scale = weights.weight.abs().amax(1, keepdim=True) / LARGEST["fp8"]
    scale = torch.where(scale == 0, 1.0, scale)
    return LinearWeights(formats.round_numbers(weights.weight / scale, "fp8") * scale, weights.bias, Activations("fp8"))


class CheckpointTensors:
    """A checkpoint's weight files. Raises ModelError where they are no safetensors files, or quantized unknown ways.

    `declared` is what it declares of its quantization.
    """

    def __init__(self, folder: Path, device: torch.device, kernels: Kernels = "checkpoint") -> None:
        self.folder, self._device, self._kernels = folder, device, kernels
        files = weight_files(folder)
        headers = read_tensors(files)
        if headers is None:
            raise ModelError(f"the weights in {folder} are no safetensors files; save the model with safetensors")
        self._headers = headers
        self._files: dict[str, safe_open] = {}
        for file in files:
            self._files |= dict.fromkeys(read_tensors([file]) or (), safe_open(str(file), "pt"))
        self._modules: defaultdict[str, list[str]] = defaultdict(list)
        for name in headers:
            module, _, part = name.rpartition(".")
            if part not in _OF_CACHE:
                self._modules[module].append(part)
        self.declared = _declared(folder)
        if (transforms := self.declared.part("transform_config")) is not None and transforms.values:
            raise ModelError(f"the model in {folder} rotates the inputs of its modules, which `locate` cannot do")

    def has(self, name: str) -> bool:
        """True if there is a tensor of this name."""
        return name in self._files

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is stored. Raises ModelError where it is absent."""
        if name not in self._files:
            raise ModelError(
                f"the model in {self.folder} has no tensor {name}: its layers are stored under other names than "
                "transformers gives them, which `locate` cannot read yet"
            )
        stored: torch.Tensor = self._files[name].get_tensor(name)  # type: ignore[no-untyped-call]
        return stored.to(self._device)

    def size(self, module: str) -> int:
        """Bytes of a linear module in the files."""
        return sum(self._headers[f"{module}.{part}"].size for part in self._modules[module])

    def linear(self, module: str) -> LinearWeights:
        """A linear module. Raises ModelError where its format is not known."""
        tensors = {part: self.read(f"{module}.{part}") for part in self._modules[module]}
        if not tensors:
            self.read(f"{module}.weight")
        try:
            if unknown := [part for part in tensors if part not in _OWN and not part.startswith(("weight_", "input_"))]:
                raise ValueError(f"it has a tensor {unknown[0]}, of which nothing is known here")
            group = _group(self.declared, module) if tensors.keys() - {"bias", "weight"} else Config({})
            weights, inputs = group.part("weights") or Config({}), group.part("input_activations")
            block = _pair(weights.items("block_structure"))
            weight = formats.decode_weight(tensors, block, weights.count("num_bits") or 8)
            activations = None
            if inputs is not None and self._kernels != "weight-only":
                activations = _activations(inputs, tensors)
        except (ValueError, KeyError, IndexError, RuntimeError) as error:
            raise ModelError(
                f"module {module} of {self.folder} is quantized in a way that `locate` cannot read: {error}"
            ) from None
        if self._kernels == "e8m0" and block is not None:
            weight = formats.with_power_of_two_scales(weight, block)
            activations = activations and replace(activations, power_of_two=True)
        bias = tensors.get("bias")
        return LinearWeights(weight, None if bias is None else bias.float(), activations)


def _pair(values: list[Any] | None) -> tuple[int, int] | None:
    if values is None:
        return None
    rows, columns = values
    return int(rows), int(columns)


def _activations(inputs: Config, tensors: Mapping[str, torch.Tensor]) -> Activations:
    """The rounding of a module's input. Raises ValueError where it is unknown, or a scale that it needs is absent."""
    kind = _KINDS.get((inputs.text("type") or "int", inputs.count("num_bits") or 8))
    if kind is None or inputs.values.get("symmetric") is False:
        raise ValueError(f"its activations have a format that cannot be rounded here, {inputs.values}")
    group = inputs.count("group_size")
    if kind != "fp4" and inputs.values.get("dynamic"):
        return Activations(kind, group, inputs.text("strategy") == "tensor")
    scale = tensors.get("input_global_scale", tensors.get("input_scale"))
    if scale is None:
        raise ValueError("its activations need a stored scale, and there is none")
    if kind != "fp4":
        return Activations(kind, scale=scale.float())
    own = "input_global_scale" in tensors  # ModelOpt stores its inverse
    return Activations("fp4", group or 16, global_scale=scale.float() if own else 1 / scale.float())


def _declared(folder: Path) -> Config:
    """The declaration of quantization; `quant_method` is always set in it."""
    levels = read_config(folder).levels()
    parts = [level.part(key) for level in levels for key in ("quantization_config", "compression_config")]
    if (found := next((part for part in parts if part is not None), None)) is not None:
        return Config({"quant_method": "compressed-tensors", **found.values})
    found = read_object(folder / "hf_quant_config.json").part("quantization") or Config({})
    return Config({**found.values, "quant_method": "modelopt"})


def _groups(declared: Config) -> list[Config]:
    """The groups of a declaration in the form of compressed-tensors; none where `locate` cannot read it."""
    method, block = declared.text("quant_method") or "", declared.items("weight_block_size")
    if method != "fp8" and (groups := declared.part("config_groups")) is not None:  # ModelOpt writes them too
        return groups.parts()
    inputs: dict[str, object] | None
    if method == "fp8":
        inputs = {"strategy": "tensor"} if block is None else {"group_size": block[-1]}
        inputs |= {"dynamic": declared.text("activation_scheme") != "static"}
    elif method.startswith("modelopt") and declared.text("quant_algo") in _OF_MODELOPT:
        inputs = _OF_MODELOPT[declared.text("quant_algo")]
    else:
        return []
    given = {"input_activations": {"type": "float", **inputs}} if inputs is not None else {}
    return [Config({"targets": ["Linear"], "weights": {"block_structure": block}, **given})]


def _group(declared: Config, module: str) -> Config:
    """The group of a module that has scales. Raises ValueError where there is none that `locate` can read.

    As in compressed-tensors, one that names the module holds before a pattern, and that before the class of all.
    """
    targets = [(text, group) for group in _groups(declared) for text in map(str, group.items("targets") or ())]
    if found := [each for each in targets if _matches(each[0], module)]:
        return min(found, key=lambda each: (each[0] == "Linear", each[0].startswith("re:")))[1]
    method = f"{declared.text('quant_method')} {declared.text('quant_algo') or ''}".strip()
    raise ValueError(
        f"nothing that is declared is for it (method '{method}'); compressed-tensors, FP8 in blocks and ModelOpt's FP8 "
        "and NVFP4 are read"
    )


def _matches(target: str, module: str) -> bool:
    """True if a target of a group, a class, a name or a pattern after `re:`, means the module."""
    if target.startswith("re:"):
        return re.match(target[3:], module) is not None
    return target == "Linear" or fnmatch.fnmatchcase(module, target) or module.endswith(f".{target}")
