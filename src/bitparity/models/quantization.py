"""Quantization of weights: as names promise it, as a checkpoint declares it, and as an engine loaded it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

from bitparity.errors import ModelError
from bitparity.inputs.packaged import packaged_toml
from bitparity.models.config import Config, read_config, read_object

UNQUANTIZED = "unquantized"
_TABLE = packaged_toml(__package__, "precision_words.toml")
_PRECISIONS = {word: set(meant) for word, meant in _TABLE["precisions"].items()}
_TYPES: dict[str, str] = _TABLE["types"]
_GGUF = r"i?q([2-8])_(?:k(?:_[a-z]+)?|[01]|xx?s|[sm]|nl)"  # llama.cpp's names, like Q4_K_M, Q8_0 and IQ4_XS
# `fp8-kv` and `kv-cache-fp8` speak of the key-value cache, not of the weights
_CACHE = re.compile(r"(?:fp8|int8|nvfp4|fp4)[-_]?kv(?:[-_]?cache)?|kv(?:[-_]?cache)?[-_]?(?:fp8|int8|nvfp4|fp4)")
_WORDS = re.compile(r"(?<![a-z0-9])(?:" + "|".join(_PRECISIONS).replace("bit", "[-_]?bit") + f"|{_GGUF})(?![0-9])")

# keys of config.json that declare a quantization, and the method where none is named
_DECLARED = {"quantization_config": "unknown", "compression_config": "unknown", "quantization": "mlx"}
PLAIN = "not quantized"  # the scheme of a compressed-tensors group that leaves weights or activations as they are

_KERNELS = {kind: re.compile("|".join(words), re.IGNORECASE) for kind, words in _TABLE["kernels"].items()}
_FORMATS: dict[str, str] = _TABLE["formats"]


class Quantization(TypedDict, total=False):
    """A quantization as environment.json keeps it. The method's own scalar settings (`bits`, `fmt`) stand beside.

    `weights` and `activations` are the schemes of compressed-tensors in words, like "float 8 bit, channel".
    """

    method: str
    bits: int
    weights: list[str]
    activations: list[str]
    ignored_modules: int
    kv_cache: str
    quantized_modules: int


def declared_quantization(folder: Path) -> Quantization | None:
    """The quantization that a checkpoint declares; None where it declares none.

    Read from config.json (`quantization_config`, `compression_config` of older ones, `quantization` of MLX) and from
    ModelOpt's hf_quant_config.json. Raises ModelError where that cannot be read.
    """
    for declaring, key, path, default_method in _places(folder):
        if declaring.values.get(key):
            declared = declaring.part(key)
            if declared is None:
                raise ModelError(f"{path}: {key} is no JSON object; the file is broken, or was edited by hand")
            return _summary(declared, default_method)
    return None


def _places(folder: Path) -> Iterator[tuple[Config, str, Path, str]]:
    """(object, key of the declaration in it, its file, method where none is named), the first ones first."""
    for level in read_config(folder).levels():
        for key, default in _DECLARED.items():
            yield level, key, folder / "config.json", default
    path = folder / "hf_quant_config.json"
    yield read_object(path), "quantization", path, "modelopt"


def _summary(declared: Config, default_method: str) -> Quantization:
    """The method, its scalar settings, which is what one line of a report can hold, and its schemes in words."""
    settings = {k: v for k, v in declared.values.items() if isinstance(v, str | int | float) and k != "quant_method"}
    method = declared.values.get("quant_method", default_method)
    summary = cast(Quantization, {"method": method, **settings})
    # layers of several widths have no one number
    if len(bits := _bits_inside(declared)) == 1:
        summary["bits"] = bits.pop()
    if (groups := declared.part("config_groups")) is not None:
        summary["weights"] = sorted({scheme_in_words(group.part("weights")) for group in groups.parts()})
        summary["activations"] = sorted({scheme_in_words(group.part("input_activations")) for group in groups.parts()})
    if (ignored := declared.items("ignore")) is not None:
        summary["ignored_modules"] = len(ignored)
    if declared.values.get("kv_cache_scheme"):
        summary["kv_cache"] = scheme_in_words(declared.part("kv_cache_scheme"))
    return summary


def _bits_inside(declared: Config) -> set[int]:
    """The bits that HQQ declares (`nbits`), which it does at some depth, for all layers or for each kind."""
    own = {bits} if (bits := declared.count("nbits")) else set()
    return own.union(*map(_bits_inside, declared.parts()))


def scheme_in_words(declared: Config | None) -> str:
    """A compressed-tensors scheme in words, like "float 4 bit, tensor_group 16, dynamic"."""
    if declared is None:
        return PLAIN
    values = declared.values
    words = [f"{values.get('type', 'int')} {values.get('num_bits', '?')} bit"]
    if strategy := values.get("strategy"):
        size = values.get("group_size")
        words.append(f"{strategy} {size}" if size else str(strategy))
    if dynamic := values.get("dynamic"):
        words.append("dynamic" if dynamic is True else f"dynamic {dynamic}")
    return ", ".join(words)


def declared_activations(declared: Mapping[str, Any]) -> list[str]:
    """The quantization of activations that a checkpoint declares: by its groups, or by its method's own words."""
    if (schemes := declared.get("activations")) is not None:
        return [scheme for scheme in schemes if scheme != PLAIN]
    if scheme := declared.get("activation_scheme"):
        return [f"{declared.get('method')}, {scheme}"]
    algorithm = str(declared.get("quant_algo") or "")
    return [algorithm] if re.fullmatch(r"(NVFP4|FP8|MXFP8|W4A8\w*|W8A8\w*)(_\w+)?", algorithm, re.IGNORECASE) else []


def quantized_kernels(engine: Mapping[str, Any]) -> list[str]:
    """The kernels of the quantized layers, experts included."""
    found = {kernel for kinds in (engine.get("layer_kernels") or {}).values() for kernel in kinds}
    found |= set(engine.get("linear_kernels") or {})
    return sorted(kernel for kernel in found if not kernel.startswith("Unquantized"))


def loaded_precision(facts: Mapping[str, Any]) -> set[str] | None:
    """The precisions of the weights that an engine has loaded, by its facts; None where these do not tell."""
    if "quantization" not in facts:
        return None
    kernels = list(facts.get("linear_kernels") or ())  # those that vLLM chose
    all_plain = bool(kernels) and all(kernel.startswith("Unquantized") for kernel in kernels)
    return {UNQUANTIZED} if all_plain else stored_precision(facts["quantization"])


def stored_precision(declared: Quantization | None) -> set[str] | None:
    """The precisions of weights that are quantized as declared; None where that does not tell."""
    if declared is None or declared.get("quantized_modules") == 0:
        return {UNQUANTIZED}
    if schemes := declared.get("weights"):
        return {_precision_of_scheme(scheme) for scheme in schemes}
    return _precision_of_method(declared)


def _precision_of_scheme(scheme: str) -> str:
    """The precision of a weights' scheme in words, like "float 4 bit, tensor_group 16"."""
    if scheme == PLAIN:
        return UNQUANTIZED
    kind, bits, *_ = [*scheme.split(" "), "?"]
    if kind != "float":
        return f"{kind.upper()}{bits}"
    microscaling = re.search(r"group 32\b", scheme)  # the OCP MX formats have a scale for 32 values, NVFP4 for 16
    if bits == "4":
        return "MXFP4" if microscaling else "NVFP4"
    return "MXFP8" if microscaling else f"FP{bits}"


def _precision_of_method(declared: Quantization) -> set[str] | None:
    """The precisions that a method's own settings stand for; None where they do not tell.

    A mixture whose experts are quantized by an algorithm of their own (`moe_quant_algo`) has two.
    """
    settings = {key: str(value).lower() for key, value in declared.items()}
    found = [_precision_of_settings(settings)]
    found += [_named_format(value) for key, value in settings.items() if key.endswith("_quant_algo")]
    known = {precision for precision in found if precision is not None}
    return known if len(known) == len(set(found)) else None


def _precision_of_settings(settings: Mapping[str, str]) -> str | None:
    """The precision by the method's name, else by its bits, which are integers where no format is named."""
    bits = next((settings[key] for key in ("bits", "w_bit") if key in settings), None)
    data_type = settings.get("data_type", "int")  # AutoRound: int, fp, mx_fp or nv_fp, of `bits` bits
    words = [settings.get("method", ""), settings.get("quant_algo", ""), settings.get("fmt", "")]
    if data_type not in ("int", "uint"):
        words.append(re.sub(r"fp(?!\d)", f"fp{bits}", data_type.replace("_", "")))
    text = " ".join(words)
    if named := _named_format(text):
        return named
    if "bitsandbytes" in text:
        return "INT8" if settings.get("load_in_8bit") == "true" else "INT4"
    if re.search(r"awq|gptq|auto-round|hqq", text) and data_type in ("int", "uint"):
        bits = bits or ("4" if "awq" in text else None)
        return f"INT{bits}" if bits else None
    return None


def _named_format(text: str) -> str | None:
    """The floating-point format of weights that a text names; the narrowest, since a wider one is the activations'."""
    return next((precision for word, precision in _FORMATS.items() if word in text), None)


def quantizes_activations(described: str) -> bool | None:
    """True where a layer's kernel multiplies with quantized activations; None where its name does not tell."""
    kernel = described.rpartition(" / ")[2]
    if _KERNELS["weight_only"].search(kernel) or _KERNELS["weight_only"].search(described):
        return False
    return True if _KERNELS["both"].search(described) and not _KERNELS["either"].search(kernel) else None


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
