"""New study files, and the commented one that `bitparity init` writes."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from bitparity.errors import UserInputError

STUDY_TEMPLATE = (resources.files(__package__) / "template.yaml").read_text(encoding="utf-8")


def write_study(path: Path, text: str = STUDY_TEMPLATE) -> None:
    """Write a new study file. Raises UserInputError where the file exists, or cannot be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise UserInputError(f"{path} exists already and is left as it is; give another path") from None
    except OSError as error:
        raise UserInputError(f"{path} cannot be written: {error.strerror}") from None
