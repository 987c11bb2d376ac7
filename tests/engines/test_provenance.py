"""What the vLLM engine records of layers, on doubles of vLLM's modules."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from bitparity.engines.vllm_worker import ModelProbe, _scales_requantized, layer_facts
from bitparity.models.quantization import quantizes_activations


def instance(kind: str, **attributes: Any) -> Any:
    """An object whose class has this name."""
    return type(kind, (SimpleNamespace,), {})(**attributes)


def linear(method: str, kernel: str | None = None, scheme: str | None = None) -> Any:
    held = {"kernel": instance(kernel)} if kernel else {}
    if scheme is None:
        return instance("Linear", quant_method=instance(method, **held), input_size_per_partition=64)
    schemed = {"scheme": instance(scheme, **held), "quant_method": instance(method)}
    return instance("Linear", input_size_per_partition=64, **schemed)


NVFP4 = ("CompressedTensorsLinearMethod", "MarlinNvFp4LinearKernel", "CompressedTensorsW4A4Fp4")


def test_each_kind_of_layer_has_its_kernel() -> None:
    embedding = instance(
        "VocabParallelEmbedding",
        quant_method=instance("UnquantizedEmbeddingMethod"),
        num_embeddings=9,
        input_size_per_partition=64,
    )
    cache = instance("Attention", quant_method=instance("KVCacheMethod"), attn_backend=None)
    experts = instance(
        "FusedMoE", quant_method=instance("NvFp4MoE", moe_kernel=instance("K", fused_experts=instance("MarlinExperts")))
    )
    modules = [
        ("model.embed_tokens", embedding),
        ("model.layers.0.self_attn.qkv_proj", linear(*NVFP4)),
        ("model.layers.0.self_attn.attn", cache),
        ("model.layers.0.mlp.down_proj", linear("UnquantizedLinearMethod")),
        ("model.layers.1.self_attn.qkv_proj", linear(*NVFP4)),
        ("model.layers.1.mlp.down_proj", linear(*NVFP4)),
        ("model.layers.1.mlp.experts", experts),
        ("model.norm", instance("RMSNorm")),
        ("lm_head", embedding),
    ]
    facts = layer_facts(modules)
    marlin = "CompressedTensorsW4A4Fp4 / MarlinNvFp4LinearKernel"
    assert facts["layer_kernels"] == {
        "down_proj": {marlin: 1, "UnquantizedLinearMethod": 1},
        "experts": {"NvFp4MoE / MarlinExperts": 1},
        "lm_head": {"UnquantizedEmbeddingMethod": 1},
        "qkv_proj": {marlin: 2},
    }
    assert facts["linear_kernels"] == {marlin: 3, "UnquantizedLinearMethod": 1}
    assert facts["activations_quantized"] is False


def test_a_module_under_two_names_of_one_kind_counts_once() -> None:
    shared = linear("UnquantizedLinearMethod")
    facts = layer_facts([("a.down_proj", shared), ("b.down_proj", shared)])
    assert facts["linear_kernels"] == {"UnquantizedLinearMethod": 1}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ([linear("UnquantizedLinearMethod")], False),
        ([linear("CT", "CutlassFP8ScaledMMLinearKernel", "CompressedTensorsW8A8Fp8")], True),
        (
            [linear("CT", "CutlassNvFp4LinearKernel", "CompressedTensorsW4A4Fp4"), linear("UnquantizedLinearMethod")],
            True,
        ),
        ([linear("CT", "CutlassNvFp4LinearKernel", "CompressedTensorsW4A4Fp4"), linear(*NVFP4)], None),
        ([linear("SomethingNew")], None),
        ([], False),
    ],
)
def test_activations_of_the_whole_model(layers: list[Any], expected: bool | None) -> None:
    named = [(f"layers.{n}.down_proj", layer) for n, layer in enumerate(layers)]
    assert layer_facts(named)["activations_quantized"] is expected


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        ("CompressedTensorsW4A4Fp4 / MarlinNvFp4LinearKernel", False),
        ("CompressedTensorsW4A4Fp4 / FlashInferCutlassNvFp4LinearKernel", True),
        ("CompressedTensorsW4A4Fp4 / EmulationNvFp4LinearKernel", True),
        ("CompressedTensorsW4A4Fp4 / HummingNvFp4LinearKernel", None),
        ("CompressedTensorsW8A8Fp8 / MarlinFP8ScaledMMLinearKernel", False),
        ("CompressedTensorsW8A16Fp8 / XPUW8A16FP8LinearKernel", False),
        ("CompressedTensorsWNA16 / MacheteLinearKernel", False),
        ("CompressedTensorsW4A8Int / Dynamic4bitLinearKernel", True),
        ("Fp8LinearMethod / FlashInferFp8BlockScaledMMKernel", True),
        ("Fp8LinearMethod / FlashInferFp8DeepGEMMDynamicBlockScaledKernel", True),
        ("CompressedTensorsW8A8Mxfp8 / FlashInferCutlassMxfp8LinearKernel", True),
        ("AutoGPTQLinearMethod / ExllamaLinearKernel", False),
        ("SomethingNew", None),
    ],
)
def test_the_kernel_decides_over_the_scheme(described: str, expected: bool | None) -> None:
    assert quantizes_activations(described) is expected


@pytest.mark.parametrize(("used", "expected"), [(True, True), (False, False)])
def test_rounded_scales_are_told(monkeypatch: pytest.MonkeyPatch, used: bool, expected: bool) -> None:
    deep_gemm = SimpleNamespace(is_deep_gemm_e8m0_used=lambda: used)
    monkeypatch.setitem(sys.modules, "vllm", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "vllm.utils", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "vllm.utils.deep_gemm", deep_gemm)
    assert _scales_requantized("Fp8LinearMethod / DeepGemmFp8BlockScaledMMKernel") is expected
    assert _scales_requantized("Fp8LinearMethod / CutlassFp8BlockScaledMMKernel") is False


def test_the_probe_reads_worker_and_model(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = SimpleNamespace(get_name=lambda: "FLASH_ATTN")
    named = [("m.qkv_proj", linear("UnquantizedLinearMethod")), ("m.attn", instance("Attention", attn_backend=backend))]
    model = SimpleNamespace(
        modules=lambda: [module for _, module in named],
        named_modules=lambda remove_duplicate: named,
        parameters=lambda: iter([SimpleNamespace(device=instance("Cpu", type="cpu"))]),
    )
    mode = SimpleNamespace(name="FULL_AND_PIECEWISE")

    class Worker(ModelProbe):
        cache_config = SimpleNamespace(cache_dtype="auto")
        model_config = SimpleNamespace(dtype="torch.bfloat16")
        model_runner = instance("Runner")
        vllm_config = SimpleNamespace(
            compilation_config=SimpleNamespace(mode=SimpleNamespace(name="NONE"), cudagraph_mode=mode)
        )

        def get_model(self) -> Any:
            return model

    found = Worker().bitparity_probe()
    assert found["attention_backend"] == {"FLASH_ATTN": 1}
    assert found["kv_cache_dtype"] == "bfloat16"
    assert found["compilation"] == {"mode": "NONE", "cudagraph_mode": "FULL_AND_PIECEWISE"}
    Worker.cache_config = SimpleNamespace(cache_dtype="fp8_e4m3")
    assert Worker().bitparity_probe()["kv_cache_dtype"] == "fp8_e4m3"
