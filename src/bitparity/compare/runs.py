"""A variant of a run directory as a source of per-item results."""

from __future__ import annotations

import itertools
import json
import math

from bitparity.compare.records import Given, ItemResult, Results, RunVariant, Source, text_hash
from bitparity.errors import RunError
from bitparity.exam.frozen import Exam, ExamItem, frozen_exams
from bitparity.exam.stops import asked_in_time
from bitparity.results.sheet import Sheet, read_sheet, read_sheets
from bitparity.schema import BenchmarkSpec, Study
from bitparity.store.run import Run


def finds(given: Given) -> bool:
    """True for a run directory."""
    return (given.path / "study.yaml").is_file()


def read(given: Given) -> Source:
    """Raises RunError where the run has no such variant, or several and none is chosen."""
    path, variant = given.path, given.part
    run = Run(path)
    study = run.study()
    names = [name for name in study.variants if name != study.spot_check]  # which has no scores
    if variant is None and len(names) > 1:
        raise RunError(f"{path} has {len(names)} variants; choose one: {' or '.join(f'{path}:{n}' for n in names)}")
    chosen = variant if variant is not None else names[0]
    if chosen not in names:
        raise RunError(f"{path} has no variant '{chosen}'; there is: {', '.join(names)}")
    exams = list(frozen_exams(run, study))
    if not exams:
        raise RunError(f"{path} holds no exam yet: the run has not begun; run it first")
    frozen = {spec.name: exam for spec, exam in exams}
    sheets = {spec.name: _sheet(run, study, exam, spec, chosen) for spec, exam in exams}
    benchmarks = {spec.name: results_of_exam(spec, exam, sheets[spec.name]) for spec, exam in exams}
    return Source(chosen, given.text, "run", benchmarks, run=RunVariant(run, study, chosen, frozen, sheets))


def _sheet(run: Run, study: Study, exam: Exam, spec: BenchmarkSpec, variant: str) -> Sheet:
    """A variant's sheet. Raises RunError where its comparison has stopped: no other level holds for what is there."""
    alone = exam.stop is None and asked_in_time(run.environment(), exam) is None  # nothing depends on the others
    sheet = read_sheet(run, exam, variant, spec) if alone else read_sheets(run, study, exam, spec)[variant]
    if sheet.stopped:
        raise RunError(
            f"{run.path}: '{variant}' stopped on {spec.name} after {sheet.asked:,} of {len(sheet.scores):,} items, "
            "because of what it had answered: only the run's own report has a verdict on that. Compare a run without "
            "stop_early"
        )
    return sheet


def results_of_exam(spec: BenchmarkSpec, exam: Exam, sheet: Sheet) -> Results:
    """One benchmark's results from its exam and a variant's sheet."""
    items: dict[str, ItemResult] = {}
    for entry, row in zip(exam.items, sheet.scores.tolist(), strict=True):
        item = entry.item
        items[_key(entry, items)] = ItemResult(
            name=item.id,
            scores={k: None if math.isnan(score) else score for k, score in enumerate(row)},
            checks=_checks(entry),
            group=item.group,
            subgroup=item.subgroup,
            samples={k: sheet.samples[item.id, k] for k in range(len(row)) if (item.id, k) in sheet.samples},
            grades={k: sheet.grades[item.id, k] for k in range(len(row)) if (item.id, k) in sheet.grades},
        )
    return Results(spec.name, items, exam.metric, spec.margin_at(sheet.mean()), recovery=spec.recovery)


def _key(entry: ExamItem, taken: dict[str, ItemResult]) -> str:
    """The item's id; for tasks of lm-eval the document's hash, as its own logs are keyed."""
    document = entry.item.metadata.get("doc_hash")
    if document is None:
        return entry.item.id
    return next(key for number in itertools.count() if (key := f"{document}#{number}") not in taken)


def _checks(entry: ExamItem) -> dict[str, str]:
    """Hashes of what was asked: the messages, the rendered prompt (as lm-eval hashes it), the reference."""
    item = entry.item
    asked = [(p.messages, p.text, p.continuations) for p in item.prompts]
    reference = json.dumps(item.reference, ensure_ascii=False, sort_keys=True)
    checks = {
        "question": text_hash(json.dumps(asked, ensure_ascii=False)),
        "target": item.metadata.get("target_hash") or text_hash(reference),
    }
    return checks if entry.texts is None else checks | {"prompt": text_hash("\0".join(entry.texts))}
