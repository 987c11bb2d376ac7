"""Precisions that the names of variants and checkpoints promise, like NVFP4 in `Qwen3-32B-NVFP4`."""

from __future__ import annotations

import re

UNQUANTIZED = "unquantized"
_FOUR_BITS = {"INT4", "NVFP4", "MXFP4"}

# The number type that a word promises for what is not quantized.
_TYPES = {"bf16": "bfloat16", "bfloat16": "bfloat16", "fp16": "float16", "float16": "float16", "fp32": "float32"}

# The precisions of weights that a word may mean; the 4 bits of bitsandbytes, NF4 or FP4, count as INT4.
_PRECISIONS = {
    **{word: {word.upper()} for word in ("nvfp4", "mxfp4", "mxfp8", "int8", "int4")},
    "nf4": {"INT4"},
    "fp4": {"NVFP4", "MXFP4"},
    "fp8": {"FP8", "MXFP8"},
    "w8a8": {"FP8", "INT8"},
    "w8a16": {"FP8", "INT8"},
    "w4a16": _FOUR_BITS,
    "w4a8": {"INT4"},
    "w4a4": _FOUR_BITS,
    "4bit": _FOUR_BITS,
    "8bit": {"INT8", "FP8", "MXFP8"},
    "awq": {"INT4", "INT8"},
    "gptq": {"INT2", "INT3", "INT4", "INT8"},
    "bnb": {"INT4", "INT8"},
    **{word: {UNQUANTIZED} for word in _TYPES},
}
_GGUF = r"i?q([2-8])_(?:k(?:_[a-z]+)?|[01]|xx?s|[sm]|nl)"  # llama.cpp's names, like Q4_K_M, Q8_0 and IQ4_XS
# `fp8-kv` and `kv-cache-fp8` speak of the key-value cache, not of the weights
_CACHE = re.compile(r"(?:fp8|int8|nvfp4|fp4)[-_]?kv(?:[-_]?cache)?|kv(?:[-_]?cache)?[-_]?(?:fp8|int8|nvfp4|fp4)")
_WORDS = re.compile(r"(?<![a-z0-9])(?:" + "|".join(_PRECISIONS).replace("bit", "[-_]?bit") + f"|{_GGUF})(?![0-9])")


def promise(name: str) -> set[str]:
    """The precisions that a name promises of the weights, by all its words together; empty where it says nothing.

    Words that exclude each other, as in a mixture of two precisions, each hold for a part.
    """
    promised = [_PRECISIONS.get(word) or {f"INT{re.sub('[^0-9]', ' ', word).split()[0]}"} for word in _words(name)]
    return set.intersection(*promised) or set.union(*promised) if promised else set()


def promised_types(name: str) -> set[str]:
    """The number types that a name promises, like bfloat16; empty where it says nothing."""
    return {_TYPES[word] for word in _words(name) if word in _TYPES}


def _words(name: str) -> list[str]:
    """The words of a name that speak of a precision of weights."""
    of_weights = _CACHE.sub(" ", name.lower())
    return [found[0].replace("-bit", "bit").replace("_bit", "bit") for found in _WORDS.finditer(of_weights)]
