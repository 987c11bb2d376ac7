"""Checkpoints that llm-compressor writes: all schemes of a test file in one process, which is started and imports once.

llm-compressor warns and patches a great deal, so it gets a process of its own.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

# looked for and not imported: it patches what it finds
needed = pytest.mark.skipif(importlib.util.find_spec("llmcompressor") is None, reason="llm-compressor is not installed")

QUANTIZE = """
import sys
from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.core import reset_session
from llmcompressor.modifiers.quantization import QuantizationModifier
from transformers import AutoModelForCausalLM, AutoTokenizer

source, folder, *schemes = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(source)
rows = Dataset.from_list([{"input_ids": list(range(5, 69)), "attention_mask": [1] * 64}] * 2)
for scheme in schemes:
    reset_session()
    model = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    data = dict(dataset=rows, max_seq_length=64, num_calibration_samples=2) if scheme in ("NVFP4", "FP8") else {}
    oneshot(model=model, recipe=QuantizationModifier(targets="Linear", scheme=scheme, ignore=["lm_head"]), **data)
    model.save_pretrained(f"{folder}/{scheme}", save_compressed=True)
    tokenizer.save_pretrained(f"{folder}/{scheme}")
"""


def quantize(source: Path, folder: Path, schemes: Sequence[str]) -> None:
    """Write the model in each scheme into a folder of the scheme's name."""
    command = [sys.executable, "-c", QUANTIZE, str(source), str(folder), *schemes]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
