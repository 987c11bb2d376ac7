"""Verification of a sealed run: signature, files, grades and results, from what is inside alone.

Answers are graded again and results built from the grades. A difference is an error where this very code made the
sealed figure; where another version did, nobody can tell here whether a rule or a figure was changed.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import bitparity
from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import EvidenceError, RunError, StoreError, StudyError
from bitparity.evidence.bundle import RESULTS, Manifest, files_of, read_bundle
from bitparity.evidence.seal import bare_exam, rewrite_grades
from bitparity.evidence.signature import check_signature
from bitparity.exam.frozen import Exam, frozen_exams
from bitparity.grading.fingerprint import grader_fingerprint
from bitparity.grading.passes import Grader, grade_benchmark
from bitparity.inputs.input_files import LARGEST_STUDY
from bitparity.progress.events import Events
from bitparity.records import Grade, SampleKey
from bitparity.results.build import build
from bitparity.results.schema import Results
from bitparity.schema import LM_EVAL_PREFIX, Study
from bitparity.store.jsonl import write_json
from bitparity.store.run import Run, WritableRun

ROUNDING = 1e-9  # relative: other processors and versions of NumPy add up in another order
Grades = Mapping[SampleKey, Grade]
SHOWN = 60  # characters of a value in a message


@dataclass
class Opened:
    """A sealed run, unpacked in a temporary folder. `said` is what is known of it so far, one line each.

    `given` names the benchmarks of which something was taken as given; `doubts` are differences that may come from
    another version of the code.
    """

    path: Path
    run: Run
    manifest: Manifest
    study: Study
    said: list[str]
    given: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)

    def refused(self, why: str) -> EvidenceError:
        """The error of a file that says something else than what follows from it."""
        return EvidenceError(f"{self.path} is refused: {why}")


@contextmanager
def opened(path: Path, keys: Path | None) -> Iterator[Opened]:
    """A sealed run whose signature and files were checked; see `check_signature` for `keys`. Raises EvidenceError."""
    with tempfile.TemporaryDirectory(prefix="bitparity-") as place:
        run = Run(Path(place))
        manifest, signature = read_bundle(path, run.path)
        signed = check_signature(manifest.text(), signature, keys, path)
        with _refusing(path, run):
            sealed = _checked(path, run, manifest, signed)
        yield sealed


@contextmanager
def _refusing(path: Path, run: Run) -> Iterator[None]:
    """Faults of the records are faults of the sealed file: an attacker may have written any of them."""
    try:
        yield
    except (StoreError, RunError, StudyError) as error:
        said = str(error).replace(f"{run.path}/", "").replace(str(run.path), str(path))
        raise EvidenceError(f"{path} is refused: {said}") from None
    except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
        # a record of the right form may still hold what no run writes, such as an item without its options
        what = f"{type(error).__name__}: {str(error)[:200]}"
        raise EvidenceError(f"{path} is refused: its records contradict each other ({what})") from None


def _checked(path: Path, run: Run, manifest: Manifest, signed: str) -> Opened:
    """The unpacked run, with a manifest that speaks of it."""
    files = manifest.files
    if "study.yaml" not in files or files["study.yaml"].bytes > LARGEST_STUDY or RESULTS not in files:
        raise EvidenceError(f"{path} is refused: it lacks study.yaml or {RESULTS}, or its study is too large")
    study = run.study()
    found = Opened(path, run, manifest, study, [])
    if (manifest.study, manifest.fingerprint) != (study.name, study.fingerprint()):
        raise found.refused(
            f"its manifest is of the study {manifest.study}, {manifest.fingerprint}, and its study another"
        )
    if strange := sorted(files.keys() - {*files_of(run, study), RESULTS}):
        raise found.refused(f"{strange[0]} is no file of its study")
    if strange := sorted({*manifest.withheld} - {spec.name for spec in study.benchmarks}):
        raise found.refused(f"it withholds {strange[0]}, which its study does not have")
    if manifest.originals and not manifest.withheld:
        raise found.refused("its manifest has other originals than what is inside, though nothing is withheld")
    found.said += [
        f"files: {len(files)}, each as the manifest says; study {study.name}, fingerprint {manifest.fingerprint}, "
        f"sealed by bitparity {manifest.bitparity}",
        f"signature: {signed}",
    ]
    return found


def verify(sealed: Opened, events: Events) -> None:
    """Recompute grades and results, and say so in `sealed.said`. Raises EvidenceError at the first difference."""
    others = []
    with _refusing(sealed.path, sealed.run):
        # the unpacked copy, whose grades are written anew; the sealed file stays as it is
        with WritableRun(sealed.run.path) as run:
            for spec, exam in frozen_exams(run, sealed.study):
                _check_exam(sealed, exam, load_benchmark(spec))
                if not _check_grades(sealed, run, exam, load_benchmark(spec), events):
                    others.append(spec.name)
        if others:
            sealed.said.append(f"grader: another version of it made the grades of {', '.join(others)}")
        _build_again(sealed)


def _check_exam(sealed: Opened, exam: Exam, benchmark: Benchmark) -> None:
    """Refuse an exam without all questions that its study asks, and one that is withheld only in name."""
    bench, limit, found = exam.benchmark, benchmark.spec.limit or exam.available, len(exam.items)
    if not benchmark.fixed_order and found != (asked := min(limit, exam.available)):  # else the benchmark limits itself
        raise sealed.refused(f"the exam of {bench} has {found:,} of {asked:,} questions")
    if bench in sealed.manifest.withheld and exam != bare_exam(exam):
        raise sealed.refused(f"it withholds {bench}, and yet has questions or references of it")


def _why_given(benchmark: Benchmark, manifest: Manifest) -> str | None:
    """The reason why a benchmark's grades are taken as they are; None where they are made again."""
    name = benchmark.spec.name
    if name in manifest.withheld:
        return "questions and answers are withheld"
    if benchmark.runs_code:
        return "programs are not run here; unpack the file and use bitparity grade, which runs them in the sandbox"
    if benchmark.judge is not None:
        return "a model judged them"
    return "lm-eval's graders need the task's data set" if name.startswith(LM_EVAL_PREFIX) else None


def _check_grades(sealed: Opened, run: WritableRun, exam: Exam, benchmark: Benchmark, events: Events) -> bool:
    """Compare a benchmark's grades with new ones, and leave those that the results are to be built from.

    False where another version of the grader made the stored ones.
    """
    bench, fingerprint, count = exam.benchmark, grader_fingerprint(benchmark), 0
    given = _why_given(benchmark, sealed.manifest)
    graded = [name for name in sealed.study.variants if run.grades_path(name, bench).exists()]
    headers = {name: run.grades_header(name, bench) for name in graded}
    same = all(header.get("grader") == fingerprint for header in headers.values())
    for name, header in headers.items():
        grades: Grades = run.grades(name, bench)
        count += len(grades)
        if given is None:
            stored = grades
            grade_benchmark(run, name, exam, Grader(benchmark, {}), events, again=True)
            grades = _compared(sealed, f"grades of {name} on {bench}", stored, run.grades(name, bench), same=same)
        if header:
            # under this grader's fingerprint: grades of another one count nowhere
            rewrite_grades(run, name, bench, header | {"grader": fingerprint}, grades)
    if given is not None:
        sealed.given.append(bench)
    how = "graded again" if given is None else f"taken as given: {given}"
    asked = f"{len(exam.items):,} of {exam.available:,}"
    sealed.said.append(f"{bench}: {asked} questions, {count:,} answers of {len(graded)} variants {how}")
    return same


def _compared(sealed: Opened, what: str, stored: Grades, fresh: Grades, *, same: bool) -> Grades:
    """The grades made now, and the stored ones where there is none. Raises EvidenceError where the `same` code differs.

    What other code, or a grader that failed here, leaves open becomes a doubt.
    """
    scored = {key for key, grade in stored.items() if grade.score is not None}
    failed = [key for key, grade in fresh.items() if grade.score is None and key in scored]
    grades = {**fresh, **{key: stored[key] for key in failed}}
    if changed := [key for key in {**stored, **grades} if stored.get(key) != grades.get(key)]:
        first = _shown(stored, grades, changed[0])
        said = f"{what}: {len(changed):,} of {len(grades):,} differ when graded again, first {first}"
        if same:
            raise sealed.refused(said)
        sealed.doubts.append(f"{said}; another version of the grader made them")
    if failed:
        first = f"item {failed[0][0]!a:.{SHOWN}}, sample {failed[0][1]}"
        sealed.doubts.append(f"{what}: the grader gave {len(failed):,} no verdict here, first {first}")
    return grades


def _shown(stored: Grades, made: Grades, key: SampleKey) -> str:
    """One grade, as it is in the file and as it is now."""
    old, new = ({} if g is None else {s: getattr(g, s) for s in g.__slots__} for g in (stored.get(key), made.get(key)))
    name, before, after = next(_differences(old, new, ""), ("", None, None))
    said = f"{name} {before!a:.{SHOWN}} in the file, {after!a:.{SHOWN}} now"
    return f"item {key[0]!a:.{SHOWN}}, sample {key[1]}: {said}"


def _build_again(sealed: Opened) -> None:
    """Compare results.json with the one that follows from the files."""
    path = sealed.run.path / RESULTS
    before = path.read_bytes()
    stored = Results.model_validate(json.loads(before))
    withheld = sealed.manifest.withheld
    made = build(sealed.run, with_texts=not withheld, said={name: stored.benchmarks[name].guards for name in withheld})
    if withheld:
        what = f"guards of {', '.join(withheld)}"
        what = what if stored.distance is None else f"{what}, and the distance"
        sealed.said.append(f"{RESULTS}: taken as given: {what}: they were made of what is withheld")
        made = made.model_copy(update={"distance": stored.distance})
    write_json(path, made.document())
    if path.read_bytes() == before:
        sealed.said.append(f"{RESULTS}: made again, the same byte for byte")
        return
    found = list(_differences(json.loads(before), json.loads(path.read_bytes()), ""))
    real = [each for each in found if not _rounded(*each[1:])]
    if not found:
        raise sealed.refused(f"{RESULTS} is not written as bitparity writes it")
    name, old, new = (real or found)[0]
    first = f"{name[1:]}: {old!a:.{SHOWN}} in the file, {new!a:.{SHOWN}} now"
    what = f"{RESULTS}: {len(real or found):,} figures differ when made again, first {first}"
    if not real:
        sealed.said.append(f"{what}; all within {ROUNDING:g} of each other, as other processors round")
    elif sealed.manifest.bitparity != bitparity.__version__ or sealed.doubts:
        sealed.doubts.append(what)
    else:
        raise sealed.refused(what)


def _differences(one: object, other: object, name: str) -> Iterator[tuple[str, object, object]]:
    """The values that differ, by name."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            yield from _differences(one.get(key, "absent"), other.get(key, "absent"), f"{name}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from _differences(*pair, f"{name}[{number}]")
    elif one != other or type(one) is not type(other):  # 1, 1.0 and true are equal to Python
        yield name, one, other


def _rounded(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=ROUNDING, abs_tol=ROUNDING)
    return False
