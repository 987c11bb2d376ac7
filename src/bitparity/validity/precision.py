"""Guards on the precision: weights and kernels that are not what a variant's name says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import PurePath
from typing import Any

from bitparity.engines.vllm_probe import quantizes_activations
from bitparity.study import Study
from bitparity.validity.facts import Facts, Guard, guard

UNQUANTIZED = "unquantized"
# What a word in a name promises of the weights, most specific first.
_PROMISES = {
    "nvfp4": {"NVFP4"},
    "mxfp4": {"MXFP4"},
    "mxfp8": {"MXFP8"},
    "fp4": {"NVFP4", "MXFP4"},
    "fp8": {"FP8", "MXFP8"},
    "int8": {"INT8"},
    "int4": {"INT4"},
    "w8a8": {"FP8", "INT8"},
    "w8a16": {"FP8", "INT8"},
    "w4a16": {"INT4", "NVFP4", "MXFP4"},
    "w4a8": {"INT4"},
    "w4a4": {"NVFP4", "MXFP4", "INT4"},
    "awq": {"INT4", "INT8"},
    "gptq": {"INT2", "INT3", "INT4", "INT8"},
    "bf16": {UNQUANTIZED},
    "bfloat16": {UNQUANTIZED},
    "fp16": {UNQUANTIZED},
    "float16": {UNQUANTIZED},
    "fp32": {UNQUANTIZED},
}
_WORDS = re.compile(r"(?<![a-z0-9])(" + "|".join(_PROMISES) + r")(?![0-9])", re.IGNORECASE)


def not_as_named(facts: Facts) -> Iterator[Guard]:
    """A variant whose weights are not of the precision that its name or its model's name says."""
    for name in facts.sheets:
        engines = facts.engines(name)
        promised, word = _promise(name, facts.study.variants[name].model)
        loaded = loaded_precision(engines[-1]) if engines else None
        if promised is None or loaded is None or promised & loaded:
            continue
        yield guard(
            "not_as_named",
            name,
            "error",
            " + ".join(sorted(loaded)),
            f"'{word}' says {' or '.join(sorted(promised))}, but the weights that ran are "
            f"{' + '.join(sorted(loaded))}: the figure is not that precision's. "
            "Check the model path, or name the variant for what it is",
        )


def _promise(name: str, model: str) -> tuple[set[str] | None, str]:
    """What the variant's name, or else its model's, says of the weights, and the name that says it."""
    for said in (name, PurePath(model).name):
        if found := _WORDS.findall(said):
            return set.union(*(set(_PROMISES[word.lower()]) for word in found)), said
    return None, name


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


def weight_only(facts: Facts) -> Iterator[Guard]:
    """Declared quantized activations that the chosen kernel leaves unquantized."""
    for name in facts.sheets:
        for engine in facts.engines(name)[-1:]:
            declared = _declared_activations(engine.get("quantization") or {})
            kernels = [kernel for kernel in _kernels(engine) if quantizes_activations(kernel) is False]
            if kernels and declared:
                yield guard(
                    "weight_only",
                    name,
                    "warning",
                    kernels[0],
                    f"the checkpoint declares quantized activations ({', '.join(declared)}), but {kernels[0]} "
                    "multiplies with unquantized ones: this device or version has no kernel for them; on one that has, "
                    "accuracy may be lower and speed higher than here",
                )


def _declared_activations(declared: Mapping[str, Any]) -> list[str]:
    """How a checkpoint says that activations are quantized: by its groups, or by its method's own words."""
    if (schemes := declared.get("activations")) is not None:
        return [scheme for scheme in schemes if scheme != "not quantized"]
    if scheme := declared.get("activation_scheme"):
        return [f"{declared.get('method')}, {scheme}"]
    algorithm = str(declared.get("quant_algo") or "")
    return [algorithm] if re.fullmatch(r"(NVFP4|FP8|MXFP8|W4A8\w*|W8A8\w*)(_\w+)?", algorithm, re.IGNORECASE) else []


def _kernels(engine: Mapping[str, Any]) -> list[str]:
    """What computes the quantized layers, experts included."""
    found = {kernel for kinds in (engine.get("layer_kernels") or {}).values() for kernel in kinds}
    found |= set(engine.get("linear_kernels") or {})
    return sorted(kernel for kernel in found if not kernel.startswith("Unquantized"))


def same_weights(facts: Facts) -> Iterator[Guard]:
    """Two variants that are one model under two names."""
    hashes: dict[str, str] = {}
    for name in (facts.study.baseline, *facts.study.candidates):
        weights = facts.identity(name).get("weights", {})
        if value := weights.get("sha256") or weights.get("sampled_sha256"):
            hashes[name] = value
    for one, other in combinations(hashes, 2):
        if hashes[one] == hashes[other] and not _differs_by_engine(facts.study, one, other):
            yield guard(
                "same_weights",
                other,
                "error",
                hashes[one],
                f"variants '{one}' and '{other}' have the same weights and the same engine settings: "
                "they are one model, so the comparison says nothing about precision",
            )


def _differs_by_engine(study: Study, one: str, other: str) -> bool:
    return study.variants[one].engine != study.variants[other].engine


RULES = (not_as_named, weight_only, same_weights)
