"""The run directory: append-only records, crash-safe, written by one process at a time.

```
study.yaml  environment.json  exam/<benchmark>.jsonl
samples/<variant>/<benchmark>.jsonl     raw, append-only, never rewritten
grades/<variant>/<benchmark>.jsonl      made again at will
results.json  report.md
```
A sample counts as done once its line is complete on disk (fsync). A last line without its newline was
in flight when the process died: it is cut off and its sample is done again. A sample whose `finish` is
"error" is not done: the next run tries it again and the newer record counts.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from bitparity.errors import DiskFullError, RunError, StoreError

_LONE = "backslashreplace"  # a lone surrogate, which UTF-8 cannot hold: \\udXXX, as JSON spells it


_READ_BYTES = 1 << 22


_LINES = 1000  # handed over at once


_MOST_SAMPLES = 10**6  # of one item; a larger number is a damaged line


class Patience:
    """What is done about a full disk; this one gives up. `wait` returns where the write shall be tried again."""

    def wait(self, error: DiskFullError) -> None:
        """Raise the error, or return after a while."""
        raise error

    def over(self) -> None:
        """There was room again."""

    def give_up(self) -> None:
        """Wait no more, in any thread."""


def persistently(write: Callable[[], None], patience: Patience) -> None:
    """Write; where the disk is full, as often as `patience` allows."""
    waited = False
    while True:
        try:
            write()
            break
        except DiskFullError as error:
            waited = True
            patience.wait(error)
    if waited:
        patience.over()


def file_stem(benchmark: str) -> str:
    """The file name of a benchmark: `lm_eval:gsm8k` is stored as `lm_eval__gsm8k`."""
    return benchmark.replace(":", "__").replace("/", "__")


def write_atomically(path: Path, chunks: Iterable[str]) -> None:
    """Write a text file so that it is there whole or not at all. Raises StoreError or RunError."""
    temporary = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("w", encoding="utf-8", errors=_LONE) as file:
            file.writelines(chunks)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise _storage_error(error, path) from None


def write_json(path: Path, value: Any) -> None:
    """Write one JSON document atomically."""
    write_atomically(path, [json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False), "\n"])


def read_json(path: Path) -> Any:
    """Read one JSON document of the run. Raises StoreError where it is broken."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, UnicodeDecodeError):
        raise StoreError(f"{path} is not valid JSON: it was changed or the disk is faulty; restore it") from None
    except OSError as error:
        raise _storage_error(error, path) from None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """The records of a JSONL file of the run; a torn last line is left out.

    Raises StoreError with the line number where a complete line is broken.
    """
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                yield _parsed(line, path, number)
    except FileNotFoundError:
        return
    except OSError as error:
        raise _storage_error(error, path) from None


# The start and the end of a sample's line as `AppendLog` writes it. A quote inside a string is escaped, so
# `, "finish": "` can stand in no text, and the first `", "sample": ` ends the item.
_START = re.compile(rb'\{"item": "([^"\\\x00-\x1f]*)", "sample": (\d{1,6}), "text": "')


_FINISH = b', "finish": "'


_FAILED = _FINISH + b'error"'


def _scan(path: Path) -> Iterator[tuple[bytes | str, int, bool, bytes]]:
    """(item, sample, whether it failed, line) of each line of a file of samples; a torn last line is left out.

    An item comes as its bytes in UTF-8 where they can be read off the line, else as text. A line that is not as
    `AppendLog` writes it is parsed whole. Raises StoreError with the line number where that fails.
    """
    try:
        with path.open("rb", buffering=_READ_BYTES) as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                found = _START.match(line)
                at = line.rfind(_FINISH)
                if found and at > 0 and line.endswith(b"}\n") and b"\0" not in line:
                    yield found[1], int(found[2]), line.startswith(_FAILED, at), line
                else:
                    row = _parsed(line, path, number)
                    item, sample = row.get("item"), row.get("sample")
                    if not isinstance(item, str) or not isinstance(sample, int) or not 0 <= sample < _MOST_SAMPLES:
                        raise _broken(path, number)
                    yield item, sample, row.get("finish") == "error", line
    except FileNotFoundError:
        return
    except OSError as error:
        raise _storage_error(error, path) from None


def _text(item: bytes | str) -> str:
    return item if isinstance(item, str) else item.decode("utf-8", "surrogatepass")


def _parsed(line: bytes, path: Path, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict):
        raise _broken(path, number)
    return record


def _broken(path: Path, number: int) -> StoreError:
    return StoreError(
        f"{path}, line {number}: not a record; the file was edited or the disk is faulty. "
        "Delete that line and run again: only its sample is redone"
    )


def _storage_error(error: OSError, path: Path) -> StoreError | RunError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"the disk is full: {path} could not be written; everything finished before is kept. "
            "Free some space and run the same command again"
        )
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return RunError(f"{path} cannot be written ({error.strerror}); give another folder with --out")
    if error.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return RunError(f"{path} is in the way of a file or folder of the run ({error.strerror}); use another --out")
    return StoreError(f"{path}: {error.strerror}; everything finished before is kept, run the command again")


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class AppendLog:
    """One append-only JSONL file. `append` returns once its lines are durable."""

    def __init__(self, path: Path, patience: Patience | None = None) -> None:
        self._path = path
        self._patience = patience or Patience()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            self._file = path.open("ab", buffering=0)
            if fresh:
                _sync_folder(path.parent)
            self._end = self._cut_torn_line()
        except OSError as error:
            raise _storage_error(error, path) from None

    def _cut_torn_line(self) -> int:
        """Drop what follows the last newline; the size in bytes that is left."""
        size = self._file.tell()
        with self._path.open("rb") as file:
            position = size
            while position > 0:
                start = max(0, position - 65536)
                file.seek(start)
                newline = file.read(position - start).rfind(b"\n")
                if newline >= 0:
                    position = start + newline + 1
                    break
                position = start
        if position != size:
            self._file.truncate(position)
        return position

    def append(self, records: Iterable[dict[str, Any]]) -> None:
        """Write records and wait until they are on disk; on failure the file is as it was before."""
        text = "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records)
        self.append_lines([text.encode("utf-8", _LONE)])

    def append_lines(self, lines: Iterable[bytes]) -> None:
        """The same for records that are lines already."""
        data = memoryview(b"".join(lines))
        persistently(lambda: self._append(data), self._patience)

    def _append(self, data: memoryview) -> None:
        try:
            written = 0
            while written < len(data):
                written += self._file.write(data[written:])
            os.fsync(self._file.fileno())
            self._end += len(data)
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.truncate(self._end)
            raise _storage_error(error, self._path) from None

    def close(self) -> None:
        """Close the file."""
        self._file.close()
