"""What vLLM makes of weights on a chip, and a `quantization` that it would refuse."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doubles import GB, H100, INSTALLED, NVFP4, checkpoint, host, only, said, study

CHANNEL = {"type": "float", "num_bits": 8, "strategy": "channel"}
BLOCK = {"type": "float", "num_bits": 8, "strategy": "block", "block_structure": [128, 128]}
TOKEN = {"type": "float", "num_bits": 8, "strategy": "token", "dynamic": True}


def compressed(weights: dict[str, Any], activations: dict[str, Any] | None) -> dict[str, Any]:
    group = {"weights": weights, "input_activations": activations}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}}


@pytest.mark.parametrize(
    ("quantization", "capability", "level", "words"),
    [
        (compressed(CHANNEL, TOKEN), (8, 9), "ok", "8.9: CUTLASS, weights and activations in 8 bits"),
        (compressed(CHANNEL, TOKEN), (12, 0), "ok", "12.0: FlashInfer or CUTLASS"),
        (
            compressed(BLOCK, TOKEN),
            (8, 9),
            "warning",
            "blocks on compute capability 8.9: Marlin",
        ),
        (
            compressed(BLOCK, TOKEN),
            (10, 0),
            "warning",
            "the checkpoint's scales rounded",
        ),
        ({"quant_method": "mxfp8"}, (9, 0), "warning", "9.0: Marlin, weights only"),
        ({"quant_method": "mxfp8"}, (10, 0), "ok", "10.0: FlashInfer"),
        ({"quant_method": "gptq", "bits": 8}, (8, 6), "ok", "INT8 on compute capability 8.6: Marlin, weights only"),
        ({"quant_method": "gptq", "bits": 4}, (9, 0), "ok", "Machete or Marlin, weights only"),
    ],
)
def test_kernels_of_quantized_weights(
    models: Path, quantization: dict[str, Any], capability: tuple[int, int], level: str, words: str
) -> None:
    checkpoint(models / "q", 20 * GB, quantization)
    on = host(replace(H100, capability=capability))
    assert words in only(study(models, {"q": "q"}), on, "kernels of q", level).message


def test_blocks_made_at_loading(models: Path) -> None:
    given = study(models, {"q": "bf16"}, quantization="fp8_per_block")
    found = only(given, host(replace(H100, capability=(8, 9))), "kernels of q", "warning")
    assert "with scales for blocks on compute capability 8.9: Marlin" in found.message


@pytest.mark.parametrize(
    ("stored", "dtype", "level"),
    [
        ("bfloat16", "auto", "warning"),
        ("bfloat16", "bfloat16", "error"),
        ("bfloat16", "float16", "ok"),
        ("float16", "auto", "ok"),
    ],
)
def test_a_chip_without_bfloat16(models: Path, stored: str, dtype: str, level: str) -> None:
    checkpoint(models / "x", GB, torch_dtype=stored)
    turing = host(replace(H100, capability=(7, 5)))
    found = said(study(models, {"x": "x"}, dtype=dtype), turing, "kernels of x")
    assert found[0].level == level
    assert level == "ok" or "dtype: float16" in found[0].remedy


@pytest.mark.parametrize(
    ("model", "asked", "words"),
    [
        ("bf16", "nonsense", "vLLM 0.32 has no quantization 'nonsense'"),
        ("bf16", "bitsandbytes", "vLLM 0.32 has no quantization 'bitsandbytes'"),
        ("bf16", "awq", "only loads checkpoints of that kind, and this one declares nothing"),
        ("nvfp4", "awq", "the checkpoint is quantized by 'compressed-tensors'"),
        ("nvfp4", "fp8_per_tensor", "the checkpoint is quantized by 'compressed-tensors'"),
    ],
)
def test_a_quantization_that_vllm_refuses(models: Path, model: str, asked: str, words: str) -> None:
    given = study(models, {"q": model}, quantization=asked)
    assert words in only(given, host(H100), "model q", "error").message
    assert not said(given, host(H100), "memory of q")


@pytest.mark.parametrize(("model", "asked"), [("nvfp4", "compressed-tensors"), ("fp8", "fp8"), ("bf16", "fp8")])
def test_a_quantization_that_fits(models: Path, model: str, asked: str) -> None:
    assert not said(study(models, {"q": model}, quantization=asked), host(H100), "model q")


def test_another_vllm_may_have_other_quantizations(models: Path) -> None:
    on = host(H100, version={**INSTALLED, "vllm": "0.25.1"}.get)
    given = study(models, {"q": "bf16"}, quantization="bitsandbytes")
    assert "0.25.1 may not" in only(given, on, "model q", "warning").message


def test_an_older_awq_checkpoint_declares_itself_in_a_file_of_its_own(models: Path) -> None:
    (checkpoint(models / "old", 20 * GB) / "quant_config.json").write_text("{}", encoding="utf-8")
    given = study(models, {"q": "old"}, quantization="awq")
    assert not said(given, host(H100), "model q")
    assert "20.0 GB of weights" in only(given, host(H100), "memory of q", "ok").message
    assert "INT4" in only(given, host(H100), "kernels of q", "ok").message


def test_a_config_that_cannot_be_read_is_not_called_unquantized(models: Path) -> None:
    (checkpoint(models / "x", GB, NVFP4) / "config.json").write_text("{", encoding="utf-8")
    found = only(study(models, {"x": "x"}), host(H100), "kernels of x", "warning")
    assert "is not known here" in found.message
    assert "the model's folder" in found.remedy
    assert "the model's folder" in only(study(models, {"x": "x"}), host(H100), "memory of x", "warning").remedy
