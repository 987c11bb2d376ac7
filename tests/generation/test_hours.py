"""Runs that end by the clock: a device whose speed drifts, and a clock that the test moves."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import replay_study, stored

from bitparity import runner
from bitparity.benchmarks.mathematics import MathBenchmark
from bitparity.errors import RunError, UserInputError
from bitparity.exam.build import build_exam
from bitparity.exam.frozen import Exam
from bitparity.generation.hours import Expected, Hours, Need, share_within
from bitparity.generation.local import LocalExecutor
from bitparity.progress.counters import report_seconds
from bitparity.progress.events import Events, Noted
from bitparity.records import Grade, Request, Sample, request_key
from bitparity.schema import Study
from bitparity.store.environment import HoursRecord, RunRecord, VariantRecord
from bitparity.store.run import Run
from bitparity.study.resolve import load_study

SEEDS = 100
HOURS = 1.0
ITEMS = 2400
RELATIVE = {"bf16": 1.0, "fp8": 0.8, "nvfp4": 0.55}  # seconds of an answer, as they are expected
LOADING = 12.0


@dataclass
class Device:
    """A device that answers so many requests at once, faster and slower as time goes by; nothing is waited for."""

    seed: int
    places: int = 16
    now: float = 0.0
    lengths: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.drift = random.Random(self.seed)
        self.factor, self.changed = self.drift.uniform(0.7, 1.4), 0.0

    def clock(self) -> float:
        return self.now

    def speed(self) -> float:
        """Tokens a second of one place: it drifts by some per cent a minute, between half and double."""
        while self.now - self.changed > 60:
            self.changed += 60
            self.factor = min(2.0, max(0.5, self.factor * math.exp(self.drift.gauss(0, 0.05))))
        return 40 * self.factor

    def load(self) -> None:
        self.now += LOADING * self.drift.uniform(0.7, 1.5)

    def answer(self, requests: Iterable[Request | None], slower: float) -> Iterator[list[Sample]]:
        """The answers as they end; an empty burst every second without any."""
        waiting, running = iter(requests), list[tuple[float, Request]]()
        while True:
            fresh = itertools.islice((r for r in waiting if r is not None), self.places - len(running))
            running += [(self._tokens(request), request) for request in fresh]
            if not running:
                return
            least, first = min(running, key=lambda entry: entry[0])
            second = self.speed() / slower
            step = min(least, second)
            self.now += step / second
            running = [(left - step, request) for left, request in running]
            if step < least:
                yield []
                continue
            running = [entry for entry in running if entry[1] is not first]
            yield [Sample(*request_key(first), "\\boxed{1}", "stop", 10, 10, 1.0)]

    def _tokens(self, request: Request) -> float:
        """The same question has answers of about the same length; a few are very long."""
        of_item = random.Random(f"{self.seed} {request.item}").lognormvariate(6.8, 0.6)
        return min(8000.0, of_item * self.drift.uniform(0.8, 1.25))


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("hours")
    return load_study(replay_study(folder, ITEMS, {name: [1] for name in RELATIVE}))


@pytest.fixture(scope="module")
def exam(study: Study) -> Exam:
    return build_exam(study.benchmarks[0], None, study)


def expected(slower: float = 1.0) -> dict[str, Expected]:
    return {name: Expected(LOADING, slower * 1000 * each) for name, each in RELATIVE.items()}


def simulate(
    study: Study, exam: Exam, device: Device, hours: float = HOURS, failing: Collection[str] = ()
) -> tuple[int, dict[str, set[str]], float]:
    """(items that all have answered, the answers of each, seconds at the end) of a run with that device.

    The answers to `failing` items fail, and what comes after them in their chain is not asked.
    """
    unasked = {entry.item.id for entry in exam.items if entry.item.after in failing}
    record = RunRecord(variants={name: VariantRecord() for name in study.variants})
    record.hours = HoursRecord(hours=hours)
    spec = study.benchmarks[0]
    prepared: Any = SimpleNamespace(
        environment=record,
        study=study,
        asked=[(spec, exam)],
        drawn=lambda name: None,
        run=SimpleNamespace(samples_path=lambda *_: Path("/nonexistent")),
        save_environment=lambda: None,
    )
    timed, done = Hours(hours, expected(), device.clock), {name: set[str]() for name in study.variants}
    timed.begin(prepared)
    stops: Any = SimpleNamespace(stopped=set(), wanted=lambda request: True)
    while timed.again():
        for name in study.variants:
            if len(done[name]) < ITEMS and timed.due(name):
                device.load()
                timed.start(name, stops)
                left = [request(entry.item.id) for entry in exam.items if entry.item.id not in done[name] | unasked]
                for ended in device.answer([r for r in left if timed.wanted(r)], RELATIVE[name]):
                    burst = [replace(s, finish="error") if s.item in failing else s for s in ended]
                    done[name] |= {sample.item for sample in burst}
                    if timed.over(burst):
                        break
                timed.ended(name)
            timed.graded(name, 0.0)
    timed.finish(Events())
    asked = record.hours.asked[spec.name]
    return asked, done, device.now + report_seconds(asked * len(study.variants))


def request(item: str) -> Request:
    sampling: Any = None
    return Request("math500", item, 0, sampling, 0, None, None)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_a_device_whose_speed_drifts_ends_in_time_with_balanced_variants(study: Study, exam: Exam, seed: int) -> None:
    asked, done, end = simulate(study, exam, Device(seed))
    order = [entry.item.id for entry in exam.items]
    assert all(set(order[:asked]) <= answered for answered in done.values())
    assert 0 < asked < ITEMS
    assert abs(end - HOURS * 3600) <= 0.02 * HOURS * 3600, end


def test_failed_answers_of_chains_do_not_end_a_run_early(study: Study, exam: Exam) -> None:
    """Every second item comes after the one before it; of the first ones one in forty fails."""
    order = [entry.item.id for entry in exam.items]
    items = [
        replace(entry, item=replace(entry.item, after=order[row - 1] if row % 2 else None))
        for row, entry in enumerate(exam.items)
    ]
    asked, done, end = simulate(study, replace(exam, items=tuple(items)), Device(1), failing=set(order[::40]))
    unasked = set(order[1::40])
    assert asked > 400
    assert all(set(order[:asked]) <= answered | unasked for answered in done.values())
    assert abs(end - HOURS * 3600) <= 0.02 * HOURS * 3600, end


def test_with_enough_time_all_is_asked(study: Study, exam: Exam) -> None:
    asked, done, end = simulate(study, exam, Device(1), hours=20)
    assert asked == ITEMS
    assert {len(answered) for answered in done.values()} == {ITEMS}
    assert end < 20 * 3600


NEEDS = st.builds(Need, *[st.floats(0, 1e4)] * 2, st.floats(0, 1))
STEPS = st.lists(st.floats(0.001, 1), min_size=1, max_size=50, unique=True).map(sorted)


@given(st.floats(0, 1e5), st.lists(NEEDS, min_size=1, max_size=6), STEPS)
def test_the_share_is_the_largest_step_that_fits(seconds: float, needs: list[Need], steps: list[float]) -> None:
    found = share_within(seconds, needs, steps)
    fitting = [step for step in steps if sum(need.seconds(step) for need in needs) <= seconds]
    assert found == max(fitting, default=0.0)
    assert share_within(seconds + 1, needs, steps) >= found


@dataclass
class FakeEngines:
    """Engines on a `Device`, in the place of those that are processes."""

    device: Device
    dies_after: int | None = None
    loaded: list[str] = field(default_factory=list)

    def ahead(self, variant: Any, log: Path) -> Any:
        return SimpleNamespace(launch=lambda: None, warm=lambda: None)

    def start(self, variant: Any, log: Path) -> FakeEngine:
        return FakeEngine(self, log.stem)


class FakeEngine:
    facts: dict[str, Any] = {}  # noqa: RUF012
    on_progress = on_sent = None

    def __init__(self, engines: FakeEngines, name: str) -> None:
        self._engines, self._name = engines, name

    def __enter__(self) -> Self:
        self._engines.device.load()
        self._engines.loaded.append(self._name)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def close(self, at_once: bool = False) -> None:
        pass

    def run(self, requests: Iterable[Request | None]) -> Iterator[list[Sample]]:
        for burst in self._engines.device.answer(requests, RELATIVE[self._name]):
            if burst and self._engines.dies_after is not None:
                self._engines.dies_after -= 1
                if self._engines.dies_after < 0:
                    raise KeyboardInterrupt
            yield burst


def run(study: Study, out: Path, engines: FakeEngines, hours: float | None, monkeypatch: Any) -> list[str]:
    """Run a study on such engines, without a report; what was noted."""
    from contextlib import nullcontext

    monkeypatch.setattr(runner, "_open_executor", lambda ray: nullcontext(LocalExecutor(engines)))  # type: ignore[arg-type]
    # Math-Verify would take longer for thousands of answers than all else, and no time on the device's clock
    monkeypatch.setattr(MathBenchmark, "slow_grader", False)
    monkeypatch.setattr(MathBenchmark, "grade", lambda *_: Grade(1.0, "answered"))
    noted: list[str] = []
    listen = lambda event: noted.append(event.text) if isinstance(event, Noted) else None  # noqa: E731
    timed = None if hours is None else Hours(hours, expected(), engines.device.clock)
    runner.run_study(study, out, Events(listen), hours=timed)
    return noted


def asked_of(out: Path) -> int:
    record = Run(out).environment()
    assert record.hours is not None
    return record.hours.asked["math500"]


def answered(out: Path) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for variant, _, item, _ in stored(out):
        found.setdefault(variant, set()).add(item)
    return found


def test_a_killed_run_goes_on_with_the_time_that_is_left(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Device(3)
    with pytest.raises(KeyboardInterrupt):
        run(study, tmp_path / "run", FakeEngines(device, dies_after=500), HOURS, monkeypatch)
    used = Run(tmp_path / "run").environment()
    assert used.hours is not None
    assert used.hours.asked == {}
    assert used.hours.seconds == pytest.approx(device.now, abs=1)
    device.now += 10_000  # the pause is no time of the run
    began = device.now
    noted = run(study, tmp_path / "run", FakeEngines(device), HOURS, monkeypatch)
    asked, done = asked_of(tmp_path / "run"), answered(tmp_path / "run")
    order = [e.item.id for e in build_exam(study.benchmarks[0], None, study).items]
    assert 0 < asked < ITEMS
    assert all(set(order[:asked]) <= items for items in done.values())
    total = float(used.hours.seconds) + device.now - began + report_seconds(asked * 3)
    assert total == pytest.approx(3600 * HOURS, rel=0.02)
    assert any("1 hours are over" in text for text in noted)


def test_without_hours_it_goes_on_with_what_was_left_out(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study, tmp_path / "run", FakeEngines(Device(4)), HOURS / 10, monkeypatch)
    assert 0 < asked_of(tmp_path / "run") < ITEMS
    run(study, tmp_path / "run", FakeEngines(Device(4)), None, monkeypatch)
    assert {len(items) for items in answered(tmp_path / "run").values()} == {ITEMS}
    assert Run(tmp_path / "run").environment().hours.asked == {}  # type: ignore[union-attr]


def test_once_the_time_is_over_nothing_is_loaded(study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(study, tmp_path / "run", FakeEngines(Device(5)), HOURS / 8, monkeypatch)
    before, engines = asked_of(tmp_path / "run"), FakeEngines(Device(6))
    run(study, tmp_path / "run", engines, HOURS / 8, monkeypatch)
    assert engines.loaded == []
    assert asked_of(tmp_path / "run") == before
    run(study, tmp_path / "run", engines, HOURS / 3, monkeypatch)
    assert asked_of(tmp_path / "run") > before


def test_a_run_that_was_begun_without_hours_refuses_them(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(study, tmp_path / "run", FakeEngines(Device(5)), None, monkeypatch)
    with pytest.raises(RunError, match="begun without --hours"):
        run(study, tmp_path / "run", FakeEngines(Device(5)), HOURS, monkeypatch)


def test_too_little_time_is_told_before_anything_is_loaded(
    study: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserInputError, match="loading the variants and making the report take"):
        Hours(0.005, expected())
    engines = FakeEngines(Device(7))
    with pytest.raises(UserInputError, match="answering its first block"):
        run(study, tmp_path / "run", engines, 38 / 3600, monkeypatch)
    assert engines.loaded == []


@pytest.mark.parametrize("hours", [0.0, -1.0, math.nan, math.inf])
def test_hours_that_are_no_time_are_refused(hours: float) -> None:
    with pytest.raises(UserInputError):
        Hours(hours, expected())
