"""Status of a run as seen from outside: by its progress.json, its lock, and where these do not tell by its samples.

On its own host the lock tells whether it still runs, on another one the time since its last heartbeat.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from bitparity.errors import EXIT_OPEN
from bitparity.exam.frozen import frozen_exams, groups_of, samples_asked
from bitparity.exam.spot_check import answers_of_items, drawn_for
from bitparity.exam.stops import asked_in_time, reached_in_run
from bitparity.progress import events
from bitparity.progress.board import Board
from bitparity.progress.file import read_progress
from bitparity.progress.snapshot import Snapshot
from bitparity.progress.tasks import duration
from bitparity.schema import Study
from bitparity.store.lock import holder, is_locked
from bitparity.store.run import Run

SILENCE = 60.0  # seconds without a heartbeat: a run elsewhere shows no sign of life, and one here is counted
LOOK_SECONDS = 1.0  # between two looks of --watch
COUNT_SECONDS = 10.0  # between two looks where every sample must be counted

State = Literal["running", "complete", "stopped", "silent"]


@dataclass(frozen=True, slots=True)
class Status:
    """The state of a run; `said` is the state in a few words for people."""

    state: State
    said: str
    snapshot: Snapshot
    counted: bool = False
    """True if the figures were made from the run's files, for want of a progress.json that holds."""

    @property
    def exit_code(self) -> int:
        """0 while it runs and where it is complete, 3 where something is missing and nothing runs."""
        return 0 if self.state in ("running", "complete") else EXIT_OPEN


def look(path: Path) -> Status:
    """The state of the run in `path`. Raises RunError where there is none, StoreError where its files are broken."""
    run = Run(path)
    study = run.study()
    published = read_progress(path)
    elsewhere = published is not None and published["host"] != socket.gethostname()
    heard_of = published is not None and published["running"] and abs(time.time() - published["updated"]) <= SILENCE
    # a lock of another host cannot be seen on every file system; its clock may differ, hence `abs` above
    alive = heard_of if elsewhere else is_locked(path)
    if published is not None and (not published["running"] or (alive and heard_of)):
        return _status({**published, "running": alive}, published, elsewhere, counted=False)
    found = _from_files(run, study)
    found["running"], found["host"], found["pid"] = alive, None, holder(path) if alive else None
    if published is not None:  # what stays true of a run that was broken off: where and when it ran, what was noted
        found["host"], found["pid"] = published["host"], published["pid"]
        found["started"], found["notes"] = published["started"], published["notes"]
    return _status(found, published, elsewhere, counted=True)


def watch(path: Path) -> Iterator[Status]:
    """The state of the run, again and again until it runs no more; at least once."""
    while True:
        status = look(path)
        yield status
        if status.state != "running":
            return
        time.sleep(COUNT_SECONDS if status.counted else LOOK_SECONDS)


def _status(snapshot: Snapshot, published: Snapshot | None, elsewhere: bool, *, counted: bool) -> Status:
    now = time.time()
    ago = f"{duration(max(0.0, now - snapshot['updated']))} ago"
    if snapshot["running"]:
        since = duration(max(0.0, now - snapshot["started"]))
        said = f"running for {since} (pid {snapshot['pid'] or 'unknown'})"
        said += f" on {snapshot['host']}, last heard of {ago}" if elsewhere else ""
        return Status("running", said, snapshot, counted)
    if all(v["state"] == "finished" and v["done"] == v["total"] for v in snapshot["variants"].values()):
        return Status("complete", "complete", snapshot, counted)
    if published is not None and elsewhere and published["running"]:
        last = datetime.fromtimestamp(published["updated"]).strftime("%Y-%m-%d %H:%M:%S")
        return Status("silent", f"no sign of life from {published['host']} since {last}", snapshot, counted)
    return Status("stopped", f"stopped {ago}, incomplete: the same command goes on", snapshot, counted)


def _from_files(run: Run, study: Study) -> Snapshot:
    """A snapshot made from exam, samples and grades."""
    board = Board(study)
    record = run.environment()
    frozen = list(frozen_exams(run, study))
    drawn = {name: drawn_for(study, name, frozen) for name in study.variants}
    stops: list[events.BenchmarkStopped] = []
    for spec, exam in frozen:
        ids, samples = [entry.item.id for entry in exam.items], samples_asked(exam, spec)
        board(events.ExamFrozen(spec.name, ids, samples, groups_of(exam)))
        end = asked_in_time(record, exam)
        for name in study.variants:
            found = reached_in_run(run, study, spec, exam, name)
            items = end if found is None or found.by is None else found.items
            if items is not None:
                asked = answers_of_items(exam, spec, drawn[name], items)
                stops.append(events.BenchmarkStopped(name, spec.name, asked))
    names = {spec.name for spec, _ in frozen}
    for bench, reason in record.not_run.items():
        if bench not in names:
            board(events.BenchmarkSkipped(bench, reason))
    all_frozen = all(spec.name in names or spec.name in record.not_run for spec in study.benchmarks)
    for name in study.variants:
        own = {stop.benchmark: stop.samples for stop in stops if stop.variant == name}
        totals = {spec.name: answers_of_items(exam, spec, drawn[name]) for spec, exam in frozen}
        counts = {bench: (min(len(run.done(name, bench)), total), total) for bench, total in totals.items()}
        board(events.VariantPlanned(name, counts))
        if any(done for done, _ in counts.values()):
            board(events.VariantStarted(name))
        for bench in names:
            for (item, sample), grade in run.grades(name, bench).items():
                board(events.SampleGraded(name, bench, item, sample, grade.score))
        if all_frozen and all(done >= own.get(bench, total) for bench, (done, total) in counts.items()):
            board(events.VariantEnded(name))
    for stop in stops:
        board(stop)
    started = (run.path / "study.yaml").stat().st_mtime
    written = [path.stat().st_mtime for path in (run.path / "samples").rglob("*.jsonl")]
    return {**board.snapshot(), "started": started, "updated": max([started, *written])}
