"""Tables that bitparity keeps in TOML files beside its code."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any


def packaged_toml(package: str, name: str) -> Any:
    """The content of a file in a package's folder.

    What decides over a grade may stand only in a file with the name of a benchmark's module, or of one that it imports
    from `bitparity.benchmarks`: no other is part of a grader's fingerprint.
    """
    return tomllib.loads((resources.files(package) / name).read_text(encoding="utf-8"))
