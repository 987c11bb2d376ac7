"""progress.json: the state of a run, written again and again for `bitparity status`."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from bitparity.progress.board import Board
from bitparity.progress.events import Event, RunEnded, RunStarted

FILE_NAME = "progress.json"
PUBLISH_SECONDS = 1.0  # between two files where something changed
HEARTBEAT = 5.0  # seconds between two files where nothing did


class ProgressFile:
    """Keeps progress.json in the run's directory while the run lasts: a listener to its events."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._publishing: AbstractContextManager[None] | None = None

    def __call__(self, event: Event) -> None:
        """Begin with the run, and end with it."""
        if isinstance(event, RunStarted):
            self._publishing = publishing(self._board, event.path / FILE_NAME)
            self._publishing.__enter__()
        elif isinstance(event, RunEnded) and self._publishing is not None:
            self._publishing.__exit__(None, None, None)


def write_progress(path: Path, snapshot: Mapping[str, Any]) -> None:
    """Write a snapshot so that readers find it whole. What the disk refuses is left out: a run goes on without it."""
    temporary = path.with_name(f".{path.name}.part")
    text = json.dumps(snapshot, ensure_ascii=False, allow_nan=False) + "\n"
    try:
        temporary.write_text(text, "utf-8", "replace")
        temporary.replace(path)
    except OSError:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        with suppress(OSError), path.open("r+", encoding="utf-8", errors="replace") as file:
            file.write(text)  # over the old one: that takes no room, and a full disk is what is to be said
            file.truncate()


@contextmanager
def publishing(board: Board, path: Path, interval: float = PUBLISH_SECONDS) -> Iterator[None]:
    """Keep `path` up to date from a thread of its own; at the end it says that nothing runs any more."""
    stop = threading.Event()

    def publish() -> None:
        written, at = -1, -HEARTBEAT
        while not stop.is_set():
            if board.version != written or time.monotonic() - at >= HEARTBEAT:
                written, at = board.version, time.monotonic()
                write_progress(path, board.snapshot())
            stop.wait(interval)

    thread = threading.Thread(target=publish, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
        write_progress(path, {**board.snapshot(), "running": False})
