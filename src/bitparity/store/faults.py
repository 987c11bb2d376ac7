"""Errors of the operating system on files of a run, as errors of this package."""

from __future__ import annotations

import errno
from pathlib import Path

from bitparity.errors import DiskFullError, RunError, StoreError

_KEPT = "everything finished before is kept"
_FULL = {
    errno.ENOSPC: "the disk is full: {path} could not be written; {kept}. Free some space",
    errno.EDQUOT: "the disk quota is used up: {path} could not be written; {kept}. Free some space, or ask for more",
}
_FAILED = {
    errno.EIO: "{path}: the disk or the file server failed ({reason}); {kept}. Look at the disk and the kernel's log",
    errno.ESTALE: "{path}: the file server has lost this file ({reason}); {kept}. Mount the disk anew",
    errno.EROFS: "{path} cannot be written: its disk is mounted for reading only ({reason}), as systems do after a "
    "fault; {kept}. Mount it for writing, or give another folder with --out",
}
_REFUSED = (errno.EACCES, errno.EPERM, errno.ENOENT, errno.ENAMETOOLONG, errno.ELOOP)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


def storage_error(error: OSError, path: Path) -> StoreError | RunError:
    """The error of this package for an error of the operating system while a file of the run is read or written."""
    reason, number = error.strerror, error.errno or 0
    if number in _FULL:
        return DiskFullError(_FULL[number].format(path=path, kept=_KEPT) + " and run the same command again")
    if number in _FAILED:
        kind = RunError if number == errno.EROFS else StoreError
        return kind(_FAILED[number].format(path=path, kept=_KEPT, reason=reason) + ", then run the same command again")
    if number in _REFUSED:
        return RunError(f"{path} cannot be opened or written ({reason}); give another folder with --out")
    if number in _IN_THE_WAY:
        return RunError(f"{path} is in the way of a file or folder of the run ({reason}); use another --out")
    return StoreError(f"{path}: {reason or error}; {_KEPT}, run the command again")
