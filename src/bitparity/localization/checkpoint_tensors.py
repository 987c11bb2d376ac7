"""Tensors of a checkpoint, read one module at a time, and how each module is quantized."""

from __future__ import annotations

import fnmatch
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from bitparity.errors import ModelError
from bitparity.localization.document import Kernels
from bitparity.localization.number_formats import Activations, Kind, decode_weight, with_power_of_two_scales
from bitparity.models.checkpoint import weight_files
from bitparity.models.config import Config, read_config, read_object
from bitparity.models.safetensors import read_tensors

_CT_KINDS: dict[tuple[str, int], Kind] = {("float", 8): "fp8", ("float", 4): "fp4", ("int", 8): "int8"}
_OWN = ("weight", "bias", "g_idx")  # parts of a linear module; all others begin with weight_ or input_


@dataclass(frozen=True, slots=True)
class LinearWeights:
    """One linear module as a checkpoint has it: weight (out, in) and bias in float32, and how its input is rounded."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    activations: Activations | None
    quantized: bool


class CheckpointTensors:
    """A checkpoint's weight files. Raises ModelError where they are no safetensors files, or quantized unknown ways."""

    def __init__(self, folder: Path, device: torch.device, kernels: Kernels = "checkpoint") -> None:
        self.folder, self._device, self._kernels = folder, device, kernels
        files = weight_files(folder)
        self._headers = read_tensors(files)
        if self._headers is None:
            raise ModelError(f"the weights in {folder} are no safetensors files; save the model with safetensors")
        self._files = {name: safe_open(str(file), "pt") for file in files for name in read_tensors([file]) or ()}
        self._modules: defaultdict[str, list[str]] = defaultdict(list)
        for name in self._headers:
            module, _, part = name.rpartition(".")
            if part in _OWN or part.startswith(("weight_", "input_")):
                self._modules[module].append(part)
        self._declared = _declared(folder)

    def has(self, name: str) -> bool:
        """True if there is a tensor of this name."""
        return name in self._files

    def read(self, name: str) -> torch.Tensor:
        """A tensor as it is stored. Raises ModelError where it is absent."""
        if name not in self._files:
            raise ModelError(
                f"the model in {self.folder} has no tensor {name}: its layers are stored under other names than "
                "transformers gives them (experts in one tensor, for example), which `locate` cannot read yet"
            )
        stored: torch.Tensor = self._files[name].get_tensor(name)  # type: ignore[no-untyped-call]
        return stored.to(self._device)

    def size(self, module: str) -> int:
        """Bytes of a linear module in the files."""
        headers = self._headers or {}
        return sum(headers[f"{module}.{part}"].size for part in self._modules[module])

    def linear(self, module: str) -> LinearWeights:
        """A linear module. Raises ModelError where its format is not known."""
        tensors = {part: self.read(f"{module}.{part}") for part in self._modules[module]}
        if not tensors:
            self.read(f"{module}.weight")
        quantized = len(tensors.keys() - {"bias", "weight"}) > 0
        scheme = _scheme(self._declared, module) if quantized else _PLAIN
        try:
            weight = decode_weight(tensors, scheme.block, scheme.bits)
            activations = None if self._kernels == "weight-only" else scheme.activations(tensors)
        except (ValueError, KeyError, IndexError, RuntimeError) as error:
            raise ModelError(
                f"module {module} of {self.folder} is quantized in a way that `locate` cannot read: {error}"
            ) from None
        if self._kernels == "e8m0" and quantized and scheme.block is not None:
            weight = with_power_of_two_scales(weight, scheme.block)
            if activations is not None:
                activations = Activations(activations.kind, activations.group, power_of_two=True)
        bias = tensors.get("bias")
        return LinearWeights(weight, None if bias is None else bias.float(), activations, quantized)


@dataclass(frozen=True, slots=True)
class _Scheme:
    """Declaration of a checkpoint for a module, beside its tensors; `kind` None: activations stay as they are."""

    block: tuple[int, int] | None = None
    bits: int = 8
    kind: Kind | None = None
    group: int | None = None
    tensor_wide: bool = False
    dynamic: bool = True

    def activations(self, tensors: Mapping[str, torch.Tensor]) -> Activations | None:
        """The rounding of the module's input. Raises ValueError where a stored scale is declared and absent."""
        if self.kind is None:
            return None
        if self.kind == "fp4":
            factor = tensors.get("input_global_scale")
            if factor is None:  # ModelOpt stores its inverse
                if "input_scale" not in tensors:
                    raise ValueError("NVFP4 activations need a stored global scale, and there is none")
                factor = 1 / tensors["input_scale"].float()
            return Activations("fp4", self.group or 16, global_scale=factor.float())
        if self.dynamic:
            return Activations(self.kind, self.group, self.tensor_wide)
        if "input_scale" not in tensors:
            raise ValueError("static activations need a stored scale, and there is none")
        return Activations(self.kind, scale=tensors["input_scale"].float())


_PLAIN = _Scheme()


def _declared(folder: Path) -> Config:
    """The declaration of quantization, empty where there is none; `quant_method` is always set in one that is."""
    for level in read_config(folder).levels():
        if (found := level.part("quantization_config") or level.part("compression_config")) is not None:
            return Config({"quant_method": "compressed-tensors", **found.values})
    found = read_object(folder / "hf_quant_config.json").part("quantization")
    return Config({}) if found is None else Config({**found.values, "quant_method": "modelopt"})


def _scheme(declared: Config, module: str) -> _Scheme:
    method = declared.text("quant_method") or "none"
    if method == "compressed-tensors":
        return _of_compressed_tensors(declared, module)
    if method == "fp8":
        size = declared.items("weight_block_size")
        block = None if size is None else _pair(size)
        dynamic = declared.text("activation_scheme") != "static"
        return _Scheme(block, 8, "fp8", None if block is None else block[1], block is None, dynamic)
    if method.startswith("modelopt"):
        algorithm = declared.text("quant_algo") or ""
        if algorithm in ("FP8", "NVFP4"):
            return _Scheme(kind="fp8", dynamic=False) if algorithm == "FP8" else _Scheme(kind="fp4", group=16)
        method = f"modelopt {algorithm}"
    raise ModelError(
        f"module {module} is quantized by '{method}', which `locate` cannot read; it reads compressed-tensors, "
        "FP8 in blocks and ModelOpt's FP8 and NVFP4"
    )


def _pair(values: list[Any]) -> tuple[int, int]:
    rows, columns = values
    return int(rows), int(columns)


def _of_compressed_tensors(declared: Config, module: str) -> _Scheme:
    groups = (declared.part("config_groups") or Config({})).parts()
    group = next((g for g in groups if any(_matches(t, module) for t in g.items("targets") or ())), None)
    if group is None:
        raise ModelError(f"no group of the checkpoint's quantization_config is for module {module}, which has scales")
    weights, inputs = group.part("weights") or Config({}), group.part("input_activations")
    structure = weights.items("block_structure")
    block = None if structure is None else _pair(structure)
    bits = weights.count("num_bits") or 8
    if inputs is None:
        return _Scheme(block, bits)
    kind = _CT_KINDS.get((inputs.text("type") or "int", inputs.count("num_bits") or 8))
    if kind is None or inputs.values.get("symmetric") is False:
        raise ModelError(f"module {module} has activations in a format that `locate` cannot round: {inputs.values}")
    size = inputs.count("group_size")
    return _Scheme(block, bits, kind, size, inputs.text("strategy") == "tensor", bool(inputs.values.get("dynamic")))


def _matches(target: object, module: str) -> bool:
    """True if a target of a group, a class, a name or a pattern after `re:`, means the module."""
    text = str(target)
    if text.startswith("re:"):
        return re.match(text[3:], module) is not None
    return text == "Linear" or fnmatch.fnmatchcase(module, text) or module.endswith(f".{text}")
