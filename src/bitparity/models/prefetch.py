"""Prefetch of files into the page cache, so that the next model loads from memory."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

_SLICE = 16 << 20  # bytes asked for at a time
_ROOM = 1.1  # times the files' size that must be free: reading ahead must not push out what is in use


def read_ahead(files: Sequence[Path]) -> threading.Thread | None:
    """Begin to read files into the page cache; None where the main memory has no room for them."""
    with suppress(OSError):
        size = sum(file.stat().st_size for file in files)
        if size * _ROOM < available_bytes():
            thread = threading.Thread(target=_read, args=(list(files),), name="read-ahead", daemon=True)
            thread.start()
            return thread
    return None


def available_bytes() -> int:
    """Main memory that can be had without pushing out what is in use (/proc/meminfo, MemAvailable)."""
    after = Path("/proc/meminfo").read_text(encoding="ascii").partition("MemAvailable:")[2].split(maxsplit=1)
    return int(after[0]) * 1024 if after else 0


def _read(files: Sequence[Path]) -> None:
    for file in files:
        with suppress(OSError), file.open("rb") as handle:
            for start in range(0, file.stat().st_size, _SLICE):
                os.posix_fadvise(handle.fileno(), start, _SLICE, os.POSIX_FADV_WILLNEED)
