"""The command that an error names for a package that is missing."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from pathlib import Path
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


@pytest.mark.parametrize(
    ("mark", "command"),
    [
        ("venvs/bitparity/pipx_metadata.json", "pipx install --force '/tmp/b.whl[demo]'"),
        ("tools/bitparity/uv-receipt.toml", "uv tool install --force '/tmp/b.whl[demo]'"),
        ("archive-v0/x/pyvenv.cfg", "uvx --from '/tmp/b.whl[demo]' bitparity demo --out 'my {folder}'"),
        ("venv/pyvenv.cfg", "pip install '/tmp/b.whl[demo]'"),
    ],
)
def test_the_command_is_that_of_the_tool_that_made_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mark: str, command: str
) -> None:
    (tmp_path / mark).parent.mkdir(parents=True)
    (tmp_path / mark).touch()
    content = json.dumps({"url": "file:///tmp/b.whl", "archive_info": {}})
    monkeypatch.setattr(metadata, "distribution", lambda name: SimpleNamespace(read_text=lambda file: content))
    monkeypatch.setattr(sys, "prefix", str((tmp_path / mark).parent))
    monkeypatch.setattr(sys, "argv", ["bitparity", "demo", "--out", "my {folder}"])
    assert install_command("demo") == command
