"""Localization on a tiny model: the figures of whole models, damage found, an interrupted one gone on with."""

from __future__ import annotations

import gc
import json
import shutil
import warnings
from pathlib import Path

import numpy as np
import pytest
import tiny_model
import torch
from localization_checkpoints import declare, quantized_fp8
from safetensors.torch import load_file, save_file

from bitparity.distance.texts import Answer
from bitparity.engines.token_numbers import token_numbers
from bitparity.engines.transformers_loading import load_model
from bitparity.errors import ModelError
from bitparity.localization.document import Localization
from bitparity.localization.layers import ModelPair
from bitparity.localization.locate import Names, locate
from bitparity.localization.passes import Arm, Passes
from bitparity.localization.state import State
from bitparity.progress.events import Event, Events, TaskProgress

CPU = torch.device("cpu")
DAMAGED = "model.layers.1.mlp.down_proj"


def answers(count: int = 24) -> list[Answer]:
    rng = np.random.default_rng(5)
    made = [tuple(int(n) for n in rng.integers(5, 200, int(rng.integers(6, 14)))) for _ in range(count)]
    return [Answer("smoke", str(n), 0, ids[:3], ids[3:], "") for n, ids in enumerate(made)]


def found(
    baseline: Path, candidate: Path, folder: Path, events: Events | None = None, device: torch.device = CPU
) -> Localization:
    names = Names("study", "bf16", "fp8", {"bf16": "a", "fp8": "b"})
    return locate(names, answers(), ModelPair(baseline, candidate, device), folder, events or Events())


def test_the_kl_is_that_of_the_whole_models(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    """Against transformers' own loading of both checkpoints, computed in float32."""
    spec = tiny_model.variant(fp8, dtype="float32").engine
    with warnings.catch_warnings(action="ignore"):  # transformers says that it was told how to load
        models = [load_model(folder, spec, CPU)[0] for folder in (baseline, fp8)]
    total, tokens = 0.0, 0
    for answer in answers():
        row = torch.tensor([answer.context + answer.ids])
        with torch.inference_mode():
            base, own = (model(row).logits[0, len(answer.context) - 1 : -1] for model in models)
        total += float(token_numbers(own, base, answer.ids, 1)["divergence"].sum())
        tokens += len(answer.ids)
    document = found(baseline, fp8, tmp_path / "state")
    assert document.tokens == tokens
    assert document.divergence.value == pytest.approx(total / tokens, rel=2e-3)
    assert not (tmp_path / "state").exists()


def test_parts_given_back_add_up(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    passes = Passes(ModelPair(baseline, fp8, CPU), answers(), State(tmp_path / "state", "key"))
    passes.forward(lambda _: None)
    passes.backward(lambda _: None)
    measured = passes.measured
    assert len(measured.through) == 14
    shares = sum(part.sum() for part in measured.through.values()) / measured.divergence.sum()
    assert shares == pytest.approx(1.0, abs=0.1)
    everything = Arm(frozenset({0, 1, 2}))
    modules = Arm(modules=frozenset(measured.through))
    given = passes.given_back({"all": everything, "modules": modules, "none": Arm()}, lambda _: None)
    assert given["all"] == pytest.approx(0.0, abs=1e-6)
    assert given["modules"] == pytest.approx(given["all"], abs=1e-6)
    assert given["none"] == pytest.approx(measured.divergence, rel=1e-5)


def activations() -> int:
    """The number of tensors in memory that have the shape of activations."""
    gc.collect()
    return sum(type(each) is torch.Tensor and each.ndim == 3 for each in gc.get_objects())


def test_no_layer_keeps_what_went_through_it(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    """Memory does not grow with the number of layers: all tensors of activations are gone after each pass."""
    pair = ModelPair(baseline, fp8, CPU)
    passes = Passes(pair, answers(), State(tmp_path / "state", "key"))
    before = activations()
    passes.forward(lambda _: None)
    passes.backward(lambda _: None)
    assert activations() <= before


@pytest.mark.parametrize("damaged", ["model.layers.0.self_attn.v_proj", DAMAGED])
def test_a_wrong_scale_is_found(damaged: str, baseline: Path, tmp_path: Path) -> None:
    document = found(baseline, quantized_fp8(baseline, tmp_path / "bad", damaged, 1.6), tmp_path / "state")
    assert document.stands_out[0] == document.best == document.modules[0].name == damaged
    worst = document.modules[0]
    assert worst.regained is not None
    assert worst.regained.value > 0.5
    assert worst.error.value == pytest.approx(0.6, abs=0.05)
    assert document.unexplained is not None
    assert document.unexplained.value == pytest.approx(1 - worst.regained.value)
    assert document.recipe is None or damaged in document.recipe.modules


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_finds_the_same(baseline: Path, tmp_path: Path) -> None:
    """But for the few numbers that lie beside a tie, and are rounded the other way."""
    bad = quantized_fp8(baseline, tmp_path / "bad", DAMAGED, 1.6)
    here, there = (found(baseline, bad, tmp_path / "state", device=torch.device(device)) for device in ("cpu", "cuda"))
    assert there.stands_out == here.stands_out
    assert there.divergence.value == pytest.approx(here.divergence.value, rel=0.01)
    errors = [{module.name: module.error.value for module in found.modules} for found in (here, there)]
    assert errors[1] == pytest.approx(errors[0], rel=0.01)


def test_the_same_model_has_nothing_to_locate(baseline: Path, tmp_path: Path) -> None:
    document = found(baseline, shutil.copytree(baseline, tmp_path / "same"), tmp_path / "state")
    assert document.divergence.value == 0
    assert (document.stands_out, document.modules, document.curve, document.recipe) == ([], [], [], None)


def test_an_interrupted_localization_goes_on(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    whole = found(baseline, fp8, tmp_path / "state")
    for stopped_after in (1, 2, 3):  # steps over layers: in the first pass, at its end, in the second
        steps = 0

        def stop(event: Event) -> None:
            nonlocal steps
            steps += isinstance(event, TaskProgress) and event.finished > 0 and event.state == "running"
            if steps == stopped_after:  # noqa: B023 - called within the turn
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            found(baseline, fp8, tmp_path / "state", Events(stop))
        assert (tmp_path / "state").exists()
        again = found(baseline, fp8, tmp_path / "state")
        assert again.model_copy(update={"seconds": 0.0}) == whole.model_copy(update={"seconds": 0.0})


def test_changed_norms_are_told_of(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    """As SmoothQuant leaves them: the modules of that layer mean nothing one by one."""
    tensors = load_file(fp8 / "model.safetensors")
    tensors["model.layers.0.input_layernorm.weight"] *= 2
    save_file(tensors, fp8 / "model.safetensors", {"format": "pt"})
    document = found(baseline, fp8, tmp_path / "state")
    assert [layer.folded for layer in document.layers] == [True, False]
    for module in document.modules:
        assert (module.through is None) == (module.layer == 0)
        assert module.regained is None or module.layer == 1


def test_broken_scales_are_named(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    tensors = load_file(fp8 / "model.safetensors")
    tensors[f"{DAMAGED}.weight_scale"][3] = float("nan")
    save_file(tensors, fp8 / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=rf"NaN.*{DAMAGED}"):
        found(baseline, fp8, tmp_path / "state")


def test_another_model_is_refused(baseline: Path, tmp_path: Path) -> None:
    other = shutil.copytree(baseline, tmp_path / "other")
    tensors = load_file(other / "model.safetensors")
    tensors["model.embed_tokens.weight"] = tensors["model.embed_tokens.weight"].flip(1).contiguous()
    save_file(tensors, other / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="rotated"):
        ModelPair(baseline, other, CPU)


def test_fp8_in_blocks_and_its_kernels(baseline: Path, tmp_path: Path) -> None:
    """The form of Qwen/Qwen3-32B-FP8; kernels with power-of-two scales and weight-only ones give other distances."""
    out = shutil.copytree(baseline, tmp_path / "blocks")
    tensors = load_file(out / "model.safetensors")
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        weight = tensors.pop(name).float()
        blocks = weight.unflatten(0, (-1, 32)).unflatten(2, (-1, 32))
        scale = blocks.abs().amax(dim=(1, 3), keepdim=True) / 448
        tensors[name] = (blocks / scale).reshape(weight.shape).to(torch.float8_e4m3fn)
        tensors[f"{name}_scale_inv"] = scale[:, 0, :, 0].contiguous()
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    declare(out, {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [32, 32]})
    names, distances = Names("s", "b", "c", {}), {}
    for kernels in ("checkpoint", "e8m0", "weight-only"):
        pair = ModelPair(baseline, out, CPU, kernels)
        distances[kernels] = locate(names, answers(), pair, tmp_path / "state", Events()).divergence.value
    assert 0 < distances["weight-only"] < distances["checkpoint"] < distances["e8m0"]


def test_an_unknown_quantization_is_refused(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    declare(fp8, {"quant_method": "quark"})
    with pytest.raises(ModelError, match="quark"):
        found(baseline, fp8, tmp_path / "state")


def test_the_document_is_read_back_and_its_recipe_is_ready(baseline: Path, fp8: Path, tmp_path: Path) -> None:
    document = found(baseline, fp8, tmp_path / "state")
    assert Localization.model_validate(json.loads(json.dumps(document.document()))) == document
    recipe = document.recipe
    assert recipe is not None
    assert recipe.llm_compressor_ignore == ["lm_head", *recipe.modules]  # lm_head was left out already
    assert recipe.modelopt_quant_cfg == {f"{name}.*": {"enable": False} for name in recipe.modules}


def test_a_recipe_in_fp8_for_four_bits(baseline: Path, tmp_path: Path) -> None:
    """What it regains is the KL of a checkpoint that has these modules in FP8 indeed; FP8 itself has none."""
    four, mixed = quantized_fp8(baseline, tmp_path / "four"), quantized_fp8(baseline, tmp_path / "mixed")
    in_fp8, plain = load_file(four / "model.safetensors"), load_file(baseline / "model.safetensors")
    packed = dict(in_fp8)
    for name in [n.removesuffix(".weight_scale") for n in in_fp8 if n.endswith("weight_scale")]:
        weight = plain[f"{name}.weight"].float()
        scale = weight.abs().amax(1, keepdim=True) / 7
        codes = (torch.round(weight / scale) + 8).to(torch.int32).unflatten(1, (-1, 8))
        packed[f"{name}.weight_packed"] = (codes << torch.arange(0, 32, 4)).sum(2).to(torch.int32)
        packed |= {f"{name}.weight_scale": scale, f"{name}.weight_shape": torch.tensor(weight.shape)}
        del packed[f"{name}.weight"]
    save_file(packed, four / "model.safetensors", {"format": "pt"})
    weights = {"num_bits": 4, "type": "int", "strategy": "channel", "symmetric": True}
    integers = {"targets": ["Linear"], "weights": weights}
    declare(four, {"quant_method": "compressed-tensors", "config_groups": {"group_0": integers}})
    document = found(baseline, four, tmp_path / "state")
    recipe = document.recipe
    assert recipe is not None
    assert recipe.in_fp8 is not None
    assert 0.1 < recipe.in_fp8.share_of_bytes <= 0.15
    assert recipe.in_fp8.extra_bytes < recipe.extra_bytes
    assert sorted(recipe.in_fp8.others + recipe.in_fp8.modules) == sorted(each.name for each in document.modules)
    for name in recipe.in_fp8.modules:
        packed = {key: values for key, values in packed.items() if not key.startswith(f"{name}.")}
        packed |= {key: values for key, values in in_fp8.items() if key.startswith(f"{name}.")}
    save_file(packed, mixed / "model.safetensors", {"format": "pt"})
    declared = json.loads((mixed / "config.json").read_text())["quantization_config"]
    declared["config_groups"]["group_0"]["targets"] = recipe.in_fp8.modules
    declared["config_groups"]["group_1"] = integers
    declare(mixed, declared)
    left = found(baseline, mixed, tmp_path / "state")
    assert left.divergence.value == pytest.approx((1 - recipe.in_fp8.regained.value) * document.divergence.value)
    assert left.recipe is not None
