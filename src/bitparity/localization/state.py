"""State of an unfinished localization: tensors in files beside the run, so that it goes on after the last layer done.

It holds the hidden states of every layer once, and the latest state of each pass: bounded, and deleted at the end.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from bitparity.store.jsonl import replacing

Tensors = dict[str, torch.Tensor]


class State:
    """The files of one localization; `key` says what it is of: files of another key count as absent."""

    def __init__(self, folder: Path, key: str) -> None:
        self._folder, self._key = folder, key

    def put(self, name: str, tensors: Mapping[str, torch.Tensor], done: int = 0) -> None:
        """Replace a file, whole or not at all; `done` is a count kept with it. Raises StoreError or RunError."""
        path = self._folder / f"{name}.safetensors"
        note = {"key": self._key, "done": json.dumps(done)}
        with replacing(path) as part:
            try:
                save_file({key: value.detach().cpu().contiguous() for key, value in tensors.items()}, str(part), note)
            except SafetensorError as error:  # of a full disk too
                raise OSError(str(error)) from None

    def get(self, name: str) -> tuple[Tensors, int] | None:
        """(the tensors, the count) of a file; None where there is none, or none of this key that is whole."""
        try:
            with safe_open(str(self._folder / f"{name}.safetensors"), "pt") as file:
                note = file.metadata() or {}
                if note.get("key") != self._key:
                    return None
                return {key: file.get_tensor(key) for key in file.keys()}, int(note["done"])  # noqa: SIM118
        except (OSError, SafetensorError, ValueError, KeyError):
            return None

    def take(self, name: str) -> tuple[Tensors, int]:
        """As `get`, of a file that an earlier step has written."""
        found = self.get(name)
        assert found is not None, f"{name} of the state in {self._folder} is gone"
        return found

    def clear(self) -> None:
        """Delete the files."""
        shutil.rmtree(self._folder, ignore_errors=True)
