"""Progress on stderr: live bars on a terminal, plain lines elsewhere. Both show rate and time left.

A run has a view of its own (`bitparity.report.live`), in which these tasks stand below the table.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import IO, Any

from bitparity.progress.events import Advance, Event, Events, Task, TaskAdvanced, TaskEnded, TaskStarted

TaskShower = Callable[[str, int | None, str], AbstractContextManager[Advance]]
"""`show(name, total, unit)`: one task, shown while the block lasts."""


PLAIN_INTERVAL = 10.0  # seconds between two plain lines of one task


def show_tasks() -> Events:
    """Events whose tasks are shown on stderr, as it fits there."""
    return Events(TaskListener(_rich_task if redraws(sys.stderr) else plain_task))


class TaskListener:
    """Shows the tasks of a run; all other events are nothing to it."""

    def __init__(self, show: TaskShower) -> None:
        self._show = show
        self._shown: dict[Task, tuple[AbstractContextManager[Advance], Advance]] = {}

    def __call__(self, event: Event) -> None:
        """Show a task's begin, progress and end."""
        match event:
            case TaskStarted(task):
                shown = self._show(task.name, task.total, task.unit)
                self._shown[task] = shown, shown.__enter__()
            case TaskAdvanced(task, count):
                self._shown[task][1](count)
            case TaskEnded(task):
                self._shown.pop(task)[0].__exit__(None, None, None)


def redraws(stream: IO[str]) -> bool:
    """Whether a stream is a terminal on which a line can be drawn again."""
    return stream.isatty() and os.environ.get("TERM", "").lower() not in ("dumb", "unknown")


def printable(text: str) -> str:
    """A text of any origin in one line, without what a terminal would act on."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))


_shared: list[Any] = []  # the bars on the screen, and how many tasks show in them


@contextmanager
def _rich_task(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    """One line of the bars; tasks inside of each other or beside each other share the screen."""
    if not _shared:
        _shared[:] = [_bars(), 0]
        _shared[0].start()
    bar = _shared[0]
    _shared[1] += 1
    task = bar.add_task(printable(what), total=total, amount=_progress(0, total, unit), rate="")
    started, finished = time.monotonic(), 0

    def advance(count: int) -> None:
        nonlocal finished
        finished += count
        rate = _rate(finished, time.monotonic() - started, unit)
        bar.update(task, advance=count, amount=_progress(finished, total, unit), rate=rate)

    try:
        yield advance
    finally:
        _shared[1] -= 1
        if not _shared[1]:
            _shared.clear()
            bar.stop()


def _bars() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = ["{task.description}", "{task.fields[amount]}", "{task.fields[rate]}"]
    texts = [TextColumn(column, markup=False) for column in columns]
    return Progress(texts[0], BarColumn(), *texts[1:], TimeRemainingColumn(), console=Console(stderr=True))


def _progress(finished: int, total: int | None, unit: str) -> str:
    done = f"{finished / 1e6:.1f}" if unit == "B" else str(finished)
    return done if total is None else f"{done}/{_amount(total, unit)}"


@contextmanager
def plain_task(what: str, total: int | None, unit: str) -> Iterator[Advance]:
    """Lines: at the start, every ten seconds, and at the end."""
    what = printable(what)
    started = time.monotonic()
    finished, shown = 0, started
    _say(f"{what} ..." if total is None else f"{what}: {_amount(total, unit)} to do")

    def advance(count: int) -> None:
        nonlocal finished, shown
        finished += count
        now = time.monotonic()
        if now - shown >= PLAIN_INTERVAL and finished != total:
            shown = now
            _say(f"{what}: {task_line(finished, total, now - started, unit)}")

    yield advance
    seconds = time.monotonic() - started
    count = f"{_amount(finished, unit)} " if finished else ""
    _say(f"{what}: {count}done in {duration(seconds)}")


def task_line(finished: int, total: int | None, seconds: float, unit: str) -> str:
    """How far a task is, how fast, and what is left."""
    rate = _rate(finished, seconds, unit)
    if total is None:
        return f"{_amount(finished, unit)}, {rate}"
    share = 100 * finished / total if total else 100.0
    left = f", {duration((total - finished) * seconds / finished)} left" if finished else ""
    return f"{finished}/{_amount(total, unit)} ({share:.0f} %), {rate}{left}"


def _amount(count: int, unit: str) -> str:
    return f"{count / 1e6:.1f} MB" if unit == "B" else f"{count} {unit}"


def _rate(finished: int, seconds: float, unit: str) -> str:
    per_second = finished / seconds if seconds > 0 else 0.0
    return f"{per_second / 1e6:.1f} MB/s" if unit == "B" else f"{per_second:.1f} {unit}/s"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
