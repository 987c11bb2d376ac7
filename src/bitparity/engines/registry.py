"""List of all engines: the files of this folder, and other packages' entry points.

A file `<kind>_engine.py` of this folder assigns its class to `ENGINE`. Another package offers an engine with an entry
point of the group `bitparity.engines`, named as its kind. An engine is imported only when it is asked for.
"""

from __future__ import annotations

import functools
import importlib
from importlib.metadata import entry_points
from pathlib import Path

from bitparity.engines.contract import Engine
from bitparity.errors import StudyError
from bitparity.plugins import load_offered, nearest
from bitparity.schema import EngineSpec

GROUP = "bitparity.engines"
_SUFFIX = "_engine"


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
