"""Patterns that find and read answers, kept in TOML tables beside the modules that use them."""

from __future__ import annotations

import re

from bitparity.inputs.packaged import packaged_toml

_PART = re.compile(r"\{([a-z_]+)\}")


def compiled(table: str, **parts: str) -> dict[str, re.Pattern[str]]:
    """The compiled patterns of the file `table`.toml by name, and `parts`; its tables hold no patterns.

    A pattern is a text, or a list of texts that are joined. `{name}` in it stands for an entry before it, or for one of
    `parts`; numbers of repetitions and escaped braces are no names. A module's file has the module's own name: so the
    grader's fingerprint covers it.
    """
    texts = dict(parts)
    for name, given in packaged_toml(__package__, f"{table}.toml").items():
        if not isinstance(given, dict):
            texts[name] = _PART.sub(lambda part: texts[part[1]], "".join(given))
    return {name: re.compile(text) for name, text in texts.items()}
