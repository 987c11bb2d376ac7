"""Checkpoints that llm-compressor writes: the same numbers as transformers computes after its own loading."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import tiny_model
import torch

from bitparity.engines.transformers_loading import load_model
from bitparity.localization.layers import ModelPair

pytest.importorskip("llmcompressor")

pytestmark = pytest.mark.slow

# llm-compressor warns and patches a great deal, so it gets a process of its own
QUANTIZE = """
import sys
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM

source, out, scheme = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
rows = Dataset.from_list([{"input_ids": list(range(5, 69)), "attention_mask": [1] * 64}] * 2)
data = dict(dataset=rows, max_seq_length=64, num_calibration_samples=2) if scheme in ("NVFP4", "FP8") else {}
oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]), **data)
model.save_pretrained(out, save_compressed=True)
"""


# blocks of 128 x 128 do not fit so small a model
@pytest.mark.parametrize("scheme", ["FP8", "FP8_DYNAMIC", "NVFP4", "W8A8"])
def test_the_logits_are_those_of_transformers(scheme: str, baseline: Path, tmp_path: Path) -> None:
    out = tmp_path / scheme
    command = [sys.executable, "-c", QUANTIZE, str(baseline), str(out), scheme]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
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
