"""Code execution in the results: the sandbox of a benchmark that runs code, and how its programs ended."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from bitparity.benchmarks.registry import load_benchmark
from bitparity.exam.frozen import Exam
from bitparity.records import Grade, SampleKey
from bitparity.results.schema import JsonObject
from bitparity.schema import BenchmarkSpec
from bitparity.store.run import Run

VERDICTS = (
    *("pass", "wrong_answer", "runtime_error", "time_limit", "memory_limit", "output_limit", "no_code"),
    "infrastructure_error",
)


def execution(
    run: Run, spec: BenchmarkSpec, exam: Exam, grades: Mapping[str, Mapping[SampleKey, Grade]]
) -> dict[str, Any]:
    """For results.json, by variant: the sandbox, the counts of each verdict, rates over several items.

    And the scores by platform, where items have one. Empty for a benchmark that runs no code.
    """
    benchmark = load_benchmark(spec)
    if not benchmark.runs_code:
        return {}
    items = [entry.item for entry in exam.items]
    platform = {item.id: item.metadata["platform"] for item in items if "platform" in item.metadata}
    made: dict[str, Any] = {
        "execution": {name: _confinement(run, name, spec.name) for name in grades},
        "verdicts": {name: verdict_counts(found.values()) for name, found in grades.items()},
        "rates": {name: benchmark.rates(items, found) for name, found in grades.items()},
    }
    if platform:
        made["platforms"] = {
            place: {
                "items": sum(where == place for where in platform.values()),
                "means": {name: _mean(found, platform, place) for name, found in grades.items()},
            }
            for place in sorted(set(platform.values()))
        }
    return made


def _confinement(run: Run, variant: str, benchmark: str) -> JsonObject | None:
    """How a variant's programs were confined, as the header of its grades says; None where there are no grades."""
    path = run.grades_path(variant, benchmark)
    if not path.exists():
        return None
    with path.open(encoding="utf-8") as file:
        found: JsonObject | None = json.loads(file.readline() or "{}").get("execution")
    return found


def verdict_counts(grades: Iterable[Grade]) -> dict[str, int]:
    """How many answers came to each verdict; those that do not occur are left out."""
    found = Counter(str(g.details.get("verdict", g.status)) for g in grades)
    return {name: found[name] for name in [*VERDICTS, *sorted(found.keys() - set(VERDICTS))] if found[name]}


def _mean(grades: Mapping[SampleKey, Grade], platform: Mapping[str, str], place: str) -> float | None:
    scores = [g.score for (item, _), g in grades.items() if platform.get(item) == place and g.score is not None]
    return sum(scores) / len(scores) if scores else None
