"""progress.json: the state of a run, written again and again for `bitparity status`."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from pydantic import TypeAdapter

from bitparity.errors import RunError
from bitparity.inputs.input_files import read_regular
from bitparity.progress.board import Board
from bitparity.progress.events import Event, RunEnded, RunStarted
from bitparity.progress.snapshot import SCHEMA, Snapshot
from bitparity.redaction import redacted
from bitparity.store.lock import check_place

FILE_NAME = "progress.json"
PUBLISH_SECONDS = 1.0  # between two files
_SNAPSHOT = TypeAdapter(Snapshot)


class ProgressFile:
    """A listener that keeps progress.json up to date while the run lasts. It comes after its board."""

    def __init__(self, board: Board, interval: float = PUBLISH_SECONDS) -> None:
        self._board, self._interval = board, interval
        self._publishing = ExitStack()

    def __call__(self, event: Event) -> None:
        """Begin with the run; once the board knows that the run has ended, that is written too."""
        if isinstance(event, RunStarted):
            path = event.path / FILE_NAME
            publish = repeated(lambda: write_progress(path, self._board.snapshot()), self._interval)
            self._publishing.enter_context(publish)
        elif isinstance(event, RunEnded):
            self._publishing.close()


@contextmanager
def repeated(action: Callable[[], None], seconds: float) -> Iterator[None]:
    """Do something again and again in a thread while the block lasts, and once more after it."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            action()
            stop.wait(seconds)

    thread = threading.Thread(target=repeat, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()  # or its last file could come after, and replace, the one that follows
        action()


def write_progress(path: Path, snapshot: Mapping[str, object]) -> None:
    """Write a snapshot so that readers find it whole. What the disk refuses is left out: a run goes on without it.

    A run that was moved away is left alone: its next write that matters says so.
    """
    temporary = path.with_name(f".{path.name}.part")
    text = redacted(json.dumps(snapshot, ensure_ascii=False, allow_nan=False)) + "\n"
    try:
        check_place(path)
        temporary.write_text(text, "utf-8", "replace")
        check_place(path)
        temporary.replace(path)
    except (OSError, RunError) as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, RunError):
            return
        with suppress(OSError), path.open("r+", encoding="utf-8", errors="replace") as file:
            file.write(text)  # over the old one: that takes no room, and a full disk is what is to be said
            file.truncate()


def read_progress(run: Path) -> Snapshot | None:
    """The last state that the run in this directory wrote; None where there is none that can be read."""
    try:
        found: Snapshot = json.loads(read_regular(run / FILE_NAME))
        _SNAPSHOT.validate_python(found)
    except (OSError, ValueError, RecursionError):
        return None
    return found if found["schema"] == SCHEMA else None
