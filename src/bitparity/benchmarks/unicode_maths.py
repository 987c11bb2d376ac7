"""Unicode and plain-text mathematics as LaTeX: superscripts, roots, fractions, signs, Greek letters, functions."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

from bitparity.benchmarks.patterns import compiled
from bitparity.inputs.packaged import packaged_toml

_PATTERNS = compiled("unicode_maths")
_TABLES = packaged_toml(__package__, "unicode_maths.toml")["signs"]
_RAISED, _LOWERED = (dict(zip(*_TABLES[name], strict=True)) for name in ("raised", "lowered"))
_SIGNS: dict[str, str] = dict(re.findall(r"(\S) (\S+)", _TABLES["commands"]))
_SIGN = re.compile(f"[{''.join(_SIGNS)}]")
_UP, _DOWN = (re.compile(f"[{''.join(signs)}]+") for signs in (_RAISED, _LOWERED))
_DEGREES = {"√": "", "∛": "[3]", "∜": "[4]"}


def as_latex(text: str) -> str:
    """The text with Unicode mathematics in LaTeX; other text, and all ASCII, as it is."""
    if text.isascii():
        return text
    text = _PATTERNS["spaces"].sub(" ", text)
    text = _PATTERNS["vulgar"].sub(lambda match: _fraction(match["whole"], match["sign"]), text)
    text = _UP.sub(lambda match: "^{" + "".join(_RAISED[c] for c in match[0]) + "}", text)
    text = _DOWN.sub(lambda match: "_{" + "".join(_LOWERED[c] for c in match[0]) + "}", text)
    text = _SIGN.sub(lambda match: f"\\{_SIGNS[match[0]]} ", text)
    return _PATTERNS["root"].sub(_root, text)


def names_as_latex(text: str) -> str:
    """A formula with plain "sqrt(2)", "ln 2" and "pi" in LaTeX; a text with other words as it is."""
    found = _PATTERNS["plain_name"].sub(lambda match: f"\\{match[0].replace('infinity', 'infty')} ", text)
    found = _PATTERNS["plain_root"].sub(lambda match: f"\\sqrt{{{match['group'] or match['bare']}}}", found)
    return text if "\\text" in text or _PATTERNS["word"].search(found) else found


@lru_cache(maxsize=1024)
def _fraction(whole: str, sign: str) -> str:
    above, _, below = unicodedata.normalize("NFKC", sign).partition("\N{FRACTION SLASH}")
    return f"{whole} {above}/{below}" if whole else f"\\frac{{{above}}}{{{below}}}"


def _root(match: re.Match[str]) -> str:
    inside = match["group"] or match["braced"] or match["bare"]
    return f"\\sqrt{_DEGREES[match['sign']]}{{{inside}}}"
