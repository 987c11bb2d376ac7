"""Sealing of a run: what its results are made of, and the results, in one file.

Of withheld benchmarks it has records without questions, references and answers, from which the figures still follow. An
answer's text becomes a number, the same for the same text: that answers are equal stays visible, what they say does
not. Lengths, ends, scores and verdicts stay.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import bitparity
from bitparity.errors import RunError
from bitparity.evidence.bundle import MOST_BYTES, RESULTS, SCHEMA, Manifest, answers_of, entries, files_of, write_bundle
from bitparity.evidence.signature import sign
from bitparity.exam.frozen import Exam, ExamItem, frozen_exams, save_exam
from bitparity.inputs.input_files import open_regular
from bitparity.records import Grade, Item, Prompt, Sample, SampleKey
from bitparity.report.gated import Withhold, withheld
from bitparity.results import build as results
from bitparity.schema import Study
from bitparity.store.faults import storage_error
from bitparity.store.jsonl import write_json, write_records
from bitparity.store.rows import grade_to_row, sample_to_row
from bitparity.store.run import Run

# what figures are made of and no question can be known by: the contest's platform, the letters of the options, the
# number of steps; how a program ended, and that upstream judges otherwise
_OF_ITEMS, _OF_GRADES = ("platform", "letters", "steps"), ("verdict", "upstream")


class Sealed(NamedTuple):
    """A sealed file, its manifest, and its size in bytes."""

    path: Path
    manifest: Manifest
    size: int


def seal(path: Path, out: Path | None = None, key: Path | None = None, *, without_answers: bool = False) -> Sealed:
    """Seal a run in `out`, by default beside it; the same run gives the same bytes.

    Questions and answers of gated data sets, or with `without_answers` of all, stay out. `key` signs. Raises RunError
    or StoreError where the run cannot be read or the file not be written.
    """
    run = Run(path)
    study = run.study()
    out = out or Path(f"{path.resolve()}.evidence.tar.xz")
    try:
        # beside the result, where there is room for it: /tmp is often small, and in memory
        with tempfile.TemporaryDirectory(prefix=".sealing-", dir=out.parent) as place:
            copy = Run(Path(place))
            # copied, so that results and files are of one moment even where a run goes on
            for name in files_of(run, study):
                (copy.path / name).parent.mkdir(parents=True, exist_ok=True)
                with open_regular(run.path / name) as source, (copy.path / name).open("xb") as target:
                    shutil.copyfileobj(source, target)
            manifest = _staged(copy, study, signed=key is not None, without_answers=without_answers)
            write_bundle(out, copy.path, manifest, None if key is None else sign(manifest.text(), key))
    except OSError as error:
        raise storage_error(error, out) from None
    return Sealed(out, manifest, out.stat().st_size)


def _staged(copy: Run, study: Study, *, signed: bool, without_answers: bool) -> Manifest:
    """Add the results to a copy of a run, and take out what is withheld."""
    known: Withhold = "everything" if without_answers else "gated"
    exams = [e for _, e in frozen_exams(copy, study) if withheld(e.benchmark, e.provenance, known)]
    results.write(copy, with_texts=not exams)
    # hashed before anything is taken out: who has the whole run can compare it with these
    before = entries(copy.path, files_of(copy, study))
    for exam in exams:
        for path in answers_of(copy, study, exam.benchmark):
            path.unlink(missing_ok=True)
        withhold(copy, study, exam)
    if exams:
        withhold_reasons(copy)
    files = entries(copy.path, [*files_of(copy, study), RESULTS])
    size = sum(entry.bytes for entry in files.values())
    if size > MOST_BYTES:
        raise RunError(f"the run has {size >> 30} GiB, and a sealed file at most {MOST_BYTES >> 30}; seal it in parts")
    return Manifest(
        schema=SCHEMA,
        bitparity=bitparity.__version__,
        study=study.name,
        fingerprint=study.fingerprint(),
        signed=signed,
        withheld=[exam.benchmark for exam in exams],
        files=files,
        originals={name: entry for name, entry in before.items() if entry != files.get(name)},
    )


def withhold(run: Run, study: Study, exam: Exam) -> None:
    """Rewrite the records of one benchmark in a copy of a run."""
    bench = exam.benchmark
    texts: dict[str, str] = {}
    for variant in study.variants:
        if run.samples_path(variant, bench).exists():
            rows = [sample_to_row(_sample(sample, texts)) for sample in run.samples(variant, bench).values()]
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
            restart.reason = results.NOT_TOLD
    write_json(run.environment_path, record.model_dump(mode="json", warnings=False))


def rewrite_grades(
    run: Run, variant: str, benchmark: str, header: Mapping[str, object], grades: Mapping[SampleKey, Grade]
) -> None:
    """Write the grades of a variant in a copy of a run."""
    rows = [grade_to_row(key, grade) for key, grade in grades.items()]
    write_records(run.grades_path(variant, benchmark), [header, *rows])


def _sample(sample: Sample, texts: dict[str, str]) -> Sample:
    text = texts.setdefault(sample.text, f"text {len(texts) + 1}") if sample.text.strip() else ""
    return replace(sample, text=text, error=None if sample.error is None else results.NOT_TOLD)


def _grade(grade: Grade) -> Grade:
    return replace(grade, extracted=None, details={k: grade.details[k] for k in _OF_GRADES if k in grade.details})


def _entry(entry: ExamItem) -> ExamItem:
    item = entry.item
    prompts = tuple(Prompt(text="", continuations=("",) * len(p.continuations)) for p in item.prompts)
    metadata = {key: item.metadata[key] for key in _OF_ITEMS if key in item.metadata}
    bare = Item(item.id, prompts, None, item.group, item.subgroup, metadata, item.after)
    return replace(entry, item=bare, texts=None if entry.texts is None else ("",) * len(entry.texts))
