"""Run directory: the files of one run, and the lock of the one process that may write them.

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

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Self

import yaml

from bitparity.errors import RunError
from bitparity.inputs.input_files import read_regular
from bitparity.records import Grade, Sample, SampleKey, SampleKeys
from bitparity.redaction import remember_keys
from bitparity.schema import Study
from bitparity.store import jsonl
from bitparity.store.environment import RunRecord
from bitparity.store.full_disk import FullDisk
from bitparity.store.lock import RunLock
from bitparity.store.rows import Row, grade_from_row, sample_from_line, scan_samples


class Run:
    """A run directory. Readers use it as it is; a writer opens it with `with open_run(...)`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.full_disk = FullDisk()

    @property
    def environment_path(self) -> Path:
        """The record of what ran: versions, devices, engine facts."""
        return self.path / "environment.json"

    def exam_path(self, benchmark: str) -> Path:
        """The frozen exam of a benchmark."""
        return self.path / "exam" / f"{jsonl.file_stem(benchmark)}.jsonl"

    def samples_path(self, variant: str, benchmark: str) -> Path:
        """The raw samples of a variant."""
        return self.path / "samples" / variant / f"{jsonl.file_stem(benchmark)}.jsonl"

    def grades_path(self, variant: str, benchmark: str) -> Path:
        """The grades of a variant."""
        return self.path / "grades" / variant / f"{jsonl.file_stem(benchmark)}.jsonl"

    def log_path(self, variant: str) -> Path:
        """The output of the engine's process."""
        return self.path / "logs" / f"{variant}.log"

    def write(self, write: Callable[[], None]) -> None:
        """Call `write`, which changes a file of the run; on a full disk it may wait, see `FullDisk`."""
        self.full_disk.write(write)

    def study(self) -> Study:
        """The resolved study of the run. Raises RunError where the folder holds none."""
        path = self.path / "study.yaml"
        if not path.is_file():
            raise RunError(f"{self.path} is not a run directory: it has no study.yaml")
        try:
            document = yaml.safe_load(read_regular(path))
            if isinstance(document["study"], str):  # as the user writes it: the name; in a run it is the whole study
                raise RunError(f"{path} is a study file and no run; give --out a folder of its own")
            remember_keys(document)
            study = Study.model_validate(document["study"])
            study.fingerprint()  # which a text with half of a character has not
            return study
        except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise RunError(f"{path} is not the study of a run of this bitparity: {reason}") from None

    def environment(self) -> RunRecord:
        """The record of the run's conditions; an empty one where nothing is recorded. Raises StoreError."""
        if not self.environment_path.exists():
            return RunRecord()
        fault = (
            "is not the record of a run of this bitparity (at '{where}'): it was changed; restore it, or start a new "
            "run with --out"
        )
        return jsonl.read_model(self.environment_path, RunRecord, fault)

    def samples(self, variant: str, benchmark: str) -> dict[SampleKey, Sample]:
        """The samples of a variant by (item, sample): the complete one, else the last failed one.

        Raises StoreError where two complete ones are not the same in all but their seconds.
        """
        found: dict[SampleKey, Sample] = {}
        path = self.samples_path(variant, benchmark)
        for number, sample in self._each_sample(variant, benchmark):
            key = (sample.item, sample.sample)
            known = found.get(key)
            if known is None or known.finish == "error":
                found[key] = sample
            elif sample.finish != "error" and replace(sample, seconds=known.seconds) != known:
                raise jsonl.broken_line(path, number, f"another answer to {key[0]}#{key[1]} than in a line before")
        return found

    def _each_sample(self, variant: str, benchmark: str) -> Iterator[tuple[int, Sample]]:
        """The stored samples, with the numbers of their lines."""
        path = self.samples_path(variant, benchmark)
        for number, line in jsonl.whole_lines(path):
            yield number, sample_from_line(line, path, number, benchmark)

    def done(self, variant: str, benchmark: str) -> SampleKeys:
        """The (item, sample) pairs that need not be run again. Reads the lines without parsing what was answered."""
        return SampleKeys(line.key for line in scan_samples(self.samples_path(variant, benchmark)) if not line.failed)

    def lengths(self, variant: str, benchmark: str) -> dict[str, int]:
        """The longest answer of each item, in tokens, of those that need not be run again."""
        found: dict[str, int] = {}
        for _, sample in self._each_sample(variant, benchmark):
            if sample.finish != "error" and sample.tokens is not None:
                found[sample.item] = max(found.get(sample.item, 0), sample.tokens)
        return found

    def grades(self, variant: str, benchmark: str) -> dict[SampleKey, Grade]:
        """The grades of a variant by (item, sample). Raises StoreError where a line is broken or was edited."""
        path = self.grades_path(variant, benchmark)
        found: dict[SampleKey, Grade] = {}
        checked = bool(self.grades_header(variant, benchmark))
        for number, line in jsonl.whole_lines(path):
            if checked and not jsonl.has_checksum(line):
                raise jsonl.broken_line(path, number, "its checksum is missing")
            if "schema" not in (row := jsonl.parsed_line(line, path, number)):
                try:
                    key, grade = grade_from_row(row)
                except ValueError:
                    raise jsonl.broken_line(path, number) from None
                found[key] = grade
        return found

    def grades_header(self, variant: str, benchmark: str) -> Row:
        """The header of a file of grades: which code made them, and how.

        Empty where there is no such file, or one of earlier versions, whose lines have no checksums.
        """
        path = self.grades_path(variant, benchmark)
        number, line = next(jsonl.whole_lines(path), (0, b""))
        return jsonl.parsed_line(line, path, number) if jsonl.has_checksum(line) else {}


def study_difference(old: Study, new: Study, most: int = 6) -> str:
    """The differences between two studies, one `key: old -> new` each, readable in one line."""
    before, after = (_flattened(study.model_dump(mode="json")) for study in (old, new))
    changed = [k for k in {**before, **after} if before.get(k, "absent") != after.get(k, "absent")]
    shown = [f"{k}: {before.get(k, 'absent')} -> {after.get(k, 'absent')}" for k in changed[:most]]
    return "; ".join(shown) + (f"; and {len(changed) - most} more" if len(changed) > most else "")


def _flattened(value: object, prefix: str = "") -> dict[str, object]:
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

    def __enter__(self) -> Self:
        if self._expected is None and not (self.path / "study.yaml").is_file():
            raise RunError(f"{self.path} is not a run directory: it has no study.yaml")
        with ExitStack() as stack:
            self._lock = stack.enter_context(closing(RunLock(self.path)))
            if self._expected is not None:  # under the lock: two that start at once must not both store theirs
                self._claim(self._expected)
            # from here on the lock is kept; a directory of another study gives it free
            stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.close()

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
        if study.second_run is None:
            if study.distance != stored.distance:
                self._store_study(stored.model_copy(update={"distance": study.distance}))
            return
        if stored.second_run not in (None, study.second_run):
            raise RunError(
                f"{self.path} has the control '{stored.second_run}' already, not '{study.second_run}'; keep its name"
            )
        # what the second run answers and what candidates are compared with stays as it was when the run began
        self._store_study(study.second_run_as(stored).model_copy(update={"reference": stored.reference}))

    def _store_study(self, study: Study) -> None:
        document = {"fingerprint": study.fingerprint(), "study": study.model_dump(mode="json")}
        text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
        jsonl.write_atomically(self.path / "study.yaml", [text])

    def update_environment(self, record: RunRecord) -> None:
        """Replace environment.json."""
        self.write(lambda: jsonl.write_json(self.environment_path, record.model_dump(mode="json", warnings=False)))
