"""The live view: every width and height, plain lines in a pipe, and nothing that a terminal would act on."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

from bitparity.progress.board import Board
from bitparity.progress.events import (
    GENERATING,
    LOADING,
    BenchmarkSkipped,
    DeviceChanged,
    Events,
    ExamFrozen,
    Noted,
    PhaseChanged,
    SampleGraded,
    SamplesStored,
    Task,
    TaskProgress,
    VariantEnded,
    VariantPlanned,
    VariantStarted,
)
from bitparity.progress.tasks import printable
from bitparity.records import Sample
from bitparity.report.language import text
from bitparity.report.live import PlainLines, Screen, time_left, unfolded, view
from bitparity.schema import Study
from bitparity.study.resolve import parse_study

STUDY = """
study: toy
variants:
  bf16: {model: none/bf16, baseline: true}
  fp8: {model: none/fp8}
  nvfp4: {model: none/nvfp4}
engine: {kind: vllm}
benchmarks: [mmlu_pro, math500, aime24, humaneval, hle]
"""
NASTY = "[red]out[/red] of\x1b[31m memory\x07 \u202egnirts\x9b2J\nnext \ud800"


@pytest.fixture(scope="module")
def study() -> Study:
    return parse_study(STUDY, "study", Path.cwd())


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def begin(board: Board, variant: str, counts: dict[str, tuple[int, int]]) -> None:
    """A variant's turn, with the samples that are stored and all of them."""
    board(VariantPlanned(variant, counts))
    board(VariantStarted(variant))


@pytest.fixture
def board(study: Study) -> Board:
    """bf16 is finished, fp8 at work, nvfp4 to come; hle is left out."""
    clock = Clock()
    board = Board(study, clock)
    for name, items in (("mmlu_pro", 12032), ("math500", 500), ("aime24", 30), ("humaneval", 164)):
        board(ExamFrozen(name, [str(n) for n in range(items)], 1))
    board(BenchmarkSkipped("hle", "its data set is gated"))
    totals = {"mmlu_pro": (12000, 12032), "math500": (0, 500), "aime24": (0, 30), "humaneval": (0, 164)}
    for name, answered in (("bf16", 500), ("fp8", 200)):
        begin(board, name, totals)
        board(PhaseChanged(name, LOADING))
        board(PhaseChanged(name, GENERATING))
        clock.now += 20
        board(SamplesStored(name, [Sample("math500", str(n), 0, "", "stop", 100, 9, 1.0) for n in range(answered)]))
        for n in range(answered):
            board(SampleGraded(name, "math500", str(n), 0, float(n % (5 if name == "bf16" else 4) > 0)))
        if name == "bf16":
            board(VariantEnded(name))
    return board


def drawn(snapshot: Any, width: int = 120, height: int | None = None, **named: Any) -> list[str]:
    file = io.StringIO()
    console = Console(
        file=file, width=width, height=height or 25, force_terminal=height is not None, color_system=None, no_color=True
    )
    console.print(Screen(snapshot, **named))
    return re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue()).splitlines()


def line(lines: list[str], start: str, number: int = 0) -> str:
    return [text for text in lines if text.lstrip().startswith(start)][number]


def test_one_view_has_all_that_is_known(board: Board) -> None:
    lines = drawn(board.snapshot(), 160)
    assert line(lines, "bf16").split()[-1] == "grading"  # of its samples of MMLU-Pro no grade is known
    assert "12,500/12,726" in line(lines, "bf16")
    fp8 = line(lines, "fp8")
    assert "generating" in fp8
    assert "10.0" in fp8  # samples a second
    assert "1,000" in fp8  # tokens a second
    cell = line(lines, "math500", 1)
    assert "200/500" in cell
    assert "75.0 % (68.6 to 80.5)" in cell
    assert cell.split()[-1] == "40/30"  # lost: 0 mod 4, not 0 mod 5; gained: 0 mod 5, not 0 mod 4
    assert "━" in cell
    assert "waiting" in line(lines, "nvfp4")
    assert text("live.preliminary") in lines
    assert "hle: not run: its data set is gated" in lines


def test_the_view_is_whole_in_chinese(board: Board) -> None:
    board(Noted("there is room on the disk again: going on"))
    task = TaskProgress(Task("fp8: grading math500", 500, "answers"), 20)
    lines = drawn({**board.snapshot(), "not_run": {}}, 160, lang="zh", tasks=[task])
    plain = list(PlainLines("zh").news({**board.snapshot(), "not_run": {"hle": "the run has not come to it yet"}}))
    names = r"\w*(bf16|fp8|nvfp4|mmlu_pro|math500|aime24|humaneval|hle|study|toy|token|qwen\S*)\w*"
    for said in (*lines, *plain):
        assert not re.search(r"[a-z]{3,}", re.sub(names, "", said)), said
    assert "生成中" in line(lines, "fp8")
    assert "75.0%（68.6 至 80.5）" in line(lines, "math500", 1)
    assert text("live.preliminary", "zh") in lines
    assert "hle：未运行：运行尚未进行到这里" in plain


@pytest.mark.parametrize("width", [20, 40, 60, 80, 100, 120, 200, 300])
@pytest.mark.parametrize("height", [6, 10, 24, 50])
def test_nothing_is_wider_or_higher_than_the_terminal(board: Board, width: int, height: int) -> None:
    board(Noted("x" * 400))
    tasks = tuple(TaskProgress(Task("exam of mmlu_pro", 100, "items")) for _ in range(3))
    lines = drawn(board.snapshot(), width, height, tasks=tasks)
    assert max(cell_len(text) for text in lines) <= width
    least = 3 + 3 + 1 + 1 + 3  # top, titles, variants, what is left out, a note, tasks
    assert len(lines) < max(height, least + 2)


@pytest.mark.parametrize("width", [80, 100, 120, 200])
def test_eighty_columns_hold_counts_rates_accuracy_and_flips(board: Board, width: int) -> None:
    lines = drawn(board.snapshot(), width, 40)
    assert "200/500" in line(lines, "math500", 1)
    assert "75.0 % (68.6 to 80.5)" in line(lines, "math500", 1)
    assert line(lines, "math500", 1).endswith("40/30")
    assert "10.0" in line(lines, "fp8")


def test_a_low_terminal_folds_what_is_not_at_work(board: Board) -> None:
    snapshot = board.snapshot()
    assert unfolded(snapshot, 100) == {
        name: ["mmlu_pro", "math500", "aime24", "humaneval"] for name in snapshot["variants"]
    }
    assert unfolded(snapshot, 5) == {"bf16": [], "fp8": ["mmlu_pro", "math500", "aime24", "humaneval"], "nvfp4": []}
    assert unfolded(snapshot, 8)["bf16"] == ["mmlu_pro", "math500", "aime24", "humaneval"]
    assert unfolded(snapshot, 2)["fp8"] == ["mmlu_pro", "math500"]
    assert unfolded(snapshot, -3)["fp8"] == []
    assert "bf16 (baseline) +4" in line(drawn(snapshot, 120, 14), "bf16")


def test_a_stopped_run_says_so_and_claims_no_time_left(board: Board) -> None:
    lines = drawn({**board.snapshot(), "running": False}, said="stopped 3 s ago")
    assert lines[0] == "toy · stopped 3 s ago"
    assert "stopped" in line(lines, "fp8")


@pytest.mark.parametrize(
    ("left", "most", "words"),
    [
        (90.0, None, "about 1 min 30 s left"),
        (None, 7200.0, "at most 2 h 0 min left"),
        (None, None, "time left unknown"),
    ],
)
def test_time_left_in_words(left: float | None, most: float | None, words: str) -> None:
    assert time_left({"seconds_left": left, "seconds_at_most": most}) == words


def test_devices_fill_the_room_that_is_left_and_the_rest_is_counted(board: Board) -> None:
    for number in range(64):
        board(DeviceChanged(f"host-a GPU {number}", "fp8 mmlu_pro"))
    lines = drawn(board.snapshot(), 120, 24)
    assert len(lines) < 24
    assert re.fullmatch(r"\d+ more devices", lines[-1])
    assert len(drawn(board.snapshot(), 120)) > 64  # in a pipe there is room for all


def test_text_from_anywhere_is_shown_as_text(board: Board, study: Study) -> None:
    board(Noted(NASTY))
    board(DeviceChanged(NASTY, NASTY))
    board(BenchmarkSkipped("hle", NASTY))
    board(PhaseChanged("fp8", NASTY))
    board(VariantEnded("nvfp4", NASTY))
    tasks = (TaskProgress(Task(NASTY, None, "items")),)
    file = io.StringIO()
    console = Console(file=file, width=200, height=60, force_terminal=True, color_system="truecolor")
    console.print(Screen(board.snapshot(), tasks=tasks, said=NASTY))
    shown = file.getvalue()
    assert "[red]out[/red] of" in shown
    assert all(c.isprintable() for c in re.sub(r"\x1b\[[0-9;]*m|\n", "", shown))
    assert "31m memory" in shown  # the escape itself is gone
    plain = list(PlainLines().news(board.snapshot()))
    assert all(text.isprintable() for text in plain)
    assert any("[red]out[/red]" in text for text in plain)


def test_printable_leaves_ordinary_text_of_every_script_alone() -> None:
    assert printable("维度 é … ü 数学") == "维度 é … ü 数学"
    assert printable("a\tb\nc\x1b[2J") == "a b c�[2J"


def test_lines_say_starts_ends_notes_and_every_ten_seconds_the_totals(board: Board) -> None:
    lines = PlainLines()
    first = list(lines.news(board.snapshot()))
    assert first == [
        "hle: not run: its data set is gated",
        "bf16: grading, 12,500/12,726 samples, 2,500 tokens/s",
        "fp8: generating",
    ]
    assert list(lines.news(board.snapshot())) == []
    board(Noted("the engine died; started again (1 of 3)"))
    later = board.snapshot()
    later["updated"] += 11
    assert list(lines.news(later)) == [
        "fp8: 12,200/12,726 samples (96 %), 1,000 tokens/s, time left unknown",
        "the engine died; started again (1 of 3)",
    ]
    later = board.snapshot()
    later["updated"] += 22
    later["variants"]["fp8"]["tokens_per_second"] = None  # a server that does not count them
    assert list(lines.news(later)) == ["fp8: 12,200/12,726 samples (96 %), 10.0 samples/s, time left unknown"]
    board(PhaseChanged("fp8", "restarting the engine (2 of 3)"))
    assert list(lines.news(board.snapshot())) == ["fp8: restarting the engine (2 of 3)"]
    board(VariantEnded("fp8", "it died three times"))
    board(PhaseChanged(None, "writing the report"))
    assert list(lines.news(board.snapshot())) == ["writing the report ...", "fp8: incomplete: it died three times"]


def test_a_clock_that_is_set_back_silences_nothing(board: Board) -> None:
    lines = PlainLines()
    list(lines.news(board.snapshot()))
    board(Noted("one"))
    early = {**board.snapshot(), "updated": board.snapshot()["updated"] - 3600}
    early["notes"] = [{**note, "time": note["time"] - 3600} for note in early["notes"]]
    said = list(lines.news(early))
    assert [line.split(":")[0] for line in said] == ["fp8", "one"]
    assert list(lines.news(early)) == []


def test_accuracy_is_said_once_all_is_graded(board: Board) -> None:
    lines = PlainLines()
    list(lines.news(board.snapshot()))
    board(VariantPlanned("bf16", {"mmlu_pro": (0, 12032)}))  # of its 12,000 samples no grade is known here
    board(VariantPlanned("fp8", {"mmlu_pro": (0, 12032)}))
    board(VariantEnded("fp8"))
    assert list(lines.news(board.snapshot())) == [
        "bf16: finished, 500/12,726 samples, 2,500 tokens/s",
        "bf16 on math500, so far: 80.0 % (76.3 to 83.3)",
        "fp8: finished, 200/12,726 samples, 1,000 tokens/s",
        "fp8 on math500, so far: 75.0 % (68.6 to 80.5), 40 lost, 30 gained",
    ]
    assert list(lines.news(board.snapshot())) == []


def test_a_pipe_gets_lines_without_escapes_and_its_tasks(
    board: Board, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with view(board) as shown:
        with Events(board, shown).task("exam of math500", 500, "items") as advance:
            advance(500)
        board(VariantEnded("fp8"))
    out, err = capsys.readouterr()
    assert out == ""
    assert "exam of math500: 500 items done" in err
    assert "fp8: grading" in err  # of its samples of MMLU-Pro no grade is known
    assert "bf16: loading" not in err
    assert "\x1b" not in err


PROGRAM = """
import sys, time
from pathlib import Path
from bitparity.progress.board import Board
from bitparity.progress.events import *
from bitparity.report.live import view
from bitparity.study.resolve import parse_study
board = Board(parse_study({study!r}, "study", Path.cwd()))
with view(board) as shown, Events(board, shown).task("exam of math500", None, "items"):
    board(VariantPlanned("bf16", {{"math500": (3, 500)}}))
    board(VariantStarted("bf16"))
    time.sleep(1.2)
    {then}
"""


def in_a_terminal(then: str = "", **environment: str) -> str:
    """What a program draws on a terminal of 80 x 24."""
    ours, theirs = pty.openpty()
    program = [sys.executable, "-c", PROGRAM.format(study=STUDY, then=then)]
    env = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLORTERM")}
    env |= {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24", **environment}
    child = subprocess.Popen(program, stdin=theirs, stdout=theirs, stderr=theirs, env=env)
    os.close(theirs)
    shown = b""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            block = os.read(ours, 1 << 16)
        except OSError:  # the other end is closed
            break
        if not block:
            break
        shown += block
    child.wait(10)
    os.close(ours)
    return shown.decode()


def test_a_terminal_is_drawn_on_in_place_and_left_clean() -> None:
    shown = in_a_terminal()
    assert "exam of math500" in shown
    assert "3/500" in shown
    assert shown.count("\x1b[2K") > 3  # lines drawn again
    assert "\x1b[2J" not in shown  # the screen is never cleared
    assert re.search(r"\x1b\[\d*(;\d+)*m", shown)
    assert shown.rstrip().endswith("\x1b[2K")  # nothing stays


def test_no_color_is_honoured_on_a_terminal() -> None:
    shown = in_a_terminal(NO_COLOR="1")
    colours = [code for found in re.findall(r"\x1b\[([0-9;]*)m", shown) for code in found.split(";") if code]
    assert "3/500" in shown
    assert not [code for code in colours if 30 <= int(code) <= 49 or int(code) >= 90]


def test_a_dumb_terminal_gets_lines() -> None:
    shown = in_a_terminal(TERM="dumb")
    assert "\x1b" not in shown
    assert "bf16: running" in shown


def test_what_was_reached_stays_on_the_screen_where_a_run_breaks_off() -> None:
    shown = in_a_terminal("raise KeyboardInterrupt")
    table = shown.rindex("3/500")
    assert "\x1b[2K" not in shown[table:]
