"""Checkpoints that llm-compressor writes: the same numbers as transformers computes after its own loading."""

from __future__ import annotations

import warnings
from pathlib import Path

import llm_compressor
import pytest
import tiny_model
import torch

from bitparity.engines.transformers_loading import load_model
from bitparity.localization.layers import ModelPair

pytestmark = [pytest.mark.slow, llm_compressor.needed]

# blocks of 128 x 128 do not fit so small a model
SCHEMES = ("FP8", "FP8_DYNAMIC", "NVFP4", "W8A8")


@pytest.fixture(scope="module")
def quantized(baseline: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint for each scheme."""
    folder = tmp_path_factory.mktemp("quantized")
    llm_compressor.quantize(baseline, folder, SCHEMES)
    return folder


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_logits_are_those_of_transformers(scheme: str, baseline: Path, quantized: Path) -> None:
    out = quantized / scheme
    with warnings.catch_warnings(action="ignore"):
        model, _ = load_model(out, tiny_model.variant(out, dtype="float32").engine, torch.device("cpu"))
    model = model.float()
    pair, ids = ModelPair(baseline, out, torch.device("cpu")), torch.arange(10, 50)[None]
    with torch.inference_mode():
        expected, plain = model(ids).logits, load_plain(baseline)(ids).logits
        hidden, calls = pair.embed(ids, base=False)
        for number, (args, named) in enumerate(calls):
            with pair.layer(number) as part:
                assert sum(located.changed for located in part.linears.values()) == 7
                hidden = part.run(hidden, *args, **named)
        found = pair.logits(ids, hidden, back=frozenset())
    # transformers unpacks NVFP4 to bfloat16: that rounding of the weights moves activations to the next of 16 values,
    # more with each token that is attended to, so the first token alone is compared
    tokens = slice(0, 1) if scheme == "NVFP4" else slice(None)
    apart = float((expected - plain)[:, tokens].abs().mean())
    assert float((found - expected)[:, tokens].abs().mean()) < (0.05 if scheme == "NVFP4" else 0.001) * apart


def load_plain(folder: Path) -> torch.nn.Module:
    return load_model(folder, tiny_model.variant(folder, dtype="float32").engine, torch.device("cpu"))[0]
