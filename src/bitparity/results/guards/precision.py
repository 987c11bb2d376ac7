"""Guards on the precision: weights and kernels that are not what a variant's name says."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import combinations
from pathlib import PurePath
from typing import Any

from bitparity.models.identity import differing
from bitparity.models.quantization import (
    declared_activations,
    loaded_precision,
    promise,
    promised_types,
    quantized_kernels,
    quantizes_activations,
)
from bitparity.results.guards.facts import Facts, guard
from bitparity.results.schema import Guard


def not_as_named(facts: Facts) -> Iterator[Guard]:
    """A variant whose weights or number type are not what its name or its checkpoint's name says."""
    for name, engine in facts.latest():
        loaded = loaded_precision(engine)
        root = str((engine.get("server") or {}).get("root") or "")
        if loaded is None and (served := promise(checkpoint_name(root))):
            if not (promised := promise(name) or served) & served:
                figures = {"promised": _either(promised), "served": _either(served)}
                yield guard("not_as_named", name, "error", root, "server", **figures)
            continue
        for said_by in _names(facts, name):
            promised = promise(said_by)
            if loaded is not None and promised and not promised & loaded:
                figures = {"name": said_by, "promised": _either(promised)}
                yield guard("not_as_named", name, "error", " + ".join(sorted(loaded)), "weights", **figures)
                break
        types = promised_types(name)
        if types and engine.get("dtype") not in (None, *types):
            yield guard("not_as_named", name, "error", str(engine["dtype"]), "number_type", promised=_either(types))


def precision_unknown(facts: Facts) -> Iterator[Guard]:
    """A name that says a precision, and weights quantized in a way whose precision is not known here."""
    for name, engine in facts.latest():
        if (declared := engine.get("quantization")) and promise(name) and loaded_precision(engine) is None:
            yield guard("precision_unknown", name, "warning", str(declared.get("method")))


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
    for name, engine in facts.latest():
        declared = declared_activations(engine.get("quantization") or {})
        kernels = [kernel for kernel in quantized_kernels(engine) if quantizes_activations(kernel) is False]
        if kernels and declared:
            yield guard("weight_only", name, "warning", kernels[0], declared=", ".join(declared))


def scales_requantized(facts: Facts) -> Iterator[Guard]:
    """Weights whose block scales the kernel has rounded: the figure is the kernel's as much as the checkpoint's."""
    for name, engine in facts.latest():
        if engine.get("scales_requantized"):
            yield guard("scales_requantized", name, "warning", ", ".join(quantized_kernels(engine)))


def other_weights(facts: Facts) -> Iterator[Guard]:
    """A variant whose engine loaded other files than those that are recorded as its checkpoint."""
    for name in facts.sheets:
        found = (differing(facts.identity(name), engine.get("model") or {}) for engine in facts.engines(name))
        if changed := next(filter(None, found), None):
            yield guard("other_weights", name, "error", ", ".join(changed))


def same_weights(facts: Facts) -> Iterator[Guard]:
    """Two variants that are one model under two names."""
    names = (facts.study.baseline, *facts.study.candidates)
    keys = {name: key for name in names if (key := _weights_key(facts, name))}
    for one, other in combinations(keys, 2):
        if keys[one] == keys[other] and not _differs_by_engine(facts, one, other):
            what = "weights" if len(keys[one]) == 1 else "server"
            yield guard("same_weights", other, "error", " ".join(keys[one]), what, one=one)


def _weights_key(facts: Facts, name: str) -> tuple[str, ...]:
    """The identity of a variant's weights: their hash as last loaded, or server and model; empty if unknown."""
    identity, engines = facts.identity(name), facts.engines(name)
    latest: Mapping[str, Any] = engines[-1] if engines else {}
    if "server" in identity:
        return str(identity["server"]), str((latest.get("server") or {}).get("root") or identity.get("model"))
    weights = (latest.get("model") or {}).get("weights") or identity.get("weights") or {}
    value = weights.get("sha256") or weights.get("sampled_sha256")
    return (value,) if value else ()


def _differs_by_engine(facts: Facts, one: str, other: str) -> bool:
    """True if engine settings make two of one model; at a server only the endpoint can."""
    ours, theirs = facts.study.variants[one].engine, facts.study.variants[other].engine
    at_servers = all("server" in facts.identity(name) for name in (one, other))
    return ours.endpoint != theirs.endpoint if at_servers else ours != theirs
