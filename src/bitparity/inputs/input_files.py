"""Input files: regular files only, each up to a stated size.

The errors are OSErrors with a plain `strerror`, so that a reader words them like any other fault of the disk.
"""

from __future__ import annotations

import errno
import gzip
import io
import os
import stat
from pathlib import Path
from typing import BinaryIO

GZIP_MAGIC = b"\x1f\x8b"
# bytes: a study is parsed at some 100 kB a second, a configuration at 100 MB, and a data file is held in memory
LARGEST_STUDY = 2**20
LARGEST_DOCUMENT = 64 * 2**20
LARGEST_DATA = 2**30


def open_regular(path: Path, buffering: int = -1) -> BinaryIO:
    """Open a regular file for reading. Raises OSError, also for a pipe or a device, which could wait for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # blocking, a pipe waits for its writer here
    kind = os.fstat(descriptor).st_mode
    if not stat.S_ISREG(kind):
        os.close(descriptor)
        if stat.S_ISDIR(kind):
            raise IsADirectoryError(errno.EISDIR, "it is a folder")
        raise OSError(errno.EINVAL, "it is a pipe or a device; copy its content into a regular file")
    return os.fdopen(descriptor, "rb", buffering)


def read_regular(path: Path, most: int = LARGEST_DOCUMENT) -> bytes:
    """The content of a regular file of at most `most` bytes. Raises OSError, also for a larger one."""
    with open_regular(path) as file:
        return _bounded(file, most, "it is larger")


def unpacked(raw: bytes, most: int = LARGEST_DATA) -> bytes:
    """The content of a gzip file; other bytes as they are.

    Raises OSError (also for more than `most` bytes), EOFError or zlib.error.
    """
    if not raw.startswith(GZIP_MAGIC):
        return raw
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        return _bounded(file, most, "unpacked it is larger")


def _bounded(file: BinaryIO | gzip.GzipFile, most: int, fault: str) -> bytes:
    content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"{fault} than the {most >> 20:,} MiB that are read")
    return content
