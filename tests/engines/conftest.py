from __future__ import annotations

from pathlib import Path

import pytest
import tiny_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny random model in float32."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return tiny_model.build_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_bf16(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in bfloat16, where a result depends on what is computed together."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    return tiny_model.build_model(tmp_path_factory.mktemp("tiny-bf16"), "bfloat16")
