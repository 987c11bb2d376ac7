from __future__ import annotations

from pathlib import Path

import pytest
import tiny_model
from localization_checkpoints import quantized_fp8


@pytest.fixture(scope="session")
def baseline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model.build_model(tmp_path_factory.mktemp("localized") / "bf16", "bfloat16")


@pytest.fixture
def fp8(baseline: Path, tmp_path: Path) -> Path:
    return quantized_fp8(baseline, tmp_path / "fp8")
