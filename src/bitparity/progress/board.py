"""The state of a run, for people: what is done, how fast, what is left, and how the answers look so far.

```
board = Board(study)
events = Events(board)
events.emit(VariantStarted("fp8"))
board.snapshot()
```
It listens to the run's events, from any thread; `snapshot` gives everything as one JSON document (schema
`bitparity/progress/1`). What it says of accuracy is preliminary: the verdicts are made from the files, at the end.
Memory: one number a sample and one row an item; the rest does not grow with the run.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitparity.progress import events as ev
from bitparity.progress.events import GENERATING, LOADING
from bitparity.records import Sample
from bitparity.schema import Study
from bitparity.stats.arrays import pair_scores
from bitparity.stats.intervals import mean_interval

SCHEMA = "bitparity/progress/1"


WINDOW = 30  # seconds that a present rate is taken over


ENOUGH = 20  # samples, below which a rate or a length says little


NOTES = 20  # the last ones are kept


class _Flow:
    """Samples and output tokens of one variant and benchmark: of this session, and of the last `WINDOW` seconds."""

    def __init__(self) -> None:
        self.samples = 0
        self.tokens = 0  # of those that were counted
        self.counted = True  # all of them
        self._seconds: deque[tuple[int, int, int]] = deque()

    def add(self, now: float, samples: int, tokens: int, counted: bool) -> None:
        self.samples += samples
        self.tokens += tokens
        self.counted &= counted
        second = int(now)
        if self._seconds and self._seconds[-1][0] == second:
            _, before, tokens_before = self._seconds.pop()
            samples, tokens = samples + before, tokens + tokens_before
        self._seconds.append((second, samples, tokens))
        self._forget(now)

    def recent(self, now: float) -> tuple[int, int]:
        """Samples and tokens of the window."""
        self._forget(now)
        return sum(s for _, s, _ in self._seconds), sum(t for _, _, t in self._seconds)

    def _forget(self, now: float) -> None:
        while self._seconds and self._seconds[0][0] <= now - WINDOW - 1:
            self._seconds.popleft()

    @property
    def units(self) -> int:
        """What was worked: the output tokens, and one for each sample where nothing is generated."""
        return max(self.samples, self.tokens)


@dataclass(slots=True)
class _Exam:
    """The items of a benchmark by row, the samples asked of each, the groups that share a problem, the token budget."""

    rows: dict[str, int]
    samples: int
    groups: tuple[str, ...] | None
    budget: int | None

    @property
    def total(self) -> int:
        return len(self.rows) * self.samples


@dataclass(slots=True)
class _Cell:
    """One variant on one benchmark. `scores` has shape (items, samples), NaN where there is none."""

    earlier: int = 0  # samples finished before this session
    total: int | None = None
    failed: set[tuple[str, int]] = field(default_factory=set)
    flow: _Flow = field(default_factory=_Flow)
    scores: NDArray[np.float64] | None = None
    version: int = 0  # of the scores
    figures: tuple[tuple[int, int], dict[str, Any]] | None = None  # of these versions, the baseline's second

    @property
    def done(self) -> int:
        return self.earlier + self.flow.samples

    @property
    def left(self) -> int:
        """Samples that this session still has to ask for; those that failed are asked again by the next."""
        return max(0, (self.total or 0) - self.done - len(self.failed))

    @property
    def length(self) -> float:
        """Units of work a sample."""
        return self.flow.units / self.flow.samples


@dataclass(slots=True)
class _Variant:
    cells: dict[str, _Cell]
    state: str = "waiting"
    reason: str | None = None
    phase: str | None = None
    since: float = 0.0  # when the phase began
    spent: dict[str, float] = field(default_factory=dict)  # seconds by phase, the present one left out
    by_device: dict[str, int] = field(default_factory=dict)  # what each engine said last that it had computed
    counts: deque[tuple[float, int]] = field(default_factory=deque)  # what the engines said they had computed, and when

    def seconds(self, phase: str, now: float) -> float:
        """How long a phase has lasted in this session."""
        return self.spent.get(phase, 0.0) + (now - self.since if self.phase == phase else 0.0)

    def enter(self, phase: str | None, now: float) -> None:
        if self.phase is not None:
            self.spent[self.phase] = self.seconds(self.phase, now)
        self.phase, self.since = phase, now

    def note_count(self, now: float, count: int) -> None:
        """Keep what the engine has computed; another engine begins again."""
        if self.counts and count < self.counts[-1][1]:
            self.counts.clear()
        self.counts.append((now, count))
        while self.counts[0][0] < now - WINDOW - 1:
            self.counts.popleft()

    def computed_speed(self, now: float) -> float | None:
        """Units a second as the engine counts them, unfinished answers included; None where it does not tell."""
        if self.phase != GENERATING or len(self.counts) < 2 or self.counts[-1][0] < now - WINDOW:
            return None
        (first, before), (last, after) = self.counts[0], self.counts[-1]
        return (after - before) / (last - first) if last > first and after > before else None

    def speed(self, now: float) -> float | None:
        """Units of work a second: as the engine counts, else of the window with enough samples, or of the session."""
        if (computed := self.computed_speed(now)) is not None:
            return computed
        busy = self.seconds(GENERATING, now)
        recent = [cell.flow.recent(now) for cell in self.cells.values()]
        if busy > 0 and sum(samples for samples, _ in recent) >= ENOUGH:
            return sum(max(pair) for pair in recent) / min(busy, WINDOW)
        units = sum(cell.flow.units for cell in self.cells.values())
        return units / busy if busy > 0 and units else None


class Board:
    """The state of a run: a listener to its events, read by the live view and by `bitparity status`.

    Every method may be called from any thread. `clock` gives seconds that only go forward.
    """

    def __init__(self, study: Study, clock: Callable[[], float] = time.monotonic) -> None:
        self._study = study
        self._clock = clock
        self._lock = threading.RLock()
        self._variants = {name: _Variant({spec.name: _Cell() for spec in study.benchmarks}) for name in study.variants}
        self._exams: dict[str, _Exam] = {}
        self._not_run: dict[str, str] = {}
        self._phase: str | None = None
        self._notes: deque[dict[str, Any]] = deque(maxlen=NOTES)
        self._workers: dict[str, str] = {}
        self._started = time.time()
        self.version = 0
        """Grows with everything that changes."""

    def __call__(self, event: ev.Event) -> None:
        """Take an event in; tasks are no part of the state."""
        match event:
            case ev.ExamFrozen():
                self.exam(event.benchmark, event.items, event.samples, event.groups, event.budget)
            case ev.BenchmarkSkipped():
                self.not_run(event.benchmark, event.reason)
            case ev.VariantPlanned():
                self.planned(event.variant, event.samples)
            case ev.VariantStarted():
                self.begin(event.variant)
            case ev.PhaseChanged():
                self.phase(event.variant, event.phase)
            case ev.SamplesStored():
                self.answered(event.variant, event.samples)
            case ev.TokensComputed():
                self.computed(event.variant, event.count, event.device)
            case ev.SampleGraded():
                self.graded(event.variant, event.benchmark, event.item, event.sample, event.score)
            case ev.VariantEnded():
                self.ended(event.variant, event.reason)
            case ev.DeviceChanged():
                self.worker(event.device, event.state)
            case ev.Noted():
                self.note(event.text)

    def exam(
        self,
        benchmark: str,
        items: Iterable[str],
        samples: int,
        groups: Sequence[str] | None = None,
        budget: int | None = None,
    ) -> None:
        """The ids of a benchmark's items, the samples asked of each, which group each belongs to, an answer's tokens.

        Without it, nothing is said of accuracy and flips, and the totals of variants not begun are unknown.
        """
        rows = {item: row for row, item in enumerate(items)}
        with self._changed():
            self._exams[benchmark] = _Exam(rows, samples, tuple(groups) if groups is not None else None, budget)
            for variant in self._variants.values():
                cell = variant.cells[benchmark]
                cell.scores = None
                if cell.total is None:
                    cell.total = self._exams[benchmark].total

    def not_run(self, benchmark: str, reason: str) -> None:
        """A benchmark that this run leaves out."""
        with self._changed():
            self._not_run[benchmark] = reason

    def planned(self, variant: str, samples: Mapping[str, tuple[int, int]]) -> None:
        """By benchmark the samples of a variant that are stored already, and all of them."""
        with self._changed():
            for benchmark, (done, total) in samples.items():
                cell = self._variants[variant].cells[benchmark]
                cell.earlier, cell.total = done - cell.flow.samples, total

    def begin(self, variant: str, samples: Mapping[str, tuple[int, int]] | None = None) -> None:
        """A variant's turn, with what is `planned` for it unless that was told before."""
        with self._changed():
            self._variants[variant].state = "running"
            self.planned(variant, samples or {})

    def phase(self, variant: str | None, text: str | None) -> None:
        """What a variant, or with None the whole run, is busy with. Rates count the time of phase GENERATING only."""
        with self._changed():
            if variant is None:
                self._phase = text
                return
            self._variants[variant].enter(text, self._clock())

    def answered(self, variant: str, samples: Sequence[Sample]) -> None:
        """Samples that are stored, each once. One whose `finish` is "error" is failed, not done."""
        ended: dict[str, list[Sample]] = {}
        failed: list[Sample] = []
        for sample in samples:
            if sample.finish == "error":
                failed.append(sample)
            else:
                ended.setdefault(sample.benchmark, []).append(sample)
        with self._changed():
            found, now = self._variants[variant], self._clock()
            if found.phase != GENERATING:  # what answers is at work
                found.enter(GENERATING, now)
            for benchmark, own in ended.items():
                tokens = [s.tokens for s in own if s.tokens is not None]
                found.cells[benchmark].flow.add(now, len(own), sum(tokens), len(tokens) == len(own))
            for sample in samples if any(cell.failed for cell in found.cells.values()) else ():
                found.cells[sample.benchmark].failed.discard((sample.item, sample.sample))
            for sample in failed:
                found.cells[sample.benchmark].failed.add((sample.item, sample.sample))

    def computed(self, variant: str, count: int, device: str = "") -> None:
        """What a variant's engines have computed so far (`Engine.progress`): answers show only once they are whole."""
        with self._changed():
            found = self._variants[variant]
            found.by_device[device] = count
            found.note_count(self._clock(), sum(found.by_device.values()))

    def graded(self, variant: str, benchmark: str, item: str, sample: int, score: float | None) -> None:
        """A grade, new or kept from before; the last one of a sample counts. None is unscored.

        As in results.json, a grade of an item that is not in the exam does not count.
        """
        with self._lock:
            exam = self._exams.get(benchmark)
            row = exam.rows.get(item) if exam is not None else None
            if exam is None or row is None or sample >= exam.samples:
                return
            cell = self._variants[variant].cells[benchmark]
            if cell.scores is None:
                cell.scores = np.full((len(exam.rows), exam.samples), np.nan)
            cell.scores[row, sample] = np.nan if score is None else score
            cell.version += 1
            self.version += 1

    def ended(self, variant: str, reason: str | None = None) -> None:
        """A variant is finished or, with the reason, incomplete."""
        with self._changed():
            found = self._variants[variant]
            found.enter(None, self._clock())
            found.state, found.reason = ("finished", None) if reason is None else ("incomplete", reason)

    def note(self, text: str) -> None:
        """Something that people should know of, such as an engine's restart."""
        with self._changed():
            self._notes.append({"time": time.time(), "text": text})

    def worker(self, name: str, text: str | None) -> None:
        """What one of several devices does; None where it is gone."""
        with self._changed():
            if text is None:
                self._workers.pop(name, None)
            else:
                self._workers[name] = text

    def snapshot(self) -> dict[str, Any]:
        """Everything, as values that JSON can hold; times in seconds since 1970, None for what is not known."""
        with self._lock:
            now = self._clock()
            return {
                "schema": SCHEMA,
                "study": self._study.name,
                "baseline": self._study.baseline,
                "control": self._study.control,
                "host": socket.gethostname(),
                "pid": os.getpid(),
                "started": self._started,
                "updated": time.time(),
                "running": True,
                "phase": self._phase,
                **self._time_left(self._run_left, now),
                "not_run": dict(self._not_run),
                "variants": {name: self._shown(name, now) for name in self._variants},
                "notes": list(self._notes),
                "workers": dict(self._workers),
            }

    @contextmanager
    def _changed(self) -> Iterator[None]:
        with self._lock:
            self.version += 1
            yield

    def _shown(self, name: str, now: float) -> dict[str, Any]:
        variant = self._variants[name]
        benchmarks = {bench: self._cell(name, bench, now) for bench in variant.cells if bench not in self._not_run}
        cells = benchmarks.values()
        return {
            "state": LOADING if variant.state == "running" and variant.phase == LOADING else variant.state,
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
            **self._time_left(partial(self._seconds_left, variant), now),
            "benchmarks": benchmarks,
        }

    def _cell(self, name: str, bench: str, now: float) -> dict[str, Any]:
        """Counts and figures of one variant and benchmark; rates are None where the variant does not generate."""
        variant = self._variants[name]
        cell, busy = variant.cells[bench], variant.seconds(GENERATING, now)
        samples, tokens = cell.flow.recent(now)
        counted = cell.flow.counted
        works = variant.phase == GENERATING and busy > 0
        rate = samples / min(busy, WINDOW) if works else None
        session = cell.flow.samples / busy if busy > 0 else None
        speed = rate if samples >= ENOUGH else session
        return {
            "done": cell.done,
            "total": cell.total,
            "failed": len(cell.failed),
            "rate": rate,
            "session_rate": session,
            "output_tokens": cell.flow.tokens if counted else None,
            "tokens_per_second": tokens / min(busy, WINDOW) if works and counted else None,
            "session_tokens_per_second": cell.flow.tokens / busy if busy > 0 and counted else None,
            "seconds_left": cell.left / speed if works and speed else None,
            **self._figures(name, bench),
        }

    def _figures(self, name: str, bench: str) -> dict[str, Any]:
        """Accuracy and flips so far, by the rules of results.json."""
        cell, baseline = (self._variants[n].cells[bench] for n in (name, self._study.baseline))
        versions = (cell.version, baseline.version)
        if cell.figures is None or cell.figures[0] != versions:
            other = None if name == self._study.baseline else baseline.scores
            exam = self._exams.get(bench)
            cell.figures = versions, _figures(cell.scores, other, exam.groups if exam is not None else None)
        return cell.figures[1]

    def _time_left(self, left: Callable[[float, bool], float | None], now: float) -> dict[str, float | None]:
        """The seconds left; where they cannot be told, those with full budgets where no answer has come yet."""
        seconds = left(now, False)
        return {"seconds_left": seconds, "seconds_at_most": left(now, True) if seconds is None else None}

    def _run_left(self, now: float, budgets: bool) -> float | None:
        """Seconds to the end of the last variant; variants that run beside each other share what is to come."""
        waiting = [v for v in self._variants.values() if v.state in ("waiting", "running")]
        left = [self._seconds_left(variant, now, budgets) for variant in waiting]
        if any(seconds is None for seconds in left):
            return None
        known = [seconds for seconds in left if seconds is not None]
        beside = sum(v.phase == GENERATING for v in self._variants.values())
        return max([sum(known) / max(1, beside), *known], default=0.0)

    def _seconds_left(self, variant: _Variant, now: float, budgets: bool) -> float | None:
        """Work left over speed, and the load where it is to come; None rather than a guess.

        With `budgets`, answers to a benchmark of which none has come are taken to be as long as they may be.
        """
        if variant.state in ("finished", "incomplete"):
            return 0.0
        work = 0.0
        for bench, cell in variant.cells.items():
            if bench in self._not_run:
                continue
            length = self._length(variant, bench)
            if length is None and budgets and bench in self._exams:
                length = self._exams[bench].budget
            if cell.total is None or (cell.left and length is None):
                return None
            work += cell.left * (length or 0.0)
        if not work:
            return 0.0
        speed = variant.speed(now) or _mean(other.speed(now) for other in self._variants.values())
        if speed is None:
            return None
        load = 0.0 if variant.seconds(GENERATING, now) else self._load(now) - variant.seconds(LOADING, now)
        return work / speed + max(0.0, load)

    def _length(self, variant: _Variant, bench: str) -> float | None:
        """Units of work a sample: the variant's own, or the others' where it has too few to tell."""
        own = variant.cells[bench]
        if own.flow.samples >= ENOUGH:
            return own.length
        others = (v.cells[bench] for v in self._variants.values() if v is not variant)
        found = _mean(cell.length for cell in others if cell.flow.samples)
        return found if found is not None or not own.flow.samples else own.length

    def _load(self, now: float) -> float:
        """Seconds that a load takes: the mean of those that ended."""
        ended = [v.seconds(LOADING, now) for v in self._variants.values() if v.seconds(GENERATING, now)]
        return _mean(ended) or 0.0


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum; None where one of them is not known."""
    found = list(values)
    known = [value for value in found if value is not None]
    return sum(known) if known and len(known) == len(found) else None


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _figures(
    scores: NDArray[np.float64] | None, baseline: NDArray[np.float64] | None, groups: Sequence[str] | None
) -> dict[str, Any]:
    """Mean over the scored samples, its 95 % interval over the items that are whole, flips over those whole in both."""
    figures: dict[str, Any] = {"graded": 0, "mean": None, "ci95": None, "lost": None, "gained": None}
    if scores is None or np.isnan(scores).all():
        return figures
    whole = np.asarray(~np.isnan(scores).any(axis=1))
    figures |= {"graded": int((~np.isnan(scores)).sum()), "mean": float(np.nanmean(scores))}
    if whole.any():
        picked = None if groups is None else [group for group, keep in zip(groups, whole, strict=True) if keep]
        figures["ci95"] = list(mean_interval(scores[whole], picked))
    if baseline is not None and (both := whole & ~np.isnan(baseline).any(axis=1)).any():
        figures["lost"], figures["gained"] = pair_scores(baseline[both], scores[both]).flips
    return figures
