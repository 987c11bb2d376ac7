"""A run over recorded answers, sealed once for all tests of evidence."""

from __future__ import annotations

from pathlib import Path

import pytest
from smoke_runs import smoke_run

from bitparity.evidence.seal import seal


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run directory; not to be changed."""
    return smoke_run(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="session")
def sealed(run: Path) -> Path:
    """The run, sealed without a signature; not to be changed."""
    return seal(run).path
