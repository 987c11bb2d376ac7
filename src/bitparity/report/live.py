"""A run on the terminal while it goes: variants x benchmarks, what is done, how fast, and the answers so far.

```
with view(Board(study)) as events:
    run_study(study, path, events)
```
A terminal shows one table that is drawn again in place; a pipe gets plain lines. Both are made from the snapshots of a
`Board` (schema `bitparity/progress/1`), so `bitparity status` shows another process's run in the same words.
Everything that comes from a study, a model or a server is shown as text, never as markup or as a terminal's escape.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import IO, TYPE_CHECKING, Any

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.text import Text

from bitparity.progress.board import Board
from bitparity.progress.events import GENERATING, LOADING, Advance, Events
from bitparity.progress.file import ProgressFile
from bitparity.progress.tasks import (
    PLAIN_INTERVAL,
    TaskListener,
    TaskShower,
    duration,
    plain_task,
    printable,
    redraws,
    task_line,
)
from bitparity.report.words import mean_score, percent

if TYPE_CHECKING:
    from bitparity.progress.status import Status

Snapshot = Mapping[str, Any]

REFRESHES = 2  # a second
POLL_SECONDS = 1.0  # between two looks at the board for plain lines
PRELIMINARY = "Accuracy and flips so far are preliminary: verdicts come at the end."
MOST_NOTES, MOST_TASKS = 3, 4
NAME_WIDTH = 28

_TITLES = {
    "name": "",
    "bar": "",
    "done": "done",
    "rate": "samples/s",
    "tokens": "tokens/s",
    "left": "time left",
    "accuracy": "accuracy so far",
    "mean": "accuracy so far",
    "flips": "lost/gained",
}
_LEFT_ALIGNED = ("name", "bar", "accuracy", "mean")
# The columns from the widest choice to the narrowest; the first that fits is drawn.
_CHOICES: tuple[tuple[tuple[str, ...], int], ...] = (
    (("name", "bar", "done", "rate", "tokens", "left", "accuracy", "flips"), 24),
    (("name", "bar", "done", "rate", "tokens", "left", "accuracy", "flips"), 10),
    (("name", "done", "rate", "tokens", "left", "accuracy", "flips"), 0),
    (("name", "done", "rate", "left", "accuracy", "flips"), 0),
    (("name", "done", "left", "accuracy", "flips"), 0),
    (("name", "done", "left", "mean", "flips"), 0),
    (("name", "done", "left", "mean"), 0),
    (("name", "done", "mean"), 0),
    (("name", "done"), 0),
)
_STYLES = {"finished": "green", "incomplete": "red", "stopped": "yellow", "running": "cyan", "loading": "cyan"}


@dataclass(slots=True)
class SideTask:
    """Something beside the samples, such as an exam that is built."""

    what: str
    total: int | None
    unit: str
    started: float = field(default_factory=time.monotonic)
    finished: int = 0

    def line(self) -> str:
        """How far it is."""
        if not self.finished and self.total is None:
            return f"{self.what} ..."
        return f"{self.what}: {task_line(self.finished, self.total, time.monotonic() - self.started, self.unit)}"


@contextmanager
def view(board: Board, console: Console | None = None) -> Iterator[Events]:
    """Show a run on stderr while the block lasts, and keep its progress.json; gives the events to tell of it."""
    published = ProgressFile(board)
    console = console or Console(stderr=True)
    if not redraws(console.file):
        with _lines(board):
            yield Events(board, published, TaskListener(plain_task))
        return
    tasks: list[SideTask] = []
    with _redrawn(console, lambda: Screen(board.snapshot(), tasks=tuple(tasks))):
        yield Events(board, published, TaskListener(_side_tasks(tasks)))


@contextmanager
def _redrawn(console: Console, draw: Callable[[], Screen]) -> Iterator[None]:
    """Draw again and again in place. The table goes away at the end, and stays where the run was broken off."""
    live = Live(
        console=console, get_renderable=draw, refresh_per_second=REFRESHES, transient=True, vertical_overflow="crop"
    )
    with live:
        try:
            yield
        except BaseException:
            live.transient = False
            raise


def show(status: Status, console: Console) -> None:
    """Print how a run stands."""
    console.print(Screen(status.snapshot, said=status.said))


def follow(statuses: Iterable[Status], console: Console) -> None:
    """Show how a run stands until there is no more to come."""
    if not redraws(console.file):
        _follow_in_lines(statuses, console.file)
        return
    coming = iter(statuses)
    last = next(coming)
    with _redrawn(console, lambda: Screen(last.snapshot, said=last.said)):
        for status in coming:
            last = status
    show(last, console)


def _follow_in_lines(statuses: Iterable[Status], stream: IO[str]) -> None:
    lines = PlainLines()
    for status in statuses:
        say(lines.news(status.snapshot), stream)
        if status.state != "running":
            say([f"{status.snapshot['study']}: {status.said}"], stream)


def _side_tasks(tasks: list[SideTask]) -> TaskShower:
    @contextmanager
    def task(what: str, total: int | None, unit: str) -> Iterator[Advance]:
        shown = SideTask(printable(what), total, unit)
        tasks.append(shown)

        def advance(count: int) -> None:
            shown.finished += count

        try:
            yield advance
        finally:
            tasks.remove(shown)

    return task


@contextmanager
def _lines(board: Board) -> Iterator[None]:
    """Plain lines on stderr from a thread of its own, and whatever is left to say at the end."""
    lines = PlainLines()
    stop = threading.Event()

    def follow() -> None:
        while not stop.wait(POLL_SECONDS):
            say(lines.news(board.snapshot()))

    thread = threading.Thread(target=follow, name="lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        say(lines.news(board.snapshot()))


def say(lines: Iterable[str], stream: IO[str] | None = None) -> None:
    """Print lines at once, on stderr unless told otherwise."""
    for line in lines:
        print(line, file=stream or sys.stderr, flush=True)


class PlainLines:
    """What is new in the snapshots of one run, as lines."""

    def __init__(self, interval: float = PLAIN_INTERVAL) -> None:
        self._interval = interval
        self._said: dict[str, str] = {}
        self._shown: dict[str, float] = {}
        self._noted: Any = None  # the last note that was said

    def news(self, snapshot: Snapshot) -> Iterator[str]:
        """The lines that this snapshot adds to those before it."""
        if (phase := snapshot["phase"]) and self._fresh("", phase):
            yield f"{printable(phase)} ..."
        for bench, reason in snapshot["not_run"].items():
            if self._fresh(f"benchmark {bench}", reason):
                yield printable(f"{bench}: not run: {reason}")
        for name, variant in snapshot["variants"].items():
            yield from self._variant(name, variant, snapshot["updated"])
        notes = list(snapshot["notes"])
        for note in notes[notes.index(self._noted) + 1 if self._noted in notes else 0 :]:
            self._noted = note
            yield printable(note["text"])

    def _is_due(self, name: str, now: float) -> bool:
        return abs(now - self._shown.get(name, 0.0)) >= self._interval  # also where a clock was set back

    def _fresh(self, what: str, text: str) -> bool:
        known, self._said[what] = self._said.get(what), text
        return known != text

    def _variant(self, name: str, variant: Snapshot, now: float) -> Iterator[str]:
        state = variant["state"]
        if self._fresh(f"variant {name}", state_words(variant)) and state != "waiting":
            self._shown[name] = now
            yield printable(f"{name}: {_ended(variant) if state == 'finished' else state_words(variant)}")
        elif variant["phase"] == GENERATING and self._is_due(name, now):
            self._shown[name] = now
            yield printable(f"{name}: {_under_way(variant)}")
        cells = {bench: cell for bench, cell in variant["benchmarks"].items() if cell["done"]}
        graded = all(cell["graded"] >= cell["done"] for cell in cells.values())
        if state in ("finished", "incomplete") and cells and graded and self._fresh(f"accuracy {name}", ""):
            scores = ", ".join(f"{bench} {_accuracy(cell)}" for bench, cell in cells.items())
            yield printable(f"{name}: accuracy so far: {scores}")


def _accuracy(cell: Snapshot) -> str:
    flips = "" if cell["lost"] is None else f", {cell['lost']} lost, {cell['gained']} gained"
    return mean_score(cell["mean"], cell["ci95"]) + flips


def state_words(variant: Snapshot) -> str:
    """What a variant is doing, or how it ended."""
    if variant["state"] == "incomplete":
        return f"incomplete: {variant['reason']}"
    if variant["state"] == "running":
        return str(variant["phase"] or "running")
    return str(variant["state"])


def _under_way(variant: Snapshot) -> str:
    """The totals of a variant that generates, in one line."""
    share = f" ({100 * variant['done'] / variant['total']:.0f} %)" if variant["total"] else ""
    said = [f"{_counted(variant)} samples{share}"]
    if variant["rate"] is not None:
        said.append(_rates(variant))
    return ", ".join([*said, time_left(variant)])


def _rates(variant: Snapshot) -> str:
    tokens = variant["tokens_per_second"]
    return f"{variant['rate']:.1f} samples/s" + ("" if tokens is None else f", {tokens:,.0f} tokens/s")


def _ended(variant: Snapshot) -> str:
    """How many samples a variant that is finished has, and how fast they came."""
    speed = variant["session_tokens_per_second"]
    return f"finished, {_counted(variant)} samples" + (f", {speed:,.0f} tokens/s" if speed else "")


def _counted(entry: Snapshot) -> str:
    total = "?" if entry["total"] is None else f"{entry['total']:,}"
    failed = f", {entry['failed']:,} failed" if entry["failed"] else ""
    return f"{entry['done']:,}/{total}{failed}"


def time_left(entry: Snapshot) -> str:
    """Time left of a run or a variant, in words."""
    if entry["seconds_left"] is not None:
        return f"about {_left(entry['seconds_left'])} left"
    most = entry.get("seconds_at_most")  # not in what an older version has left
    return "time left unknown" if most is None else f"at most {_left(most)} left"


def _left(seconds: float | None) -> str:
    """Time left, as coarse as it is known."""
    if seconds is None:
        return ""
    if seconds >= 86400:
        return f"{seconds / 86400:.1f} days"
    return duration(round(seconds)) if seconds >= 60 else f"{seconds:.0f} s"


@dataclass(slots=True)
class _Row:
    cells: dict[str, str]
    share: float | None  # of the samples that are done; None draws no bar
    style: str = ""
    state_style: str = ""


class Screen:
    """One snapshot as a table that fits the console's width and, on a terminal, its height.

    `said` is a line for the top, by default what the snapshot knows of the time left; `tasks` stand below.
    """

    def __init__(self, snapshot: Snapshot, *, said: str | None = None, tasks: Sequence[SideTask] = ()) -> None:
        self._snapshot = snapshot
        self._said = said
        self._tasks = tasks

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = console.height - 1 if console.is_terminal else sys.maxsize
        below = self._below()
        names = unfolded(self._snapshot, height - len(below) - 3 - len(self._snapshot["variants"]))
        yield self._line(self._top(), options, "bold")
        rows = list(self._rows(names))
        yield from _table(rows, options)
        if any(row.cells.get("accuracy") for row in rows):
            yield self._line(PRELIMINARY, options, "dim")
        room = height - len(below) - 3 - len(rows)
        for text in [*below, *self._workers(room)]:
            yield self._line(text, options)

    def _line(self, text: str, options: ConsoleOptions, style: str = "") -> Text:
        return Text(printable(text), style, no_wrap=True, overflow="ellipsis" if _unicode(options) else "crop")

    def _top(self) -> str:
        snapshot = self._snapshot
        said = [snapshot["study"], self._said or f"{duration(snapshot['updated'] - snapshot['started'])} so far"]
        if snapshot["running"]:
            said.append(time_left(snapshot))
            if snapshot["phase"]:
                said.append(snapshot["phase"])
        return " · ".join(said)

    def _rows(self, names: Mapping[str, Sequence[str]]) -> Iterator[_Row]:
        for name, variant in self._snapshot["variants"].items():
            yield self._variant(name, variant, hidden=len(variant["benchmarks"]) - len(names[name]))
            for bench in names[name]:
                cell = variant["benchmarks"][bench]
                cells = {**self._numbers(cell), "name": f"  {printable(bench)}"}
                cells["accuracy"] = mean_score(cell["mean"], cell["ci95"]) if cell["mean"] is not None else ""
                cells["mean"] = percent(cell["mean"]) if cell["mean"] is not None else ""
                yield _Row(cells, _share(cell))

    def _variant(self, name: str, variant: Snapshot, hidden: int) -> _Row:
        state = variant["state"]
        if not self._snapshot["running"] and state in ("running", LOADING):
            state = "stopped"
        words = printable(state_words(variant) if state == variant["state"] else state)
        rates = f"{words}, {_rates(variant)}" if variant["rate"] is not None else words
        role = {self._snapshot["baseline"]: " (baseline)", self._snapshot["control"]: " (control)"}.get(name, "")
        folded = f" +{hidden}" if hidden and variant["benchmarks"] else ""
        cells = {
            **self._numbers(variant),
            "name": printable(name) + role + folded,
            "state": words,
            "state with rates": rates,
        }
        return _Row(cells, None if state == "waiting" else _share(variant), "bold", _STYLES.get(state, "dim"))

    def _numbers(self, entry: Snapshot) -> dict[str, str]:
        """The figures that variants and benchmarks have alike; a rate of the session where there is none at present."""
        rate, tokens = (
            entry[key] if entry[key] is not None else entry[f"session_{key}"] for key in ("rate", "tokens_per_second")
        )
        is_left = self._snapshot["running"] and entry["done"] != entry["total"]
        return {
            "done": _counted(entry),
            "rate": "" if rate is None else f"{rate:.1f}",
            "tokens": "" if tokens is None else f"{tokens:,.0f}",
            "left": _left(entry["seconds_left"]) if is_left else "",
            "flips": "" if entry.get("lost") is None else f"{entry['lost']}/{entry['gained']}",
        }

    def _below(self) -> list[str]:
        """What stands below the table: benchmarks left out, notes, reasons in full, tasks."""
        snapshot = self._snapshot
        lines = [f"{bench}: not run: {reason}" for bench, reason in snapshot["not_run"].items()]
        lines += [f"{name}: {v['reason']}" for name, v in snapshot["variants"].items() if v["reason"]]
        lines += [f"{_clock(note['time'])} {note['text']}" for note in snapshot["notes"][-MOST_NOTES:]]
        return lines + [task.line() for task in self._tasks[-MOST_TASKS:]]

    def _workers(self, room: int) -> list[str]:
        workers = [f"{name}: {text}" for name, text in self._snapshot["workers"].items()]
        if len(workers) <= room:
            return workers
        kept = max(0, room - 1)
        return [*workers[:kept], f"{len(workers) - kept} {'more ' if kept else ''}devices"]


def unfolded(snapshot: Snapshot, room: int) -> dict[str, list[str]]:
    """The benchmarks that are shown of each variant in so many lines: those of the running variants first."""
    order = ["running", LOADING, "incomplete", "finished", "waiting"]
    shown: dict[str, list[str]] = {name: [] for name in snapshot["variants"]}
    for name, variant in sorted(snapshot["variants"].items(), key=lambda pair: order.index(pair[1]["state"])):
        benchmarks = variant["benchmarks"]
        active = variant["state"] in ("running", LOADING)
        if len(benchmarks) > room and not active:
            continue
        unfinished = sorted(benchmarks, key=lambda bench: _share(benchmarks[bench]) == 1.0)
        kept = set(unfinished[: max(0, room)])
        shown[name] = [bench for bench in benchmarks if bench in kept]
        room -= len(shown[name])
    return shown


def _share(entry: Snapshot) -> float | None:
    return min(1.0, entry["done"] / entry["total"]) if entry["total"] else None


def _table(rows: Sequence[_Row], options: ConsoleOptions) -> Iterator[Text]:
    """The rows in the widest choice of columns that fits."""
    for columns, bar in _CHOICES:
        widths = {key: _width(key, rows, bar) for key in columns}
        if sum(widths.values()) + 2 * (len(columns) - 1) <= options.max_width:
            break
    yield _drawn({key: _TITLES[key] for key in columns}, widths, "dim")
    for row in rows:
        yield _row(row, widths, options)


def _width(key: str, rows: Sequence[_Row], bar: int) -> int:
    if key == "bar":
        return bar
    widest = max([cell_len(_TITLES[key]), *(cell_len(row.cells.get(key, "")) for row in rows)])
    return min(widest, NAME_WIDTH) if key == "name" else widest


def _drawn(cells: Mapping[str, str], widths: Mapping[str, int], style: str) -> Text:
    fitted = (_fitted(cells.get(key, ""), width, left=key in _LEFT_ALIGNED) for key, width in widths.items())
    return Text("  ".join(fitted).rstrip(), style, no_wrap=True, overflow="crop")


def _row(row: _Row, widths: Mapping[str, int], options: ConsoleOptions) -> Text:
    """A row; what a variant is doing stands where its benchmarks have their accuracy, to the end of the line."""
    drawn, columns = dict(row.cells), dict(widths)
    if "bar" in columns:
        drawn["bar"] = _bar(row.share, columns["bar"], options)
    if "state" in drawn:
        columns = {key: width for key, width in columns.items() if key not in ("accuracy", "mean", "flips")}
        drawn["accuracy"] = drawn["state" if "rate" in columns else "state with rates"]
        room = options.max_width - sum(columns.values()) - 2 * len(columns)
        columns["accuracy"] = min(room, cell_len(drawn["accuracy"]))
    line = _drawn(drawn, columns, row.style)
    start = 0
    for key, width in columns.items():
        if key == "bar":
            line.stylize("green" if row.share == 1.0 else "cyan", start, start + width)
        elif key == "accuracy" and row.state_style:
            line.stylize(row.state_style, start, start + width)
        start += width + 2
    return line


def _fitted(text: str, width: int, *, left: bool) -> str:
    if width < 1:
        return ""
    if cell_len(text) > width:
        return set_cell_size(text, width - 1) + "…"
    return set_cell_size(text, width) if left else " " * (width - cell_len(text)) + text


def _bar(share: float | None, width: int, options: ConsoleOptions) -> str:
    if share is None:
        return ""
    full, rest = ("━", "─") if _unicode(options) else ("#", ".")
    whole = int(share * width)
    return full * whole + rest * (width - whole)


def _unicode(options: ConsoleOptions) -> bool:
    return not options.ascii_only


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).strftime("%H:%M:%S")
