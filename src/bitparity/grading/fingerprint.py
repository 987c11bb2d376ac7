"""Fingerprint of the code that grades a benchmark: with other code, its stored grades are made again."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import load_benchmark
from bitparity.benchmarks.source_code import code_hash
from bitparity.schema import BenchmarkSpec
from bitparity.store.run import Run

RULES = ("bitparity.grading.rules", "bitparity.grading.reasoning")
SANDBOX = "bitparity.sandbox"


def grader_fingerprint(benchmark: Benchmark) -> str:
    """A hash of all code that decides over a grade, without comments and docstrings.

    That is the benchmark's own module, the modules of `bitparity.benchmarks` and of its own package that it imports,
    and the rules for every benchmark; where code is run also the sandbox and the settings, which hold limits.
    It is the same under every version of Python.
    """
    paths = {name for name, value in benchmark.settings if isinstance(value, Path)}
    settings = benchmark.settings.model_dump_json(exclude=paths) if benchmark.runs_code else ""
    code = code_hash(type(benchmark).__module__, (*RULES, SANDBOX) if benchmark.runs_code else RULES)
    return hashlib.sha256(f"{code} {settings}".encode()).hexdigest()[:16]


def graded_otherwise(run: Run, variant: str, spec: BenchmarkSpec) -> bool:
    """True where a variant has stored grades that this code has not made: they count nowhere."""
    stored = run.grades_header(variant, spec.name).get("grader")
    return run.grades_path(variant, spec.name).exists() and stored != grader_fingerprint(load_benchmark(spec))
