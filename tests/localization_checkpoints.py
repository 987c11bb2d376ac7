"""Quantized copies of the tiny model, made here and not by a quantizer, so that any one module can be damaged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def quantized_fp8(baseline: Path, out: Path, damaged: str | None = None, times: float = 1.3) -> Path:
    """The baseline in FP8 by compressed-tensors' layout; the scales of one module may be wrong."""
    shutil.copytree(baseline, out)
    tensors = load_file(out / "model.safetensors")
    for name in [n for n in tensors if n.endswith("_proj.weight")]:
        weight = tensors.pop(name).float()
        scale = weight.abs().amax(1, keepdim=True) / 448
        tensors[name] = (weight / scale).to(torch.float8_e4m3fn)
        wrong = times if damaged is not None and name == f"{damaged}.weight" else 1.0
        tensors[name.replace("weight", "weight_scale")] = scale * wrong
    save_file(tensors, out / "model.safetensors", {"format": "pt"})
    declare(out, {
        "quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
        "quantization_status": "compressed",
        "config_groups": {"group_0": {
            "targets": ["Linear"],
            "weights": {"num_bits": 8, "type": "float", "strategy": "channel", "symmetric": True, "dynamic": False},
            "input_activations": {
                "num_bits": 8, "type": "float", "strategy": "token", "symmetric": True, "dynamic": True
            },
        }},
    })  # fmt: skip
    return out


def declare(folder: Path, quantization: dict[str, object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"quantization_config": quantization}))
