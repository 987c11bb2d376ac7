"""Precisions that the names of variants and checkpoints promise, like NVFP4 in `Qwen3-32B-NVFP4`."""

from __future__ import annotations

import re

from bitparity.safe_io.packaged import packaged_toml

UNQUANTIZED = "unquantized"
_TABLE = packaged_toml(__package__, "precision_words.toml")
_PRECISIONS = {word: set(meant) for word, meant in _TABLE["precisions"].items()}
_TYPES: dict[str, str] = _TABLE["types"]
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
