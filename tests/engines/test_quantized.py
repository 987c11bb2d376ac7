"""Quantized checkpoints in the transformers engine: what is declared is what runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import llm_compressor
import pytest
import tiny_model

from bitparity.engines.host import EngineProcess
from bitparity.errors import ModelError
from bitparity.exam.rendering import Renderer
from bitparity.records import Request, Sample, Sampling

pytestmark = [pytest.mark.slow, llm_compressor.needed]

SCHEMES = ("FP8_DYNAMIC", "NVFP4")


@pytest.fixture(scope="module")
def checkpoints(tiny_bf16: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint for each scheme."""
    folder = tmp_path_factory.mktemp("quantized")
    llm_compressor.quantize(tiny_bf16, folder, SCHEMES)
    return folder


@pytest.fixture(scope="module", params=SCHEMES)
def quantized(request: pytest.FixtureRequest, checkpoints: Path) -> Path:
    return checkpoints / str(request.param)


Scores = tuple[list[float], dict[str, object]]


def scores(folder: Path, log: Path, **engine: str) -> Scores:
    """Log-likelihoods of a few texts, and the engine's facts."""
    renderer = Renderer(folder)
    requests = [
        Request("b", text, 0, Sampling(8), 0, None, renderer.encode(text, (" and so on", "!")).scored)
        for text in ("one two three", "The quick brown fox", "x = 1")
    ]
    with EngineProcess(tiny_model.variant(folder, **engine), log) as process:
        found: dict[str, Sample] = {s.item: s for burst in process.run(requests) for s in burst}
        return [total for r in requests for total, _ in found[r.item].logprobs or ()], process.facts


@pytest.fixture(scope="module")
def plain(tiny_bf16: Path, tmp_path_factory: pytest.TempPathFactory) -> Scores:
    return scores(tiny_bf16, tmp_path_factory.mktemp("plain") / "log")


@pytest.fixture(scope="module")
def ours(quantized: Path, tmp_path_factory: pytest.TempPathFactory) -> Scores:
    return scores(quantized, tmp_path_factory.mktemp("ours") / "log")


def test_weights_and_activations_are_quantized(quantized: Path, ours: Scores, plain: Scores) -> None:
    (found, facts), (expected, plain_facts) = ours, plain
    quantization = facts["quantization"]
    assert isinstance(quantization, dict)
    bits = "8 bit" if "FP8" in quantized.name else "4 bit"
    assert quantization["method"] == "compressed-tensors"
    assert quantization["quantized_modules"] == quantization["activations_quantized"] == 14
    assert quantization["linear_modules"] == 15
    for part in ("weights", "activations"):
        assert [bits in scheme for scheme in quantization[part]] == [True]
    assert plain_facts["quantization"] is None
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) > 1e-2


def test_unquantized_activations_would_show(quantized: Path, ours: Scores, tmp_path: Path) -> None:
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
    assert isinstance(facts["quantization"], dict)
    assert facts["quantization"]["activations"] == {"not quantized": 14}
    assert facts["quantization"]["activations_quantized"] == 0
    assert max(abs(a - b) for a, b in zip(ours[0], other, strict=True)) > 1e-3


def test_quantized_tensors_without_a_declaration_are_refused(quantized: Path, tmp_path: Path) -> None:
    bare = shutil.copytree(quantized, tmp_path / "bare")
    config = json.loads((bare / "config.json").read_text())
    del config["quantization_config"]
    (bare / "config.json").write_text(json.dumps(config))
    with pytest.raises(ModelError):
        scores(bare, tmp_path / "log")
