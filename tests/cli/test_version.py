"""The version is told without loading the command line."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import bitparity

ROOT = Path(__file__).resolve().parents[2]


def test_the_version_loads_nothing_else() -> None:
    program = (
        "import sys; before = {*sys.modules}; sys.argv = ['bitparity', '--version']; "
        "from bitparity.__main__ import main; main(); print(*sorted({*sys.modules} - before))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert told.splitlines() == [f"bitparity {bitparity.__version__}", "bitparity bitparity.__main__"]


def test_the_command_and_the_module_are_one() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"bitparity": "bitparity.__main__:main"}
