"""What a checkpoint's weight files hold, read from the headers of its safetensors files: a few KB of each.

The format: 8 bytes with the header's length, little-endian, then the header, a JSON object with `dtype`, `shape` and
`data_offsets` by tensor (https://github.com/huggingface/safetensors, README, "Format").
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bitparity.errors import ModelError

Tensors = Mapping[str, tuple[str, int, int]]  # by name: number type, dimensions, bytes


_MOST_HEADER = 100_000_000  # bytes, the format's own limit


_PLAIN = {"F64", "F32", "F16", "BF16", "I64", "BOOL"}  # the last two are positions and masks


# Methods whose files always have scales. Others may quantize plain files while they load: bitsandbytes, torchao, hqq.
_WITH_SCALES = re.compile(r"compressed-tensors|fp8|fbgemm_fp8|modelopt\w*|gptq|awq|auto-round|mxfp4")


# Names that quantized weights bring along: compressed-tensors, ModelOpt, FP8 in blocks, GPTQ and AWQ, bitsandbytes,
# MXFP4 as in gpt-oss.
_TRACE = re.compile(
    r"weight_(\w*scale|packed|zero_point)|scale_inv$|[._]scales?$|scale_2$|qweight|qzeros|g_idx|absmax|quant_state"
    r"|_blocks$|codebook|SCB$"
)


_PACKED = {"F8_E4M3", "F8_E5M2", "U8", "I8", "I32", "U32"}


_WEIGHT = re.compile(r"(\.weight|\.weight_packed|\.qweight|_blocks)$")


_SCALES = (".weight_scale", ".weight_scale_inv", ".scales", "_scales", ".SCB", ".weight.absmax")


# Files beside config.json that may declare a quantization (vLLM 0.32, get_config_filenames in
# model_executor/layers/quantization/; params.json is Mistral's own format).
_DECLARING = (
    "hf_quant_config.json",
    "quantize_config.json",
    "quant_config.json",
    "quantization_config.json",
    "params.json",
)


def read_tensors(files: Sequence[Path]) -> Tensors | None:
    """The tensors of weight files; None where one is no safetensors file that can be read."""
    found: dict[str, tuple[str, int, int]] = {}
    for file in files:
        try:
            for name, entry in _header(file).items():
                if name != "__metadata__":
                    first, end = entry["data_offsets"]
                    found[name] = (str(entry["dtype"]), len(entry["shape"]), end - first)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
    return found


def _header(file: Path) -> dict[str, Any]:
    if file.suffix != ".safetensors":
        raise ValueError(f"{file.name} is of another format")
    with file.open("rb") as handle:
        size = int.from_bytes(handle.read(8), "little")
        if not 0 < size <= _MOST_HEADER:
            raise ValueError(f"{file.name} has no header")
        header: dict[str, Any] = json.loads(handle.read(size))
        return header


def bytes_by_type(tensors: Tensors) -> dict[str, int]:
    """How many bytes are of each number type, as safetensors names them."""
    found: Counter[str] = Counter()
    for dtype, _, size in tensors.values():
        found[dtype] += size
    return dict(sorted(found.items()))


def check_declared(folder: Path, files: Sequence[Path], declared: Mapping[str, Any] | None) -> None:
    """Raise ModelError where a checkpoint declares quantized weights and its files hold none.

    An engine would load such files without a word: vLLM copies the plain values over and multiplies by scales that
    were never read. Where anything speaks for quantized weights, nothing is said.
    """
    if declared is None or not _declares_stored_weights(declared) or (tensors := read_tensors(files)) is None:
        return
    plain = all(dtype in _PLAIN for dtype, _, _ in tensors.values())
    matrices = any(dimensions >= 2 for _, dimensions, _ in tensors.values())
    if matrices and plain and not any(_TRACE.search(name) for name in tensors):
        held = ", ".join(bytes_by_type(tensors))
        raise ModelError(
            f"model folder {folder} declares {declared['method']} quantization, but its weights are all {held} and "
            "have no scales: these are another checkpoint's files, or only config.json was converted. Put the "
            "quantized weights there, or take the quantization out of config.json"
        )


def _declares_stored_weights(declared: Mapping[str, Any]) -> bool:
    """Whether a declaration is of weights that lie quantized in the files: not of activations or a KV cache alone."""
    method = str(declared.get("method"))
    if not _WITH_SCALES.fullmatch(method):
        return False
    if "weights" in declared:
        return any(scheme != "not quantized" and "dynamic" not in scheme for scheme in declared["weights"])
    if method == "compressed-tensors":
        return False
    return not method.startswith("modelopt") or str(declared.get("quant_algo", "none")).lower() != "none"


def check_undeclared(folder: Path, files: Sequence[Path], config: Mapping[str, Any]) -> None:
    """Raise ModelError where files hold quantized weights with scales and nothing in the folder says so.

    A model with code of its own may quantize in its own way and is left alone.
    """
    if "auto_map" in config or _says_quantized(config) or any((folder / name).exists() for name in _DECLARING):
        return
    tensors = read_tensors(files) or {}
    packed = sorted(name for name in tensors if _is_packed(name, tensors))
    if packed:
        raise ModelError(
            f"model folder {folder} has {len(packed)} quantized weights with scales, like {packed[0]} "
            f"({tensors[packed[0]][0]}), but config.json has no quantization_config: an engine would read the numbers "
            "without their scales, or refuse them. Restore the config.json that was written with these weights"
        )


def _is_packed(name: str, tensors: Tensors) -> bool:
    dtype, dimensions, _ = tensors[name]
    if dtype not in _PACKED or dimensions < 2 or not (end := _WEIGHT.search(name)):
        return False
    return any(name[: end.start()] + scale in tensors for scale in _SCALES)


def _says_quantized(value: Any) -> bool:
    """Whether a configuration has, at any depth, a key that speaks of quantization or compression."""
    if isinstance(value, Mapping):
        return any("quant" in k or "compression" in k or _says_quantized(v) for k, v in value.items())
    return isinstance(value, list) and any(map(_says_quantized, value))
