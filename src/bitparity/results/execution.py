"""Code execution in the results: the sandbox of a benchmark that runs code, and how its programs ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from bitparity.benchmarks.registry import load_benchmark
from bitparity.exam.frozen import Exam
from bitparity.records import Grade
from bitparity.results.sheet import Sheet, subsets
from bitparity.schema import BenchmarkSpec
from bitparity.store.run import Run

VERDICTS = (
    *("pass", "wrong_answer", "runtime_error", "time_limit", "memory_limit", "output_limit", "no_code"),
    "infrastructure_error",
)


def execution(run: Run, spec: BenchmarkSpec, exam: Exam, sheets: Mapping[str, Sheet]) -> dict[str, Any]:
    """For results.json, by variant: the sandbox, the counts of each verdict, rates over several items.

    And the scores by platform, where items have one. Empty for a benchmark that runs no code.
    """
    benchmark = load_benchmark(spec)
    if not benchmark.runs_code:
        return {}
    items = [entry.item for entry in exam.items]
    platforms = subsets([item.metadata.get("platform") for item in items], sheets)
    return {
        # how each variant's programs were confined; None where there are no grades
        "execution": {name: run.grades_header(name, spec.name).get("execution") for name in sheets},
        "verdicts": {name: verdict_counts(sheet.grades.values()) for name, sheet in sheets.items()},
        "rates": {name: benchmark.rates(items, sheet.grades) for name, sheet in sheets.items()},
        **({"platforms": platforms} if platforms else {}),
    }


def verdict_counts(grades: Iterable[Grade]) -> dict[str, int]:
    """The number of answers by verdict; those that do not occur are left out."""
    found = Counter(str(g.details.get("verdict", g.status)) for g in grades)
    return {name: found[name] for name in [*VERDICTS, *sorted(found.keys() - set(VERDICTS))] if found[name]}
