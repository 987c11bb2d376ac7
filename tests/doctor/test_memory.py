"""Whether weights and key-value cache fit: figures computed by hand from published configurations."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doubles import FP8, GB, GIB, H100, NVFP4, QWEN3_32B, Device, checkpoint, host, only, said, study

from bitparity.doctor.memory import cache_of
from bitparity.doctor.vllm import VLLM
from bitparity.models.config import Config

RTX_5090 = Device("RTX 5090", "GPU-5090", 32 * GIB, capability=(12, 0))
QWEN35_27B = {
    "num_hidden_layers": 64,
    "num_attention_heads": 24,
    "num_key_value_heads": 4,
    "head_dim": 256,
    "layer_types": (["linear_attention"] * 3 + ["full_attention"]) * 16,
}
GPT_OSS_120B = {
    "num_hidden_layers": 36,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 64,
    "sliding_window": 128,
    "layer_types": ["sliding_attention", "full_attention"] * 18,
}
DEEPSEEK_V3 = {"num_hidden_layers": 61, "num_attention_heads": 128, "kv_lora_rank": 512, "qk_rope_head_dim": 64}


@pytest.mark.parametrize(
    ("config", "width", "ranks", "length", "size"),
    [
        (QWEN3_32B, 2, 1, 40960, 10_737_418_240),  # 64 layers x 2 x 8 heads x 128 x 2 bytes x 40,960
        (QWEN3_32B, 1, 1, 40960, 5_368_709_120),
        (QWEN3_32B, VLLM.cache_bytes["nvfp4"], 1, 40960, 3_019_898_880),
        (QWEN3_32B, 2, 4, 40960, 2_684_354_560),
        (QWEN3_32B, 2, 16, 40960, 1_342_177_280),  # no less than one of 8 heads
        (QWEN35_27B, 2, 1, 262_144, 17_179_869_184),  # 16 of 64 layers
        ({**QWEN35_27B, "layer_types": None, "full_attention_interval": 4}, 2, 1, 262_144, 17_179_869_184),
        (GPT_OSS_120B, 2, 1, 131_072, 18 * 2048 * (131_072 + 128)),
        (GPT_OSS_120B, 2, 1, 100, 36 * 2048 * 100),
        ({**GPT_OSS_120B, "sliding_window": None}, 2, 1, 131_072, 36 * 2048 * 131_072),
        (DEEPSEEK_V3, 2, 1, 163_840, 11_513_364_480),  # 61 x (512 + 64) x 2 x 163,840
        (DEEPSEEK_V3, 2, 8, 163_840, 11_513_364_480),
        (
            {"num_hidden_layers": 2, "num_attention_heads": 4, "hidden_size": 64},
            2,
            1,
            1,
            512,
        ),  # 2 x 2 x 4 heads x 16 x 2 bytes
    ],
)
def test_the_cache_of_one_sequence(config: dict[str, Any], width: float, ranks: int, length: int, size: int) -> None:
    cache = cache_of(Config(config), width, ranks)
    assert cache is not None
    assert cache.of(length) == size


@pytest.mark.parametrize(
    ("stored", "engine", "size"),
    [
        ("float32", {"dtype": "bfloat16"}, "18.5"),
        ("float32", {"dtype": "auto"}, "18.5"),  # vLLM computes in 16 bits
        ("float32", {"dtype": "float32"}, "37.0"),
        ("bfloat16", {"dtype": "float32"}, "74.0"),
        ("bfloat16", {"dtype": "float16"}, "37.0"),
        ("float32", {"quantization": "fp8_per_tensor"}, "10.2"),  # 0.55 of 18.5
        ("float32", {"kind": "transformers", "device": "cuda"}, "37.0"),
        ("float32", {"kind": "transformers", "device": "cuda", "dtype": "bfloat16"}, "18.5"),
    ],
)
def test_weights_take_what_their_loaded_type_takes(
    models: Path, stored: str, engine: dict[str, Any], size: str
) -> None:
    checkpoint(models / "x", 37 * GB, torch_dtype=stored)
    assert f"{size} GB of weights" in said(study(models, {"x": "x"}, **engine), host(H100), "memory of x")[0].message


def test_a_cache_in_float32_takes_twice_as_much(models: Path) -> None:
    checkpoint(models / "x", 5 * GB)
    found = only(study(models, {"x": "x"}, dtype="float32"), host(H100), "memory of x", "ok")
    assert "one sequence of 40,960 tokens takes 21.5 GB" in found.message


def test_a_cache_that_the_checkpoint_has_scales_for(models: Path) -> None:
    eight = {**NVFP4, "kv_cache_scheme": {"type": "float", "num_bits": 8}}
    checkpoint(models / "x", 20 * GB, eight, **{"text_config": QWEN3_32B, "num_hidden_layers": None})
    found = only(study(models, {"x": "x"}), host(H100), "memory of x", "ok")
    assert "one sequence of 40,960 tokens takes 5.4 GB" in found.message


@pytest.mark.parametrize(("quantization", "loaded"), [(None, "37.0"), (NVFP4, "10.0"), (FP8, "10.0")])
def test_quantized_weights_keep_their_size(models: Path, quantization: dict[str, Any] | None, loaded: str) -> None:
    checkpoint(models / "x", 10 * GB if quantization else 37 * GB, quantization)
    found = said(study(models, {"x": "x"}, dtype="bfloat16"), host(H100), "memory of x")
    assert f"{loaded} GB of weights" in found[0].message


def test_every_device_counts_as_the_smallest(models: Path) -> None:
    on = host(H100, Device("RTX A2000", "GPU-small", 12 * GIB, capability=(8, 6)))
    found = only(study(models, {"bf16": "bf16"}, tensor_parallel_size=2), on, "memory of bf16", "error")
    assert "65.5 GB of weights on 25.8 GB do not fit" in found.message


def test_heads_that_cannot_be_divided(models: Path) -> None:
    gpus = [replace(H100, uuid=f"GPU-{i}") for i in range(3)]
    found = only(study(models, {"bf16": "bf16"}, tensor_parallel_size=3), host(*gpus), "memory of bf16", "error")
    assert "64 attention heads cannot be divided by tensor_parallel_size 3" in found.message
    assert "one of 1, 2, 4, 8" in found.remedy


def test_a_latent_cache_is_on_every_device(models: Path) -> None:
    checkpoint(models / "ds", 340 * GB, FP8, **DEEPSEEK_V3)
    gpus = [replace(H100, uuid=f"GPU-{i}") for i in range(8)]
    given = study(models, {"ds": "ds"}, tensor_parallel_size=8, max_model_len=163_840)
    found = only(given, host(*gpus), "memory of ds", "ok")
    # 8 x 11.5 GB; 0.92 x 8 x 85.9 - 340 - 24 GB are left
    assert "takes 92.1 GB, 268.2 GB are left" in found.message


def test_a_kind_of_cache_that_vllm_does_not_have(models: Path) -> None:
    found = only(study(models, {"nvfp4": "nvfp4"}, kv_cache_dtype="fp9"), host(H100), "memory of nvfp4", "warning")
    assert "kv_cache_dtype 'fp9' is none of vLLM 0.32's" in found.message


LLAMA_8B = {"num_hidden_layers": 32, "num_attention_heads": 32, "max_position_embeddings": 131_072}


@pytest.mark.parametrize(
    ("batch_size", "level", "words"),
    [
        (1, "ok", "batch_size 1 x 6,144 tokens of the study take up to 0.8 GB, 6.7 GB are left"),
        (16, "warning", "take up to 12.9 GB, 6.7 GB are left: a batch of long answers would run out"),
    ],
)
def test_transformers_reserves_nothing_ahead(models: Path, batch_size: int, level: str, words: str) -> None:
    checkpoint(models / "llama", 16_100_000_000, **LLAMA_8B)  # 131,072 bytes a token
    given = study(
        models, {"llama": "llama"}, "default", kind="transformers", device="cuda", batch_size=batch_size,
        max_model_len=131_072, protocol={"max_tokens": 4096},
    )  # fmt: skip
    found = only(given, host(Device("RTX 4090", "GPU-4090", 24 * GIB, capability=(8, 9))), "memory of llama", level)
    assert words in found.message
    assert level == "ok" or found.remedy == "set batch_size: 8 for every variant"


def test_what_does_not_fit_transformers(models: Path) -> None:
    engine = {"kind": "transformers", "device": "cuda"}
    found = only(study(models, {"bf16": "bf16"}, **engine), host(RTX_5090), "memory of bf16", "error")
    assert "65.5 GB of weights on 34.4 GB do not fit (34.4 GB free" in found.message
    assert "device: cpu" in found.remedy
    used = host(replace(H100, used=30 * GIB))
    assert "(53.7 GB free" in only(study(models, {"bf16": "bf16"}, **engine), used, "memory", "error").message
    # compressed-tensors weights are unpacked: 20 GB of 4 bits in 16
    unpacked = only(study(models, {"nvfp4": "nvfp4"}, **engine), host(RTX_5090), "memory of nvfp4", "error")
    assert "57.1 GB of weights" in unpacked.message
