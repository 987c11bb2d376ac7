"""Which engines answered for a variant, as environment.json holds them: one entry for each kind of device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def join_engine(engines: list[dict[str, Any]], entry: Mapping[str, Any]) -> None:
    """Add an engine to those of a variant: to the entry of its kind, or as one of its own.

    An entry has the facts of the first engine of its kind, the times at which one was loaded (`sessions`) and, where
    several devices were used, which (`devices`).
    """
    known = next((e for e in engines if without_place(e["facts"]) == without_place(entry["facts"])), None)
    if known is None:
        known = {"facts": entry["facts"], "sessions": []}
        engines.append(known)
    known["sessions"] = sorted({*known["sessions"], *entry["sessions"]})
    for place in entry.get("devices", []):
        if place not in known.setdefault("devices", []):
            known["devices"].append(place)


def without_place(facts: Mapping[str, Any]) -> dict[str, Any]:
    """What may change a number: not which of several equal devices it is, how much room it has, or where files lie."""
    kind = str(facts.get("device", "")).partition(":")[0]
    model = {k: v for k, v in facts.get("model", {}).items() if k not in ("path", "revision")}
    mig = facts.get("mig") and {k: v for k, v in facts["mig"].items() if k != "gpu_uuid"}
    others = {k: v for k, v in facts.items() if k not in ("device_uuid", "kv_cache_tokens")}
    return {**others, "device": kind, "model": model, "mig": mig}
