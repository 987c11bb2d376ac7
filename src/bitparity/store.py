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
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, MutableSet
from dataclasses import asdict, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from bitparity.errors import DiskFullError, RunError, StoreError
from bitparity.records import Grade, Sample
from bitparity.study import Study

Key = tuple[str, int]  # (item, sample)
_SAMPLE_FIELDS = [f.name for f in fields(Sample) if f.name not in ("benchmark", "served_model")]  # of every line
_LONE = "backslashreplace"  # a lone surrogate, which UTF-8 cannot hold: \\udXXX, as JSON spells it
_READ_BYTES = 1 << 22
_LINES = 1000  # handed over at once
_MOST_SAMPLES = 10**6  # of one item; a larger number is a damaged line


class Keys(MutableSet[Key]):
    """A set of (item, sample), one bit each: millions of samples of some thousand items take some megabytes."""

    def __init__(self, keys: Iterable[Key] = ()) -> None:
        self._bits: dict[str, int] = {}
        for key in keys:
            self.add(key)

    def __contains__(self, key: object) -> bool:
        return isinstance(key, tuple) and bool(self._bits.get(key[0], 0) >> key[1] & 1)

    def __iter__(self) -> Iterator[Key]:
        for item, bits in self._bits.items():
            yield from ((item, k) for k in range(bits.bit_length()) if bits >> k & 1)

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self._bits.values())

    def add(self, key: Key) -> None:
        """Put a key in."""
        self.merge(key[0], 1 << key[1])

    def merge(self, item: str, bits: int) -> None:
        """Put in (item, k) for each bit k that is set."""
        self._bits[item] = self._bits.get(item, 0) | bits

    def discard(self, key: Key) -> None:
        """Take a key out, where it is in."""
        if key in self:
            self._bits[key[0]] ^= 1 << key[1]


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


def sample_to_row(sample: Sample) -> dict[str, Any]:
    """The stored form of a sample; the benchmark is the file's name."""
    row = {name: getattr(sample, name) for name in _SAMPLE_FIELDS}
    return row if sample.served_model is None else {**row, "served_model": sample.served_model}


def sample_from_row(row: dict[str, Any], benchmark: str) -> Sample:
    """A sample from its stored form."""
    logprobs = row["logprobs"]
    pairs = None if logprobs is None else tuple((float(value), bool(greedy)) for value, greedy in logprobs)
    values = {name: row[name] for name in _SAMPLE_FIELDS if name != "logprobs"}
    return Sample(benchmark=benchmark, logprobs=pairs, served_model=row.get("served_model"), **values)


def grade_to_row(key: Key, grade: Grade) -> dict[str, Any]:
    """The stored form of a grade."""
    return {"item": key[0], "sample": key[1], **asdict(grade)}


def grade_from_row(row: dict[str, Any]) -> tuple[Key, Grade]:
    """A grade from its stored form."""
    values = {f.name: row[f.name] for f in fields(Grade)}
    return (row["item"], row["sample"]), Grade(**values)


class Run:
    """A run directory. Readers use it as it is; a writer opens it with `with open_run(...)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.patience = Patience()

    @property
    def environment_path(self) -> Path:
        """What ran: versions, devices, engine facts."""
        return self.path / "environment.json"

    def exam_path(self, benchmark: str) -> Path:
        """The frozen exam of a benchmark."""
        return self.path / "exam" / f"{file_stem(benchmark)}.jsonl"

    def samples_path(self, variant: str, benchmark: str) -> Path:
        """The raw samples of a variant."""
        return self.path / "samples" / variant / f"{file_stem(benchmark)}.jsonl"

    def grades_path(self, variant: str, benchmark: str) -> Path:
        """The grades of a variant."""
        return self.path / "grades" / variant / f"{file_stem(benchmark)}.jsonl"

    def log_path(self, variant: str) -> Path:
        """What the engine's process printed."""
        return self.path / "logs" / f"{variant}.log"

    def study(self) -> Study:
        """The resolved study of the run. Raises RunError where the folder holds none."""
        path = self.path / "study.yaml"
        if not path.is_file():
            raise RunError(f"{self.path} is not a run directory: it has no study.yaml")
        try:
            document = yaml.safe_load(path.read_text(encoding="utf-8"))
            return Study.model_validate(document["study"])
        except (yaml.YAMLError, KeyError, TypeError, ValueError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"{path} is not the study of a run of this bitparity: {reason}") from None

    def environment(self) -> dict[str, Any]:
        """What is recorded of the environment so far; empty where nothing is."""
        if not self.environment_path.exists():
            return {}
        environment: dict[str, Any] = read_json(self.environment_path)
        return environment

    def samples(self, variant: str, benchmark: str) -> dict[Key, Sample]:
        """The samples of a variant by (item, sample): the first complete one, else the last failed one."""
        found: dict[Key, Sample] = {}
        for row in read_lines(self.samples_path(variant, benchmark)):
            sample = sample_from_row(row, benchmark)
            key = (sample.item, sample.sample)
            if key not in found or found[key].finish == "error":
                found[key] = sample
        return found

    def done(self, variant: str, benchmark: str) -> Keys:
        """The (item, sample) pairs that need not be run again. Reads the lines without parsing what was answered."""
        bits: dict[bytes | str, int] = {}
        for item, sample, failed, _ in _scan(self.samples_path(variant, benchmark)):
            if not failed:
                bits[item] = bits.get(item, 0) | 1 << sample
        keys = Keys()
        for item, found in bits.items():
            keys.merge(_text(item), found)
        return keys

    def rows(self, variant: str, benchmark: str, keys: Keys) -> Iterator[tuple[Key, dict[str, Any]]]:
        """The stored rows of some samples, but for those that failed."""
        path = self.samples_path(variant, benchmark)
        for item, sample, failed, line in _scan(path):
            if not failed and (key := (_text(item), sample)) in keys:
                yield key, json.loads(line)

    def new_lines(self, variant: str, benchmark: str, have: Keys) -> Iterator[list[bytes]]:
        """The stored lines, some at a time, of samples that are not in `have` and did not fail; they are put in."""
        lines: list[bytes] = []
        for item, sample, failed, line in _scan(self.samples_path(variant, benchmark)):
            key = (_text(item), sample)
            if not failed and key not in have:
                have.add(key)
                lines.append(line)
            if len(lines) == _LINES:
                yield lines
                lines = []
        if lines:
            yield lines

    def lengths(self, variant: str, benchmark: str) -> dict[str, int]:
        """The longest answer of each item, in tokens, of those that need not be run again."""
        found: dict[str, int] = {}
        for row in read_lines(self.samples_path(variant, benchmark)):
            if row["finish"] != "error" and row["tokens"] is not None:
                found[row["item"]] = max(found.get(row["item"], 0), row["tokens"])
        return found

    def grades(self, variant: str, benchmark: str) -> dict[Key, Grade]:
        """The grades of a variant by (item, sample)."""
        rows = read_lines(self.grades_path(variant, benchmark))
        return dict(grade_from_row(row) for row in rows if "schema" not in row)


def study_difference(old: Study, new: Study, most: int = 6) -> str:
    """What differs between two studies, one `key: old -> new` each, readable in one line."""
    before, after = (_flattened(study.model_dump(mode="json")) for study in (old, new))
    changed = [k for k in {**before, **after} if before.get(k, "absent") != after.get(k, "absent")]
    shown = [f"{k}: {before.get(k, 'absent')} -> {after.get(k, 'absent')}" for k in changed[:most]]
    return "; ".join(shown) + (f"; and {len(changed) - most} more" if len(changed) > most else "")


def _flattened(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, dict) and value:
        parts = [_flattened(v, f"{prefix}.{k}" if prefix else str(k)) for k, v in value.items()]
    elif isinstance(value, list) and value and all(isinstance(v, dict) and "name" in v for v in value):
        parts = [_flattened(v, f"{prefix}.{v['name']}") for v in value]
    else:
        return {prefix: value}
    return {k: v for part in parts for k, v in part.items()}


class WritableRun(Run):
    """A run directory that this process alone may write, until the `with` block ends.

    Raises RunError where another process holds it, where it belongs to another study, or where it
    cannot be written.
    """

    def __init__(self, path: Path, study: Study | None = None) -> None:
        super().__init__(path)
        self._expected = study
        self._lock: int | None = None

    def __enter__(self) -> Self:
        self._take_lock()
        try:
            if self._expected is not None:
                self._claim(self._expected)
        except BaseException:
            self._release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._release()

    def _take_lock(self) -> None:
        if self._expected is None and not (self.path / "study.yaml").is_file():
            raise RunError(f"{self.path} is not a run directory: it has no study.yaml")
        lock = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise _storage_error(error, lock) from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._lock, 32, 0).decode(errors="replace").strip()
            self._release()
            raise RunError(
                f"{self.path} is in use by another bitparity process (pid {holder or 'unknown'}); "
                "wait for it or give another folder with --out"
            ) from None
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _claim(self, study: Study) -> None:
        """Store the study in a fresh directory; in an old one it must be the same, but for a control added."""
        path = self.path / "study.yaml"
        if not path.exists():
            self._store_study(study)
            return
        stored = self.study()
        if stored.fingerprint() != study.fingerprint():
            raise RunError(
                f"{self.path} holds a run of another study ({study_difference(stored, study)}). "
                "Nothing was changed; give the new study its own folder with --out"
            )
        if study.control is not None:
            self._check_control(stored, study)
            self._store_study(study)

    def _check_control(self, stored: Study, study: Study) -> None:
        if stored.control not in (None, study.control):
            raise RunError(
                f"{self.path} has the control '{stored.control}' already, not '{study.control}'; keep its name"
            )

    def _store_study(self, study: Study) -> None:
        document = {"fingerprint": study.fingerprint(), "study": study.model_dump(mode="json")}
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        write_atomically(self.path / "study.yaml", [text])

    def update_environment(self, environment: dict[str, Any]) -> None:
        """Replace environment.json."""
        persistently(lambda: write_json(self.environment_path, environment), self.patience)
