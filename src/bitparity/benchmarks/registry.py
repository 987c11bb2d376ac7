"""Benchmarks: the contract and the registry. One file a benchmark.

A benchmark turns a data set into items and grades completions. `grade` is pure: it sees the item and
the answer part of one completion, never the reasoning, and decides nothing about cut-offs inside the
reasoning or engine failures; `bitparity.grading` does that for all.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from bitparity.benchmarks.contract import Benchmark

if TYPE_CHECKING:
    from bitparity.schema import BenchmarkSpec

# name -> module with a class `BENCHMARK`; imported only when used
_MODULES = {
    "smoke": "bitparity.benchmarks.smoke",
    "mmlu_pro": "bitparity.benchmarks.mmlu_pro",
    "math500": "bitparity.benchmarks.math500",
    "aime24": "bitparity.benchmarks.aime24",
    "gpqa_diamond": "bitparity.benchmarks.gpqa_diamond",
    "hle": "bitparity.benchmarks.hle",
    "livecodebench": "bitparity.benchmarks.livecodebench",
    "scicode": "bitparity.benchmarks.scicode",
    "humaneval": "bitparity.benchmarks.humaneval",
}


def benchmark_names() -> list[str]:
    """The names of bitparity's own benchmarks."""
    return list(_MODULES)


def known_benchmark(name: str) -> str | None:
    """The benchmark of ours that a task's name contains as whole words: `hendrycks_math500` is math500."""
    words = "_" + "".join(c if c.isalnum() else "_" for c in name.casefold()) + "_"
    return max((known for known in benchmark_names() if f"_{known}_" in words), key=len, default=None)


def benchmark_class(name: str) -> type[Benchmark]:
    """The class of a benchmark; any name that starts with `lm_eval:` is a task of lm-eval."""
    module = _MODULES.get(name, "bitparity.benchmarks.lm_eval_task")
    found: type[Benchmark] = importlib.import_module(module).BENCHMARK
    return found


def load_benchmark(spec: BenchmarkSpec) -> Benchmark:
    """The benchmark of a study's entry."""
    return benchmark_class(spec.name)(spec)
