"""View of the file system that a program's interpreter needs, and nothing more.

The system's programs and libraries (`/usr` and what points into it), a few files of `/etc`, the interpreter's own
prefix and, for a virtual environment, the environment. Homes, checkouts, `/var`, `/srv`, `/tmp` are not there.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bitparity.errors import SandboxError

_ASK = """
import json, sys
libraries = set()
with open("/proc/self/maps") as maps:
    for line in maps:
        path = line.split(maxsplit=5)[5:]
        if path and path[0].startswith("/") and ".so" in path[0]:
            libraries.add(path[0].strip())
print(json.dumps({"executable": sys.executable, "prefixes": [sys.base_prefix, sys.base_exec_prefix, sys.prefix],
                  "libraries": sorted(libraries)}))
"""
_SYSTEM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# what the loader, Debian's links to alternatives, local time and NixOS's programs need
_SYSTEM_FILES = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives", "/etc/localtime"),
    "/nix/store",
)


@dataclass(frozen=True, slots=True)
class View:
    """The read-only part of a program's file system.

    Attributes:
        python: the interpreter.
        steps: `show` a path at its own place, or `hide` what lies there (a home or checkout below `/usr`), in order.
        links: symbolic links of the root (`/bin` to `usr/bin`): where, to what.
    """

    python: str
    steps: tuple[tuple[Literal["show", "hide"], str], ...]
    links: tuple[tuple[str, str], ...]

    @property
    def shown(self) -> tuple[str, ...]:
        """The paths that a program can read."""
        return tuple(path for step, path in self.steps if step == "show")


def view(python: str, readable: Sequence[Path] = ()) -> View:
    """The view for `python`, plus `readable`. Raises SandboxError where that would show a whole home folder."""
    try:
        told = json.loads(
            subprocess.run([python, "-I", "-c", _ASK], capture_output=True, check=True, timeout=60, cwd="/").stdout
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SandboxError(
            f"the interpreter for model-written code does not run: {python} ({error}). "
            "Give the path of a working Python, or make its environment again"
        ) from error
    # on most systems /bin, /lib and so on are links into /usr; where they are folders, they are shown as such
    links, system = [], ["/usr"]
    for name in _SYSTEM_FOLDERS:
        folder = Path("/", name)
        if folder.is_symlink():
            links.append((str(folder), str(folder.readlink())))
        elif folder.is_dir():
            system.append(str(folder))
    system += [path for path in _SYSTEM_FILES if Path(path).exists()]
    own = {Path(prefix) for prefix in told["prefixes"]}
    # both names of each: a program may use either, and one may lead through a link
    own |= {prefix.resolve() for prefix in own} | {path.resolve() for path in readable}
    for prefix in own:
        # an interpreter installed straight into a home folder would show all of it
        if home().is_relative_to(prefix) or prefix == Path("/"):
            raise SandboxError(
                f"the interpreter's prefix {prefix} holds the home folder {home()}, which model-written code "
                "must not see. Use an interpreter that has a folder of its own (a system Python, or a virtual "
                "environment's base)"
            )
    libraries = [library for library in told["libraries"] if Path(library).exists()]
    shown = _outermost([*system, *map(str, own), *libraries], [link for link, _ in links])
    hidden = {
        private
        for private in (home(), Path.cwd().resolve())
        if any(private != Path(outer) and private.is_relative_to(outer) for outer in shown) and private not in own
    }
    # what the interpreter has inside a hidden folder is shown again
    again = {prefix for prefix in own if any(prefix.is_relative_to(private) for private in hidden)}
    steps: set[tuple[Literal["show", "hide"], str]] = {("show", path) for path in (*shown, *map(str, again))}
    steps |= {("hide", str(private)) for private in hidden}
    # outer folders first: each step acts on what those before it have left
    ordered = sorted(steps, key=lambda step: (step[1].count("/"), step[1]))
    base, _, prefix = told["prefixes"]
    # a virtual environment's own name for its interpreter; otherwise the file itself, which lies in its prefix
    executable = told["executable"] if base != prefix else str(Path(told["executable"]).resolve())
    return View(executable, tuple(ordered), tuple(links))


def home() -> Path:
    """The user's home folder; a folder that does not exist for a user who has none."""
    try:
        return Path.home().resolve()
    except RuntimeError:
        return Path("/nonexistent")


def _outermost(folders: Sequence[str], roots: Sequence[str]) -> tuple[str, ...]:
    """Each path once, without those that lie inside another or behind a link of the root."""
    chosen: list[str] = []
    for folder in sorted(set(folders), key=lambda path: (path.count("/"), path)):
        if not any(Path(folder).is_relative_to(outer) for outer in (*chosen, *roots)):
            chosen.append(folder)
    return tuple(chosen)
