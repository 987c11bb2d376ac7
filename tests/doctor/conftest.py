"""What the doctor's tests share."""

from __future__ import annotations

from pathlib import Path

import pytest
from doubles import BF16_SIZE, FP8, NVFP4, NVFP4_SIZE, checkpoint
from support import math_rows, write_jsonl


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Qwen3-32B in BF16 and NVFP4, as far as a doctor looks."""
    checkpoint(tmp_path / "bf16", BF16_SIZE)
    checkpoint(tmp_path / "fp8", BF16_SIZE // 2, FP8)
    checkpoint(tmp_path / "nvfp4", NVFP4_SIZE, NVFP4)
    write_jsonl(tmp_path / "math.jsonl", math_rows(3))
    return tmp_path
