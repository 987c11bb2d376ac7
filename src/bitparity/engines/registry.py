"""The registry of engines: from an engine's kind to its class.

An engine of this package is a file `engines/<kind>_engine.py` with a class `ENGINE`. One from outside is an entry
point of the group `bitparity.engines`.
"""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil

from bitparity import engines
from bitparity.engines.contract import Engine
from bitparity.errors import UserInputError
from bitparity.schema import EngineSpec, Variant

GROUP = "bitparity.engines"  # of entry points
_SUFFIX = "_engine"


@functools.cache
def engine_class(kind: str) -> type[Engine]:
    """The class of a kind of engine; imports none of its libraries. Raises UserInputError for an unknown kind."""
    if kind in _own_kinds():
        found: type[Engine] = importlib.import_module(f"{engines.__name__}.{kind}{_SUFFIX}").ENGINE
        return found
    known = engine_kinds()
    near = difflib.get_close_matches(kind, known, 1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    raise UserInputError(f"engine kind '{kind}' does not exist{hint} (known: {', '.join(known)})")


def engine_of(spec: EngineSpec) -> type[Engine]:
    """The class of a variant's engine."""
    return engine_class(spec.kind)


def engine_kinds() -> list[str]:
    """Every kind of engine that can be used."""
    return sorted(_own_kinds())


def load_engine(variant: Variant) -> Engine:
    """Load a variant's engine in this process."""
    found = engine_of(variant.engine)
    found.import_libraries()
    return found(variant)


def _own_kinds() -> set[str]:
    names = (module.name for module in pkgutil.iter_modules(engines.__path__))
    return {name.removesuffix(_SUFFIX) for name in names if name.endswith(_SUFFIX)}
