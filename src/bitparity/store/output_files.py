"""Output files whose place the user names: written without known secrets, and never waited for."""

from __future__ import annotations

import os
from pathlib import Path

from bitparity.errors import UserInputError
from bitparity.redaction import redacted


def write_given(path: Path, text: str, option: str) -> None:
    """Write a text to the path that an option named. Raises UserInputError where it cannot be written."""
    try:
        # blocking, a pipe waits for its reader here
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NONBLOCK | os.O_CLOEXEC, 0o666)
        os.set_blocking(descriptor, True)
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(redacted(text))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserInputError(f"{path} cannot be written ({reason}); give another path with {option}") from None
