"""Guards on the precision: weights and kernels that are not what a variant's name says."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import PurePath
from typing import Any

from bitparity.models.identity import differing
from bitparity.models.precision import promise, promised_types
from bitparity.models.quantization import loaded_precision, quantizes_activations
from bitparity.results.guards.facts import Facts, guard
from bitparity.results.schema import Guard


def not_as_named(facts: Facts) -> Iterator[Guard]:
    """A variant whose weights are not of the precision that its name or its checkpoint's name says."""
    for name in facts.sheets:
        engines = facts.engines(name)
        if engines:
            yield from (_not_as_named(name, *fault) for fault in _contradictions(facts, name, engines[-1]))


def _not_as_named(name: str, value: str, message: str) -> Guard:
    return guard("not_as_named", name, "error", value, message)


def _contradictions(facts: Facts, name: str, engine: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """What ran, and in words how a name contradicts it: at most one for the weights and one for the number type."""
    remedy = "the figure is not that precision's. Check the model path, or name the variant for what it is"
    loaded = loaded_precision(engine)
    root = str((engine.get("server") or {}).get("root") or "")
    if loaded is None and (behind := promise(checkpoint_name(root))):
        if not (said := promise(name) or behind) & behind:
            yield (
                root,
                f"'{name}' says {_either(said)}, but the server serves it from '{root}', which says "
                f"{_either(behind)}: {remedy}",
            )
        return
    for said_by in _names(facts, name):
        promised = promise(said_by)
        if loaded is not None and promised and not promised & loaded:
            ran = " + ".join(sorted(loaded))
            yield ran, f"'{said_by}' says {_either(promised)}, but the weights that ran are {ran}: {remedy}"
            break
    types = promised_types(name)
    if types and engine.get("dtype") not in (None, *types):
        dtype = str(engine["dtype"])
        yield (
            dtype,
            f"'{name}' says {_either(types)}, but the number type that ran is {dtype}: set engine.dtype to what the "
            "name says, or name the variant for what it is",
        )


def _either(values: set[str]) -> str:
    return " or ".join(sorted(values))


def _names(facts: Facts, name: str) -> list[str]:
    """The names that speak of a variant's weights: its own, and its checkpoint's as written and as it lies there.

    Weights that the study has quantized while they load are no longer what their checkpoint is called.
    """
    variant = facts.study.variants[name]
    if variant.engine.quantization is not None:
        return [name]
    places = (facts.identity(name).get("named"), variant.model, facts.identity(name).get("path"))
    return [name, *(checkpoint_name(str(place)) for place in places if place)]


def checkpoint_name(model: str) -> str:
    """The name of a folder or hub id; inside the hub's cache, models--org--name/snapshots/commit, the repository's."""
    place = PurePath(model)
    if place.parent.name == "snapshots" and place.parent.parent.name.startswith("models--"):
        return place.parent.parent.name.rpartition("--")[2]
    return place.name


def weight_only(facts: Facts) -> Iterator[Guard]:
    """Declared quantized activations that the chosen kernel leaves unquantized."""
    for name in facts.sheets:
        for engine in facts.engines(name)[-1:]:
            declared = _declared_activations(engine.get("quantization") or {})
            kernels = [kernel for kernel in _kernels(engine) if quantizes_activations(kernel) is False]
            if kernels and declared:
                message = (
                    f"the checkpoint declares quantized activations ({', '.join(declared)}), but {kernels[0]} "
                    "multiplies with unquantized ones: this device or version has no kernel for them; on one that has, "
                    "accuracy may be lower and speed higher than here"
                )
                yield guard("weight_only", name, "warning", kernels[0], message)


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


def other_weights(facts: Facts) -> Iterator[Guard]:
    """A variant whose engine loaded other files than those that are recorded as its checkpoint."""
    for name in facts.sheets:
        for engine in facts.engines(name):
            if changed := differing(facts.identity(name), engine.get("model") or {}):
                message = (
                    f"an engine loaded other files than this variant's checkpoint has ({', '.join(changed)} differ): "
                    "they changed while the run went on, so 1 name stands for 2 checkpoints. Run it again in a new "
                    "directory"
                )
                yield guard("other_weights", name, "error", ", ".join(changed), message)
                break


def same_weights(facts: Facts) -> Iterator[Guard]:
    """Two variants that are one model under two names."""
    keys: dict[str, tuple[str, ...]] = {}
    for name in (facts.study.baseline, *facts.study.candidates):
        if key := _weights_key(facts, name):
            keys[name] = key
    for one, other in combinations(keys, 2):
        if keys[one] == keys[other] and not _differs_by_engine(facts, one, other):
            what = "weights" if len(keys[one]) == 1 else "model at the same server"
            message = (
                f"variants '{one}' and '{other}' have the same {what} and the same engine settings: "
                "they are one model, so the comparison says nothing about precision"
            )
            yield guard("same_weights", other, "error", " ".join(keys[one]), message)


def _weights_key(facts: Facts, name: str) -> tuple[str, ...]:
    """What tells a variant's weights from others: their hash as last loaded, or server and model; empty if unknown."""
    identity, engines = facts.identity(name), facts.engines(name)
    latest: Mapping[str, Any] = engines[-1] if engines else {}
    if "server" in identity:
        return str(identity["server"]), str((latest.get("server") or {}).get("root") or identity["model"])
    weights = (latest.get("model") or {}).get("weights") or identity.get("weights") or {}
    value = weights.get("sha256") or weights.get("sampled_sha256")
    return (value,) if value else ()


def _differs_by_engine(facts: Facts, one: str, other: str) -> bool:
    """Whether engine settings make two of one model; at a server only the endpoint can."""
    ours, theirs = facts.study.variants[one].engine, facts.study.variants[other].engine
    at_servers = all("server" in facts.identity(name) for name in (one, other))
    return ours.endpoint != theirs.endpoint if at_servers else ours != theirs


RULES = (not_as_named, weight_only, other_weights, same_weights)
