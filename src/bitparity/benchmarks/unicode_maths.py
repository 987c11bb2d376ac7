"""Unicode and plain-text mathematics as LaTeX: superscripts, roots, fractions, signs, Greek letters, functions."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_RAISED = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁼⁽⁾ⁿⁱ", "0123456789+-=()ni", strict=True))
_LOWERED = dict(zip("₀₁₂₃₄₅₆₇₈₉₊₋₌₍₎", "0123456789+-=()", strict=True))
_COMMANDS = """
α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu ξ xi π pi ρ rho σ sigma
τ tau υ upsilon φ phi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega
∞ infty × times · cdot ⋅ cdot ± pm ≤ leq ≥ geq ≠ neq ∪ cup ∩ cap ∈ in ∅ emptyset ∑ sum ∫ int → to … ldots ÷ div
ℝ mathbb{R} ℤ mathbb{Z} ℕ mathbb{N} ℚ mathbb{Q} ℂ mathbb{C}
"""
_SIGNS: dict[str, str] = dict(re.findall(r"(\S) (\S+)", _COMMANDS))
_SIGN = re.compile(f"[{''.join(_SIGNS)}]")
_UP, _DOWN = re.compile(f"[{''.join(_RAISED)}]+"), re.compile(f"[{''.join(_LOWERED)}]+")
_ROOT = re.compile(
    r"(?P<sign>[√∛∜])\s*(?:\((?P<group>[^()]*)\)|\{(?P<braced>[^{}]*)\}|(?P<bare>\d+(?:\.\d+)?|\\?[^\W\d_]+))"
)
_DEGREES = {"√": "", "∛": "[3]", "∜": "[4]"}
_VULGAR = re.compile("(?P<whole>[0-9]?) ?(?P<sign>[¼-¾⅐-⅞])")
_PLAIN_ROOT = re.compile(r"(?<![\\a-zA-Z])sqrt\s?(?:\((?P<group>[^()]*)\)|(?P<bare>\d+))")
_PLAIN_NAME = re.compile(
    r"(?<![\\a-zA-Z])(?P<name>pi|ln|log|exp|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|sinh|cosh|tanh|infinity)(?![a-zA-Z])"
)
_WORD = re.compile(r"(?<![\\a-zA-Z])[a-zA-Z]{3,}")
_SPACES = re.compile("[\u00a0\u2000-\u200a\u202f\u205f\u3000]")


def as_latex(text: str) -> str:
    """The text with Unicode mathematics in LaTeX; other text, and all ASCII, as it is."""
    if text.isascii():
        return text
    text = _SPACES.sub(" ", text)
    text = _VULGAR.sub(lambda match: _fraction(match["whole"], match["sign"]), text)
    text = _UP.sub(lambda match: "^{" + "".join(_RAISED[c] for c in match[0]) + "}", text)
    text = _DOWN.sub(lambda match: "_{" + "".join(_LOWERED[c] for c in match[0]) + "}", text)
    text = _SIGN.sub(lambda match: f"\\{_SIGNS[match[0]]} ", text)
    return _ROOT.sub(_root, text)


def names_as_latex(text: str) -> str:
    """A formula with plain "sqrt(2)", "ln 2" and "pi" in LaTeX; a text with other words as it is."""
    found = _PLAIN_NAME.sub(lambda match: f"\\{match[0].replace('infinity', 'infty')} ", text)
    found = _PLAIN_ROOT.sub(lambda match: f"\\sqrt{{{match['group'] or match['bare']}}}", found)
    return text if "\\text" in text or _WORD.search(found) else found


@lru_cache(maxsize=1024)
def _fraction(whole: str, sign: str) -> str:
    above, _, below = unicodedata.normalize("NFKC", sign).partition("\N{FRACTION SLASH}")
    return f"{whole} {above}/{below}" if whole else f"\\frac{{{above}}}{{{below}}}"


def _root(match: re.Match[str]) -> str:
    inside = match["group"] or match["braced"] or match["bare"]
    return f"\\sqrt{_DEGREES[match['sign']]}{{{inside}}}"
