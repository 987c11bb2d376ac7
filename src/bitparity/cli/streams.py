"""What is done where a terminal is lost, a pipe closed or a log's disk full: nothing measured is lost for a line."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from typing import IO, Any


class Lenient:
    """A text stream that drops what it cannot write; all else is the wrapped stream's."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed; the rest is tried again with the next line."""
        with suppress(OSError):
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def drop_stdout() -> None:
    """Let stdout go nowhere: what it still holds would fail once more when the interpreter ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
