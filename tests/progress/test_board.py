"""What a run shows of itself: counts, rates, time left, accuracy and flips as results.json has them."""

from __future__ import annotations

import errno
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitparity.progress.board import NOTES, Board
from bitparity.progress.counters import ENOUGH, WINDOW
from bitparity.progress.events import (
    GENERATING,
    GRADING,
    LOADING,
    REPORTING,
    BenchmarkSkipped,
    DeviceChanged,
    Events,
    ExamFrozen,
    Noted,
    PhaseChanged,
    RunEnded,
    SampleGraded,
    SamplesStored,
    TokensComputed,
    VariantEnded,
    VariantPlanned,
    VariantStarted,
)
from bitparity.progress.file import ProgressFile, write_progress
from bitparity.records import Sample
from bitparity.schema import Study
from bitparity.stats.arrays import pair_scores
from bitparity.stats.intervals import mean_interval
from bitparity.study.resolve import parse_study

STUDY = """
study: toy
variants:
  bf16: {model: none/bf16, baseline: true}
  fp8: {model: none/fp8}
  nvfp4: {model: none/nvfp4}
engine: {kind: vllm}
benchmarks: [math500, aime24]
"""


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(STUDY, "study", Path.cwd())


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def sample(
    item: object, benchmark: str = "math500", k: int = 0, tokens: int | None = 10, error: bool = False
) -> Sample:
    return Sample(benchmark, str(item), k, "", "error" if error else "stop", tokens, 5, 1.0)


def samples(items: Iterable[object], benchmark: str = "math500", tokens: int = 10) -> list[Sample]:
    return [sample(item, benchmark, tokens=tokens) for item in items]


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def shown(board: Board, variant: str, benchmark: str = "math500") -> dict[str, Any]:
    found: dict[str, Any] = board.snapshot()["variants"][variant]["benchmarks"][benchmark]
    return found


def begin(board: Board, variant: str, counts: dict[str, tuple[int, int]]) -> None:
    """A variant's turn, with the samples that are stored and all of them."""
    board(VariantPlanned(variant, counts))
    board(VariantStarted(variant))


def test_before_anything_happened_nothing_is_claimed(study: Study) -> None:
    made = Board(study).snapshot()
    assert list(made["variants"]) == ["bf16", "fp8", "nvfp4"]
    assert made["seconds_left"] is None
    for variant in made["variants"].values():
        assert (variant["state"], variant["done"], variant["total"]) == ("waiting", 0, None)
        assert list(variant["benchmarks"]) == ["math500", "aime24"]
        for cell in variant["benchmarks"].values():
            assert (cell["rate"], cell["mean"], cell["ci95"], cell["lost"]) == (None, None, None, None)


def test_the_exam_tells_the_totals_of_variants_to_come(study: Study) -> None:
    board = Board(study)
    board(ExamFrozen("aime24", names(30), 16))
    assert shown(board, "nvfp4", "aime24")["total"] == 480
    begin(board, "nvfp4", {"aime24": (5, 400)})
    assert (shown(board, "nvfp4", "aime24")["done"], shown(board, "nvfp4", "aime24")["total"]) == (5, 400)
    board(VariantPlanned("fp8", {"aime24": (480, 480), "math500": (3, 500)}))
    assert board.snapshot()["variants"]["fp8"]["state"] == "waiting"
    board(VariantStarted("fp8"))
    assert (shown(board, "fp8", "aime24")["done"], shown(board, "fp8")["done"]) == (480, 3)
    board(SamplesStored("fp8", samples(range(3, 10))))
    begin(board, "fp8", {"math500": (10, 500)})  # counted again after its engine died
    assert shown(board, "fp8")["done"] == 10


def generating(study: Study, counts: dict[str, tuple[int, int]], seconds: float = 10) -> Board:
    """A board whose baseline has generated for so many seconds; nothing has come yet."""
    clock = Clock()
    board = Board(study, clock)
    begin(board, "bf16", counts)
    board(PhaseChanged("bf16", GENERATING))
    clock.now += seconds
    return board


@given(st.lists(st.lists(st.tuples(st.sampled_from(["math500", "aime24"]), st.integers(0, 500)), max_size=30)))
def test_counts_and_tokens_are_the_sums_of_what_came(study: Study, bursts: list[list[tuple[str, int]]]) -> None:
    clock = Clock()
    board = Board(study, clock)
    begin(board, "bf16", {"math500": (7, 10_000), "aime24": (0, 10_000)})
    for number, burst in enumerate(bursts):
        clock.now += 1.7
        board(SamplesStored("bf16", [sample(f"{number}.{n}", name, tokens=t) for n, (name, t) in enumerate(burst)]))
    came = [pair for burst in bursts for pair in burst]
    for name, before in (("math500", 7), ("aime24", 0)):
        cell = shown(board, "bf16", name)
        assert cell["done"] == before + sum(b == name for b, _ in came)
        assert cell["output_tokens"] == sum(t for b, t in came if b == name)
    assert board.snapshot()["variants"]["bf16"]["done"] == 7 + len(came)


def test_a_failed_sample_is_not_done_until_it_comes_back_whole(study: Study) -> None:
    board = Board(study)
    begin(board, "bf16", {"math500": (0, 3)})
    board(SamplesStored("bf16", [sample(0), sample(1, error=True), sample(2, error=True)]))
    assert (shown(board, "bf16")["done"], shown(board, "bf16")["failed"]) == (1, 2)
    board(SamplesStored("bf16", [sample(1)]))
    assert (shown(board, "bf16")["done"], shown(board, "bf16")["failed"]) == (2, 1)


def test_the_present_rate_forgets_and_the_session_remembers(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    begin(board, "bf16", {"math500": (0, 1000)})
    board(PhaseChanged("bf16", GENERATING))
    clock.now += 10
    board(SamplesStored("bf16", samples(range(100), tokens=50)))
    cell = shown(board, "bf16")
    assert (cell["rate"], cell["tokens_per_second"], cell["session_rate"]) == (10, 500, 10)
    clock.now += 90
    cell = shown(board, "bf16")
    assert (cell["rate"], cell["tokens_per_second"], cell["session_rate"]) == (0, 0, 1)


def test_time_in_other_phases_counts_for_no_rate(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    begin(board, "bf16", {"math500": (0, 1000)})
    for text, seconds in ((LOADING, 500), (GENERATING, 10), ("restarting the engine (1 of 3)", 200), (GENERATING, 10)):
        board(PhaseChanged("bf16", text))
        clock.now += seconds
    board(SamplesStored("bf16", samples(range(40))))
    assert shown(board, "bf16")["session_rate"] == 2
    board(PhaseChanged("bf16", GRADING))
    assert shown(board, "bf16")["rate"] is None
    assert shown(board, "bf16")["session_rate"] == 2


def test_time_left_weighs_benchmarks_by_their_lengths(study: Study) -> None:
    board = generating(study, {"math500": (0, 2 * ENOUGH), "aime24": (0, 2 * ENOUGH)}, WINDOW)
    board(SamplesStored("bf16", samples(range(ENOUGH), tokens=10)))
    board(SamplesStored("bf16", samples(range(ENOUGH), "aime24", tokens=90)))
    board(SamplesStored("bf16", samples(range(ENOUGH, 2 * ENOUGH), tokens=10)))
    # left: 20 answers of 90 tokens; done: 20 * (10 + 90 + 10) tokens in 30 s
    assert board.snapshot()["variants"]["bf16"]["seconds_left"] == pytest.approx(90 / 110 * WINDOW)


def test_time_left_is_unknown_where_a_benchmark_never_ran(study: Study) -> None:
    board = generating(study, {"math500": (0, 100), "aime24": (0, 100)})
    board(SamplesStored("bf16", samples(range(50))))
    assert board.snapshot()["variants"]["bf16"]["seconds_left"] is None
    assert board.snapshot()["seconds_left"] is None
    board(BenchmarkSkipped("aime24", "its data set is gated"))
    assert board.snapshot()["variants"]["bf16"]["seconds_left"] == pytest.approx(10)
    assert "aime24" not in board.snapshot()["variants"]["bf16"]["benchmarks"]


def test_where_a_benchmark_never_ran_its_budget_bounds_the_time_left(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    board(ExamFrozen("math500", names(100), 1, budget=50))
    board(ExamFrozen("aime24", names(10), 1, budget=1000))
    made = board.snapshot()
    assert (made["seconds_left"], made["seconds_at_most"]) == (None, None)  # no speed yet
    board(VariantStarted("bf16"))
    board(PhaseChanged("bf16", GENERATING))
    clock.now += 10
    board(SamplesStored("bf16", samples(range(50), tokens=20)))
    made = board.snapshot()
    # 1,000 tokens in 10 s: 50 answers of 20 tokens and 10 of at most 1,000; the other two variants as much and more
    assert made["variants"]["bf16"]["seconds_left"] is None
    assert made["variants"]["bf16"]["seconds_at_most"] == pytest.approx(10 + 100)
    assert made["variants"]["fp8"]["seconds_at_most"] == pytest.approx(20 + 100)
    assert made["seconds_at_most"] == pytest.approx(110 + 2 * 120)
    board(SamplesStored("bf16", samples(range(ENOUGH // 2), "aime24", tokens=500)))
    made = board.snapshot()
    assert made["variants"]["bf16"]["seconds_left"] is not None
    assert made["variants"]["bf16"]["seconds_at_most"] is None


def test_a_speed_of_hardly_any_answers_gives_no_time_left(study: Study) -> None:
    board = generating(study, {"math500": (0, 100), "aime24": (0, 0)})
    board(SamplesStored("bf16", samples(range(ENOUGH - 1))))
    made = board.snapshot()
    assert (made["seconds_left"], made["seconds_at_most"], made["variants"]["bf16"]["seconds_left"]) == (None,) * 3
    board(SamplesStored("bf16", samples([ENOUGH])))
    assert board.snapshot()["variants"]["bf16"]["seconds_left"] == pytest.approx(10 * (100 - ENOUGH) / ENOUGH)


def test_what_is_generated_and_not_graded_is_neither_finished_nor_without_time_left(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    board(ExamFrozen("math500", names(40), 1))
    board(BenchmarkSkipped("aime24", "left out"))
    for name in ("bf16", "fp8", "nvfp4"):
        begin(board, name, {"math500": (0, 40)})
        board(PhaseChanged(name, GENERATING))
        clock.now += 10
        board(SamplesStored(name, [*samples(range(39)), sample(39, error=True)]))
        board(VariantEnded(name))
    assert board.snapshot()["variants"]["bf16"]["state"] == GRADING
    assert board.snapshot()["seconds_left"] is None  # no grade has come yet
    for name in ("bf16", "fp8", "nvfp4"):
        for number in range(39):
            clock.now += 1
            board(SampleGraded(name, "math500", str(number), 0, 1.0))
        made = board.snapshot()["variants"][name]
        assert (made["state"], made["seconds_left"]) == ("finished", 0)  # a failed sample waits for no grade
    assert board.snapshot()["seconds_left"] == 0


def test_grading_that_falls_behind_counts_in_the_time_left(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    board(ExamFrozen("math500", names(100), 1))
    board(BenchmarkSkipped("aime24", "left out"))
    begin(board, "bf16", {"math500": (0, 100)})
    board(PhaseChanged("bf16", GENERATING))
    clock.now += 10
    board(SamplesStored("bf16", samples(range(50))))
    assert board.snapshot()["variants"]["bf16"]["seconds_left"] == pytest.approx(10)
    for number in range(10):
        board(SampleGraded("bf16", "math500", str(number), 0, 1.0))
        clock.now += 5
    left = board.snapshot()["variants"]["bf16"]["seconds_left"]
    assert left == pytest.approx(90 / (9 / 45))


def test_variants_not_begun_take_what_the_earlier_ones_took(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    board(BenchmarkSkipped("aime24", "left out"))
    board(ExamFrozen("math500", names(100), 1))
    begin(board, "bf16", {"math500": (0, 100)})
    board(PhaseChanged("bf16", LOADING))
    clock.now += 60
    board(PhaseChanged("bf16", GENERATING))
    clock.now += 20
    board(SamplesStored("bf16", samples(range(50))))
    made = board.snapshot()
    assert made["variants"]["bf16"]["seconds_left"] == pytest.approx(20)
    assert made["variants"]["fp8"]["seconds_left"] == pytest.approx(60 + 40)
    assert made["seconds_left"] == pytest.approx(20 + 2 * 100)
    board(VariantEnded("bf16"))
    begin(board, "fp8", {"math500": (0, 100)})
    board(PhaseChanged("fp8", LOADING))
    clock.now += 25
    assert board.snapshot()["variants"]["fp8"]["seconds_left"] == pytest.approx(35 + 40)


def test_variants_beside_each_other_share_what_is_to_come(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    board(BenchmarkSkipped("aime24", "left out"))
    board(ExamFrozen("math500", names(100), 1))
    for name in ("bf16", "fp8"):
        begin(board, name, {"math500": (0, 100)})
        board(PhaseChanged(name, GENERATING))
    clock.now += 10
    for name in ("bf16", "fp8"):
        board(SamplesStored(name, samples(range(50))))
    assert board.snapshot()["seconds_left"] == pytest.approx((10 + 10 + 20) / 2)


def test_a_log_likelihood_counts_as_work(study: Study) -> None:
    board = generating(study, {"math500": (0, 80), "aime24": (0, 0)})
    board(SamplesStored("bf16", samples(range(40), tokens=0)))
    assert board.snapshot()["variants"]["bf16"]["seconds_left"] == pytest.approx(10)


def test_tokens_that_nobody_counted_are_unknown_and_the_time_left_goes_by_samples(study: Study) -> None:
    board = generating(study, {"math500": (0, 80), "aime24": (0, 30)})
    board(SamplesStored("bf16", [*samples(range(39), tokens=0), sample(39, tokens=None)]))
    board(SamplesStored("bf16", samples(range(30), "aime24", tokens=0)))
    found = board.snapshot()["variants"]["bf16"]
    for entry in (found, found["benchmarks"]["math500"]):
        assert (entry["output_tokens"], entry["tokens_per_second"], entry["session_tokens_per_second"]) == (None,) * 3
    assert found["benchmarks"]["aime24"]["output_tokens"] == 0
    assert found["seconds_left"] == pytest.approx(40 / 7)


def test_states_follow_what_is_told(study: Study) -> None:
    board = Board(study)

    def state(name: str) -> tuple[str, str | None, str | None]:
        variant = board.snapshot()["variants"][name]
        return variant["state"], variant["phase"], variant["reason"]

    assert state("bf16") == ("waiting", None, None)
    begin(board, "bf16", {"math500": (0, 1), "aime24": (0, 1)})
    board(PhaseChanged("bf16", LOADING))
    assert state("bf16") == ("loading", "loading", None)
    board(SamplesStored("bf16", [sample(0)]))
    assert state("bf16") == ("running", GENERATING, None)
    board(PhaseChanged("bf16", "waiting: disk full"))
    assert state("bf16") == ("running", "waiting: disk full", None)
    board(VariantEnded("bf16", "the engine died three times"))
    assert state("bf16") == ("incomplete", None, "the engine died three times")
    board(VariantEnded("fp8"))
    assert state("fp8") == ("finished", None, None)


SCORES = st.sampled_from([None, 0.0, 0.5, 1.0])


@st.composite
def gradings(draw: st.DrawFn) -> tuple[int, int, list[list[float | None]], list[list[float | None]], list[str] | None]:
    items, k = draw(st.integers(1, 8)), draw(st.integers(1, 3))
    matrices = [[[draw(SCORES) for _ in range(k)] for _ in range(items)] for _ in range(2)]
    groups = [draw(st.sampled_from("abc")) for _ in range(items)] if draw(st.booleans()) else None
    return items, k, *matrices, groups


def as_matrix(scores: list[list[float | None]]) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array([[np.nan if s is None else s for s in row] for row in scores], dtype=np.float64)


@given(gradings(), st.randoms())
def test_accuracy_and_flips_follow_the_rules_of_the_results(study: Study, case: Any, rng: Any) -> None:
    items, k, before, after, groups = case
    board = Board(study)
    board(ExamFrozen("math500", names(items), k, groups))
    told = [
        (name, item, s, scores[item][s])
        for name, scores in (("bf16", before), ("fp8", after))
        for item in range(items)
        for s in range(k)
    ]
    rng.shuffle(told)
    for name, item, s, score in told:
        board(SampleGraded(name, "math500", str(item), s, 1.0))  # a first grade, made again
        board(SampleGraded(name, "math500", str(item), s, score))
        board.snapshot()
    board(SampleGraded("fp8", "math500", "not in the exam", 0, 1.0))
    board(SampleGraded("fp8", "math500", "0", k, 1.0))

    ours, theirs = as_matrix(before), as_matrix(after)
    cell = shown(board, "fp8")
    assert cell["graded"] == (~np.isnan(theirs)).sum()
    assert cell["mean"] == (None if np.isnan(theirs).all() else pytest.approx(np.nanmean(theirs)))
    whole = ~np.isnan(theirs).any(axis=1)
    picked = None if groups is None else [g for g, keep in zip(groups, whole, strict=True) if keep]
    assert cell["ci95"] == (list(mean_interval(theirs[whole], picked)) if whole.any() else None)
    both = whole & ~np.isnan(ours).any(axis=1)
    flips = pair_scores(ours[both], theirs[both]).flips if both.any() else (None, None)
    assert (cell["lost"], cell["gained"]) == flips
    assert (shown(board, "bf16")["lost"], shown(board, "bf16")["gained"]) == (None, None)


def test_a_snapshot_is_json_and_comes_back_unchanged(study: Study) -> None:
    board = busy_board(study)
    made = board.snapshot()
    assert json.loads(json.dumps(made, allow_nan=False)) == made


def busy_board(study: Study) -> Board:
    clock = Clock()
    board = Board(study, clock)
    board(ExamFrozen("math500", names(50), 1))
    board(ExamFrozen("aime24", names(30), 2))
    begin(board, "bf16", {"math500": (10, 50), "aime24": (0, 60)})
    board(PhaseChanged("bf16", GENERATING))
    clock.now += 12
    board(SamplesStored("bf16", samples(range(25))))
    board(SampleGraded("bf16", "math500", "3", 0, 1.0))
    board(Noted("the engine died: CUDA error; started again (1 of 3)"))
    board(DeviceChanged("host-a GPU 0", "bf16 math500"))
    board(PhaseChanged(None, "generating"))
    return board


def test_only_the_last_notes_and_the_present_workers_are_kept(study: Study) -> None:
    board = Board(study)
    for number in range(NOTES + 5):
        board(Noted(f"note {number}"))
    board(DeviceChanged("gpu 0", "loading"))
    board(DeviceChanged("gpu 1", "loading"))
    board(DeviceChanged("gpu 0", None))
    made = board.snapshot()
    assert [note["text"] for note in made["notes"]] == [f"note {n}" for n in range(5, NOTES + 5)]
    assert made["workers"] == {"gpu 1": "loading"}


def test_many_threads_lose_no_count(study: Study) -> None:
    board = Board(study)
    board(ExamFrozen("math500", names(4000), 1))
    begin(board, "bf16", {"math500": (0, 4000)})

    def work(start: int) -> None:
        for item in range(start, start + 1000):
            board(SamplesStored("bf16", [sample(item)]))
            board(SampleGraded("bf16", "math500", str(item), 0, 1.0))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 4000, 1000)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        board.snapshot()
    for thread in threads:
        thread.join()
    assert (shown(board, "bf16")["done"], shown(board, "bf16")["graded"]) == (4000, 4000)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.005)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def test_publishing_keeps_a_file_up_to_date_and_says_at_the_end_that_nothing_runs(study: Study, tmp_path: Path) -> None:
    path, board = tmp_path / "progress.json", Board(study)
    with Events(board, ProgressFile(board, 0.01)).run(tmp_path):
        until(path.exists)
        assert read(path)["running"] is True
        begin(board, "bf16", {"math500": (0, 50)})
        board(SamplesStored("bf16", samples(range(5))))
        until(lambda: read(path)["variants"]["bf16"]["done"] == 5)
        board(SamplesStored("bf16", samples(range(5, 9))))
    assert (read(path)["running"], read(path)["variants"]["bf16"]["done"]) == (False, 9)
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_run_leaves_its_last_state(study: Study, tmp_path: Path) -> None:
    path, board = tmp_path / "progress.json", Board(study)

    def interrupted() -> None:
        with Events(board, ProgressFile(board, 0.01)).run(tmp_path):
            board(Noted("stopping"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (read(path)["running"], read(path)["notes"][0]["text"]) == (False, "stopping")


class FullDisk(type(Path())):  # type: ignore[misc]
    """A path whose disk is full."""

    full = True

    def write_text(self, *args: Any, **named: Any) -> int:
        if FullDisk.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(super().write_text(*args, **named))


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    FullDisk.full = True
    yield FullDisk(tmp_path)
    FullDisk.full = True


def test_a_full_disk_breaks_nothing_and_is_tried_again(study: Study, full_disk: Path) -> None:
    path, board = full_disk / "progress.json", Board(study)
    with Events(board, ProgressFile(board, 0.01)).run(full_disk):
        board(Noted("one"))
        assert not path.exists()
        FullDisk.full = False
        board(Noted("two"))
        until(path.exists)
    assert len(read(path)["notes"]) == 2


def test_text_that_is_no_unicode_is_written_all_the_same(tmp_path: Path) -> None:
    write_progress(tmp_path / "progress.json", {"text": "broken \ud800 half"})
    assert read(tmp_path / "progress.json")["text"] == "broken ? half"


def test_what_the_engine_has_computed_shows_before_an_answer_is_whole(study: Study) -> None:
    clock = Clock()
    board = Board(study, clock)
    board(VariantStarted("bf16"))
    board(PhaseChanged("bf16", GENERATING))
    board(TokensComputed("bf16", 0))
    clock.now += 10
    board(TokensComputed("bf16", 5_000))
    assert board.snapshot()["variants"]["bf16"]["tokens_per_second"] == pytest.approx(500)
    clock.now += 5
    board(TokensComputed("bf16", 100))  # another engine: it begins again
    clock.now += 5
    board(TokensComputed("bf16", 1_100))
    assert board.snapshot()["variants"]["bf16"]["tokens_per_second"] == pytest.approx(200)
    clock.now += 100  # silent: nothing is claimed of it any more
    assert board.snapshot()["variants"]["bf16"]["tokens_per_second"] in (0.0, None)


def test_the_report_counts_in_the_time_left_and_has_a_phase(study: Study) -> None:
    now = [0.0]
    board = Board(study, clock=lambda: now[0], reported=True)
    board(ExamFrozen("math500", [str(n) for n in range(500)], 1))
    board(ExamFrozen("aime24", [str(n) for n in range(30)], 16))
    for name in study.variants:
        board(VariantPlanned(name, {"math500": (500, 500), "aime24": (480, 480)}))
        for bench, samples, items in (("math500", 1, 500), ("aime24", 16, 30)):
            for item, sample in product(range(items), range(samples)):
                board(SampleGraded(name, bench, str(item), sample, 1.0))
        board(VariantEnded(name))
    whole = board.snapshot()["seconds_left"]
    assert whole is not None
    assert whole > 1
    board(PhaseChanged(None, REPORTING))
    now[0] = 1.0
    assert board.snapshot()["seconds_left"] == pytest.approx(whole - 1)
    assert board.snapshot()["phase"] == REPORTING
    now[0] = 1000.0
    assert board.snapshot()["seconds_left"] is None  # longer than expected: never "0 s left"
    board(RunEnded())
    assert board.snapshot()["seconds_left"] == 0.0
