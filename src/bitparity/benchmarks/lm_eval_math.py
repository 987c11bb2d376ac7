"""Scoring rules of lm-eval 0.4.13 for MATH-500 and AIME 2024, kept for comparability with published figures.

It rebuilds what lm_eval/tasks/hendrycks_math/utils.py and lm_eval/tasks/aime/utils.py compute, quirks included:
everything between the first and the last "$" is the answer, and two answers are equal as normalised texts. The
normalisation is that of Hendrycks et al. 2021 (github.com/hendrycks/math, math_equivalence.py, MIT).
"""

from __future__ import annotations

import re


def hendrycks_score(text: str, reference: str | None) -> float:
    """1.0 where `hendrycks_math500` counts the text as right; `reference` is the box of the solution."""
    return float(equivalent(_between_dollars(text), reference))


def aime_score(text: str, reference: str) -> float:
    """1.0 where `aime24` counts the text as right."""
    boxed = last_box(text)
    content = box_content(boxed) if boxed is not None else None
    return float(equivalent(_between_dollars(text) if content is None else content, reference))


def _between_dollars(text: str) -> str:
    first, last = text.find("$"), text.rfind("$")
    return text if first == last else text[first + 1 : last]


def last_box(text: str) -> str | None:
    r"""The last `\boxed{...}` or `\fbox{...}` with its braces, or `\boxed ` with what follows up to a "$"."""
    if "\\boxed " in text:
        return "\\boxed " + text.rpartition("\\boxed ")[2].partition("$")[0]
    start = text.rfind("\\boxed" if "\\boxed" in text else "\\fbox")
    if start < 0:
        return None
    depth = 0
    for brace in re.finditer(r"[{}]", text[start:]):
        depth += 1 if brace[0] == "{" else -1
        if depth == 0:
            return text[start : start + brace.end()]
    return None


def box_content(boxed: str) -> str | None:
    """The content of a box that `last_box` gave; None where lm-eval's own assertions fail."""
    if "\\boxed " in boxed:
        return boxed.removeprefix("\\boxed ") if boxed.startswith("\\boxed ") else None
    if boxed.startswith("\\boxed{") and boxed.endswith("}"):
        return boxed[len("\\boxed{") : -1]
    return None


def equivalent(given: str | None, reference: str | None) -> bool:
    """Equality of the normalised texts; where the normalisation trips, of the texts as they are."""
    if given is None or reference is None:
        return given is reference
    try:
        return _normalised(given) == _normalised(reference)
    except (ValueError, IndexError):
        return given == reference


# in this order: what is left out, and the names that become others
_REPLACED = {"\n": "", "\\!": "", "\\\\": "\\", "tfrac": "frac", "dfrac": "frac", "\\left": "", "\\right": ""}
_REPLACED |= {"^{\\circ}": "", "^\\circ": "", "\\$": ""}


def _normalised(text: str) -> str:
    for old, new in _REPLACED.items():
        text = text.replace(old, new)
    before, *units = text.split("\\text{ ")
    if len(units) > 1:
        raise ValueError("more than one unit")
    text = before.replace("\\%", "").replace(" .", " 0.").replace("{.", "{0.")
    if not text:
        return text
    if text.startswith("."):
        text = "0" + text
    sides = text.split("=")
    if len(sides) == 2 and len(sides[0]) <= 2:
        text = sides[1]
    text = _braced_fractions(_braced_roots(text).replace(" ", ""))
    return _slash_fraction("\\frac{1}{2}" if text == "0.5" else text)


def _braced_roots(text: str) -> str:
    first, *rest = text.split("\\sqrt")
    return first + "".join("\\sqrt" + (r if r[0] == "{" else "{" + r[0] + "}" + r[1:]) for r in rest)


def _braced_fractions(text: str) -> str:
    first, *rest = text.split("\\frac")
    parts = [first]
    for part in rest:
        if part[0] != "{" and len(part) < 2:
            return text
        if part[0] == "{":
            parts.append("\\frac" + part)
        else:
            above, below, after = part[0], part[1], part[2:]
            parts.append("\\frac{" + above + "}" + (below if below == "{" else "{" + below + "}") + after)
    return "".join(parts)


def _slash_fraction(text: str) -> str:
    sides = text.split("/")
    if len(sides) != 2:
        return text
    above, below = int(sides[0]), int(sides[1])
    return f"\\frac{{{above}}}{{{below}}}" if text == f"{above}/{below}" else text
