"""Tasks in words, and a listener that prints them as plain lines."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from bitparity.progress.events import Event, Task, TaskProgress

PLAIN_INTERVAL = 10.0  # seconds between two plain lines of one task


class TaskLines:
    """Prints a line on stderr at the start of a task, every ten seconds, and at its end.

    `words` puts a line into the language of the reader.
    """

    def __init__(self, words: Callable[[str], str] = str) -> None:
        self._words = words
        self._shown: dict[Task, float] = {}  # when the last line was printed

    def __call__(self, event: Event) -> None:
        """Print what is new; nothing of a task that failed, whose error is told elsewhere."""
        if not isinstance(event, TaskProgress):
            return
        task, now = event.task, time.monotonic()
        if task not in self._shown:
            self._shown[task] = now
            todo = " ..." if task.total is None else f": {_amount(task.total, task.unit)} to do"
            self._print(f"{printable(task.name)}{todo}")
        elif event.state == "done":
            count = f"{_amount(event.finished, task.unit)} " if event.finished else ""
            self._print(f"{printable(task.name)}: {count}done in {duration(now - task.started)}")
        # the last step needs no line: that of the end follows at once
        elif event.state == "running" and event.finished != task.total and now - self._shown[task] >= PLAIN_INTERVAL:
            self._shown[task] = now
            self._print(task_words(event))

    def _print(self, line: str) -> None:
        print(self._words(line), file=sys.stderr, flush=True)


def task_words(progress: TaskProgress) -> str:
    """One line: how far a task is, how fast, and what is left."""
    task, finished = progress.task, progress.finished
    name, seconds = printable(task.name), time.monotonic() - task.started
    rate = finished / seconds if seconds > 0 else 0.0
    said = f"{rate / 1e6:.1f} MB/s" if task.unit == "B" else f"{rate:.1f} {task.unit}/s"
    if task.total is None:
        return f"{name}: {_amount(finished, task.unit)}, {said}" if finished else f"{name} ..."
    share = 100 * finished / task.total if task.total else 100.0
    left = f", {duration((task.total - finished) * seconds / finished)} left" if finished else ""
    return f"{name}: {finished}/{_amount(task.total, task.unit)} ({share:.0f} %), {said}{left}"


def _amount(count: int, unit: str) -> str:
    return f"{count / 1e6:.1f} MB" if unit == "B" else f"{count} {unit}"


def duration(seconds: float) -> str:
    """Seconds as people read them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{seconds:.1f} s"


def printable(text: str) -> str:
    """A text of any origin in one line, without what a terminal would act on."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in " ".join(text.split()))
