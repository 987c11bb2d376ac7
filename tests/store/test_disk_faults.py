"""A run directory that is moved, replaced or taken by another host, locks that cannot be had, disks that fail."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from io import FileIO
from pathlib import Path
from typing import Any

import pytest
from support import replay_study, stored

from bitparity.cli.output import make_report
from bitparity.errors import BitparityError, DiskFullError, RunError, StoreError
from bitparity.progress.board import Board
from bitparity.progress.events import Event, Events, PhaseChanged, RunStarted, SamplesStored
from bitparity.progress.file import ProgressFile
from bitparity.report import html, markdown
from bitparity.results import build
from bitparity.runner import Report, run_study
from bitparity.schema import Study
from bitparity.store.environment import RunRecord
from bitparity.store.jsonl import AppendLog, read_lines, write_json
from bitparity.store.lock import RunLock, is_locked
from bitparity.store.run import Run, WritableRun
from bitparity.study.resolve import load_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return load_study(replay_study(tmp_path_factory.mktemp("study"), 40, {"bf16": [1], "fp8": [1, 2]}))


@pytest.fixture(scope="module")
def calm(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing has disturbed."""
    out = tmp_path_factory.mktemp("calm") / "run"
    run_study(study, out, Events())
    return out


class Once:
    """A listener that does something at the first event of a kind."""

    def __init__(self, kind: type[Event], action: Callable[[], object]) -> None:
        self._kind, self._action = kind, action

    def __call__(self, event: Event) -> None:
        if isinstance(event, self._kind):
            action, self._action = self._action, lambda: None
            action()


def moved(out: Path, other: Path) -> None:
    out.rename(other)


def moved_and_made_anew(out: Path, other: Path) -> None:
    out.rename(other)
    shutil.copytree(other, out, ignore=lambda *_: {"samples", "grades"})


def replaced_lock(out: Path, other: Path) -> None:
    shutil.copytree(out, other)
    (out / ".lock").unlink()
    (out / ".lock").write_bytes((other / ".lock").read_bytes())


@pytest.mark.parametrize(
    ("when", "change", "said"),
    [
        (SamplesStored, moved, r"was moved .*Go on there: --out .*/other"),
        (RunStarted, moved, "was moved"),
        (SamplesStored, moved_and_made_anew, "was moved"),
        (SamplesStored, replaced_lock, r"the file \.lock in it, was removed or replaced"),
    ],
)
def test_a_run_whose_directory_is_no_longer_its_own_stops_and_loses_nothing(
    study: Study, calm: Path, tmp_path: Path, when: type[Event], change: Callable[[Path, Path], None], said: str
) -> None:
    out, other = tmp_path / "run", tmp_path / "other"
    with pytest.raises(RunError, match=said) as ended:
        run_study(study, out, Events(Once(when, lambda: change(out, other))))
    assert ended.value.exit_code == 2
    assert not is_locked(other)
    where = out if change is replaced_lock else other
    before = stored(where)
    assert bool(before) == (when is SamplesStored)
    if change is moved:
        assert not (out / "samples").exists()
    if change is moved_and_made_anew:
        assert stored(out) == {}  # nothing was written into what somebody else may have begun
    run_study(study, where, Events())
    assert stored(where) == stored(calm)
    assert stored(where).items() >= before.items()


class At:
    """A listener that does something at the event of this number."""

    def __init__(self, number: int, action: Callable[[], object]) -> None:
        self._left, self._action = number, action

    def __call__(self, event: Event) -> None:
        self._left -= 1
        if self._left == 0:
            self._action()


def test_whenever_a_run_is_moved_nothing_is_written_where_it_was(study: Study, tmp_path: Path) -> None:
    """Exam, samples, grades, logs, results, reports and progress, whoever writes them and whenever."""
    seen: list[str] = []
    first = tmp_path / "first"
    run_study(study, first, Events(lambda event: seen.append(kind(event))), report=whole_report(first))
    for number in sorted({seen.index(name) + 1 for name in seen} - {seen.index("RunEnded") + 1}):
        out, other = tmp_path / f"run{number}", tmp_path / f"other{number}"

        def begun_by_another(out: Path = out, other: Path = other) -> None:
            out.rename(other)
            out.mkdir()
            (out / ".lock").write_bytes(b"4711 here\n")

        board = Board(study, reported=True)
        events = Events(board, ProgressFile(board), At(number, begun_by_another))
        with pytest.raises(RunError, match=r"was moved|is not a run directory"):
            run_study(study, out, events, report=whole_report(out))
        # a thread that was between its look at the place and its folder's making leaves an empty folder there
        assert [path.name for path in out.rglob("*") if not path.is_dir()] == [".lock"], seen[number - 1]


def kind(event: Event) -> str:
    phase = event.phase if isinstance(event, PhaseChanged) else ""
    return f"{type(event).__name__} {phase or ''}".strip()


def whole_report(out: Path) -> Report:
    return Report(lambda: None, lambda: make_report(out))


def test_a_second_writer_may_begin_where_the_first_was_moved_away(study: Study, tmp_path: Path) -> None:
    out, other = tmp_path / "run", tmp_path / "other"

    def take_its_place() -> None:
        out.rename(other)
        with pytest.raises(RunError, match="in use by another bitparity process"), WritableRun(other, study):
            pass  # what was moved is still the first one's
        run_study(study, out, Events())

    with pytest.raises(RunError, match="was moved"):
        run_study(study, out, Events(Once(SamplesStored, take_its_place)))
    assert len(stored(out)) == 80
    run_study(study, other, Events())
    assert stored(out) == stored(other)


def test_a_removed_directory_is_told_and_not_made_again(study: Study, tmp_path: Path) -> None:
    out = tmp_path / "run"
    with pytest.raises(RunError, match="was removed or replaced"):
        run_study(study, out, Events(Once(SamplesStored, lambda: shutil.rmtree(out, ignore_errors=True))))
    assert not (out / "grades").exists()
    assert not (out / "environment.json").exists()


def test_a_writer_of_another_host_is_noticed(study: Study, tmp_path: Path) -> None:
    """As where each host has locks of its own: both have taken it, and the second has written its name."""

    def by_another_host() -> None:
        (tmp_path / "run" / ".lock").write_bytes(b"4711 gpu7\n")

    with pytest.raises(RunError, match=r"written by another bitparity process too \(pid 4711 on gpu7\)"):
        run_study(study, tmp_path / "run", Events(Once(SamplesStored, by_another_host)))


def test_the_holder_on_another_host_is_named(tmp_path: Path, study: Study) -> None:
    with WritableRun(tmp_path / "run", study):
        (tmp_path / "run" / ".lock").write_bytes(b"4711 gpu7\n")
        with pytest.raises(RunError, match="on gpu7"):
            RunLock(tmp_path / "run")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOLCK, "no locks, or they are switched off"),
        (errno.ENOSYS, "no locks, or they are switched off"),
        (errno.EOPNOTSUPP, "no locks, or they are switched off"),
        (errno.ESTALE, "the file server has lost this file"),
        (errno.EACCES, "Permission denied"),
        (errno.EIO, "the disk or the file server failed"),
        (errno.EAGAIN, "in use by another bitparity process"),
    ],
)
def test_each_fault_of_a_lock_is_told_as_what_it_is(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(RunError, match=said), WritableRun(tmp_path / "run", study):
        pass


class Failing(FileIO):
    """A file whose next write stores half of the line and fails; with `stuck` the half cannot be cut off at once."""

    number, stuck = 0, False

    def write(self, data: Any) -> int:
        if not self.number:
            return super().write(data)
        super().write(bytes(data)[: len(data) // 2])
        raise OSError(self.number, os.strerror(self.number))

    def truncate(self, size: int | None = None) -> int:
        if self.number and self.stuck:
            raise OSError(self.number, os.strerror(self.number))
        return super().truncate(size)


FAULTS = {
    errno.EIO: (StoreError, "the disk or the file server failed"),
    errno.ENOSPC: (DiskFullError, "the disk is full"),
    errno.EDQUOT: (DiskFullError, "the disk quota is used up"),
    errno.EROFS: (RunError, "mounted for reading only"),
    errno.ESTALE: (StoreError, "the file server has lost this file"),
    errno.EPERM: (RunError, "Operation not permitted"),
    errno.ETIMEDOUT: (StoreError, "Connection timed out"),
}


@pytest.mark.parametrize("stuck", [False, True])
@pytest.mark.parametrize("number", FAULTS)
def test_a_line_that_fails_half_way_is_told_and_spoils_none_before_or_after(
    tmp_path: Path, number: int, stuck: bool
) -> None:
    path = tmp_path / "s.jsonl"
    log = AppendLog(path)
    log.append([{"n": 1}])
    log._file.close()
    log._file = file = Failing(path, "ab")  # type: ignore[assignment]
    file.number, file.stuck = number, stuck
    kind, said = FAULTS[number]
    with pytest.raises(kind, match=said) as told:
        log.append([{"n": 2}])
    assert "is kept" in str(told.value) or kind is RunError
    assert [row["n"] for row in read_lines(path)] == [1]
    file.number = 0
    log.append([{"n": 4}])
    log.close()
    assert [row["n"] for row in read_lines(path)] == [1, 4]


@pytest.mark.parametrize("number", FAULTS)
@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_document_that_cannot_be_written_leaves_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, step: str
) -> None:
    path = tmp_path / "results.json"
    write_json(path, {"n": 1})

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail) if step == "fsync" else monkeypatch.setattr(Path, "replace", fail)
    kind, said = FAULTS[number]
    with pytest.raises(kind, match=said):
        write_json(path, {"n": 2})
    monkeypatch.undo()
    assert path.read_text() == '{\n  "n": 1\n}\n'
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("number", "place"), [(errno.EIO, "samples"), (errno.ESTALE, "grades"), (errno.EROFS, "environment.json")]
)
def test_a_disk_that_fails_ends_a_run_which_then_goes_on(
    study: Study, calm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, place: str
) -> None:
    out, sync, calls = tmp_path / "run", os.fsync, iter(range(10**6))

    def fail(descriptor: int) -> None:
        if place in str(Path(f"/proc/self/fd/{descriptor}").readlink()) and next(calls) == 1:
            raise OSError(number, os.strerror(number))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(BitparityError, match=FAULTS[number][1]):
        run_study(study, out, Events())
    monkeypatch.undo()
    run_study(study, out, Events())
    assert stored(out) == stored(calm)
    for name in study.variants:
        assert Run(out).grades(name, "math500") == Run(calm).grades(name, "math500")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)], capture_output=True)
    if mounted.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_disk_that_is_mounted_for_reading_only_is_told_by_every_writer(study: Study, disk: Path) -> None:
    out = disk / "run"
    run_study(study, out, Events())
    results = build.write(Run(out))
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    run = Run(out)
    writers: list[Callable[[], object]] = [
        lambda: run_study(study, out, Events()),
        lambda: build.write(run),
        lambda: markdown.write(run, results, "en"),
        lambda: html.write(run, results, "en", "nothing"),
        lambda: AppendLog(run.samples_path("fp8", "math500")),
    ]
    for writer in writers:
        with pytest.raises(RunError, match="mounted for reading only"):
            writer()


def test_a_full_disk_lets_a_run_be_taken_whose_holder_it_cannot_name(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(FileIO):
        def write(self, data: Any) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with WritableRun(tmp_path / "run", study):
        pass
    open_file = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *a, **k: Full(path, "ab+") if path.name == ".lock" else open_file(path, *a, **k)
    )
    with WritableRun(tmp_path / "run", study) as run:
        run.update_environment(RunRecord())
