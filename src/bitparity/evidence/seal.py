"""Sealing of a run: what its results are made of, and the results, in one file."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import NamedTuple

import bitparity
from bitparity.errors import RunError
from bitparity.evidence.bundle import write_bundle
from bitparity.evidence.manifest import MOST_BYTES, RESULTS, SCHEMA, Manifest, answers_of, entries, files_of
from bitparity.evidence.signature import sign
from bitparity.evidence.withholding import withhold, withhold_reasons
from bitparity.exam.frozen import frozen_exams
from bitparity.report.gated import Withhold, withheld
from bitparity.results import build as results
from bitparity.safe_io.input_files import open_regular
from bitparity.schema import Study
from bitparity.store.faults import storage_error
from bitparity.store.run import Run


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
            _copy(run, copy, study)
            manifest = _staged(copy, study, signed=key is not None, without_answers=without_answers)
            signature = None if key is None else sign(manifest.text(), key)
            write_bundle(out, copy.path, manifest, signature)
    except OSError as error:
        raise storage_error(error, out) from None
    return Sealed(out, manifest, out.stat().st_size)


def _copy(run: Run, copy: Run, study: Study) -> None:
    """Copy the files, so that results and files are of one moment even where a run goes on."""
    for name in files_of(run, study):
        place = copy.path / name
        place.parent.mkdir(parents=True, exist_ok=True)
        with open_regular(run.path / name) as source, place.open("xb") as target:
            shutil.copyfileobj(source, target)


def _staged(copy: Run, study: Study, *, signed: bool, without_answers: bool) -> Manifest:
    """Add the results to a copy of a run, and take out what is withheld."""
    known: Withhold = "everything" if without_answers else "gated"
    exams = [e for _, e in frozen_exams(copy, study) if withheld(e.benchmark, e.provenance, known)]
    results.write(copy, with_texts=not exams)
    # hashed before anything is taken out: who has the whole run can compare it with these
    names = files_of(copy, study)
    before = entries(copy.path, names)
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
