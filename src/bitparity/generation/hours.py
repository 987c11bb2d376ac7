"""Hours of a run: how far its variants get until the time is over, so that all have answered the same whole blocks.

The share of the exams that is answered grows in steps, the ends of their blocks. Each variant goes on until those after
it could no more reach its next step in the time that is left, or until it has the share of those before it. Where time
is left after the last one, there is another round. What a variant takes is known from the one before it: seconds for
the share that it reached, and those of its loading, each in proportion to what was expected of both.
"""

from __future__ import annotations

import bisect
import itertools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from bitparity.errors import UserInputError
from bitparity.generation.blocks import Blocks
from bitparity.generation.plan import block_ends, in_order
from bitparity.generation.prepare import Prepared
from bitparity.generation.stops import Stops
from bitparity.progress.counters import report_seconds
from bitparity.progress.events import BenchmarkStopped, Events, Noted, VariantEnded
from bitparity.records import Request, Sample
from bitparity.store.rows import scan_samples

NOTED_SECONDS = 30.0  # between two notes of the time used: what a killed run may lose of it


@dataclass(frozen=True, slots=True)
class Expected:
    """Seconds that a variant was expected to take before anything was measured: to load, and to answer everything.

    Only the proportions between variants count for the second. `grading` is seconds an answer.
    """

    loading: float
    answering: float = 1.0
    grading: float = 0.0


@dataclass(frozen=True, slots=True)
class Need:
    """Time that a variant still takes: seconds beside its answers, seconds of all its answers, and the share it has."""

    beside: float
    answers: float
    done: float = 0.0

    def seconds(self, share: float) -> float:
        """The seconds up to a share; none where it has that already."""
        return 0.0 if share <= self.done else self.beside + self.answers * (share - self.done)


def share_within(seconds: float, needs: Sequence[Need], steps: Sequence[float]) -> float:
    """The largest of the ascending `steps` that all variants reach in so many seconds together; 0 where it is none."""
    number = bisect.bisect_right(steps, seconds, key=lambda step: sum(need.seconds(step) for need in needs))
    return steps[number - 1] if number else 0.0


@dataclass(slots=True)
class _Course:
    """Progress of one variant. `whole` are the seconds that it would take for everything, where that is measured."""

    blocks: Mapping[str, Blocks]
    stopped: set[str]  # the benchmarks that have stopped, because of what was answered
    spent: float = 0.0  # seconds of generation
    whole: float | None = None
    ungraded: int = 0
    failed: bool = False


class Hours:
    """The time of one run. `begin` continues a prepared run; `expected` has all its variants."""

    def __init__(
        self, hours: float, expected: Mapping[str, Expected], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Raises UserInputError where the time is too short for anything."""
        self.hours, self._expected, self._clock = hours, expected, clock
        self._started = self._mark = self._noted = clock()  # before anything loads: the whole command counts
        self._before = 0.0  # seconds of earlier sessions
        self._after = 0.0  # seconds between a variant's last answer and the end of its engine
        self._grading = max(each.grading for each in expected.values())
        self._slower = self._loading_slower = 1.0  # than expected
        self._courses: dict[str, _Course] = {}
        self._steps: list[float] = []
        self._current, self._goal, self._loading = "", 1.0, True
        self._progress = [-1.0]
        beside = sum(each.loading for each in expected.values()) + report_seconds(0)
        if not (math.isfinite(hours) and hours * 3600 > beside):
            raise UserInputError(
                f"--hours {hours:g}: loading the variants and making the report take {beside / 3600:.2g} hours "
                "alone, so no question could be answered; give more hours, or fewer variants"
            )

    def begin(self, prepared: Prepared) -> None:
        """Continue a run: the time that it has used, and what its variants have answered.

        Raises UserInputError where nothing is answered and no block could be.
        """
        assert prepared.environment.hours is not None
        self._prepared, self._record = prepared, prepared.environment.hours
        self._before = float(self._record.seconds)
        steps = set[float]()
        for name in in_order(prepared.study):
            stored = prepared.environment.variants[name]
            blocks, drawn = {}, prepared.drawn(name)
            for spec, exam in prepared.asked:
                blocks[spec.name] = found = Blocks(spec, exam, block_ends(prepared, spec, exam), drawn)
                lines = scan_samples(prepared.run.samples_path(name, spec.name))
                found.add((line.key, line.failed) for line in lines)
                steps |= {end / found.ends[-1] for end in found.ends}
            self._courses[name] = _Course(blocks, set(stored.stops), float(self._record.answering.get(name, 0.0)))
        self._steps = sorted(steps)
        for name, course in self._courses.items():
            self._measure(name, course)
        self.note()
        first = next(iter(self._courses))
        needed = sum(need.seconds(self._steps[0]) for need in self._needs(first, itself=True))
        if not any(map(self.share, self._courses)) and needed > self.left:
            raise UserInputError(
                f"--hours {self.hours:g}: loading every variant and answering its first block takes about "
                f"{needed / 3600:.2g} hours, so nothing could be compared; give more hours, or fewer variants"
            )

    @property
    def used(self) -> float:
        """Seconds that all sessions of the run have taken."""
        return self._before + self._clock() - self._started

    @property
    def left(self) -> float:
        """Seconds until grading and report must begin."""
        ungraded = sum(course.ungraded for course in self._courses.values())
        first = next(iter(self._courses))
        blocks = self._courses[first].blocks.values()
        answers = sum(each.samples_of(_items(each, self.share(first))) for each in blocks)
        report = report_seconds(answers * len(self._courses))
        return self.hours * 3600 - self.used - self._grading * ungraded - report

    def note(self) -> None:
        """Store the time used."""
        self._noted = self._clock()
        self._record.seconds = round(self.used, 1)
        self._record.answering = {name: round(course.spent, 1) for name, course in self._courses.items()}
        self._prepared.save_environment()

    def share(self, name: str) -> float:
        """The largest step up to which a variant has answered all that it is still asked."""
        course = self._courses[name]
        going_on = (blocks for bench, blocks in course.blocks.items() if bench not in course.stopped)
        number = bisect.bisect_left(self._steps, min((blocks.next_share for blocks in going_on), default=2.0))
        return self._steps[number - 1] if number else 0.0

    def _step_after(self, share: float) -> float:
        number = bisect.bisect_right(self._steps, share)
        return self._steps[number] if number < len(self._steps) else 2.0

    def _needs(self, name: str, *, itself: bool) -> list[Need]:
        """The time that the variants after this one still take, and this one `itself`."""
        waiting = [*itertools.dropwhile(lambda other: other != name, self._courses)][0 if itself else 1 :]
        found = []
        for other in waiting:
            course, expected = self._courses[other], self._expected[other]
            whole = expected.answering * self._slower if course.whole is None else course.whole
            beside = expected.loading * self._loading_slower + self._after
            if not course.failed:
                found.append(Need(beside, whole, self.share(other)))
        return found

    def due(self, name: str) -> bool:
        """True if a variant is to be loaded: time is left in which it and those after it reach a further step."""
        before = itertools.takewhile(lambda other: other != name, self._courses)
        # what the variants before it have, it need not exceed
        self._goal = min((self.share(other) for other in before if not self._courses[other].failed), default=1.0)
        step = self._step_after(self.share(name))
        if self._courses[name].failed or step > self._goal:
            return False
        if self._current:  # the first one was begun to be loaded with the run
            self._mark = self._clock()
        self._loading = True
        return share_within(self.left, self._needs(name, itself=True), self._steps) >= step

    def start(self, name: str, stops: Stops) -> None:
        """A variant is loaded and begins to answer."""
        now = self._clock()
        if self._loading:  # and not loaded again, after its engine died
            self._loading_slower = (now - self._mark) / max(self._expected[name].loading, 1e-3)
        self._current, self._mark, self._stops, self._loading = name, now, stops, False
        self.note()

    def wanted(self, request: Request) -> bool:
        """True while a request lies within the share that the variant is to reach."""
        blocks = self._courses[self._current].blocks[request.benchmark]
        return blocks.end_of(request.item) / blocks.ends[-1] <= self._goal and self._stops.wanted(request)

    def over(self, burst: Sequence[Sample]) -> bool:
        """Take stored samples in; whether the variant's time is over, or it has all that it was to reach."""
        name, course = self._current, self._courses[self._current]
        course.ungraded += len(burst)
        course.stopped |= self._stops.stopped
        now, before = self._clock(), self.share(name)
        course.spent, self._mark = course.spent + now - self._mark, now
        for bench, blocks in course.blocks.items():
            blocks.add(((s.item, s.sample), s.finish == "error") for s in burst if s.benchmark == bench)
        if self.share(name) > before:
            self._measure(name, course)
        if now - self._noted > NOTED_SECONDS:
            self.note()
        step = self._step_after(self.share(name))
        others = sum(need.seconds(step) for need in self._needs(name, itself=False))
        return step > self._goal or self.left - self._after < others

    def _measure(self, name: str, course: _Course) -> None:
        """Estimate a variant's time for all answers from that for its share, and the slowness of all."""
        share = self.share(name)
        if share and course.spent:
            # a benchmark that stopped early makes this variant faster, which says nothing of the others
            course.whole = course.spent / share
            if not course.stopped:
                self._slower = course.whole / self._expected[name].answering

    def ended(self, name: str) -> None:
        """The engine of a variant is closed."""
        self._after = max(self._after, self._clock() - self._mark)

    def failed(self, name: str) -> None:
        """A variant's engine gave up: the others do not wait for it."""
        self._courses[name].failed = True

    def graded(self, name: str, seconds: float) -> None:
        """The answers of a variant are graded, in so many seconds."""
        course = self._courses[name]
        if course.ungraded:
            self._grading = seconds / course.ungraded
        course.ungraded = 0

    def again(self) -> bool:
        """True if the last round brought any variant further, so that another one may."""
        before, self._progress = self._progress, [self.share(name) for name in self._courses]
        return before != self._progress

    def finish(self, events: Events) -> None:
        """Store and tell which items every variant has answered."""
        share = min((self.share(name) for name, course in self._courses.items() if not course.failed), default=0.0)
        for name, course in self._courses.items():
            for bench, blocks in course.blocks.items():
                items = self._record.asked[bench] = _items(blocks, share)
                if bench not in course.stopped:
                    events.emit(BenchmarkStopped(name, bench, blocks.samples_of(items)))
            if not course.failed:
                events.emit(VariantEnded(name))
        self.note()
        if share < 1:
            asked = ", ".join(f"{items:,} of {bench}" for bench, items in self._record.asked.items())
            events.emit(Noted(f"{self.hours:g} hours are over: every variant is counted on the same items, {asked}"))


def _items(blocks: Blocks, share: float) -> int:
    """The items of an exam up to a share of it."""
    number = bisect.bisect_right(blocks.ends, share, key=lambda end: end / blocks.ends[-1])
    return blocks.ends[number - 1] if number else 0
