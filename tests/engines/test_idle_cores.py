"""The cores that an engine leaves idle for grading."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bitparity.engines import idle_cores as cores_of_engines
from bitparity.engines.idle_cores import idle_cores
from bitparity.schema import Variant
from bitparity.study.resolve import parse_study


@pytest.mark.parametrize(
    ("kind", "facts", "cores"),
    [
        ("replay", {}, 16),
        ("transformers", {"device": "cpu", "threads": 16}, 0),
        ("transformers", {"device": "cpu", "threads": 4}, 12),
        ("vllm", {"device": "cpu"}, 0),
        ("vllm", {"device": "cuda:0"}, 12),
    ],
)
def test_an_engines_cores_are_its_own(
    monkeypatch: pytest.MonkeyPatch, kind: str, facts: dict[str, Any], cores: int
) -> None:
    monkeypatch.setattr(cores_of_engines, "usable_cores", lambda: 16)
    text = f"{{study: s, engine: {{kind: {kind}}}, variants: {{a: {{model: some/model}}}}, benchmarks: [smoke]}}"
    if kind == "replay":
        text = text.replace("some/model", str(Path(__file__)))
    variant: Variant = parse_study(text, "test", Path.cwd()).variants["a"]
    assert idle_cores(variant, facts) == cores
