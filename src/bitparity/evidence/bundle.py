"""Bundle: a run's files in one .tar.xz, every byte of which follows from its manifest and their content.

```
manifest.json         first, since it says all that follows, in order: the study, and the size and hash of each file
manifest.json.sig     where it is signed
study.yaml ...        each file of the manifest
```
The reader knows each header before it reads it. A link, a device, another name, a second file of one name, one more or
one less is therefore another byte than the expected one, and nothing is unpacked that the manifest does not announce.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import re
import shutil
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, BinaryIO, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bitparity.distance.store import AGAIN, readings_path
from bitparity.errors import EvidenceError, RunError
from bitparity.grading.judge import judgments_path
from bitparity.inputs.input_files import open_regular
from bitparity.schema import Study
from bitparity.store.faults import storage_error
from bitparity.store.jsonl import replacing
from bitparity.store.run import Run

MANIFEST, SIGNATURE = "manifest.json", "manifest.json.sig"
MOST_MANIFEST, MOST_SIGNATURE = 2**24, 2**16  # bytes: read into memory before anything of the file is known
PRESET = 1  # of xz: four times as fast as its usual 6 and a tenth larger
MEMORY = 2**27  # bytes that unpacking may take: a header of xz may ask for 4 GiB
_BLOCK, _END = tarfile.BLOCKSIZE, bytes(2 * tarfile.BLOCKSIZE)
_CHUNK = 2**18
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


def write_bundle(out: Path, folder: Path, manifest: Manifest, signature: bytes | None) -> None:
    """Write a bundle in one step: the file is there whole or not at all. Raises StoreError or RunError."""
    # preset and check are named, so that another default of the library changes no byte
    with replacing(out) as part, lzma.open(part, "wb", preset=PRESET, check=lzma.CHECK_CRC64) as file:
        for name, content in ((MANIFEST, manifest.text()), (SIGNATURE, signature)):
            if content is not None:
                file.write(_header(name, len(content)) + content + _padding(len(content)))
        for name, entry in manifest.files.items():
            file.write(_header(name, entry.bytes))
            with (folder / name).open("rb") as source:
                shutil.copyfileobj(source, file)
            file.write(_padding(entry.bytes))
        file.write(_END)


def read_bundle(path: Path, folder: Path) -> tuple[Manifest, bytes | None]:
    """Unpack a bundle into an empty folder; gives the manifest and the signature.

    Raises EvidenceError where any byte is not as it was sealed, and RunError or StoreError where there is no room.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise EvidenceError(f"{path} cannot be read: {error.strerror or error}; give a file that was sealed") from None
    try:
        with file:
            return _Reader(path, file).unpack(folder)
    except OSError as error:
        raise storage_error(error, folder) from None


class _Reader:
    """One pass over a bundle."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self._path, self._file = path, file
        self._xz = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)

    def unpack(self, folder: Path) -> tuple[Manifest, bytes | None]:
        manifest = read_manifest(self._small(MANIFEST, MOST_MANIFEST), self._path)
        signature = self._small(SIGNATURE, MOST_SIGNATURE) if manifest.signed else None
        # before the first byte of them: a small file may unpack to very much
        size = sum(entry.bytes for entry in manifest.files.values())
        if size > shutil.disk_usage(folder).free:
            raise RunError(
                f"{self._path} needs {size >> 20:,} MiB in {folder}; make room, or set TMPDIR to a larger disk"
            )
        for name, entry in manifest.files.items():
            self._expect(_header(name, entry.bytes), f"the file {name} of {entry.bytes:,} bytes")
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256()
            with (folder / name).open("xb") as out:
                for part in self._parts(entry.bytes):
                    digest.update(part)
                    out.write(part)
            if digest.hexdigest() != entry.sha256:
                raise self._refused(f"{name} is not the file that the manifest names: its hash is another one")
            self._expect(_padding(entry.bytes), f"the end of {name}")
        self._expect(_END, "its end")
        # the stream's own end has the checksums that were not compared yet
        while not self._xz.eof:
            if self._decompress(1):
                raise self._refused("more follows what the manifest lists")
        if self._xz.unused_data or self._file.read(1):
            raise self._refused("more follows its end")
        return manifest, signature

    def _small(self, name: str, most: int) -> bytes:
        """The content of a file whose size its own header alone says."""
        header = self._read(_BLOCK)
        with suppress(tarfile.HeaderError, ValueError):
            size = tarfile.TarInfo.frombuf(header, "utf-8", "strict").size
            if 0 <= size <= most and header == _header(name, size):
                content = self._read(size)
                self._expect(_padding(size), f"the end of {name}")
                return content
        raise self._refused(f"{_found(header)} stands where {name} should")

    def _expect(self, content: bytes, what: str) -> None:
        if (found := self._read(len(content))) != content:
            raise self._refused(f"{_found(found[:_BLOCK])} stands where the manifest has {what}")

    def _read(self, size: int) -> bytes:
        return b"".join(self._parts(size))

    def _parts(self, size: int) -> Iterator[bytes]:
        """The next `size` bytes, some at a time."""
        while size:
            part = self._decompress(min(size, _CHUNK))
            size -= len(part)
            yield part

    def _decompress(self, most: int) -> bytes:
        packed = self._file.read(_CHUNK) if self._xz.needs_input else b""
        if self._xz.eof or (self._xz.needs_input and not packed):
            raise self._refused("it ends too early")
        try:
            return self._xz.decompress(packed, most)
        except lzma.LZMAError as error:
            raise self._refused(f"it is damaged, or no .tar.xz ({error})") from None

    def _refused(self, why: str) -> EvidenceError:
        return EvidenceError(f"{self._path} is refused: {why}. It was damaged or changed after it was sealed")


def _header(name: str, size: int) -> bytes:
    # with TarInfo's fixed owner, mode and time, so that the same run gives the same bytes
    info = tarfile.TarInfo(name)
    info.size = size
    return info.tobuf(tarfile.GNU_FORMAT, "utf-8", "strict")


def _padding(size: int) -> bytes:
    return bytes(-size % _BLOCK)


_KINDS = {tarfile.SYMTYPE: "a link", tarfile.LNKTYPE: "a link", tarfile.DIRTYPE: "a folder", tarfile.FIFOTYPE: "a pipe"}
_KINDS |= {tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device", tarfile.REGTYPE: "a file"}


def _found(header: bytes) -> str:
    """The message on a header that was not expected."""
    try:
        info = tarfile.TarInfo.frombuf(header, "utf-8", "surrogateescape")
    except (tarfile.HeaderError, ValueError):
        return "something else"
    return f"{_KINDS.get(info.type, 'an entry')} {info.name!a:.80} of {info.size:,} bytes"
