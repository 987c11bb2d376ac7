"""Quantized checkpoints in the transformers engine: what is declared is what runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_model

from bitparity.engines.host import EngineProcess
from bitparity.errors import ModelError
from bitparity.exam.rendering import Renderer
from bitparity.records import Request, Sample, Sampling

pytest.importorskip("llmcompressor")

pytestmark = pytest.mark.slow

# llm-compressor warns and patches a great deal, so it gets a process of its own
QUANTIZE = """
import sys
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

source, out, scheme = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
tokenizer = AutoTokenizer.from_pretrained(source)
rows = Dataset.from_list([{"input_ids": list(range(5, 69)), "attention_mask": [1] * 64}] * 2)
data = dict(dataset=rows, max_seq_length=64, num_calibration_samples=2) if scheme == "NVFP4" else {}
oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]), **data)
model.save_pretrained(out, save_compressed=True)
tokenizer.save_pretrained(out)
"""


@pytest.fixture(scope="module", params=["FP8_DYNAMIC", "NVFP4"])
def quantized(request: pytest.FixtureRequest, tiny_bf16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp(request.param) / request.param
    command = [sys.executable, "-c", QUANTIZE, str(tiny_bf16), str(out), request.param]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, cwd=out.parent, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return out


def scores(folder: Path, log: Path, **engine: str) -> tuple[list[float], dict[str, object]]:
    """Log-likelihoods of a few texts, and the engine's facts."""
    renderer = Renderer(folder)
    requests = [
        Request("b", text, 0, Sampling(8), 0, None, renderer.encode(text, (" and so on", "!")).scored)
        for text in ("one two three", "The quick brown fox", "x = 1")
    ]
    with EngineProcess(tiny_model.variant(folder, **engine), log) as process:
        found: dict[str, Sample] = {s.item: s for burst in process.run(requests) for s in burst}
        return [total for r in requests for total, _ in found[r.item].logprobs or ()], process.facts


def test_weights_and_activations_are_quantized(quantized: Path, tiny_bf16: Path, tmp_path: Path) -> None:
    ours, facts = scores(quantized, tmp_path / "log")
    plain, plain_facts = scores(tiny_bf16, tmp_path / "plain-log")
    quantization = facts["quantization"]
    assert isinstance(quantization, dict)
    bits = "8 bit" if "FP8" in quantized.name else "4 bit"
    assert quantization["method"] == "compressed-tensors"
    assert quantization["quantized_modules"] == quantization["activations_quantized"] == 14
    assert quantization["linear_modules"] == 15
    for part in ("weights", "activations"):
        assert [bits in scheme for scheme in quantization[part]] == [True]
    assert plain_facts["quantization"] is None
    assert max(abs(a - b) for a, b in zip(ours, plain, strict=True)) > 1e-2


def test_unquantized_activations_would_show(quantized: Path, tmp_path: Path) -> None:
    """The same weights with plain activations give other numbers: the difference is really computed."""
    weight_only = shutil.copytree(quantized, tmp_path / "weight-only")
    config = json.loads((weight_only / "config.json").read_text())
    for group in config["quantization_config"]["config_groups"].values():
        group["input_activations"] = None
    (weight_only / "config.json").write_text(json.dumps(config))
    if "NVFP4" in quantized.name:  # its activation scales are left over, and that is told
        with pytest.raises(ModelError, match="would not be used"):
            scores(weight_only, tmp_path / "log")
        return
    other, facts = scores(weight_only, tmp_path / "log")
    ours, _ = scores(quantized, tmp_path / "log")
    assert isinstance(facts["quantization"], dict)
    assert facts["quantization"]["activations"] == {"not quantized": 14}
    assert facts["quantization"]["activations_quantized"] == 0
    assert max(abs(a - b) for a, b in zip(ours, other, strict=True)) > 1e-3


def test_quantized_tensors_without_a_declaration_are_refused(quantized: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(quantized, tmp_path / "bare")
    config = json.loads((bare / "config.json").read_text())
    del config["quantization_config"]
    (bare / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        scores(bare, tmp_path / "log")
