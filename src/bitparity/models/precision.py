"""What runs inside vLLM's own worker process and reads off the loaded model what was really chosen.

vLLM mixes this class into its worker (`worker_extension_cls`); `collective_rpc` calls the method. No
function travels between the processes, so insecure serialization stays off.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

# Kernels and schemes by what they multiply with: unquantized activations first, since such a kernel under a scheme
# that quantizes them (Marlin under W4A4) leaves them as they are.
WEIGHT_ONLY = re.compile(
    r"marlin|w[n48]+a16|wfp8a16|weight_?only|machete|exllama|conch|allspark|awq|gptq|bitsandbytes|gguf|unquantized",
    re.IGNORECASE,
)


_EITHER = re.compile(r"humming", re.IGNORECASE)  # its name is the same with and without


_BOTH = re.compile(
    r"ScaledMM|(Nv|Mx)Fp4LinearKernel|Mxfp8LinearKernel|W4A8|W8A8|W4A4|Fp8MoE|NvFp4|Mxfp4", re.IGNORECASE
)


def quantizes_activations(described: str) -> bool | None:
    """Whether a layer's kernel multiplies with quantized activations; None where its name does not tell."""
    kernel = described.rpartition(" / ")[2]
    if WEIGHT_ONLY.search(kernel) or WEIGHT_ONLY.search(described):
        return False
    return True if _BOTH.search(described) and not _EITHER.search(kernel) else None


UNQUANTIZED = "unquantized"


_FOUR_BITS = {"INT4", "NVFP4", "MXFP4"}


# What a word in a name promises of the weights; the 4 bits of bitsandbytes, NF4 or FP4, count as INT4.
_PROMISES = {
    "nvfp4": {"NVFP4"},
    "mxfp4": {"MXFP4"},
    "mxfp8": {"MXFP8"},
    "nf4": {"INT4"},
    "fp4": {"NVFP4", "MXFP4"},
    "fp8": {"FP8", "MXFP8"},
    "int8": {"INT8"},
    "int4": {"INT4"},
    "w8a8": {"FP8", "INT8"},
    "w8a16": {"FP8", "INT8"},
    "w4a16": _FOUR_BITS,
    "w4a8": {"INT4"},
    "w4a4": {"NVFP4", "MXFP4", "INT4"},
    "4bit": _FOUR_BITS,
    "8bit": {"INT8", "FP8", "MXFP8"},
    "awq": {"INT4", "INT8"},
    "gptq": {"INT2", "INT3", "INT4", "INT8"},
    "bnb": {"INT4", "INT8"},
    "bf16": {UNQUANTIZED},
    "bfloat16": {UNQUANTIZED},
    "fp16": {UNQUANTIZED},
    "float16": {UNQUANTIZED},
    "fp32": {UNQUANTIZED},
}


# The number type that a word promises for what is not quantized.
_TYPES = {"bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "float16": "float16", "fp32": "float32"}


_GGUF = r"i?q([2-8])_(?:k(?:_[a-z]+)?|[01]|xx?s|[sm]|nl)"  # llama.cpp's names, like Q4_K_M, Q8_0 and IQ4_XS


# `fp8-kv` and `kv-cache-fp8` speak of the key-value cache.
_CACHE = re.compile(r"(?:fp8|int8|nvfp4|fp4)[-_]?kv(?:[-_]?cache)?|kv(?:[-_]?cache)?[-_]?(?:fp8|int8|nvfp4|fp4)")


_WORDS = re.compile(r"(?<![a-z0-9])(?:" + "|".join(_PROMISES).replace("bit", "[-_]?bit") + f"|{_GGUF})(?![0-9])")


def words(name: str) -> list[str]:
    """The words of a name that speak of a precision."""
    of_weights = _CACHE.sub(" ", name.lower())
    return [found[0].replace("-bit", "bit").replace("_bit", "bit") for found in _WORDS.finditer(of_weights)]


def promise(name: str) -> set[str]:
    """What a name says of the weights, by all its words together; empty where it says nothing.

    Words that exclude each other, as in a mixture of two precisions, each hold for a part.
    """
    promised = [_PROMISES.get(word) or {f"INT{re.sub('[^0-9]', ' ', word).split()[0]}"} for word in words(name)]
    if not promised:
        return set()
    return set.intersection(*promised) or set.union(*promised)


def _either(values: set[str]) -> str:
    return " or ".join(sorted(values))


def loaded_precision(facts: Mapping[str, Any]) -> set[str] | None:
    """Of what precision the weights are that an engine has loaded; None where its facts do not tell."""
    if "quantization" not in facts:
        return None
    declared = facts["quantization"]
    if declared is None or declared.get("quantized_modules") == 0 or _all_unquantized(facts):
        return {UNQUANTIZED}
    schemes = declared.get("weights")
    if schemes:
        return {_of_scheme(scheme) for scheme in schemes}
    return _of_method(declared)


def _all_unquantized(facts: Mapping[str, Any]) -> bool:
    """Whether vLLM's linear layers all run the method for unquantized weights."""
    kernels = facts.get("linear_kernels") or {}
    return bool(kernels) and all(kernel.startswith("Unquantized") for kernel in kernels)


def _of_scheme(scheme: str) -> str:
    """The precision of a weights' scheme in words, like "float 4 bit, tensor_group 16"."""
    kind, _, rest = scheme.partition(" ")
    bits = rest.split(" ")[0]
    if kind == "float" and bits == "4":
        return "MXFP4" if re.search(r"group 32\b", scheme) else "NVFP4"
    if kind == "float":
        return "MXFP8" if re.search(r"group 32\b", scheme) else f"FP{bits}"
    return UNQUANTIZED if scheme == "not quantized" else f"{kind.upper()}{bits}"


def _of_method(declared: Mapping[str, Any]) -> set[str] | None:
    """The precision that a quantization method's name stands for."""
    text = f"{declared.get('method')} {declared.get('quant_algo', '')} {declared.get('fmt', '')}".lower()
    for word, precision in (("mxfp4", "MXFP4"), ("mxfp8", "MXFP8"), ("fp4", "NVFP4"), ("fp8", "FP8")):
        if word in text:
            return {precision}
    if re.search(r"awq|gptq|auto-round|hqq", text):
        return {f"INT{declared.get('bits', declared.get('w_bit', 4))}"}
    if "bitsandbytes" in text:
        return {"INT8" if declared.get("load_in_8bit") else "INT4"}
    return None
