"""Headers of safetensors files, and checks of the weights they name against a checkpoint's configuration.

A header takes a few KB: 8 bytes with its length, little-endian, then a JSON object with `dtype`, `shape` and
`data_offsets` by tensor (https://github.com/huggingface/safetensors, README, "Format").
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bitparity.errors import ModelError
from bitparity.inputs.input_files import open_regular
from bitparity.models.config import Config
from bitparity.models.quantization import PLAIN, Quantization

_MOST_HEADER = 100_000_000  # bytes, the format's own limit
_PLAIN_TYPES = {"F64", "F32", "F16", "BF16", "I64", "BOOL"}  # the last two are positions and masks

# Methods whose files always have scales. Others may quantize plain files while they load: bitsandbytes, torchao, hqq.
_WITH_SCALES = re.compile(r"compressed-tensors|fp8|fbgemm_fp8|modelopt\w*|gptq|awq|auto-round|mxfp4")

# Names that quantized weights bring along: compressed-tensors, ModelOpt, FP8 in blocks, GPTQ and AWQ, bitsandbytes,
# MXFP4 as in gpt-oss.
_TRACE = re.compile(
    r"weight_(\w*scale|packed|zero_point)|scale_inv$|[._]scales?$|scale_2$|qweight|qzeros|g_idx|absmax|quant_state"
    r"|_blocks$|codebook|SCB$"
)
_PACKED_TYPES = {"F8_E4M3", "F8_E5M2", "U8", "I8", "I32", "U32"}
_WEIGHT = re.compile(r"(\.weight|\.weight_packed|\.qweight|_blocks)$")
_SCALES = (".weight_scale", ".weight_scale_inv", ".scales", "_scales", ".SCB", ".weight.absmax")

# Files beside config.json that may declare a quantization (vLLM 0.32, get_config_filenames in
# model_executor/layers/quantization/; params.json is Mistral's own format).
_DECLARING = ("hf_quant_config", "quantize_config", "quant_config", "quantization_config", "params")


class Tensor(NamedTuple):
    """A tensor of a weight file: number type as safetensors names it, number of dimensions, bytes."""

    dtype: str
    dimensions: int
    size: int


def read_tensors(files: Sequence[Path]) -> dict[str, Tensor] | None:
    """The tensors of weight files by name; None where one is no safetensors file that can be read."""
    found: dict[str, Tensor] = {}
    for file in files:
        try:
            with open_regular(file) as handle:
                size = int.from_bytes(handle.read(8), "little")
                if file.suffix != ".safetensors" or not 0 < size <= _MOST_HEADER:
                    return None
                header: dict[str, Any] = json.loads(handle.read(size))
            for name, entry in header.items():
                if name != "__metadata__":
                    first, end = entry["data_offsets"]
                    found[name] = Tensor(str(entry["dtype"]), len(entry["shape"]), end - first)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return None
    return found


def bytes_by_type(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Bytes of weights by number type, as safetensors names the types."""
    found: Counter[str] = Counter()
    for tensor in tensors.values():
        found[tensor.dtype] += tensor.size
    return dict(sorted(found.items()))


def check_declared(folder: Path, files: Sequence[Path], declared: Quantization | None) -> None:
    """Raise ModelError where a checkpoint declares quantized weights and its files hold none.

    An engine would load such files without a word: vLLM copies the plain values over and multiplies by scales that
    were never read. Where anything speaks for quantized weights, nothing is said.
    """
    if declared is None or not _declares_stored_weights(declared) or (tensors := read_tensors(files)) is None:
        return
    plain = all(tensor.dtype in _PLAIN_TYPES for tensor in tensors.values())
    # vectors, as of norms, stay plain in any checkpoint
    matrices = any(tensor.dimensions >= 2 for tensor in tensors.values())
    if matrices and plain and not any(_TRACE.search(name) for name in tensors):
        raise ModelError(
            f"model folder {folder} declares {declared['method']} quantization, but its weights are all "
            f"{', '.join(bytes_by_type(tensors))} and have no scales: these are another checkpoint's files, or only "
            "config.json was converted. Put the quantized weights there, or take the quantization out of config.json"
        )


def _declares_stored_weights(declared: Quantization) -> bool:
    """True where weights are declared to lie quantized in the files, not activations or a key-value cache alone."""
    method = str(declared.get("method"))
    if not _WITH_SCALES.fullmatch(method):
        return False
    if "weights" in declared:
        return any(scheme != PLAIN and "dynamic" not in scheme for scheme in declared["weights"])
    if method.startswith("modelopt"):
        return str(declared.get("quant_algo", "none")).lower() != "none"
    return method != "compressed-tensors"


def check_undeclared(folder: Path, files: Sequence[Path], config: Config) -> None:
    """Raise ModelError where files hold quantized weights with scales and nothing in the folder says so.

    A model with code of its own (`auto_map`) may quantize in its own way and is left alone.
    """
    says_so = _speaks_of_quantization(config.values) or any((folder / f"{name}.json").exists() for name in _DECLARING)
    if "auto_map" in config.values or says_so:
        return
    tensors = read_tensors(files) or {}
    packed = sorted(name for name in tensors if _is_packed(name, tensors))
    if packed:
        raise ModelError(
            f"model folder {folder} has {len(packed)} quantized weights with scales, like {packed[0]} "
            f"({tensors[packed[0]].dtype}), but config.json has no quantization_config: an engine would read the "
            "numbers without their scales, or refuse them. Restore the config.json that was written with these weights"
        )


def _is_packed(name: str, tensors: Mapping[str, Tensor]) -> bool:
    tensor, end = tensors[name], _WEIGHT.search(name)
    if tensor.dtype not in _PACKED_TYPES or tensor.dimensions < 2 or not end:
        return False
    return any(name[: end.start()] + scale in tensors for scale in _SCALES)


def _speaks_of_quantization(value: object) -> bool:
    """True where a JSON value has, at any depth, a key that speaks of quantization or compression."""
    if isinstance(value, Mapping):
        return any("quant" in k or "compression" in k or _speaks_of_quantization(v) for k, v in value.items())
    return isinstance(value, list) and any(map(_speaks_of_quantization, value))
