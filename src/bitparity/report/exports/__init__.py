"""Results for other programs, one file a format: a new file here is a new value of `bitparity export --format`.

A file has `make(run, out)`: it gives text for stdout or for `out`, or it writes files itself, by default below the
run's folder `export/`, and gives their paths. Every export is made from the files of the run when it is asked for,
never from a results.json that may be old. Figures are unrounded fractions. Questions, answers and completions of gated
data sets are in no export.
"""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from bitparity.errors import UserInputError

if TYPE_CHECKING:
    from bitparity.store.run import Run


def formats() -> list[str]:
    """The names of the formats, which are those of the files here."""
    return sorted(module.name.replace("_", "-") for module in pkgutil.iter_modules(__path__))


def export(run: Run, form: str, out: Path | None = None) -> str | list[Path]:
    """Make one export: its text, or the files that were written.

    Raises UserInputError where the format is unknown, RunError where the run cannot be read or `out` not be written.
    """
    if form not in formats():
        given = f"'{form}' is not an export format" if form else "no export format was given"
        raise UserInputError(f"{given}; give one with --format: {', '.join(formats())}")
    # imported only now: a format may need libraries that take long to load
    made: str | list[Path] = importlib.import_module(f"{__name__}.{form.replace('-', '_')}").make(run, out)
    if isinstance(made, list) or out is None:
        return made
    from bitparity.store.jsonl import write_atomically

    write_atomically(out, [made])
    return [out]
