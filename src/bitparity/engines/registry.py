"""List of all engines: the files of this folder, and other packages' entry points.

A file `<kind>_engine.py` of this folder assigns its class to `ENGINE`. Another package offers an engine with an entry
point of the group `bitparity.engines`, named as its kind. An engine is imported only when it is asked for.
"""

from __future__ import annotations

import difflib
import functools
import importlib
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from bitparity.engines.contract import Engine
from bitparity.errors import StudyError
from bitparity.schema import EngineSpec, Variant

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
    if len(points) == 1:
        return _loaded(points[0])
    if points:
        packages = " and ".join(_package(point) for point in points)
        raise StudyError(f"packages {packages} both offer an engine '{kind}'; uninstall one of them")
    known = [*built_in(), *sorted(entry_points(group=GROUP).names)]
    near = difflib.get_close_matches(kind, known, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise StudyError(f"engine.kind '{kind}' does not exist{hint} (known: {', '.join(known)})")


def engine_of(spec: EngineSpec) -> type[Engine]:
    """The class of a variant's engine."""
    return engine_class(spec.kind)


def load_engine(variant: Variant) -> Engine:
    """Load a variant's engine in this process."""
    found = engine_of(variant.engine)
    found.import_libraries()
    return found(variant)


def _loaded(point: EntryPoint) -> type[Engine]:
    try:
        found = point.load()
    except Exception as error:  # a package's own code raises anything when it is imported
        reason = f"{type(error).__name__}: {error}"
    else:
        if isinstance(found, type) and issubclass(found, Engine):
            return found
        reason = f"{point.value} is no subclass of bitparity.engines.contract.Engine"
    raise StudyError(
        f"engine '{point.name}' of package {_package(point)} cannot be loaded ({reason}); update or reinstall the "
        "package, or correct its entry point if it is yours"
    )


def _package(point: EntryPoint) -> str:
    return f"'{point.dist.name if point.dist else point.value}'"
