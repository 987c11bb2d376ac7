"""Files of a run directory: JSON and JSONL that survive a crash at any point.

A line of a JSONL file is durable (fsync) once `AppendLog.append` returns. A last line without its newline was in
flight when the process died: readers leave it out, and the next writer cuts it off.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from bitparity.errors import RunError, StoreError
from bitparity.inputs.input_files import LARGEST_DATA, open_regular, read_regular
from bitparity.redaction import redacted
from bitparity.store.faults import storage_error
from bitparity.store.lock import check_place

Model = TypeVar("Model", bound=BaseModel)

_LONE = "backslashreplace"  # a lone surrogate, which UTF-8 cannot hold: \\udXXX, as JSON spells it
_READ_BYTES = 1 << 22
MOST_LINE = 1 << 26  # bytes
_CHECK = b', "crc32": "%08x"}\n'  # the end of a line: the checksum of all bytes before it
_CHECK_START, _CHECK_BYTES = _CHECK[:12], len(_CHECK % 0)


def file_stem(benchmark: str) -> str:
    """The file name of a benchmark: `lm_eval:gsm8k` is stored as `lm_eval__gsm8k`."""
    return benchmark.replace(":", "__").replace("/", "__")


def write_atomically(path: Path, chunks: Iterable[str]) -> None:
    """Write a text file so that it is there whole or not at all. Raises StoreError or RunError."""
    with replacing(path) as part, part.open("w", encoding="utf-8", errors=_LONE) as file:
        file.writelines(map(redacted, chunks))
        file.flush()
        # before it gets its name: some file systems write a name first, and its content seconds later
        os.fsync(file.fileno())


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new file beside `path`, to be written in the block, which takes its place at the end of the block.

    Raises StoreError or RunError, also for errors of the system in the block; `path` is then as it was before.
    """
    check_place(path)
    path = replaceable(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        check_place(path)  # again: a long page takes seconds
        part.replace(path)
        # a new name is durable only once its folder is
        _sync_folder(path.parent)
    except (OSError, RunError) as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise (storage_error(error, path) if isinstance(error, OSError) else error) from None


def replaceable(path: Path) -> Path:
    """The file that a path leads to, which may be replaced. Raises RunError for a pipe or a device."""
    place = Path(os.path.realpath(path))  # which gives up on a loop of links without an error
    if place.exists() and not (place.is_file() or place.is_dir()):
        raise RunError(f"{path} is a pipe or a device, and no file that can be written in one step; give another place")
    return place


def write_json(path: Path, value: object) -> None:
    """Write one JSON document atomically."""
    write_atomically(path, [json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), "\n"])


def read_model(path: Path, model: type[Model], fault: str) -> Model:
    """Read one JSON document of the run as a model of it.

    Raises StoreError where it is broken or none: `fault` says what it is not and the remedy, with "{where}" in it.
    """
    try:
        return model.model_validate(json.loads(read_regular(path, LARGEST_DATA)))
    except ValidationError as error:
        where = ".".join(map(str, error.errors()[0]["loc"]))
        raise StoreError(f"{path} {fault.format(where=where)}") from None
    except (ValueError, RecursionError):
        raise StoreError(f"{path} is not valid JSON: it was changed or the disk is faulty; restore it") from None
    except OSError as error:
        raise storage_error(error, path) from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file of the run; a torn last line is left out, and so is a missing file.

    Raises StoreError with the line number where a complete line is broken.
    """
    return (parsed_line(line, path, number) for number, line in whole_lines(path))


def whole_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers, from 1; a torn last line is left out, and so is a missing file.

    Raises StoreError where a line is not what its checksum says.
    """
    try:
        with open_regular(path, _READ_BYTES) as file:
            for number, line in enumerate(iter(partial(file.readline, MOST_LINE), b""), 1):
                if not line.endswith(b"\n"):  # cut by `MOST_LINE`, or the torn last one
                    if len(line) == MOST_LINE:
                        raise broken_line(path, number, f"longer than {MOST_LINE >> 20} MiB")
                    return
                if has_checksum(line) and not line.endswith(_check(line[:-_CHECK_BYTES])):
                    raise broken_line(path, number, "its checksum does not fit")
                yield number, line
    except FileNotFoundError:
        return
    except OSError as error:
        raise storage_error(error, path) from None


def checked_line(record: Mapping[str, object]) -> bytes:
    """A record as one line with its checksum, without known secrets."""
    line = redacted(json.dumps(record, ensure_ascii=False)).encode("utf-8", _LONE)[:-1]
    return line + _check(line)


def write_records(path: Path, records: Iterable[Mapping[str, object]]) -> None:
    """Write a whole JSONL file of checked lines atomically. Raises StoreError or RunError."""
    write_atomically(path, [checked_line(record).decode() for record in records])


def has_checksum(line: bytes) -> bool:
    """True for a line that `checked_line` made; earlier versions wrote none."""
    return line.startswith(_CHECK_START, -_CHECK_BYTES)


def _check(content: bytes) -> bytes:
    return _CHECK % zlib.crc32(content)


def parsed_line(line: bytes, path: Path, number: int) -> dict[str, Any]:
    """One line as a JSON object. Raises StoreError where it is none."""
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        record = None
    if not isinstance(record, dict):
        raise broken_line(path, number)
    record.pop("crc32", None)
    return record


def broken_line(path: Path, number: int, fault: str = "not a record") -> StoreError:
    """The error of a complete line that is no record, or not the one that was written."""
    return StoreError(
        f"{path}, line {number}: {fault}; the file was edited or the disk is faulty. "
        "Delete that line and run again: only its sample is redone"
    )


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AppendFile:
    """One append-only file. `append_bytes` returns once they are durable.

    `end` is its size in bytes. `under` calls each write, such as `Run.write`, which knows what to do on a full disk.
    """

    def __init__(self, path: Path, under: Callable[[Callable[[], None]], None] = lambda write: write()) -> None:
        self._path, self._under = path, under
        under(self._open)

    def _open(self) -> None:
        path = self._path
        check_place(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            # without a buffer: what a failed write left in one would go to the file later, behind the cut
            self._file = path.open("ab", buffering=0)
            if fresh:  # or a crash could take the file itself, with all its durable lines
                _sync_folder(path.parent)
            size = self._file.tell()
            self.end = self._whole(size)
            if self.end != size:  # else its time of change would say that something was written
                self._file.truncate(self.end)
        except OSError as error:
            raise storage_error(error, path) from None

    def _whole(self, size: int) -> int:
        """The bytes to be kept of those that the file has."""
        return size

    def append_bytes(self, data: bytes) -> None:
        """Write bytes and wait until they are on disk; on failure the file is as it was before."""
        self._under(lambda: self._append(memoryview(data)))

    def _append(self, data: memoryview) -> None:
        check_place(self._path)
        try:
            self._check_place()
            if self._file.tell() != self.end:  # what an earlier failure left could not be cut off then
                self._file.truncate(self.end)
            written = 0
            while written < len(data):  # unbuffered, a write may take a part only
                written += self._file.write(data[written:])
            os.fsync(self._file.fileno())
            self.end += len(data)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self.end)
            raise storage_error(error, self._path) from None

    def _check_place(self) -> None:
        """Check that the file is still in its place: a line written to another one would be lost."""
        with contextlib.suppress(FileNotFoundError):
            if os.path.samestat(self._path.stat(), os.fstat(self._file.fileno())):
                return
        raise StoreError(
            f"{self._path} was moved, removed or replaced while the run wrote in it; put it back if you can, and run "
            "the same command again: what is missing is done anew"
        )

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):  # some network disks complain now; all is durable already
            self._file.close()


class AppendLog(AppendFile):
    """One append-only JSONL file. A last line that is torn is cut off when it is opened."""

    def _whole(self, size: int) -> int:
        if size == 0:  # which cannot be mapped
            return 0
        with self._path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.rfind(b"\n") + 1

    def append(self, records: Iterable[Mapping[str, object]]) -> None:
        """Write records and wait until they are on disk; on failure the file is as it was before."""
        self.append_lines(map(checked_line, records))

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """The same for records that are lines already."""
        self.append_bytes(b"".join(lines))
