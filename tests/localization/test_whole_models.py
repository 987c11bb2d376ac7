"""Whole checkpoints by compressed-tensors' own compressors: the KL of `locate` is that of a plain forward pass.

Models with biases, tied output layers and norms of queries and keys; a mixture of experts is refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from localization_checkpoints import declare
from safetensors.torch import load_file, save_file
from test_locate import answers

from bitparity.errors import ModelError
from bitparity.localization.layers import ModelPair
from bitparity.localization.passes import Passes
from bitparity.localization.state import State

CPU = torch.device("cpu")
SIZE = {"vocab_size": 261, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16, "initializer_range": 0.25}


def built(family: str, folder: Path, **settings: Any) -> Path:
    """A random model whose biases and norms are random too."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **SIZE, **HEADS, **settings)
    model = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    for name, values in model.named_parameters():
        if values.ndim == 1:
            torch.nn.init.normal_(values.data, 0.0 if name.endswith("bias") else 1.0, 0.2)
    model.save_pretrained(folder)
    return folder


def ranges(weight: torch.Tensor, args: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """The least and the largest numbers of all that share a scale."""
    if args.block_structure is not None:
        rows, columns = args.block_structure
        parts = weight.unflatten(0, (-1, rows)).unflatten(2, (-1, columns))
        return parts.amin((1, 3)), parts.amax((1, 3))
    if args.group_size is not None:
        parts = weight.unflatten(1, (-1, args.group_size))
        return parts.amin(2), parts.amax(2)
    parts = weight if args.strategy == "channel" else weight.flatten()[None]
    return parts.amin(1, keepdim=True), parts.amax(1, keepdim=True)


def compressed(weight: torch.Tensor, scheme: Any) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """A module's tensors as compressed-tensors stores them, and its weight as that unpacks them."""
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import dequantize
    from compressed_tensors.quantization.utils import calculate_qparams, generate_gparam

    args = scheme.weights
    tensors, factor = {"weight": weight}, None
    if args.strategy == "tensor_group":
        factor = tensors["weight_global_scale"] = generate_gparam(weight.amin().reshape(1), weight.amax().reshape(1))
    scale, zero = calculate_qparams(*ranges(weight, args), args, global_scale=factor)
    tensors |= {"weight_scale": scale, "weight_zero_point": zero}
    compressor = BaseCompressor.get_value_from_registry(scheme.format)
    packed = {name: values.contiguous() for name, values in compressor.compress(tensors, scheme).items()}
    if factor is None:
        return packed, compressor.decompress(dict(packed), scheme)["weight"].float()
    # that unpacks NVFP4 in bfloat16, which moves the inputs of the next modules
    codes = unpack_fp4_from_uint8(packed["weight_packed"], *weight.shape, dtype=torch.float32)
    scale = packed["weight_scale"].float()
    return packed, dequantize(x_q=codes, scale=scale, args=args, global_scale=factor, dtype=torch.float32)


def rounding(scheme: Any, tensors: dict[str, torch.Tensor]) -> Any:
    """A hook that rounds a module's input as compressed-tensors does."""
    from compressed_tensors.quantization.lifecycle.forward import fake_quantize
    from compressed_tensors.quantization.utils import compute_dynamic_scales_and_zp

    args, factor = scheme.input_activations, tensors.get("input_global_scale")

    def hook(module: torch.nn.Module, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        if args.dynamic:
            scale, zero = compute_dynamic_scales_and_zp(given[0], args, module, global_scale=factor)
        else:
            scale, zero = tensors["input_scale"], None
        return (fake_quantize(given[0], scale, zero, args, global_scale=factor),)

    return hook


def quantized(baseline: Path, out: Path, preset: str, fit: dict[str, Any], form: str) -> Any:
    """Write a checkpoint; the model that it is, in float32."""
    from compressed_tensors.quantization import QuantizationConfig, preset_name_to_scheme

    scheme = preset_name_to_scheme(preset, ["Linear"])
    scheme.format = form
    scheme.weights = scheme.weights.model_copy(update=fit)
    if preset == "FP8_BLOCK":
        scheme.input_activations = scheme.input_activations.model_copy(update={"group_size": 32})
    model = transformers.AutoModelForCausalLM.from_pretrained(baseline, dtype=torch.float32).eval()
    stored = load_file(baseline / "model.safetensors")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear) and name != "lm_head":
            tensors, module.weight.data = compressed(stored.pop(f"{name}.weight").float(), scheme)
            if preset == "NVFP4":
                tensors["input_global_scale"] = torch.tensor([448 * 6 / 20.0])
            elif preset == "FP8":
                tensors["input_scale"] = torch.tensor([20.0 / 448])
            if scheme.input_activations is not None:
                module.register_forward_pre_hook(rounding(scheme, tensors))
            stored |= {f"{name}.{part}": values for part, values in tensors.items()}
    out.mkdir()
    save_file(stored, out / "model.safetensors", {"format": "pt"})
    (out / "config.json").write_bytes((baseline / "config.json").read_bytes())
    groups = {"group_0": scheme}
    whole = QuantizationConfig(config_groups=groups, ignore=["lm_head"], quantization_status="compressed")
    declare(out, {**json.loads(whole.model_dump_json()), "quant_method": "compressed-tensors", "format": form})
    return model


@pytest.mark.parametrize(
    ("family", "settings", "preset", "fit", "form"),
    [
        ("qwen2", {"tie_word_embeddings": True}, "W4A16_ASYM", {"group_size": 32}, "pack-quantized"),
        ("qwen2", {}, "W8A8", {}, "int-quantized"),
        ("qwen3", {"tie_word_embeddings": True}, "NVFP4", {}, "nvfp4-pack-quantized"),
        ("qwen3", {}, "W4A16", {"group_size": 16}, "pack-quantized"),
        ("qwen3", {"attention_bias": True}, "FP8_BLOCK", {"block_structure": [32, 32]}, "float-quantized"),
        ("llama", {"mlp_bias": True}, "FP8", {}, "float-quantized"),
    ],
)
def test_the_kl_is_that_of_a_plain_forward_pass(
    family: str, settings: dict[str, Any], preset: str, fit: dict[str, Any], form: str, tmp_path: Path
) -> None:
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")
    baseline = built(family, tmp_path / "bf16", **settings)
    own = quantized(baseline, tmp_path / "quantized", preset, fit, form)
    base = transformers.AutoModelForCausalLM.from_pretrained(baseline, dtype=torch.float32).eval()
    passes = Passes(ModelPair(baseline, tmp_path / "quantized", CPU), answers(), State(tmp_path / "state", "key"))
    passes.forward(lambda _: None)
    assert len(passes.measured.error) == 14
    expected = []
    for answer in answers():
        row = torch.tensor([answer.context + answer.ids])
        with torch.inference_mode():
            ours, theirs = (m(row).logits[0, len(answer.context) - 1 : -1].log_softmax(-1) for m in (base, own))
        expected.append(float((ours.exp() * (ours - theirs)).sum()))
    assert sum(expected) > 0.1
    assert passes.measured.divergence.sum() == pytest.approx(sum(expected), rel=0.01)


def test_a_mixture_of_experts_is_refused_in_a_line(tmp_path: Path) -> None:
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32}
    model = built("qwen3_moe", tmp_path / "bf16", **experts)
    with pytest.raises(ModelError, match=r"mixture of experts, which `locate` cannot take apart yet$"):
        ModelPair(model, model, CPU)


def test_what_is_not_known_is_refused(baseline: Path, fp8: Path) -> None:
    """A scale of inputs as in ModelOpt's AWQ, and rotations as in SpinQuant: without them the figures were wrong."""
    tensors = load_file(fp8 / "model.safetensors")
    tensors["model.layers.0.mlp.up_proj.pre_quant_scale"] = torch.ones(64)
    save_file(tensors, fp8 / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"up_proj .* pre_quant_scale"), ModelPair(baseline, fp8, CPU).layer(0):
        pass
    declare(fp8, {"quant_method": "compressed-tensors", "transform_config": {"config_groups": {"R4": {}}}})
    with pytest.raises(ModelError, match="rotates"):
        ModelPair(baseline, fp8, CPU)


def test_a_group_that_names_a_module_holds_before_that_of_all(baseline: Path, fp8: Path) -> None:
    """As in compressed-tensors; both have FP8 weights, and activations that the one for two modules leaves alone."""
    declared = json.loads((fp8 / "config.json").read_text())["quantization_config"]
    weights = declared["config_groups"]["group_0"]["weights"]
    names = ["re:.*down_proj", "model.layers.0.mlp.up_proj"]
    declared["config_groups"]["group_1"] = {"targets": names, "weights": weights}
    declare(fp8, declared)
    with ModelPair(baseline, fp8, CPU).layer(0) as part:
        found = [name for name, each in part.linears.items() if each.candidate and each.candidate.activations is None]
    assert found == ["model.layers.0.mlp.up_proj", "model.layers.0.mlp.down_proj"]


def test_modelopts_groups_are_read(tmp_path: Path) -> None:
    """Its names and inverse scales, a declaration of mixed precision: one layer's activations stay as they are."""
    pytest.importorskip("compressed_tensors", reason="compressed-tensors is not installed")
    baseline, theirs, ours = built("qwen3", tmp_path / "bf16"), tmp_path / "quantized", tmp_path / "modelopt"
    quantized(baseline, theirs, "NVFP4", {}, "nvfp4-pack-quantized")
    names = {"weight_packed": "weight", "weight_global_scale": "weight_scale_2", "input_global_scale": "input_scale"}
    stored = {}
    for name, values in load_file(theirs / "model.safetensors").items():
        module, _, part = name.rpartition(".")
        stored[f"{module}.{names.get(part, part)}"] = 1 / values[0] if part.endswith("global_scale") else values
    stored["model.layers.0.self_attn.k_proj.k_scale"] = torch.ones(())
    ours.mkdir()
    save_file(stored, ours / "model.safetensors", {"format": "pt"})
    (ours / "config.json").write_bytes((baseline / "config.json").read_bytes())
    numbers = {"dynamic": False, "num_bits": 4, "type": "float", "group_size": 16}
    both = {"weights": numbers, "input_activations": numbers, "targets": ["model.layers.0.*"]}
    groups = {"group_0": both, "group_1": {"weights": numbers, "targets": ["model.layers.1.*"]}}
    declare(ours, {"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION", "config_groups": groups})
    pairs = [ModelPair(baseline, folder, CPU) for folder in (theirs, ours)]
    for number in range(2):
        with pairs[0].layer(number) as expected, pairs[1].layer(number) as found:
            for name, located in found.linears.items():
                same, own = expected.linears[name].candidate, located.candidate
                assert same is not None
                assert own is not None
                assert torch.allclose(own.weight, same.weight, rtol=1e-5)
                assert (own.activations is None) == (number == 1)
                values = torch.randn(3, own.weight.shape[1])
                if own.activations is not None and same.activations is not None:
                    assert torch.allclose(own.activations.round(values), same.activations.round(values), rtol=1e-5)
