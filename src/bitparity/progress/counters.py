"""Counters of samples, tokens and seconds by variant and benchmark, and the rates that follow from them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from bitparity.progress.events import GENERATING, LOADING
from bitparity.progress.snapshot import Figures, TimeLeft
from bitparity.records import Sample

WINDOW = 30  # seconds that a present rate is taken over
ENOUGH = 20  # samples, below which a rate or a length says little
REPORT_SECONDS, REPORT_SECONDS_AN_ANSWER = 1.0, 5e-4  # roughly, on a slow core: `perf/html_report.py`


class Counter:
    """A count that grows: its total, and how it grew within the last `WINDOW` seconds."""

    def __init__(self) -> None:
        self.total = 0
        self._before = 0  # the total when the window began
        self._points: deque[tuple[float, int]] = deque()  # time and total, at most one a second

    def add(self, now: float, count: int) -> None:
        """Count so many more."""
        self.set(now, self.total + count)

    def set(self, now: float, total: int) -> None:
        """Set the total. One that is lower than before begins a new count, as of an engine that was started again."""
        if total < self.total:
            self._points.clear()
        elif self._points and int(self._points[-1][0]) == int(now):
            self._points.pop()
        self._points.append((now, total))
        self.total = total

    def recent(self, now: float) -> int:
        """The number added within the window."""
        self._forget(now)
        return self.total - self._before

    def slope(self, now: float) -> float | None:
        """The growth a second within the window; None where two totals that differ are not known."""
        self._forget(now)
        if not self._points or self._points[0][1] == self.total:
            return None
        (first, before), (last, after) = self._points[0], self._points[-1]
        return (after - before) / (last - first)

    def _forget(self, now: float) -> None:
        while self._points and self._points[0][0] <= now - WINDOW - 1:
            self._before = self._points.popleft()[1]


@dataclass(slots=True)
class CellCounters:
    """One variant on one benchmark. `scores` has shape (items, samples), NaN where there is none."""

    earlier: int = 0  # samples finished before this session
    total: int | None = None
    failed: set[tuple[str, int]] = field(default_factory=set)
    samples: Counter = field(default_factory=Counter)  # of this session
    tokens: Counter = field(default_factory=Counter)  # of those samples whose tokens were counted
    all_counted: bool = True
    scores: NDArray[np.float64] | None = None
    graded: set[tuple[str, int]] = field(default_factory=set)
    figures: Figures | None = None  # made of the scores, until one of them changes
    stopped: bool = False  # `total` is what counts: answers under way at a stop are beyond it

    def add(self, now: float, samples: Sequence[Sample]) -> None:
        """Count stored samples."""
        ended = [sample for sample in samples if sample.finish != "error"]
        if ended:
            tokens = [sample.tokens for sample in ended if sample.tokens is not None]
            self.samples.add(now, len(ended))
            self.tokens.add(now, sum(tokens))
            self.all_counted &= len(tokens) == len(ended)
        # one that failed before may have been asked again in this session
        self.failed -= {(sample.item, sample.sample) for sample in ended}
        self.failed |= {(sample.item, sample.sample) for sample in samples if sample.finish == "error"}

    @property
    def done(self) -> int:
        """Samples that are stored, of all sessions; up to the stop where there was one."""
        found = self.earlier + self.samples.total
        return min(found, self.total or 0) if self.stopped else found

    @property
    def left(self) -> int:
        """Samples that this session still has to ask for; those that failed are asked again by the next."""
        return max(0, (self.total or 0) - self.done - len(self.failed))

    @property
    def ungraded(self) -> int:
        """Stored samples that have no grade yet."""
        return max(0, self.done - len(self.graded) + len(self.graded & self.failed))

    @property
    def work(self) -> int:
        """The work done: the output tokens, and one for each sample where nothing is generated."""
        return max(self.samples.total, self.tokens.total)

    @property
    def length(self) -> float | None:
        """Work a sample."""
        return self.work / self.samples.total if self.samples.total else None


@dataclass(slots=True)
class VariantCounters:
    """One variant: its state and phase, its seconds by phase, and its benchmarks."""

    cells: dict[str, CellCounters]
    state: str = "waiting"
    reason: str | None = None
    phase: str | None = None
    since: float = 0.0  # when the phase began
    spent: dict[str, float] = field(default_factory=dict)  # seconds by phase, the present one left out
    computed: Counter = field(default_factory=Counter)  # tokens as its engines count them
    by_device: dict[str, int] = field(default_factory=dict)
    grades: Counter = field(default_factory=Counter)

    @property
    def ungraded(self) -> int:
        """Stored samples that have no grade yet."""
        return sum(cell.ungraded for cell in self.cells.values())

    def enter(self, phase: str | None, now: float) -> None:
        """Begin a phase."""
        if self.phase is not None:
            self.spent[self.phase] = self.seconds(self.phase, now)
        self.phase, self.since = phase, now

    def seconds(self, phase: str, now: float) -> float:
        """The seconds that a phase has lasted in this session."""
        return self.spent.get(phase, 0.0) + (now - self.since if self.phase == phase else 0.0)

    def computed_speed(self, now: float) -> float | None:
        """Tokens a second as its engines count them, unfinished answers included; None where they do not tell."""
        return self.computed.slope(now) if self.phase == GENERATING else None

    def speed(self, now: float) -> float | None:
        """Work a second: as the engines count, else of the window with enough samples, or of the session."""
        if (computed := self.computed_speed(now)) is not None:
            return computed
        busy, cells = self.seconds(GENERATING, now), self.cells.values()
        if busy > 0 and sum(cell.samples.recent(now) for cell in cells) >= ENOUGH:
            return sum(max(cell.samples.recent(now), cell.tokens.recent(now)) for cell in cells) / min(busy, WINDOW)
        return sum(cell.work for cell in cells) / busy or None if busy > 0 else None


def report_seconds(answers: int) -> float:
    """The seconds that a report on so many answers takes."""
    return REPORT_SECONDS + REPORT_SECONDS_AN_ANSWER * answers


class Estimate:
    """The time left at one moment, in seconds.

    `budgets` has the tokens that an answer may have at most, by benchmark; `report` is what the report still takes,
    None where that is unknown.
    """

    def __init__(
        self, variants: Collection[VariantCounters], budgets: Mapping[str, int | None], now: float, report: float | None
    ) -> None:
        self._variants, self._budgets, self._now, self._report = variants, budgets, now, report
        self._enough = sum(cell.samples.total for v in variants for cell in v.cells.values()) >= ENOUGH

    def of_run(self) -> TimeLeft:
        """To the end of the last variant; variants that run at the same time share what is to come."""

        def left(at_most: bool) -> float | None:
            seconds = [self._seconds(v, at_most) for v in self._variants if v.state != "incomplete"]
            known = [value for value in seconds if value is not None]
            if self._report is None or len(known) < len(seconds):
                return None
            generating = sum(v.phase == GENERATING for v in self._variants)
            # not before the slowest of them is done
            return max([sum(known) / max(1, generating), *known], default=0.0) + self._report

        return _time_left(left)

    def of_variant(self, variant: VariantCounters) -> TimeLeft:
        """To the end of one variant, once it is its turn."""
        return _time_left(lambda at_most: self._seconds(variant, at_most))

    def _seconds(self, variant: VariantCounters, at_most: bool) -> float | None:
        """Generation, beside which answers are graded, or the grading that is left after it."""
        if variant.state == "incomplete":
            return 0.0
        generation = 0.0 if variant.state == "finished" else self._generation(variant, at_most)
        speed = variant.grades.slope(self._now)
        # before the first grade the generation is all that is known; after the last answer nothing is
        if generation is None or not (variant.ungraded or generation) or (speed is None and generation):
            return generation
        left = variant.ungraded + sum(cell.left for cell in variant.cells.values())
        return None if speed is None else max(generation, left / speed)

    def _generation(self, variant: VariantCounters, at_most: bool) -> float | None:
        """The work left over the speed, and the load where it is to come; unknown before answers have come."""
        work = 0.0
        for benchmark, cell in variant.cells.items():
            length = self._length(benchmark, cell) or (self._budgets.get(benchmark) if at_most else None)
            if cell.total is None or (cell.left and length is None):
                return None
            work += cell.left * (length or 0.0)
        if not work:
            return 0.0
        speed = variant.speed(self._now) or _mean(other.speed(self._now) for other in self._variants)
        if speed is None or not self._enough:
            return None
        load = 0.0
        if not variant.seconds(GENERATING, self._now):
            # the mean of the loads that ended
            ended = [v for v in self._variants if v.seconds(GENERATING, self._now)]
            load = (_mean(v.seconds(LOADING, self._now) for v in ended) or 0.0) - variant.seconds(LOADING, self._now)
        return work / speed + max(0.0, load)

    def _length(self, benchmark: str, own: CellCounters) -> float | None:
        """Work a sample: the variant's own, or the others' where it has too few to tell."""
        if own.samples.total >= ENOUGH:
            return own.length
        others = (v.cells[benchmark] for v in self._variants if benchmark in v.cells)
        return _mean(cell.length for cell in others if cell is not own) or own.length


def _time_left(left: Callable[[bool], float | None]) -> TimeLeft:
    """The seconds left; where they cannot be told, those with full budgets where no answer has come yet."""
    seconds = left(False)
    return {"seconds_left": seconds, "seconds_at_most": left(True) if seconds is None else None}


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
