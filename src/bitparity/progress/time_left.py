"""Estimate of the seconds that a variant and the whole run still take; None rather than a guess."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from statistics import fmean

from bitparity.progress.counters import ENOUGH, CellCounters, VariantCounters
from bitparity.progress.events import GENERATING, LOADING
from bitparity.progress.snapshot import TimeLeft

REPORT_SECONDS, REPORT_SECONDS_AN_ANSWER = 1.0, 5e-4  # roughly, on a slow core: `perf/html_report.py`


def report_seconds(answers: int) -> float:
    """The seconds that a report on so many answers takes."""
    return REPORT_SECONDS + REPORT_SECONDS_AN_ANSWER * answers


class Estimate:
    """The time left at one moment, in seconds.

    `budgets` has the tokens that an answer may have at most, by benchmark; `report` is what the report still takes,
    None where that is unknown.
    """

    def __init__(
        self,
        variants: Mapping[str, VariantCounters],
        budgets: Mapping[str, int | None],
        now: float,
        report: float | None = 0.0,
    ) -> None:
        self._variants, self._budgets, self._now = list(variants.values()), budgets, now
        self._report = report
        self._enough = sum(cell.samples.total for v in self._variants for cell in v.cells.values()) >= ENOUGH

    def of_run(self) -> TimeLeft:
        """To the end of the last variant; variants that run at the same time share what is to come."""

        def left(at_most: bool) -> float | None:
            seconds = [self._seconds(v, at_most) for v in self._variants if v.state != "incomplete"]
            known = [value for value in seconds if value is not None]
            if self._report is None or len(known) < len(seconds):
                return None
            generating = sum(v.phase == GENERATING for v in self._variants)
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
        load = 0.0 if variant.seconds(GENERATING, self._now) else self._load() - variant.seconds(LOADING, self._now)
        return work / speed + max(0.0, load)

    def _length(self, benchmark: str, own: CellCounters) -> float | None:
        """Work a sample: the variant's own, or the others' where it has too few to tell."""
        if own.samples.total >= ENOUGH:
            return own.length
        others = (v.cells[benchmark] for v in self._variants if benchmark in v.cells)
        return _mean(cell.length for cell in others if cell is not own) or own.length

    def _load(self) -> float:
        """Seconds that a load takes: the mean of those that ended."""
        ended = [v for v in self._variants if v.seconds(GENERATING, self._now)]
        return _mean(v.seconds(LOADING, self._now) for v in ended) or 0.0


def _time_left(left: Callable[[bool], float | None]) -> TimeLeft:
    """The seconds left; where they cannot be told, those with full budgets where no answer has come yet."""
    seconds = left(False)
    return {"seconds_left": seconds, "seconds_at_most": left(True) if seconds is None else None}


def _mean(values: Iterable[float | None]) -> float | None:
    """The mean of those that are known."""
    known = [value for value in values if value is not None]
    return fmean(known) if known else None
