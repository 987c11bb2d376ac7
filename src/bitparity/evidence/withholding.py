"""Withheld benchmarks: records without questions, references and answers, from which the figures still follow.

An answer's text becomes a number, the same for the same text: that answers are equal stays visible, what they say does
not. Lengths, ends, scores and verdicts stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from bitparity.exam.frozen import Exam, ExamItem, save_exam
from bitparity.records import Grade, Item, Prompt, Sample, SampleKey
from bitparity.results.build import NOT_TOLD
from bitparity.schema import Study
from bitparity.store.jsonl import write_json, write_records
from bitparity.store.rows import grade_to_row, sample_to_row
from bitparity.store.run import Run

# what figures are made of and no question can be known by: the contest's platform, the letters of the options, the
# number of steps; how a program ended, and that upstream judges otherwise
_OF_ITEMS, _OF_GRADES = ("platform", "letters", "steps"), ("verdict", "upstream")


def withhold(run: Run, study: Study, exam: Exam) -> None:
    """Rewrite the records of one benchmark in a copy of a run."""
    bench = exam.benchmark
    texts: dict[str, str] = {}
    for variant in study.variants:
        if run.samples_path(variant, bench).exists():
            samples = run.samples(variant, bench)
            rows = [sample_to_row(_sample(sample, texts)) for sample in samples.values()]
            write_records(run.samples_path(variant, bench), rows)
        if run.grades_path(variant, bench).exists():
            header, grades = run.grades_header(variant, bench), run.grades(variant, bench)
            rewrite_grades(run, variant, bench, header, {key: _grade(grade) for key, grade in grades.items()})
    save_exam(bare_exam(exam), run.exam_path(bench))


def bare_exam(exam: Exam) -> Exam:
    """An exam without the texts of its questions, and without their references."""
    return replace(exam, items=tuple(map(_entry, exam.items)))


def withhold_reasons(run: Run) -> None:
    """Leave out why engines were started again: a server's message may quote a question."""
    record = run.environment()
    for variant in record.variants.values():
        for restart in variant.restarts:
            restart.reason = NOT_TOLD
    write_json(run.environment_path, record.model_dump(mode="json", warnings=False))


def rewrite_grades(
    run: Run, variant: str, benchmark: str, header: Mapping[str, object], grades: Mapping[SampleKey, Grade]
) -> None:
    """Write the grades of a variant in a copy of a run."""
    rows = [grade_to_row(key, grade) for key, grade in grades.items()]
    write_records(run.grades_path(variant, benchmark), [header, *rows])


def _sample(sample: Sample, texts: dict[str, str]) -> Sample:
    text = texts.setdefault(sample.text, f"text {len(texts) + 1}") if sample.text.strip() else ""
    return replace(sample, text=text, error=None if sample.error is None else NOT_TOLD)


def _grade(grade: Grade) -> Grade:
    return replace(grade, extracted=None, details={k: grade.details[k] for k in _OF_GRADES if k in grade.details})


def _entry(entry: ExamItem) -> ExamItem:
    item = entry.item
    prompts = tuple(Prompt(text="", continuations=("",) * len(p.continuations)) for p in item.prompts)
    metadata = {key: item.metadata[key] for key in _OF_ITEMS if key in item.metadata}
    bare = Item(item.id, prompts, None, item.group, item.subgroup, metadata, item.after)
    return replace(entry, item=bare, texts=None if entry.texts is None else ("",) * len(entry.texts))
