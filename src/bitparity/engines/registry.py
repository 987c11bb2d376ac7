"""List of all engines, the files of this folder and other packages' entry points; their settings, and idle cores.

A file `<kind>_engine.py` of this folder assigns its class to `ENGINE`. Another package offers an engine with an entry
point of the group `bitparity.engines`, named as its kind. An engine is imported only when it is asked for.
"""

from __future__ import annotations

import functools
import importlib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

from bitparity.engines.contract import Engine
from bitparity.errors import StudyError
from bitparity.hardware.cores import usable_cores
from bitparity.plugins import load_offered, nearest
from bitparity.schema import EngineSpec, Variant, check_keys

GROUP = "bitparity.engines"
ENGINE_CORES = 3  # of an engine on a GPU: its loop, its worker and the process that stores the samples
_SUFFIX = "_engine"
# the keys that every kind takes
_EVERY_KIND = ("kind", "dtype", "batch_size", "max_model_len", "trust_remote_code", "stall_timeout")


@functools.cache
def built_in() -> dict[str, str]:
    """The modules of bitparity's own engines by kind."""
    files = sorted(Path(__file__).parent.glob(f"*{_SUFFIX}.py"))
    return {f.stem.removesuffix(_SUFFIX): f"{__package__}.{f.stem}" for f in files}


@functools.cache
def engine_class(kind: str) -> type[Engine]:
    """The class of a kind of engine; bitparity's own come first, and no engine's libraries are imported.

    Raises StudyError for a kind that does not exist, or a package whose engine cannot be loaded.
    """
    if kind in built_in():
        found: type[Engine] = importlib.import_module(built_in()[kind]).ENGINE
        return found
    points = list(entry_points(group=GROUP, name=kind))
    if points:
        offered: type[Engine] = load_offered(points, Engine, f"engine '{kind}'")
        return offered
    known = [*built_in(), *sorted(entry_points(group=GROUP).names)]
    raise StudyError(f"engine.kind '{kind}' does not exist{nearest(kind, known)} (known: {', '.join(known)})")


def engine_of(spec: EngineSpec) -> type[Engine]:
    """The class of a variant's engine."""
    return engine_class(spec.kind)


def engine_spec(kind: type[Engine], given: Mapping[str, object]) -> EngineSpec:
    """The engine of a variant, from the keys that are given for it.

    Raises ValueError (with pydantic's ValidationError) or UserInputError for what its kind does not take.
    """
    own = {key: value for key, value in given.items() if key not in EngineSpec.model_fields}
    check_keys(own, [*EngineSpec.model_fields, *kind.settings.model_fields])
    settings = kind.settings.model_validate(own).model_dump(mode="json")
    spec = EngineSpec.model_validate({**given, **settings})
    if refused := [key for key in given if key not in {*_EVERY_KIND, *kind.takes, *own}]:
        raise ValueError(_not_taken(spec.kind, refused))
    kind.check(spec)
    return spec


def _not_taken(kind: str, keys: list[str]) -> str:
    names = ", ".join(keys)
    engines = {other: engine_class(other) for other in built_in()}
    others = [name for name, engine in engines.items() if not engine.recorded and {*keys} <= {*engine.takes}]
    if engine_class(kind).served:
        said = f"engine {kind} cannot set {names}: the server decides that"
    else:
        said = f"engine {kind} takes no {names}" + (f", which engine {' or '.join(others)} has" if others else "")
    return f"{said}; remove it from this variant's engine, or from the study's and set it where other engines need it"


def idle_cores(variant: Variant, facts: Mapping[str, object]) -> int:
    """The cores that a running engine leaves idle; none beside one that computes on the CPU."""
    cores = usable_cores()
    if not engine_of(variant.engine).has_local_weights:  # nothing is computed here
        return cores
    if str(facts.get("device", "")).startswith("cuda"):
        return max(0, cores - ENGINE_CORES - (variant.engine.tensor_parallel_size or 1))
    threads = facts.get("threads")
    return max(0, cores - threads) if isinstance(threads, int) else 0
