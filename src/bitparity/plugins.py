"""Benchmarks and engines that other packages offer through entry points."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from bitparity.errors import StudyError


def package_names(points: Iterable[EntryPoint]) -> str:
    """The packages that entry points belong to, for a message."""
    return " and ".join(f"'{point.dist.name if point.dist else point.value}'" for point in points)


def load_offered(points: Sequence[EntryPoint], base: type, what: str) -> Any:
    """The subclass of `base` that a package offers; `what` says what it is, like "benchmark 'capitals'".

    Raises StudyError where several packages offer it or where it cannot be loaded.
    """
    if len(points) > 1:
        raise StudyError(f"packages {package_names(points)} both offer {what}; uninstall one of them")
    try:
        found = points[0].load()
    except Exception as error:  # a package's own code raises anything when it is imported
        reason = f"{type(error).__name__}: {error}"
    else:
        if isinstance(found, type) and issubclass(found, base):
            return found
        reason = f"{points[0].value} is no subclass of {base.__module__}.{base.__name__}"
    raise StudyError(
        f"{what} of package {package_names(points)} cannot be loaded ({reason}); update or reinstall the package, or "
        "correct its entry point if it is yours"
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint for a name that does not exist: the name most like it; empty where none is."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean '{near[0]}'?" if near else ""
