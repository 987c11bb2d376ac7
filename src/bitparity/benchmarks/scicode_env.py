"""Interpreter, expected values and given steps that SciCode's tests need on a machine.

`python -m bitparity.benchmarks.scicode_env` puts all of it into the cache folder (~/.cache/bitparity/scicode) and
checks it. Each part can also be given by path in the study.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from bitparity.benchmarks.contract import Facts, Source
from bitparity.benchmarks.dataset import file_sha256, hub_file
from bitparity.errors import DataError, MissingDependencyError, UnavailableError
from bitparity.inputs.packaged import packaged_toml

# the versions of upstream's time: scipy.integrate.simps, which tests of two problems use, went away in scipy 1.14
PACKAGES = ("numpy==1.26.4", "scipy==1.13.1", "sympy==1.13.3", "h5py==3.12.1", "matplotlib==3.9.4")
TARGETS_FILE = "test_data.h5"
TARGETS_BYTES = 1_049_345_865
TARGETS_SHA256 = "48b0272a88b17dbd29777c217e1b4fb2b019b92e11cc2add847409db9541b890"
TARGETS_MIRROR = Source("Srimadh/Scicode-test-data-h5", "train", "main")  # pinned by size and hash
UPSTREAM = "https://raw.githubusercontent.com/scicode-bench/SciCode"
GIVEN_STEPS: dict[str, dict[str, str]] = packaged_toml("bitparity.benchmarks", "scicode_given.toml")
SETUP = "python -m bitparity.benchmarks.scicode_env"
_VERSIONS = (
    "import json, h5py, matplotlib, numpy, scipy, sympy, sys; print(json.dumps({'python': sys.version.split()[0], "
    "**{m.__name__: m.__version__ for m in (numpy, scipy, sympy, h5py)}}))"
)


def folder() -> Path:
    """Where the parts lie that were set up."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "bitparity" / "scicode"


def interpreter(given: Path | None) -> Path:
    """The Python of the tests. Raises UnavailableError."""
    python = given or folder() / "env" / "bin" / "python"
    if not python.is_file():
        raise UnavailableError(
            f"SciCode's tests need an interpreter with numpy 1.26 and scipy below 1.14; there is none at {python}. "
            f"Set it up with: {SETUP}"
        )
    return python


def check_interpreter(python: Path) -> dict[str, str]:
    """The versions in an environment. Raises UnavailableError where they are not those that the tests need."""
    try:
        told = subprocess.run([str(python), "-I", "-c", _VERSIONS], check=True, capture_output=True, timeout=120)
        found: dict[str, str] = json.loads(told.stdout)
    except (OSError, ValueError, subprocess.SubprocessError):
        raise UnavailableError(
            f"{python} cannot import numpy, scipy, sympy, h5py and matplotlib, which SciCode's tests need. "
            f"Set up an environment with: {SETUP}"
        ) from None
    if not found["numpy"].startswith("1.26.") or [int(part) for part in found["scipy"].split(".")[:2]] >= [1, 14]:
        raise UnavailableError(
            f"{python} has numpy {found['numpy']} and scipy {found['scipy']}; SciCode's tests need numpy 1.26 and "
            f"scipy below 1.14. Set up an environment with: {SETUP}"
        )
    return found


def targets(given: Path | None) -> Path:
    """The file of expected values: the study's, the one set up, or the mirror's. Raises UnavailableError."""
    if given is not None:
        return given
    if (own := folder() / TARGETS_FILE).is_file():
        return own
    try:
        found = hub_file(TARGETS_MIRROR, TARGETS_FILE)
    except (DataError, MissingDependencyError) as error:
        raise UnavailableError(
            f"SciCode's expected values are missing: {own} does not exist and the mirror {TARGETS_MIRROR.path} could "
            f"not be read ({error}). Put the official test_data.h5 (1,049,345,865 bytes) there, or name it with "
            "settings.targets in the study"
        ) from None
    if not described(found)["official"]:
        raise UnavailableError(f"{found} from {TARGETS_MIRROR.path} is not the official file: size or SHA-256 differ")
    return found


def described(path: Path) -> Facts:
    """Size and SHA-256 of the targets, and whether they are the official ones. Raises UnavailableError."""
    try:
        stat = path.stat()
        sha256 = _sha256(path, stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise UnavailableError(f"SciCode's expected values {path} cannot be read: {error.strerror}") from None
    official = (stat.st_size, sha256) == (TARGETS_BYTES, TARGETS_SHA256)
    if path == folder() / TARGETS_FILE and not official:
        raise UnavailableError(f"{path} is not the official file: size or SHA-256 differ; download it again")
    return {"bytes": stat.st_size, "sha256": sha256, "official": official}


# a gigabyte: read again only where size or time of change are others
@functools.lru_cache(maxsize=4)
def _sha256(path: Path, _size: int, _changed: int) -> str:
    return file_sha256(path)


def given_step(number: str, places: Sequence[Path | None]) -> str:
    """The code of a step that the authors give. Raises UnavailableError where it is in none of the folders."""
    for place in (*places, folder()):
        path = place and place / f"{number}.txt"
        if path and path.is_file():
            raw = path.read_bytes()
            if hashlib.sha256(raw).hexdigest() != GIVEN_STEPS[number]["sha256"]:
                raise UnavailableError(f"{path} is not the given step {number} as the authors published it")
            return raw.decode("utf-8")
    raise UnavailableError(
        f"SciCode gives step {number} instead of asking it, but {number}.txt is not here. Get it with: {SETUP}, or "
        "name the folder that has it with settings.given in the study"
    )


def set_up() -> None:
    """Make the interpreter's environment and fetch what is missing. Raises UnavailableError or DataError."""
    place = folder()
    python = place / "env" / "bin" / "python"
    if not python.is_file():
        if not (3, 10) <= sys.version_info[:2] <= (3, 12):
            raise UnavailableError("numpy 1.26 needs Python 3.10 to 3.12; run this command with one of them")
        make = [sys.executable, "-m", "venv", str(place / "env")]
        for command in (make, [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]):
            try:
                subprocess.run(command, check=True)
            except (OSError, subprocess.CalledProcessError) as error:
                raise UnavailableError(f"{' '.join(command)} failed: {error}") from None
    print(f"interpreter: {python} {check_interpreter(python)}")
    for number, published in GIVEN_STEPS.items():
        path, url = place / f"{number}.txt", f"{UPSTREAM}/{published['path']}"
        try:
            if not path.is_file():
                with urllib.request.urlopen(url, timeout=60) as answer:
                    path.write_bytes(answer.read(1 << 20))
        except OSError as error:
            raise UnavailableError(
                f"{url} could not be read ({error}); check the network, or put the file at {path}"
            ) from None
        given_step(number, [])
        print(f"given step: {place / number}.txt")
    found = targets(None)
    print(f"targets: {found} {described(found)}")


if __name__ == "__main__":
    try:
        set_up()
    except (DataError, MissingDependencyError) as failure:
        sys.exit(f"error: {failure}")
