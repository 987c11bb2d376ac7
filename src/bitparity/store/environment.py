"""Which engines answered for a variant, as environment.json holds them: one entry for each kind of device."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping
from typing import Any

import bitparity
from bitparity.models.checkpoint import differing

_DEVICE = ("device_uuid", "mig")


def join_engine(engines: list[dict[str, Any]], entry: Mapping[str, Any]) -> None:
    """Add an engine to those of a variant: to the entry of its kind, or as one of its own; what ran last stands last.

    An entry has the facts of the first engine of its kind, the times at which one was loaded (`sessions`), under what
    each was (`starts`) and on which devices (`devices`), where that is known.
    """
    known = next((e for e in engines if _same_kind(e["facts"], entry["facts"])), None)
    places = [*(_devices(known) if known else []), *_devices(entry)]
    if known is None:
        known = {"facts": entry["facts"], "sessions": []}
    else:
        engines.remove(known)
    engines.append(known)
    known["sessions"] = sorted({*known["sessions"], *entry["sessions"]})
    for key, values in (("starts", [*known.get("starts", []), *entry.get("starts", [])]), ("devices", places)):
        if values:
            known[key] = [value for number, value in enumerate(values) if value not in values[:number]]


def _devices(entry: Mapping[str, Any]) -> list[Any]:
    """The devices of an entry; where none was noted, the one of its facts."""
    return list(entry.get("devices") or device_of(entry["facts"]))


def device_of(facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The device that an engine names, as one entry; none where it names none."""
    found = {key: facts[key] for key in _DEVICE if facts.get(key) is not None}
    return [found] if found else []


def this_invocation() -> dict[str, Any]:
    """What runs bitparity here: its version, the interpreter, the operating system and the number of CPUs."""
    return {
        "bitparity": bitparity.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def join_sent(known: list[dict[str, Any]], sent: Iterable[dict[str, Any]]) -> bool:
    """Add the sampling values that were sent otherwise than any known before; whether there were such."""
    before = len(known)
    for values in sent:
        if _without_request(values) not in map(_without_request, known):
            known.append(values)
    return len(known) > before


def _without_request(sent: Mapping[str, Any]) -> dict[str, Any]:
    """The sampling values, less what each request has of its own."""
    return {key: value for key, value in sent.items() if key not in ("item", "sample", "seed")}


def _same_kind(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    models = one.get("model", {}), other.get("model", {})
    return without_place(one) == without_place(other) and not differing(*models)


def without_place(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What may change a number: not which of several equal devices it is, nor how much room it has.

    The model is left out: of what checkpoints differ in, `models.differing` decides.
    """
    kind = str(facts.get("device", "")).partition(":")[0]
    others = {k: v for k, v in facts.items() if k not in ("device_uuid", "kv_cache_tokens", "model")}
    return {**others, "device": kind, "mig": slice_kind(facts.get("mig"))}


def slice_kind(mig: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What an engine says of its MIG slice, less which of several equal GPUs it is on."""
    return None if mig is None else {key: value for key, value in mig.items() if key != "gpu_uuid"}
