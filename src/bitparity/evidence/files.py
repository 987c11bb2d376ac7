"""Files of a run that are evidence: all that its results are made of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bitparity.distance.store import AGAIN, readings_path
from bitparity.grading.judge import judgments_path
from bitparity.schema import Study
from bitparity.store.run import Run

RESULTS = "results.json"


def files_of(run: Run, study: Study) -> list[str]:
    """The places in the run directory of all files that are there, but for results.json."""
    found = [run.path / "study.yaml", run.environment_path]
    for spec in study.benchmarks:
        found += [run.exam_path(spec.name), *answers_of(run, study, spec.name)]
        for variant in study.variants:
            found += [run.samples_path(variant, spec.name), run.grades_path(variant, spec.name)]
    return sorted(path.relative_to(run.path).as_posix() for path in found if path.exists())


def answers_of(run: Run, study: Study, benchmark: str) -> Iterator[Path]:
    """Files that hold a benchmark's answers beside its samples: judgments, and the readings as token ids."""
    for variant in study.variants:
        yield judgments_path(run, variant, benchmark)
        for reader in (variant, variant + AGAIN):
            lines = readings_path(run, reader, benchmark)
            yield from (lines, lines.with_suffix(".arrays"))
