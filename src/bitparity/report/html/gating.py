"""Which benchmarks' questions must not be spread: their data sets are given out only to those who agreed to terms.

Or all of them, where a page without any question or answer is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from bitparity.benchmarks.registry import benchmark_class, benchmark_names
from bitparity.schema import LM_EVAL_PREFIX

Withhold = Literal["nothing", "gated", "everything"]  # whose questions and answers stay out of a page
Withheld = Literal["", "gated", "asked"]  # why those of a benchmark do; "" where they do not

# Gated sets that tasks of lm-eval use beside those of bitparity's own benchmarks
_ELSEWHERE = {"cais/hle"}
_NAMES = re.compile(r"gpqa|(?<![a-z])hle(?![a-z])")  # a task whose data was given as a file


def withheld(benchmark: str, provenance: Mapping[str, Any], withhold: Withhold) -> Withheld:
    """Why a benchmark's questions and answers stay out of a page."""
    if withhold == "everything":
        return "asked"
    return "gated" if withhold == "gated" and is_gated(benchmark, provenance) else ""


def is_gated(benchmark: str, provenance: Mapping[str, Any]) -> bool:
    """Whether a benchmark's questions come from a gated data set; `provenance` is the exam's."""
    if not benchmark.startswith(LM_EVAL_PREFIX):
        source = benchmark_class(benchmark).info.source
        return source is not None and source.gated
    tasks: Mapping[str, Any] = provenance.get("tasks") or {}
    sets = {about.get("dataset") for about in tasks.values()}
    names = [benchmark.removeprefix(LM_EVAL_PREFIX), *tasks]
    return bool(sets & _gated_sets()) or any(_NAMES.search(name.lower()) for name in names)


def _gated_sets() -> set[str]:
    sources = [benchmark_class(name).info.source for name in benchmark_names()]
    return _ELSEWHERE | {source.path for source in sources if source is not None and source.gated}
