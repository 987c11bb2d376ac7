"""Redaction of secrets: keys, tokens and passwords of proxies, in everything that is written or printed.

A server may send a key back in any answer: as the name of its model, inside an error, encoded, or a third of it alone.
"""

from __future__ import annotations

import base64
import html
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain, product
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

REDACTED = "***"
SHORTEST = 8  # characters; a placeholder like EMPTY is no secret, and may be a word of an answer
SHORTEST_PART = 12  # of a secret, wherever it was cut: less may be part of an answer
_HEX = ("02x", "02X")
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "OPENAI_API_KEY")
_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
_known: dict[str, list[str]] = {}  # a secret, and every form of it that a text may hold, the longest first


def remember(secret: str | None) -> None:
    """From now on keep a secret out of every text; None or one that is too short changes nothing."""
    if secret is not None and len(secret) >= SHORTEST and secret not in _known:
        _known[secret] = sorted(set(_forms(secret)), key=len, reverse=True)


def remember_environment() -> None:
    """The secrets that this process got by its environment, or by a login to the hub."""
    for name in _VARIABLES:
        remember(os.environ.get(name))
    for name in (*_PROXIES, *map(str.lower, _PROXIES)):
        with suppress(ValueError):  # no address: whoever uses it says so
            password = urlsplit(os.environ.get(name, "")).password or ""
            remember(password)
            remember(unquote(password))
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    with suppress(OSError, ValueError):
        remember(Path(os.environ.get("HF_TOKEN_PATH") or home / "token").read_text("utf-8").strip())


def remember_keys(document: object) -> None:
    """The values of the variables that a study names with `api_key_env`, wherever in it."""
    if isinstance(document, Mapping):
        if isinstance(name := document.get("api_key_env"), str):
            remember(os.environ.get(name))
        document = document.values()
    if isinstance(document, Iterable) and not isinstance(document, str | bytes):
        for value in document:
            remember_keys(value)


def redacted(text: str) -> str:
    """A text without the secrets that are known."""
    for form in chain.from_iterable(_known.values()):
        if form in text:
            text = text.replace(form, REDACTED)
    return text


class RedactedStream:
    """A text stream that writes no secret; all else is the wrapped stream's."""

    def __init__(self, stream: IO[str]) -> None:
        self._stream: IO[str] = stream._stream if isinstance(stream, RedactedStream) else stream

    def write(self, text: str) -> int:
        """Write the text without secrets."""
        self._stream.write(redacted(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _forms(secret: str) -> Iterator[str]:
    half = len(secret) // 2
    parts = [secret, *(part for part in (secret[:half], secret[half:]) if len(part) >= SHORTEST)]
    for part in parts:
        escaped, raw = json.dumps(part)[1:-1], part.encode("utf-8", "surrogateescape")
        yield from (part, escaped, json.dumps(escaped)[1:-1], html.escape(part))
        yield from (quote(raw), quote(raw, safe=""), quote_plus(raw), base64.b32encode(raw).decode().rstrip("="))
        for before, spelled in product(("%", ""), _HEX):
            yield "".join(f"{before}{byte:{spelled}}" for byte in raw)
        yield "".join(f"\\u{ord(c):04x}" for c in part)
    # any third of it: a message may be cut in the middle of a key
    length = max(SHORTEST_PART, len(secret) // 3)
    yield from (secret[at : at + length] for at in range(len(secret) - length + 1))
    yield from _base64_forms(secret.encode("utf-8", "surrogateescape"))


def _base64_forms(secret: bytes) -> Iterator[str]:
    """The characters that a secret becomes inside a longer text in base64, by its distance from a multiple of three."""
    for before in range(3):
        for encode in (base64.b64encode, base64.urlsafe_b64encode):
            # a character stands for 6 bits: those that mix in bits of the neighbours are left out
            first, last = -(-before * 8 // 6), (before + len(secret)) * 8 // 6
            yield encode(bytes(before) + secret).decode("ascii")[first:last]
