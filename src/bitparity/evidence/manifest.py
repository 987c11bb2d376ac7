"""Manifest of a sealed run: its study, the files that are evidence, and the name, size and hash of each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bitparity.distance.store import AGAIN, readings_path
from bitparity.errors import EvidenceError
from bitparity.grading.judge import judgments_path
from bitparity.schema import Study
from bitparity.store.run import Run

SCHEMA: Literal["bitparity/evidence/1"] = "bitparity/evidence/1"
MOST_BYTES = 8 * 2**30  # of all files together
# a name of one part of a path: neither hidden nor "..", so that nothing is unpacked outside the folder
_PART = r"(?!\.)[^/\\\x00-\x1f\x7f]{1,200}"
_PATH = re.compile(
    rf"study\.yaml|environment\.json|results\.json|exam/{_PART}\.jsonl|(samples|grades|judgments)/{_PART}/{_PART}\.jsonl"
    rf"|distance/{_PART}/{_PART}\.(jsonl|arrays)"
)
RESULTS = "results.json"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class FileEntry(_Part):
    """Size and hash of a file's content."""

    bytes: Annotated[int, Field(ge=0, le=MOST_BYTES)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


def _checked_paths(files: dict[str, FileEntry]) -> dict[str, FileEntry]:
    for path in files:
        if not _PATH.fullmatch(path):
            raise ValueError(f"{path!a:.80} is no file of a run")
    # one order only, so that a run has one manifest, and one hash of it
    if list(files) != sorted(files):
        raise ValueError("its files are not in order")
    if sum(entry.bytes for entry in files.values()) > MOST_BYTES:
        raise ValueError(f"its files have more than {MOST_BYTES >> 30} GiB")
    return files


Files = Annotated[dict[str, FileEntry], AfterValidator(_checked_paths)]


class Manifest(_Part):
    """Contents of a sealed file. `withheld` are the benchmarks without questions and answers.

    `files` are those inside, by their place in the run directory; `originals` the run's own files that were left out,
    or that stand inside without questions and answers.
    """

    schema_: Literal["bitparity/evidence/1"] = Field(alias="schema")
    bitparity: str
    study: str
    fingerprint: str
    signed: bool
    withheld: list[str]
    files: Files
    originals: Files

    def text(self) -> bytes:
        """The one spelling of this manifest, in UTF-8: what is hashed, signed and compared."""
        return (json.dumps(self.model_dump(by_alias=True), indent=1, ensure_ascii=True) + "\n").encode()


def read_manifest(content: bytes, origin: Path) -> Manifest:
    """The manifest of these bytes. Raises EvidenceError where they are not what `Manifest.text` writes."""
    try:
        manifest = Manifest.model_validate(json.loads(content))
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise EvidenceError(f"{origin} is refused: its manifest is wrong at '{where:.80}': {fault['msg']}") from None
    except (ValueError, RecursionError):
        raise EvidenceError(f"{origin} is refused: its manifest is no JSON") from None
    if manifest.text() != content:
        raise EvidenceError(f"{origin} is refused: its manifest was not written by bitparity")
    return manifest


def entries(folder: Path, names: Iterable[str]) -> dict[str, FileEntry]:
    """The entries of these files of a folder, in order."""
    return {name: _entry(folder / name) for name in sorted(names)}


def _entry(path: Path) -> FileEntry:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return FileEntry(bytes=path.stat().st_size, sha256=digest.hexdigest())


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
