"""What holds for every OpenAI-compatible endpoint: its key, which failures pass, how long it asks to be left alone."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime

_PASSING = {408, 409, 425, 429}


def sendable(key: str) -> bool:
    """Whether a key can stand in a header, as visible ASCII and spaces (RFC 9110, 5.5).

    Any other is refused before it is sent: the HTTP libraries show the header in their own messages.
    """
    return key.isascii() and key.isprintable()


def passes(status: int) -> bool:
    """Whether a request that failed with this HTTP status may succeed later."""
    return status in _PASSING or status >= 500


def retry_after(header: str | None) -> float | None:
    """Seconds to wait, from either form of Retry-After (RFC 9110, 10.2.3); None where it says nothing readable."""
    value = (header or "").strip()
    if re.fullmatch(r"\d+(\.\d+)?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None
