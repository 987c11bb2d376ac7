"""Number formats against torch's own types and against compressed-tensors."""

from __future__ import annotations

import pytest
import torch

from bitparity.localization.number_formats import (
    Activations,
    decode_weight,
    round_numbers,
    round_up_to_power,
    unpack,
    with_power_of_two_scales,
)


def numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_fp8_is_torchs_e4m3() -> None:
    values = torch.cat([numbers(5000) * 10.0**power for power in range(-5, 3)]).clamp(-448, 448)
    assert torch.equal(round_numbers(values, "fp8"), values.to(torch.float8_e4m3fn).float())
    assert round_numbers(torch.tensor([1e6, -1e6]), "fp8").tolist() == [448, -448]
    assert round_numbers(torch.tensor([float("nan")]), "fp8").isnan().all()


def test_fp4_has_sixteen_values_and_ties_go_to_even() -> None:
    grid = torch.tensor([0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0])
    values = numbers(5000) * 3
    nearest = (values.abs().clamp(max=6)[:, None] - grid).abs().min(dim=1).values
    found = round_numbers(values, "fp4")
    assert (found.abs()[:, None] == grid).any(1).all()
    assert torch.equal((found.abs() - values.abs().clamp(max=6)).abs(), nearest)
    ties = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5.0])
    assert round_numbers(ties, "fp4").tolist() == [0, 1, 1, 2, 2, 4, 4]


def test_power_of_two_scales_are_never_smaller() -> None:
    assert round_up_to_power(torch.tensor([0.0, 1.0, 1.1, 3.0, 0.3])).tolist() == [0, 1, 2, 4, 0.5]


def test_a_block_scale_covers_its_block_also_at_the_edge() -> None:
    weight = torch.ones(192, 130).to(torch.float8_e4m3fn)
    scale = torch.arange(1.0, 5.0).reshape(2, 2)
    found = decode_weight({"weight": weight, "weight_scale_inv": scale}, (128, 128), 8)
    assert found.shape == (192, 130)
    assert (found[:128, :128] == 1).all()
    assert (found[:128, 128:] == 2).all()
    assert (found[128:, :128] == 3).all()
    assert (found[128:, 128:] == 4).all()


def test_kernels_with_power_of_two_scales_change_a_block_by_less_than_a_step() -> None:
    weight = numbers(192, 130)
    found = with_power_of_two_scales(weight, (128, 128))
    assert found.shape == weight.shape
    error = (found - weight).norm() / weight.norm()
    assert 0.01 < error < 0.05


def test_integers_are_unpacked_from_the_lowest_bits_on() -> None:
    word = torch.tensor([[sum((value + 8) << (4 * at) for at, value in enumerate([-8, 7, 0, 1, -1, 3, 2]))]])
    assert unpack(word.to(torch.int32), 4, 7).tolist() == [[-8, 7, 0, 1, -1, 3, 2]]
    with pytest.raises(ValueError, match="3 bits"):
        unpack(word.to(torch.int32), 3, 5)


def test_modelopts_second_scale_multiplies_and_the_other_one_divides() -> None:
    packed = torch.full((1, 8), 0x2A, dtype=torch.uint8)  # -1 and 1
    scale = torch.tensor([[2.0]])
    ours = decode_weight({"weight": packed, "weight_scale": scale, "weight_scale_2": torch.tensor(0.5)}, None, 4)
    theirs = decode_weight(
        {"weight_packed": packed, "weight_scale": scale, "weight_global_scale": torch.tensor([2.0])}, None, 4
    )
    assert ours.tolist() == theirs.tolist() == [[-1.0, 1.0] * 8]


def test_a_quantized_weight_without_scale_is_refused() -> None:
    with pytest.raises(ValueError, match="no scale"):
        decode_weight({"weight": torch.ones(2, 2).to(torch.float8_e4m3fn)}, None, 8)


@pytest.mark.parametrize(
    ("kind", "bits", "strategy", "group"),
    [("float", 8, "token", None), ("float", 8, "tensor", None), ("float", 8, "group", 16), ("int", 8, "token", None)],
)
def test_activations_are_rounded_as_compressed_tensors_does(
    kind: str, bits: int, strategy: str, group: int | None
) -> None:
    quantization = pytest.importorskip("compressed_tensors.quantization")
    forward = pytest.importorskip("compressed_tensors.quantization.lifecycle.forward")
    utils = pytest.importorskip("compressed_tensors.quantization.utils")
    args = quantization.QuantizationArgs(
        num_bits=bits, type=kind, strategy=strategy, group_size=group, dynamic=True, symmetric=True
    )
    values = numbers(1, 7, 64) * 5
    scale, zero = utils.compute_dynamic_scales_and_zp(values, args, torch.nn.Linear(64, 1))
    theirs = forward.fake_quantize(values, scale, zero, args)
    ours = Activations("fp8" if kind == "float" else "int8", group, strategy == "tensor").round(values)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ours, values, rtol=1e-3)


def test_nvfp4_activations_are_rounded_as_compressed_tensors_does() -> None:
    quantization = pytest.importorskip("compressed_tensors.quantization")
    forward = pytest.importorskip("compressed_tensors.quantization.lifecycle.forward")
    utils = pytest.importorskip("compressed_tensors.quantization.utils")
    args = quantization.QuantizationArgs(
        num_bits=4, type="float", strategy="tensor_group", group_size=16, dynamic="local", symmetric=True,
        scale_dtype=torch.float8_e4m3fn,
    )  # fmt: skip
    values = numbers(1, 7, 64) * 5
    factor = torch.tensor([448 * 6 / 20.0])
    scale, zero = utils.compute_dynamic_scales_and_zp(values, args, torch.nn.Linear(64, 1), global_scale=factor)
    theirs = forward.fake_quantize(values, scale, zero, args, global_scale=factor)
    ours = Activations("fp4", 16, global_scale=factor).round(values)
    assert torch.allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def test_the_last_group_of_activations_may_be_shorter() -> None:
    values = numbers(2, 3, 80) * 5
    found, wide, rest = (Activations("fp8", 32).round(part) for part in (values, values[..., :64], values[..., 64:]))
    assert torch.equal(found, torch.cat((wide, rest), -1))


@pytest.mark.parametrize(("bits", "group", "columns"), [(4, 32, 96), (8, 96, 96)])
def test_packed_integers_of_compressed_tensors(bits: int, group: int, columns: int) -> None:
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    high = 1 << (bits - 1)
    values = torch.randint(-high, high, (24, columns), generator=torch.Generator().manual_seed(1)).to(torch.int8)
    zeros = torch.randint(-high, high, (24, columns // group), generator=torch.Generator().manual_seed(2)).to(
        torch.int8
    )
    scale = numbers(24, columns // group).abs() + 0.1
    tensors = {
        "weight_packed": helpers.pack_to_int32(values, bits),
        "weight_scale": scale,
        "weight_shape": torch.tensor([24, columns]),
        "weight_zero_point": helpers.pack_to_int32(zeros, bits, packed_dim=0),
    }
    spread = (each.float().repeat_interleave(group, 1) for each in (zeros, scale))
    zero, factor = spread
    assert torch.equal(decode_weight(tensors, None, bits), (values.float() - zero) * factor)
    order = torch.randperm(columns, generator=torch.Generator().manual_seed(3)) // group
    reordered = decode_weight({**tensors, "weight_g_idx": order}, None, bits)
    assert torch.equal(reordered, (values.float() - zeros.float()[:, order]) * scale[:, order])
