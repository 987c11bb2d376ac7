"""Live view of a run on the terminal: variants x benchmarks, what is done, how fast, and the accuracy so far.

```
with show_run(study) as events:
    run_study(study, path, events)
```
A terminal shows one table that is drawn again in place; a pipe gets plain lines. Both are made from the snapshots of a
`Board` (schema `bitparity/progress/1`), so `bitparity status` shows another process's run in the same words.
Everything that comes from a study, a model or a server is shown as text, never as markup or as a terminal's escape.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import IO, TYPE_CHECKING

from rich.cells import cell_len, set_cell_size
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from bitparity.inputs.packaged import packaged_toml
from bitparity.progress.board import Board
from bitparity.progress.events import GENERATING, GRADING, LOADING, Event, Events, Listener, Task, TaskProgress
from bitparity.progress.file import ProgressFile, repeated
from bitparity.progress.snapshot import Cell, Note, Snapshot, TimeLeft, Variant
from bitparity.progress.tasks import PLAIN_INTERVAL, TaskLines, duration, printable, task_words
from bitparity.report.language import Lang, percent, reason, text
from bitparity.report.words import mean_score

if TYPE_CHECKING:
    from bitparity.progress.status import Status
    from bitparity.schema import Study

REFRESHES = 2  # a second
POLL_SECONDS = 1.0  # between two looks at the board for plain lines
MOST_NOTES, MOST_TASKS = 3, 4
NAME_WIDTH, PLAIN_COLUMNS = 28, 80

_COLUMNS = packaged_toml(__package__, "live.toml")
_TITLES: Mapping[str, str] = _COLUMNS["titles"]  # column -> the key of its title in texts.toml


@contextmanager
def show_run(study: Study, *more: Listener, reported: bool = True, lang: Lang = "en") -> Iterator[Events]:
    """Events of a run that is shown on stderr, and kept in its progress.json, while the block lasts.

    `more` are told too.
    """
    board = Board(study, reported=reported)
    with view(board, lang=lang) as shown:
        yield Events(board, ProgressFile(board), shown, *more)


@contextmanager
def show_tasks(lang: Lang = "en") -> Iterator[Events]:
    """Events whose tasks are shown on stderr while the block lasts."""
    with view(lang=lang) as shown:
        yield Events(shown)


@contextmanager
def view(board: Board | None = None, console: Console | None = None, lang: Lang = "en") -> Iterator[Listener]:
    """Show a run, or without a board tasks alone, on stderr while the block lasts; gives the listener for its tasks."""
    console = console or Console(stderr=True)
    if not _can_redraw(console):
        lines = PlainLines(lang)
        with nullcontext() if board is None else repeated(lambda: say(lines.news(board.snapshot())), POLL_SECONDS):
            yield TaskLines(partial(reason, lang=lang))
        return
    tasks: dict[Task, TaskProgress] = {}

    def follow_task(event: Event) -> None:
        if isinstance(event, TaskProgress):
            tasks[event.task] = event
            if event.state != "running":
                del tasks[event.task]

    def draw() -> RenderableType:
        running = list(tasks.values())
        if board is not None:
            return Screen(board.snapshot(), tasks=running, lang=lang)
        return Group(*(Text(reason(task_words(task), lang), no_wrap=True, overflow="crop") for task in running))

    with _redrawn(console, draw):
        yield follow_task


def _can_redraw(console: Console) -> bool:
    return console.file.isatty() and not console.is_dumb_terminal


@contextmanager
def _redrawn(console: Console, draw: Callable[[], RenderableType]) -> Iterator[None]:
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


def show(status: Status, console: Console, lang: Lang = "en") -> None:
    """Print how a run stands."""
    console.print(Screen(status.snapshot, said=reason(status.said, lang), lang=lang))


def follow(statuses: Iterable[Status], console: Console, lang: Lang = "en") -> None:
    """Show how a run stands until there is no more to come."""
    if not _can_redraw(console):
        lines = PlainLines(lang)
        for status in statuses:
            say(lines.news(status.snapshot), console.file)
            if status.state != "running":
                say([text("colon", lang, name=status.snapshot["study"], said=reason(status.said, lang))], console.file)
        return
    coming = iter(statuses)
    last = next(coming)
    with _redrawn(console, lambda: Screen(last.snapshot, said=reason(last.said, lang), lang=lang)):
        for status in coming:
            last = status
    show(last, console, lang)


def say(lines: Iterable[str], stream: IO[str] | None = None) -> None:
    """Print lines at once, on stderr unless told otherwise."""
    for line in lines:
        print(line, file=stream or sys.stderr, flush=True)


class PlainLines:
    """Makes lines of what is new in the snapshots of one run."""

    def __init__(self, lang: Lang = "en") -> None:
        self._lang: Lang = lang
        self._said: dict[str, str] = {}  # the last text on each subject
        self._shown: dict[str, float] = {}  # when each variant was last shown
        self._noted: Note | None = None  # the last note that was said

    def news(self, snapshot: Snapshot) -> Iterator[str]:
        """The lines that this snapshot adds to those before it."""
        yield from map(printable, self._news(snapshot))

    def _news(self, snapshot: Snapshot) -> Iterator[str]:
        if (phase := snapshot["phase"]) and self._is_new("phase", phase):
            yield f"{reason(phase, self._lang)} ..."
        for bench, why in snapshot["not_run"].items():
            if self._is_new(f"benchmark {bench}", why):
                yield _not_run(bench, why, self._lang)
        for name, variant in snapshot["variants"].items():
            yield from self._variant(name, variant, snapshot["updated"])
        notes = snapshot["notes"]
        for note in notes[notes.index(self._noted) + 1 if self._noted in notes else 0 :]:
            self._noted = note
            yield reason(note["text"], self._lang)

    def _is_new(self, subject: str, said: str) -> bool:
        known, self._said[subject] = self._said.get(subject), said
        return known != said

    def _variant(self, name: str, variant: Variant, now: float) -> Iterator[str]:
        state, lang = variant["state"], self._lang
        is_due = abs(now - self._shown.get(name, 0.0)) >= PLAIN_INTERVAL  # also where a clock was set back
        if self._is_new(f"variant {name}", state_words(variant, lang)) and state != "waiting":
            self._shown[name] = now
            said = _ended(variant, lang) if state in ("finished", GRADING) else state_words(variant, lang)
            yield text("colon", lang, name=name, said=said)
        elif variant["phase"] == GENERATING and is_due:
            self._shown[name] = now
            yield _under_way(name, variant, lang)
        cells = {bench: cell for bench, cell in variant["benchmarks"].items() if cell["done"]}
        graded = all(cell["graded"] >= cell["done"] for cell in cells.values())
        if state in ("finished", "incomplete") and cells and graded and self._is_new(f"accuracy {name}", ""):
            for bench, cell in cells.items():
                flips = "" if cell["lost"] is None else text("live.flips", lang, **cell)
                accuracy = mean_score(cell["mean"], cell["ci95"], lang) + flips
                yield text("live.accuracy", lang, name=name, bench=bench, accuracy=accuracy)


def _not_run(bench: str, why: str, lang: Lang) -> str:
    return text("colon", lang, name=bench, said=text("fill.not_run", lang, reason=why))


def state_words(variant: Variant, lang: Lang = "en") -> str:
    """The state of a variant in words: its phase, or how it ended."""
    if variant["state"] == "incomplete":
        return text("live.incomplete", lang, reason=variant["reason"])
    return reason((variant["phase"] if variant["state"] == "running" else None) or variant["state"], lang)


def _under_way(name: str, variant: Variant, lang: Lang) -> str:
    """The totals of a variant that generates, in one line, which has as many of the rates as fit."""
    share = f" ({100 * variant['done'] / variant['total']:.0f} %)" if variant["total"] else ""
    counted = text("colon", lang, name=name, said=text("live.samples", lang, count=_counted(variant, lang)) + share)
    left, rates = time_left(variant, lang), _rates(variant, lang)
    lines = [text("pause", lang).join([counted, *rates[first:], left]) for first in range(len(rates) + 1)]
    return next((line for line in lines if cell_len(line) <= PLAIN_COLUMNS), lines[-1])


def _rates(variant: Variant, lang: Lang) -> list[str]:
    if variant["rate"] is None:
        return []
    rates = {"live.rate": variant["rate"], "live.tokens_rate": variant["tokens_per_second"]}
    return [text(key, lang, rate=rate) for key, rate in rates.items() if rate is not None]


def _ended(variant: Variant, lang: Lang) -> str:
    """The samples of a variant that are all generated, and the rate at which they came."""
    said = [reason(variant["state"], lang), text("live.samples", lang, count=_counted(variant, lang))]
    if speed := variant["session_tokens_per_second"]:
        said.append(text("live.tokens_rate", lang, rate=speed))
    return text("pause", lang).join(said)


def _counted(entry: Cell | Variant, lang: Lang) -> str:
    total = "?" if entry["total"] is None else f"{entry['total']:,}"
    failed = text("live.failed", lang, count=entry["failed"]) if entry["failed"] else ""
    return f"{entry['done']:,}/{total}{failed}"


def time_left(entry: TimeLeft | Variant, lang: Lang = "en") -> str:
    """Time left of a run or a variant, in words."""
    left, most = entry["seconds_left"], entry.get("seconds_at_most")  # the latter not in what an older version has left
    if left is None and most is None:
        return text("live.left_unknown", lang)
    key = "live.left_at_most" if left is None else "live.left"
    return text(key, lang, time=_left(most if left is None else left, lang))


def _left(seconds: float | None, lang: Lang) -> str:
    """Time left, as coarse as it is known."""
    if seconds is None:
        return ""
    if seconds >= 86400:
        return text("live.days", lang, days=seconds / 86400)
    return reason(duration(round(seconds)) if seconds >= 60 else f"{max(1.0, seconds):.0f} s", lang)


@dataclass(slots=True)
class _Row:
    """One line of the table; that of a variant has its state in words where its benchmarks have their accuracy."""

    cells: dict[str, str]
    share: float | None  # of the samples that are done; None draws no bar
    state: str = ""
    rates: str = ""
    style: str = ""
    state_style: str = ""


@dataclass
class Screen:
    """One snapshot as a table that fits the console's width and, on a terminal, its height.

    `said` is a line for the top, by default what the snapshot knows of the time left; `tasks` stand below.
    """

    snapshot: Snapshot
    said: str | None = None
    tasks: Sequence[TaskProgress] = ()
    lang: Lang = "en"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = console.height - 1 if console.is_terminal else sys.maxsize
        below = self._below()
        names = unfolded(self.snapshot, height - len(below) - 3 - len(self.snapshot["variants"]))
        yield _line(self._top(), options, "bold")
        rows = list(self._rows(names))
        yield from _table(rows, options, self.lang)
        if any(row.cells.get("accuracy") for row in rows):
            yield _line(text("live.preliminary", self.lang), options, "dim")
        for line in [*below, *self._devices(height - len(below) - 3 - len(rows))]:
            yield _line(line, options)

    def _top(self) -> str:
        snapshot, lang = self.snapshot, self.lang
        spent = reason(duration(snapshot["updated"] - snapshot["started"]), lang)
        said = [snapshot["study"], self.said or text("live.so_far", lang, time=spent)]
        if snapshot["running"]:
            said += [time_left(snapshot, lang), *([reason(snapshot["phase"], lang)] if snapshot["phase"] else [])]
        return " · ".join(said)

    def _rows(self, names: Mapping[str, Sequence[str]]) -> Iterator[_Row]:
        for name, variant in self.snapshot["variants"].items():
            yield self._variant(name, variant, hidden=len(variant["benchmarks"]) - len(names[name]))
            for bench in names[name]:
                cell = variant["benchmarks"][bench]
                cells = {**self._numbers(cell), "name": f"  {printable(bench)}"}
                if cell["mean"] is not None:
                    shown = mean_score(cell["mean"], cell["ci95"], self.lang)
                    cells |= {"accuracy": shown, "mean": percent(cell["mean"], self.lang)}
                if cell["lost"] is not None:
                    cells["flips"] = f"{cell['lost']}/{cell['gained']}"
                yield _Row(cells, _share(cell))

    def _variant(self, name: str, variant: Variant, hidden: int) -> _Row:
        state, words = variant["state"], printable(state_words(variant, self.lang))
        if not self.snapshot["running"] and state in ("running", LOADING):
            state, words = "stopped", reason("stopped", self.lang)
        roles = {self.snapshot["baseline"]: "baseline", self.snapshot["control"]: "control"}
        role = f" ({text(roles[name], self.lang)})" if name in roles else ""
        folded = f" +{hidden}" if hidden else ""
        cells = {**self._numbers(variant), "name": printable(name) + role + folded}
        share = None if state == "waiting" else _share(variant)
        rates = text("pause", self.lang).join(_rates(variant, self.lang))
        return _Row(cells, share, words, rates, "bold", _COLUMNS["styles"].get(state, "dim"))

    def _numbers(self, entry: Cell | Variant) -> dict[str, str]:
        """The figures that variants and benchmarks have alike; a rate of the session where there is none at present."""
        rate, tokens = entry["rate"], entry["tokens_per_second"]
        rate = entry["session_rate"] if rate is None else rate
        tokens = entry["session_tokens_per_second"] if tokens is None else tokens
        is_left = self.snapshot["running"] and (entry["done"] != entry["total"] or entry.get("state") == GRADING)
        left = _left(entry["seconds_left"], self.lang) if is_left else ""
        rates = {"rate": "" if rate is None else f"{rate:.1f}", "tokens": "" if tokens is None else f"{tokens:,.0f}"}
        return {"done": _counted(entry, self.lang), "left": left, **rates}

    def _below(self) -> list[str]:
        """The lines below the table: benchmarks left out, reasons in full, notes, tasks."""
        snapshot, lang = self.snapshot, self.lang
        lines = [_not_run(bench, why, lang) for bench, why in snapshot["not_run"].items()]
        broken = {name: v["reason"] for name, v in snapshot["variants"].items() if v["reason"]}
        lines += [text("colon", lang, name=name, said=reason(why, lang)) for name, why in broken.items()]
        for note in snapshot["notes"][-MOST_NOTES:]:
            lines.append(f"{datetime.fromtimestamp(note['time']):%H:%M:%S} {reason(note['text'], lang)}")
        return lines + [reason(task_words(task), lang) for task in self.tasks[-MOST_TASKS:]]

    def _devices(self, room: int) -> list[str]:
        lang, workers = self.lang, self.snapshot["workers"]
        devices = [text("colon", lang, name=name, said=reason(said, lang)) for name, said in workers.items()]
        if len(devices) <= room:
            return devices
        kept = max(0, room - 1)
        return [*devices[:kept], text("live.more" if kept else "live.devices", lang, count=len(devices) - kept)]


def _line(said: str, options: ConsoleOptions, style: str = "") -> Text:
    return Text(printable(said), style, no_wrap=True, overflow="crop" if options.ascii_only else "ellipsis")


def unfolded(snapshot: Snapshot, room: int) -> dict[str, list[str]]:
    """The benchmarks that are shown of each variant in so many lines: those of the running variants first."""
    order = ["running", LOADING, GRADING, "incomplete", "finished", "waiting"]
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


def _share(entry: Cell | Variant) -> float | None:
    return min(1.0, entry["done"] / entry["total"]) if entry["total"] else None


def _table(rows: Sequence[_Row], options: ConsoleOptions, lang: Lang) -> Iterator[Text]:
    """The rows in the widest choice of columns that fits."""
    titles = {key: said and text(said, lang) for key, said in _TITLES.items()}
    for columns, bar in _COLUMNS["choices"]:
        widths = {key: bar if key == "bar" else _width(key, titles[key], rows) for key in columns.split()}
        if sum(widths.values()) + 2 * (len(widths) - 1) <= options.max_width:
            break
    yield _joined([Text(_fitted(key, titles[key], width)) for key, width in widths.items()], "dim")
    for row in rows:
        yield _drawn(row, widths, options)


def _width(key: str, title: str, rows: Sequence[_Row]) -> int:
    widest = max(cell_len(said) for said in (title, *(row.cells.get(key, "") for row in rows)))
    return min(widest, NAME_WIDTH) if key == "name" else widest


def _drawn(row: _Row, widths: Mapping[str, int], options: ConsoleOptions) -> Text:
    columns = {key: width for key, width in widths.items() if not (row.state and key in ("accuracy", "mean", "flips"))}
    pieces = [
        _bar(row.share, width, options) if key == "bar" else Text(_fitted(key, row.cells.get(key, ""), width))
        for key, width in columns.items()
    ]
    if row.state:  # to the end of the line, with the rates where they have no column
        words = row.state if "rate" in columns or not row.rates else f"{row.state}, {row.rates}"
        room = options.max_width - sum(columns.values()) - 2 * len(columns)
        pieces.append(Text(_fitted("name", words, min(room, cell_len(words))), row.state_style))
    return _joined(pieces, row.style)


def _joined(pieces: Sequence[Text], style: str) -> Text:
    line = Text("  ", style, no_wrap=True, overflow="crop").join(pieces)
    line.rstrip()
    return line


def _fitted(key: str, said: str, width: int) -> str:
    """The text in just so many columns of the terminal, cut where it is too long."""
    if width < 1:
        return ""
    if cell_len(said) > width:
        return set_cell_size(said, width - 1) + "…"
    return set_cell_size(said, width) if key in _COLUMNS["left_aligned"] else " " * (width - cell_len(said)) + said


def _bar(share: float | None, width: int, options: ConsoleOptions) -> Text:
    if share is None:
        return Text(" " * width)
    full, rest = ("#", ".") if options.ascii_only else ("━", "─")
    whole = int(share * width)
    return Text(full * whole + rest * (width - whole), "green" if share == 1.0 else "cyan")
