"""Mount namespace that shows chosen paths to users who cannot reach them (`python -I -S _mounts.py`, as root).

Reads a JSON object {path: closed folder above it} in one line, makes a mount namespace, covers each closed folder with
an empty one, shows in it only the wanted paths, writes a line `ready`, and ends when its input does.
"""

import ctypes
import json
import os
import sys
from pathlib import Path

_NEW_MOUNTS = 0x00020000  # CLONE_NEWNS
_BIND, _RECURSIVE, _PRIVATE, _NO_SUID, _NO_DEV = 4096, 16384, 1 << 18, 2, 4
_LIBC = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        error = ctypes.get_errno()
        raise SystemExit(f"{what}: {os.strerror(error)}")


def _mount(source: str, target: str, kind: bytes | None, flags: int, data: bytes | None = None) -> None:
    _check(_LIBC.mount(os.fsencode(source), os.fsencode(target), kind, flags, data), f"mount on {target}")


def main() -> None:
    """Make the namespace and keep it until the input ends."""
    closed: dict[str, str] = json.loads(sys.stdin.readline())
    _check(_LIBC.unshare(_NEW_MOUNTS), "unshare")
    _mount("none", "/", None, _RECURSIVE | _PRIVATE)  # or what is mounted here would appear on the machine too
    # held open, since no path leads there once the folders above are covered
    wanted = {path: (os.open(path, os.O_PATH), Path(path).is_dir()) for path in closed}
    for folder in sorted(set(closed.values())):
        _mount("tmpfs", folder, b"tmpfs", _NO_SUID | _NO_DEV, b"mode=755,size=1m")
    for path, (descriptor, is_folder) in wanted.items():
        (Path(path) if is_folder else Path(path).parent).mkdir(parents=True, exist_ok=True)
        if not is_folder:
            Path(path).touch()
        _mount(f"/proc/self/fd/{descriptor}", path, None, _BIND | _RECURSIVE)
    print("ready", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    os.umask(0o022)  # root's own may be stricter, and other users must pass through the folders that are made
    main()
