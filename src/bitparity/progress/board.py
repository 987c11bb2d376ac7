"""Board: the state of a run as it goes, made from the run's events; `snapshot` gives it as one JSON document.

What it says of accuracy is preliminary: the verdicts are made from the files, at the end.
Memory: one number a sample and one row an item; the rest does not grow with the run.
"""

from __future__ import annotations

import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from bitparity.progress import events
from bitparity.progress.counters import ENOUGH, WINDOW, CellCounters, Estimate, VariantCounters, report_seconds
from bitparity.progress.events import GENERATING, GRADING, LOADING, Event
from bitparity.progress.snapshot import SCHEMA, Cell, Figures, Note, Snapshot, Variant
from bitparity.schema import Study
from bitparity.stats.arrays import pair_scores
from bitparity.stats.intervals import mean_interval

NOTES = 20  # the last ones are kept

N = TypeVar("N", int, float)


class Board:
    """A listener that counts; its snapshots are read by the live view, by progress.json and by `bitparity status`.

    Every method may be called from any thread. `clock` gives seconds that only go forward.
    """

    def __init__(self, study: Study, clock: Callable[[], float] = time.monotonic, *, reported: bool = False) -> None:
        self._study, self._clock = study, clock
        self._reported, self._report_since = reported, math.inf
        self._lock = threading.RLock()
        self._variants = {
            name: VariantCounters({spec.name: CellCounters() for spec in study.benchmarks}) for name in study.variants
        }
        self._exams: dict[str, events.ExamFrozen] = {}
        self._rows: dict[str, dict[str, int]] = {}  # of the items of an exam
        self._not_run: dict[str, str] = {}
        self._phase: str | None = None
        self._notes: deque[Note] = deque(maxlen=NOTES)
        self._devices: dict[str, str] = {}
        self._started = time.time()
        self._running = True

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        with self._lock:
            match event:
                case events.RunEnded():
                    self._running = False
                case events.PhaseChanged(None, phase):
                    self._phase = phase
                    if phase == events.REPORTING:
                        self._report_since = self._clock()
                case events.Noted(text):
                    self._notes.append({"time": time.time(), "text": text})
                case events.DeviceChanged(device, None):
                    self._devices.pop(device, None)
                case events.DeviceChanged(device, str(state)):
                    self._devices[device] = state
                case events.ExamFrozen(benchmark, items, samples):
                    self._exams[benchmark] = event
                    self._rows[benchmark] = {item: row for row, item in enumerate(items)}
                    for variant in self._variants.values():
                        cell = variant.cells[benchmark]
                        cell.scores = cell.figures = None
                        cell.total = len(items) * samples if cell.total is None else cell.total
                case events.BenchmarkSkipped(benchmark, reason):
                    self._not_run[benchmark] = reason
                    for variant in self._variants.values():
                        variant.cells.pop(benchmark, None)
                case events.SampleGraded():
                    self._grade(event)
                case _:
                    self._change_variant(event)

    def _change_variant(self, event: Event) -> None:
        now = self._clock()
        match event:
            case events.VariantPlanned(name, samples):
                for benchmark, (done, total) in samples.items():
                    cell = self._variants[name].cells[benchmark]
                    # those of this session are counted as they come
                    cell.earlier, cell.total = done - cell.samples.total, total
            case events.BenchmarkStopped(name, benchmark, samples):
                cell = self._variants[name].cells[benchmark]
                cell.total, cell.stopped = samples, True
            case events.VariantStarted(name):
                self._variants[name].state = "running"
            case events.PhaseChanged(str(name), phase):
                self._variants[name].enter(phase, now)
            case events.SamplesStored(name, stored):
                variant = self._variants[name]
                if variant.phase != GENERATING:  # an engine that answers is at work, whatever was told before
                    variant.enter(GENERATING, now)
                for benchmark, cell in variant.cells.items():
                    cell.add(now, [sample for sample in stored if sample.benchmark == benchmark])
            case events.TokensComputed(name, count, device):
                variant = self._variants[name]
                variant.by_device[device] = count
                variant.computed.set(now, sum(variant.by_device.values()))
            case events.VariantEnded(name, reason):
                variant = self._variants[name]
                variant.enter(None, now)
                variant.state, variant.reason = "finished" if reason is None else "incomplete", reason

    def _grade(self, event: events.SampleGraded) -> None:
        """As in results.json, a grade of an item that is not in the exam does not count."""
        exam = self._exams.get(event.benchmark)
        row = self._rows.get(event.benchmark, {}).get(event.item)
        if exam is None or row is None or event.sample >= exam.samples:
            return
        own = self._variants[event.variant]
        cell = own.cells[event.benchmark]
        if (event.item, event.sample) not in cell.graded:
            cell.graded.add((event.item, event.sample))
            own.grades.add(self._clock(), 1)
        if cell.scores is None:
            cell.scores = np.full((len(exam.items), exam.samples), np.nan)
        cell.scores[row, event.sample] = np.nan if event.score is None else event.score
        # the flips of every variant are counted against the baseline
        for variant in self._variants.values() if event.variant == self._study.baseline else [own]:
            variant.cells[event.benchmark].figures = None

    def snapshot(self) -> Snapshot:
        """The state now."""
        with self._lock:
            now = self._clock()
            budgets = {name: exam.budget for name, exam in self._exams.items()}
            estimate = Estimate(self._variants.values(), budgets, now, self._report_left(now))
            return {
                "schema": SCHEMA,
                "study": self._study.name,
                "baseline": self._study.baseline,
                "control": self._study.second_run,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started": self._started,
                "updated": time.time(),
                "running": self._running,
                "phase": self._phase,
                **estimate.of_run(),
                "not_run": dict(self._not_run),
                "variants": {name: self._variant(variant, estimate, now) for name, variant in self._variants.items()},
                "notes": list(self._notes),
                "workers": dict(self._devices),
            }

    def _report_left(self, now: float) -> float | None:
        """Seconds that the report still takes; None where it takes longer than expected."""
        if not self._reported or not self._running:
            return 0.0
        answers = sum(cell.total or 0 for variant in self._variants.values() for cell in variant.cells.values())
        left = report_seconds(answers) - max(0.0, now - self._report_since)
        return left if left > 0 else None

    def _variant(self, variant: VariantCounters, estimate: Estimate, now: float) -> Variant:
        benchmarks = {name: self._cell(variant, name, now) for name in variant.cells}
        cells = benchmarks.values()
        state = LOADING if variant.state == "running" and variant.phase == LOADING else variant.state
        return {
            "state": GRADING if state == "finished" and variant.ungraded else state,
            "reason": variant.reason,
            "phase": variant.phase,
            "done": sum(cell["done"] for cell in cells),
            "total": _sum(cell["total"] for cell in cells),
            "failed": sum(cell["failed"] for cell in cells),
            "rate": _sum(cell["rate"] for cell in cells),
            "session_rate": _sum(cell["session_rate"] for cell in cells),
            "output_tokens": _sum(cell["output_tokens"] for cell in cells),
            "tokens_per_second": variant.computed_speed(now) or _sum(cell["tokens_per_second"] for cell in cells),
            "session_tokens_per_second": _sum(cell["session_tokens_per_second"] for cell in cells),
            **estimate.of_variant(variant),
            "benchmarks": benchmarks,
        }

    def _cell(self, variant: VariantCounters, benchmark: str, now: float) -> Cell:
        """Counts and figures of one variant and benchmark; rates are None where the variant does not generate."""
        cell, busy = variant.cells[benchmark], variant.seconds(GENERATING, now)
        recent, window = cell.samples.recent(now), min(busy, WINDOW) if variant.phase == GENERATING else 0.0
        rate = recent / window if window else None
        session_rate = cell.samples.total / busy if busy else None
        speed = rate if recent >= ENOUGH else session_rate
        counted = cell.all_counted
        if cell.figures is None:
            baseline, exam = self._variants[self._study.baseline], self._exams.get(benchmark)
            other = None if variant is baseline else baseline.cells[benchmark].scores
            cell.figures = _figures(cell.scores, other, exam.groups if exam is not None else None)
        found: Cell = {
            "done": cell.done,
            "total": cell.total,
            "failed": len(cell.failed),
            "rate": rate,
            "session_rate": session_rate,
            "output_tokens": cell.tokens.total if counted else None,
            "tokens_per_second": cell.tokens.recent(now) / window if window and counted else None,
            "session_tokens_per_second": cell.tokens.total / busy if busy and counted else None,
            "seconds_left": cell.left / speed if window and speed else None,
            **cell.figures,
        }
        if cell.stopped:
            found["stopped"] = True
        return found


def _sum(values: Iterable[N | None]) -> N | None:
    """The sum; None where one of them is not known."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None


def _figures(
    scores: NDArray[np.float64] | None, baseline: NDArray[np.float64] | None, groups: Sequence[str] | None
) -> Figures:
    """Mean over the scored samples, its 95 % interval over the items that are whole, flips over those whole in both.

    The rules of results.json.
    """
    found: Figures = {"graded": 0, "mean": None, "ci95": None, "lost": None, "gained": None}
    if scores is None or np.isnan(scores).all():
        return found
    whole = np.asarray(~np.isnan(scores).any(axis=1))
    found["graded"], found["mean"] = int((~np.isnan(scores)).sum()), float(np.nanmean(scores))
    if whole.any():
        picked = None if groups is None else [group for group, keep in zip(groups, whole, strict=True) if keep]
        found["ci95"] = list(mean_interval(scores[whole], picked))
    if baseline is not None and (both := whole & ~np.isnan(baseline).any(axis=1)).any():
        found["lost"], found["gained"] = pair_scores(baseline[both], scores[both]).flips
    return found
