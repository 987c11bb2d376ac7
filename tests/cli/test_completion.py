"""The shell completes commands, options and their values."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(sys.executable).with_name("bitparity")


@pytest.mark.skipif(not PROGRAM.exists(), reason="bitparity is not installed as a program here")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("bitparity rep", ["report"]),
        ("bitparity sta", ["status"]),
        ("bitparity run study.yaml --det", ["--detach"]),
        ("bitparity status run --w", ["--watch"]),
        ("bitparity export run --format ", ["csv", "eval-results", "lm-eval", "model-card", "parquet", "summary"]),
    ],
)
def test_bash_completes(words: str, expected: list[str]) -> None:
    asked = {"_BITPARITY_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}
    ended = subprocess.run([PROGRAM], env={**os.environ, **asked}, capture_output=True, text=True, check=False)
    assert ended.stdout.split() == expected
