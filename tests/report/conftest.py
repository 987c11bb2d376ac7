from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support import replay_study

from bitparity.progress.events import Events
from bitparity.results import build as results
from bitparity.runner import run_study
from bitparity.study.resolve import load_study


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of bf16, fp8 and nvfp4 over 40 recorded answers; look at it, but do not change it."""
    folder = tmp_path_factory.mktemp("finished")
    study = replay_study(folder, count=40, wrong={"bf16": [1], "fp8": [1, 2], "nvfp4": range(2, 20)})
    done = run_study(load_study(study), folder / "run", Events()).run
    results.write(done)
    return done.path


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of that run, to be changed at will."""
    return shutil.copytree(finished, tmp_path / "run")
