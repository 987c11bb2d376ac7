"""Typed reading of a checkpoint's JSON files: config.json and those beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bitparity.errors import ModelError
from bitparity.inputs.input_files import read_regular


@dataclass(frozen=True, slots=True)
class Config:
    """A JSON object of a checkpoint. A value of another type than the one asked for counts as absent (None)."""

    values: Mapping[str, object]  # as it was read, for keys whose mere presence tells something

    def text(self, key: str) -> str | None:
        """A string."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def count(self, key: str) -> int | None:
        """A whole number above 0; JSON's `true` is none."""
        value = self.values.get(key)
        return value if type(value) is int and value > 0 else None

    def number(self, key: str) -> float | None:
        """A number of any kind."""
        value = self.values.get(key)
        return value if isinstance(value, int | float) else None

    def items(self, key: str) -> list[object] | None:
        """A list."""
        value = self.values.get(key)
        return value if isinstance(value, list) else None

    def part(self, key: str) -> Config | None:
        """An object."""
        value = self.values.get(key)
        return Config(value) if isinstance(value, dict) else None

    def parts(self) -> list[Config]:
        """The objects among the values."""
        return [Config(value) for value in self.values.values() if isinstance(value, dict)]

    def levels(self) -> list[Config]:
        """A model's configuration, and that of its language model where it is a part of its own."""
        language = self.part("text_config")
        return [self, language] if language else [self]

    def language_model(self) -> Config:
        """The configuration of the language model; the whole model's values hold where it has none of its own."""
        return Config({key: value for level in self.levels() for key, value in level.values.items()})


def read_config(folder: Path) -> Config:
    """A model's config.json. Raises ModelError where it is absent or broken."""
    path = folder / "config.json"
    if not path.exists():
        raise ModelError(f"model folder {folder} has no config.json; is it a model's folder?")
    return read_object(path)


def read_object(path: Path) -> Config:
    """A JSON object of a checkpoint, empty where the file is absent. Raises ModelError where it is broken."""
    try:
        value = json.loads(read_regular(path))
    except FileNotFoundError:
        return Config({})
    except (OSError, ValueError, RecursionError) as error:  # neither UTF-8 nor JSON is a ValueError
        raise ModelError(f"{path} cannot be read as JSON: {one_line(error)}") from None
    if not isinstance(value, dict):
        raise ModelError(f"{path} holds no JSON object")
    return Config(value)


def one_line(error: BaseException, most: int = 300) -> str:
    """An error's message in one line of at most `most` characters."""
    return " ".join(str(error).split())[:most]
