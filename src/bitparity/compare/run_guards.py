"""All guards of a run (`bitparity.validity`) for variants of run directories that are compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from bitparity.compare.records import RunVariant
from bitparity.exam.frozen import Exam, samples_asked
from bitparity.results.guards import check as validity
from bitparity.results.schema import Guard
from bitparity.results.sheet import Sheet, read_sheet
from bitparity.store.environment import RunRecord


def run_guards(sides: Sequence[tuple[str, RunVariant, str]]) -> list[Guard]:
    """What the guards of a run say of one variant or two, each (label, variant, name of the benchmark in its run).

    Two are looked at on the items that they share, as if they were variants of one study under the first one's
    protocol: what differs between their engines, prompts and sampling shows.
    """
    _, first, benchmark = sides[0]
    shared = set.intersection(*({entry.item.id for entry in run.exams[name].items} for _, run, name in sides))
    whole = first.exams[benchmark]
    exam = replace(whole, items=tuple(entry for entry in whole.items if entry.item.id in shared))
    if not exam.items:
        return []
    variants = {
        label: run.study.variants[run.name].model_copy(update={"baseline": run is first, "control": False})
        for label, run, _ in sides
    }
    environment = RunRecord(variants={label: run.run.environment().variant(run.name) for label, run, _ in sides})
    sheets = {label: _sheet(run, name, exam) for label, run, name in sides}
    study = first.study.model_copy(update={"variants": variants})
    return validity.check(validity.Facts(study, first.spec(benchmark), exam, sheets, environment))


def _sheet(run: RunVariant, benchmark: str, exam: Exam) -> Sheet:
    """The variant's sheet in the order of `exam`."""
    own = run.exams[benchmark]
    if [entry.item.id for entry in own.items] == [entry.item.id for entry in exam.items]:
        return run.sheets[benchmark]
    return read_sheet(run.run, replace(exam, benchmark=benchmark), run.name, samples_asked(own, run.spec(benchmark)))
