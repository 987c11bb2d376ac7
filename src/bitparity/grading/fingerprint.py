"""Fingerprint of the code that grades a benchmark: with other code, its stored grades are made again."""

from __future__ import annotations

import functools
import hashlib
from importlib.util import resolve_name
from pathlib import Path

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.source_code import read_source, sha256_of, source_files

SHARED = "bitparity.benchmarks"
RULES = "bitparity.grading.rules"
SANDBOX = "bitparity.sandbox"


def grader_fingerprint(benchmark: Benchmark) -> str:
    """A hash of all code that decides over a grade, without comments and docstrings.

    That is the benchmark's own module, the modules of `bitparity.benchmarks` and of its own package that it imports,
    and the rules for every benchmark; where code is run also the sandbox and the settings, which hold limits.
    Another version of Python gives another hash.
    """
    paths = {name for name, value in benchmark.settings if isinstance(value, Path)}
    settings = benchmark.settings.model_dump_json(exclude=paths) if benchmark.runs_code else ""
    return hashlib.sha256(f"{_code_hash(type(benchmark))} {settings}".encode()).hexdigest()[:16]


@functools.cache
def _code_hash(kind: type[Benchmark]) -> str:
    own = kind.__module__ if kind.__module__.startswith(f"{SHARED}.") else kind.__module__.partition(".")[0]
    sources = {
        file: read_source(file).sha256 for name in (RULES, SANDBOX)[: 1 + kind.runs_code] for file in source_files(name)
    }
    known: set[str] = set()
    waiting = [kind.__module__]
    while waiting:
        module = waiting.pop()
        if module in known or not f"{module}.".startswith((f"{SHARED}.", f"{own}.")):
            continue
        known.add(module)
        for file, package in source_files(module).items():
            sources[file] = read_source(file).sha256
            for name, part in read_source(file).imports:
                imported = resolve_name(name, package)
                inner = f"{imported}.{part}"
                # a name imported from a package may be a module of it; no other module is imported to find that out
                is_module = imported in (SHARED, package) and part and source_files(inner)
                waiting.append(inner if is_module else imported)
    return sha256_of(repr(sorted((file.name, sha256) for file, sha256 in sources.items())))
