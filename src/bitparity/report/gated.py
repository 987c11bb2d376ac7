"""Questions and answers that stay out of reports: those of gated data sets, or all where the user asks for that.

A gated data set is given out only to those who agreed to its terms, so its questions must not be spread.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from bitparity.benchmarks.registry import benchmark_class, infos
from bitparity.schema import LM_EVAL_PREFIX

Withhold = Literal["nothing", "gated", "everything"]  # whose questions and answers stay out of a page
Withheld = Literal["", "gated", "asked"]  # why those of a benchmark do; "" where they do not


def withheld(benchmark: str, provenance: Mapping[str, Any], withhold: Withhold) -> Withheld:
    """The reason why a benchmark's questions and answers stay out of a page; "" where they do not."""
    if withhold == "everything":
        return "asked"
    return "gated" if withhold == "gated" and is_gated(benchmark, provenance) else ""


def is_gated(benchmark: str, provenance: Mapping[str, Any]) -> bool:
    """True if a benchmark's questions come from a gated data set; `provenance` is the exam's."""
    if not benchmark.startswith(LM_EVAL_PREFIX):
        source = benchmark_class(benchmark).info.source
        return source is not None and source.gated
    tasks: Mapping[str, Any] = provenance.get("tasks") or {}
    sets = {about.get("dataset") for about in tasks.values()}
    # a task whose data was given as a file shows only by its name
    names = " ".join([benchmark.removeprefix(LM_EVAL_PREFIX), *tasks]).lower()
    gated = [info.source for info in infos().values() if info.source is not None and info.source.gated]
    return any(s.path in sets or (s.task_names and re.search(s.task_names, names)) for s in gated)
