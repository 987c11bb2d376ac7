"""Questions to the installed vLLM: its answers, its silence, and the doctor's tables beside the real CPU build."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from doubles import GIB, H100, Device, host, models, only, said, study

from bitparity.doctor.vllm import Installed, ask_vllm

__all__ = ["models"]  # a fixture

PRO_6000 = Device("NVIDIA RTX PRO 6000", "GPU-pro", 96 * GIB, capability=(12, 0))
VARIANTS = {name: name for name in ("bf16", "fp8", "nvfp4")}
BLOCKS = "FP8 with scales for blocks"


def interpreter(folder: Path, body: str) -> str:
    """A program that stands for an interpreter with vLLM."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{body}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def test_the_answers_follow_what_vllm_writes_while_it_is_imported(tmp_path: Path) -> None:
    told = {"version": "0.33.0", "kernels": {"NVFP4": "CutlassNvFp4LinearKernel"}}
    python = interpreter(tmp_path, f"print('INFO loading')\nprint({json.dumps(told)!r})")
    found = ask_vllm(python)
    assert found is not None
    assert (found.version, found.kernels, found.quantizations) == (told["version"], told["kernels"], ())


@pytest.mark.parametrize(
    "body", ["raise SystemExit(1)", "print('[]')", "print('no')", "", "import time; time.sleep(60)"]
)
def test_a_vllm_that_does_not_answer_is_not_waited_for(tmp_path: Path, body: str) -> None:
    assert ask_vllm(interpreter(tmp_path, body), limit_s=0.5) is None
    assert ask_vllm(str(tmp_path / "absent")) is None


def on(device: Device, **kernels: str) -> Any:
    """A host whose vLLM chooses these kernels."""
    named = {BLOCKS if kind == "blocks" else kind: name for kind, name in kernels.items()}
    return host(device, ask_vllm=lambda: Installed(version="0.33.0", kernels=named, quantizations=("fp8", "quark")))


def test_the_kernels_are_those_that_vllm_chooses_here(models: Path) -> None:
    asked = on(PRO_6000, NVFP4="FlashInferB12xNvFp4LinearKernel", blocks="CutlassFp8BlockScaledMMKernel")
    found = {line.topic: line for line in said(study(models, VARIANTS), asked, "kernels of nvfp4")}
    (nvfp4,) = found.values()
    assert "FlashInferB12xNvFp4LinearKernel, which vLLM 0.33.0 chooses here" in nvfp4.message
    assert "linear_backend: marlin" in nvfp4.remedy  # right or not on this chip, its answers have to be looked at
    assert only(study(models, VARIANTS), asked, "kernels of fp8", "ok").message.endswith("chooses here")


@pytest.mark.parametrize(
    ("kernels", "topic", "words"),
    [
        ({"NVFP4": "MarlinNvFp4LinearKernel"}, "kernels of nvfp4", "weights only, activations stay in 16 bits"),
        ({"NVFP4": "FlashInferCuteDslNvFp4W4A16LinearKernel"}, "kernels of nvfp4", "weights only"),
        ({"blocks": "DeepGemmFp8BlockScaledMMKernel"}, "kernels of fp8", "DeepGemm"),
    ],
)
def test_what_such_a_kernel_means_is_said(models: Path, kernels: dict[str, str], topic: str, words: str) -> None:
    (found,) = said(study(models, VARIANTS), on(PRO_6000, **kernels), topic, "warning")
    assert words in found.message
    assert found.remedy


def test_a_quantization_is_one_of_the_installed_vllm(models: Path) -> None:
    given = study(models)
    variants = {
        name: variant.model_copy(update={"engine": variant.engine.model_copy(update={"quantization": "awq"})})
        for name, variant in given.variants.items()
    }
    found = said(given.model_copy(update={"variants": variants}), on(H100), "model bf16", "error")
    assert "vLLM 0.33.0 has no quantization 'awq'" in found[0].message
    assert "fp8, quark" in found[0].remedy


def test_a_cache_of_a_newer_version_is_not_called_unknown_to_it(models: Path) -> None:
    """vLLM 0.33 has kinds of cache that the table of 0.32 lacks."""
    newer = Installed(version="0.33.0", cache_kinds=("auto", "fp8", "octave_new"))
    on = host(H100, ask_vllm=lambda: newer)
    found = only(study(models, {"nvfp4": "nvfp4"}, kv_cache_dtype="octave_new"), on, "memory of nvfp4", "warning")
    assert "how much a value of kv_cache_dtype 'octave_new' takes is not known" in found.message
    found = only(study(models, {"nvfp4": "nvfp4"}, kv_cache_dtype="fp9"), on, "memory of nvfp4", "warning")
    assert "'fp9' is none of vLLM 0.33.0's" in found.message
    assert found.remedy.endswith("auto, fp8, octave_new")
