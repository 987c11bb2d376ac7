"""Harmless text: what comes from models, data sets and studies, made safe for a page or a terminal."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from markupsafe import Markup

MOST = 4000  # characters of one value outside the flip browser

# C0 and C1 controls but tab and newline, lone surrogates, and what turns the direction of writing or hides itself
# (the joiners U+200C and U+200D stay: Persian, Indian scripts and emoji are spelt with them)
_UNFIT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


def clean(text: str) -> str:
    """The text without what could steer a terminal, a browser or a reader: control pictures or U+FFFD stand there."""
    return _UNFIT.sub(_picture, text.replace("\r\n", "\n"))


def _picture(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x20:
        return chr(0x2400 + code)
    return "\u2421" if code == 0x7F else "\ufffd"


def shortened(text: str, most: int = MOST) -> str:
    """The clean text, at most so many characters of it."""
    return clean(text[: most + 1]) if len(text) <= most else clean(text[:most]) + "…"


def finalize(value: object) -> object:
    """A value as a template prints it: Markup as it is, anything else as clean text, which is then escaped."""
    return value if isinstance(value, Markup) else shortened("" if value is None else str(value))


def flat(value: object, prefix: str = "", most: int = 120) -> list[tuple[str, str]]:
    """Nested JSON values as (dotted name, text), the empty ones left out."""
    pairs = list(_leaves(value, prefix))
    return pairs[:most] + ([("…", str(len(pairs) - most))] if len(pairs) > most else [])


def _leaves(value: object, prefix: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, list | tuple) and any(isinstance(inner, Mapping) for inner in value):
        value = dict(enumerate(value))
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(value, list | tuple) and value:
        yield prefix, shortened(", ".join(map(str, value[:100])), 1000)
    elif value not in (None, "", [], ()):
        yield prefix, shortened(str(value), 1000)
