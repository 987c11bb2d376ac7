"""Number formats of quantized linear layers: weights turned into float32, activations rounded as at each call.

Formats: FP8 E4M3 (a scale for the tensor, each channel, each block), NVFP4, INT8 and INT4 of compressed-tensors, FP8 in
blocks as in Qwen3-32B-FP8, FP8 and NVFP4 of ModelOpt. Formulas: compressed-tensors 0.19 (`quantization/lifecycle`,
`compressors`) and OCP's E4M3 and E2M1 ("OCP Microscaling Formats", version 1.0, tables 1 and 5).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch

Kind = Literal["fp8", "fp4", "int8"]
Tensors = Mapping[str, torch.Tensor]  # of one module, by the last part of their names

LARGEST: dict[Kind, float] = {"fp8": 448.0, "fp4": 6.0, "int8": 127.5}  # int8: half of the range


@dataclass(frozen=True, slots=True)
class Activations:
    """Rounding of a module's input: the numbers, and how many of them share a scale.

    `group` is the length of a group with a scale of its own; None: one scale for each token, or with `scale` for all.
    `tensor_wide`: one scale for all, found at each call. `scale` is stored (static); `global_scale` is NVFP4's factor
    of the scales, which are then E4M3 themselves. `power_of_two`: scales are rounded up to one (E8M0).
    """

    kind: Kind
    group: int | None = None
    tensor_wide: bool = False
    scale: torch.Tensor | None = field(default=None, compare=False)
    global_scale: torch.Tensor | None = field(default=None, compare=False)
    power_of_two: bool = False

    def round(self, values: torch.Tensor) -> torch.Tensor:
        """The values as the module multiplies them, in float32; shape as given, (..., features)."""
        if self.group is None:
            return self._rounded(values)
        width = values.shape[-1]  # the last group may be shorter, as in FP8 blocks of a model with a width of 576
        parts = torch.nn.functional.pad(values, (0, -width % self.group)).unflatten(-1, (-1, self.group))
        return self._rounded(parts).flatten(-2)[..., :width]

    def same_as(self, other: Activations) -> bool:
        """True if both round every input alike."""
        pairs = ((self.scale, other.scale), (self.global_scale, other.global_scale))
        both = [(one, two) for one, two in pairs if one is not two]
        return self == other and all(None not in pair and torch.equal(*pair) for pair in both)

    def _rounded(self, parts: torch.Tensor) -> torch.Tensor:
        scale = self._scale(parts)
        return round_numbers(parts / scale, self.kind) * scale

    def _scale(self, parts: torch.Tensor) -> torch.Tensor:
        if self.scale is not None:
            return self.scale
        most = parts.abs().amax() if self.tensor_wide else parts.abs().amax(dim=-1, keepdim=True)
        scale = most / LARGEST[self.kind]
        if self.global_scale is not None:
            scale = round_numbers(scale * self.global_scale, "fp8") / self.global_scale
        if self.power_of_two:
            scale = round_up_to_power(scale)
        return torch.where(scale == 0, 1.0, scale)


def round_up_to_power(scale: torch.Tensor) -> torch.Tensor:
    """Scales as E8M0 holds them: the next power of two that is not smaller. Zero stays zero."""
    return torch.where(scale > 0, torch.exp2(torch.ceil(torch.log2(scale))), 0.0)


def round_numbers(values: torch.Tensor, kind: Kind) -> torch.Tensor:
    """The nearest numbers of a format, ties to even, what is too large to its largest; NaN stays NaN."""
    if kind == "int8":
        return torch.clamp(torch.round(values), -128, 127)
    values = values.clamp(-LARGEST[kind], LARGEST[kind])
    if kind == "fp8":
        return values.to(torch.float8_e4m3fn).float()
    # E2M1: the distance of two neighbours, from the exponent's bits: one bit of mantissa from 1 on
    exponent = (values.view(torch.int32) & 0x7F800000).clamp_(min=127 << 23)
    step = (exponent - (1 << 23)).view(torch.float32)
    return torch.round(values / step) * step


def decode_weight(tensors: Tensors, block: tuple[int, int] | None, bits: int) -> torch.Tensor:
    """A module's weight in float32, of shape (out, in), from its tensors.

    `block` is the shape of the blocks that share a scale, as the checkpoint declares it; `bits` those of packed
    integers. Raises ValueError for a form that is not known.
    """
    if "weight_packed" in tensors:
        packed = tensors["weight_packed"]
        return _four_bits(packed, tensors) if packed.dtype == torch.uint8 else _packed_integers(tensors, bits)
    weight = tensors["weight"]
    if weight.dtype == torch.uint8:  # ModelOpt's NVFP4
        return _four_bits(weight, tensors)
    scale = next((tensors[name] for name in ("weight_scale", "weight_scale_inv") if name in tensors), None)
    if scale is None:
        if weight.element_size() < 2:
            raise ValueError(f"its weight is {weight.dtype} and has no scale")
        return weight.float()
    if "weight_scale_2" in tensors or "g_idx" in tensors:
        raise ValueError("its weight has a second scale or an order of columns that this format has not")
    zero = tensors.get("weight_zero_point")
    values = weight.float() if zero is None else weight.float() - _spread(zero.float(), weight.shape, block)
    return values * _spread(_scales(scale), weight.shape, block)


def _scales(scale: torch.Tensor) -> torch.Tensor:
    return scale.float() if scale.dtype != torch.uint8 else torch.exp2(scale.float() - 127)  # E8M0


def _spread(scale: torch.Tensor, shape: torch.Size, block: tuple[int, int] | None) -> torch.Tensor:
    """Scales of a tensor, of channels, groups or blocks, for every weight."""
    if scale.numel() == 1:
        return scale.reshape(1, 1)
    if scale.ndim == 1:
        scale = scale[:, None]
    if scale.shape[0] not in (1, shape[0]) and block is None:
        raise ValueError(f"its {tuple(scale.shape)} scales do not fit a weight of shape {tuple(shape)}")
    rows = 1 if scale.shape[0] == shape[0] else block[0] if block else shape[0]
    columns = block[1] if block and scale.shape[1] > 1 else -(-shape[1] // scale.shape[1])
    return scale.repeat_interleave(rows, 0)[: shape[0]].repeat_interleave(columns, 1)[:, : shape[1]]


def _four_bits(packed: torch.Tensor, tensors: Tensors) -> torch.Tensor:
    """E2M1 numbers, two a byte, the first in the low half, with a scale for each group of a row."""
    codes = torch.stack((packed & 0xF, packed >> 4), dim=-1).flatten(1).long()
    magnitudes = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0], device=packed.device)
    values = torch.where(codes > 7, -1.0, 1.0) * magnitudes[codes & 7]
    scale = _scales(tensors["weight_scale"])
    if "weight_global_scale" in tensors:
        scale = scale / tensors["weight_global_scale"].float()
    if "weight_scale_2" in tensors:
        scale = scale * tensors["weight_scale_2"].float()
    return values * _spread(scale, values.shape, None)


def _packed_integers(tensors: Tensors, bits: int) -> torch.Tensor:
    """Integers in words; `weight_g_idx` names each column's group of scales where they were reordered."""
    shape = torch.Size(int(n) for n in tensors["weight_shape"])
    values, order = unpack(tensors["weight_packed"], bits, shape[1]).float(), tensors.get("weight_g_idx")

    def spread(scale: torch.Tensor) -> torch.Tensor:
        ordered = order is not None and bool((order >= 0).all())
        return scale[:, order.long()] if ordered and order is not None else _spread(scale, shape, None)

    if (zero := tensors.get("weight_zero_point")) is not None:
        zero = unpack(zero.T.contiguous(), bits, shape[0]).T if zero.dtype == torch.int32 else zero
        values = values - spread(zero.float())
    return values * spread(tensors["weight_scale"].float())


def unpack(packed: torch.Tensor, bits: int, columns: int) -> torch.Tensor:
    """Signed integers from int32 words, the lowest bits first, each stored with half of the range added.

    Raises ValueError for a number of bits that does not divide 32.
    """
    if 32 % bits:
        raise ValueError(f"integers of {bits} bits are packed across words, which is not read here")
    shifts = torch.arange(0, 32, bits, device=packed.device, dtype=torch.int32)
    codes = (packed[:, :, None] >> shifts) & ((1 << bits) - 1)
    return codes.flatten(1)[:, :columns] - (1 << (bits - 1))


def with_power_of_two_scales(weight: torch.Tensor, block: tuple[int, int]) -> torch.Tensor:
    """FP8 weights in blocks as kernels with E8M0 scales hold them: quantized once more under scales rounded up.

    vLLM does this for DeepGEMM on Blackwell (`requant_weight_ue8m0_inplace`).
    """
    rows, columns = weight.shape
    padded = torch.nn.functional.pad(weight, (0, -columns % block[1], 0, -rows % block[0]))
    parts = padded.unflatten(0, (-1, block[0])).unflatten(2, (-1, block[1]))
    scale = round_up_to_power(parts.abs().amax(dim=(1, 3), keepdim=True) / LARGEST["fp8"])
    scale = torch.where(scale == 0, 1.0, scale)
    return (round_numbers(parts / scale, "fp8") * scale).reshape(padded.shape)[:rows, :columns]
