"""The command that an error names for a package that is missing."""

from __future__ import annotations

import json
from importlib import metadata
from types import SimpleNamespace
from typing import Any

import pytest

from bitparity.errors import install_command


@pytest.mark.parametrize(
    ("told", "command"),
    [
        ({"url": "file:///work/my%20clone", "dir_info": {"editable": True}}, "pip install -e '/work/my clone[vllm]'"),
        ({"url": "file:///work/clone", "dir_info": {}}, "pip install '/work/clone[vllm]'"),
        ({"url": "file:///tmp/bitparity-1.whl", "archive_info": {}}, "pip install '/tmp/bitparity-1.whl[vllm]'"),
        ({"url": "https://host/b.whl", "archive_info": {}}, "pip install 'bitparity[vllm] @ https://host/b.whl'"),
        (None, "pip install 'bitparity[vllm]'"),
    ],
)
def test_an_extra_comes_from_where_bitparity_came(
    monkeypatch: pytest.MonkeyPatch, told: dict[str, Any] | None, command: str
) -> None:
    content = None if told is None else json.dumps(told)
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: content))
    assert install_command("vllm") == command
