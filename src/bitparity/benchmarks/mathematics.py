"""Chat prompt and Math-Verify grader of the mathematical benchmarks MATH-500 and AIME 2024."""

from __future__ import annotations

import logging
import operator
import re
from abc import abstractmethod
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple

from bitparity.benchmarks.answers import Stated, breaks_off, final_answer, has_box
from bitparity.benchmarks.dataset import RowsBenchmark
from bitparity.benchmarks.patterns import compiled
from bitparity.benchmarks.unicode_maths import as_latex, names_as_latex
from bitparity.benchmarks.units import Unit, is_counted, marks, unit_of
from bitparity.records import Completion, Grade, Item, Prompt

# the wording that Qwen2.5-Math and Qwen3 recommend for mathematics: model card of Qwen/Qwen3-32B, best
# practices, "Standardize Output Format"
INSTRUCTION = "\nPlease reason step by step, and put your final answer within \\boxed{}."

# a longer expression, or a longer sentence with one, is compared as text alone; the longest key of MATH-500 has 53
MATH_VERIFY_CHARS, SENTENCE_CHARS = 400, 1000
_PATTERNS = compiled("mathematics", most=str(MATH_VERIFY_CHARS))
# brackets in brackets, floors, bars, sums and limits, powers of brackets that it reads within a second
DEEPEST, MOST = 9, (4, 40, 3, 12)
NEAR_ZERO, FAR = 1e-25, 1e-5  # relative differences of numbers that are equal, and that are not
POINTS = ((0.61803, 1.32471, 2.23607, 0.43429, 1.77245), (1.20206, 0.57721, 0.91596, 2.68545, 3.35988))  # variables
MOST_NODES, MOST_POWER = 120, 12  # of a formula that Math-Verify may make simpler
WHOLE_CHARS = 5000  # of a cut-off text the end is read; Math-Verify takes quadratic time on some texts


class MathBenchmark(RowsBenchmark):
    """A benchmark whose answers are mathematical expressions, graded by Math-Verify 0.9.0 and by lm-eval."""

    slow_grader: ClassVar[bool] = True
    lm_eval_prompt: ClassVar[str]
    """The prompt of lm-eval's task, with "{}" for the problem."""

    def prompt(self, problem: str) -> Prompt:
        """The prompt of the spec's form."""
        chat = self.spec.form == "chat"
        return self.prompt_of(problem + INSTRUCTION if chat else self.lm_eval_prompt.format(problem))

    def load_grader(self) -> None:
        """Import Math-Verify and SymPy."""
        math_verify_equal("1", "1")

    @abstractmethod
    def lm_eval_score(self, item: Item, text: str) -> float:
        """The score by lm-eval's own metric."""

    def grade(self, item: Item, completion: Completion) -> Grade:
        """Math-Verify on the final statement, next to lm-eval's metric on the whole text.

        Without a reasoning, a text that was cut off before any box or statement is read as every published grader
        reads it: Math-Verify on the whole text. It stays without an answer (`grading` makes it "cut_off") but may
        score 1: "... = 2 + 3 = 5", cut off there, is right elsewhere too, and one study of a model with many cut-off
        texts must not lie below all published ones. With a reasoning there is no such reading: what is cut off behind
        the end of the reasoning is a summary that has not come to its result, and its last number is a guess.
        """
        stated = final_answer(completion.text, ended=completion.finish != "length")
        reference = str(item.reference)
        if stated is not None:
            right, details = states(stated, reference), {"stated": str(stated.kind)}
        elif _is_read_whole(completion):
            text = completion.text[-WHOLE_CHARS:]
            # the first number of a formula that breaks off is no answer: it must also be right without that formula
            readings = dict.fromkeys((text, _closed(text)))
            right, details = all(math_verify_equal(t, reference) for t in readings), {"read": "the whole text"}
        else:
            right, details = False, {}
        metrics = {"math_verify": float(right), "lm_eval_exact_match": self.lm_eval_score(item, completion.text)}
        score = metrics[self.metric]
        answered = stated is not None or (score > 0 and completion.finish != "length")
        said = stated.options[0] if stated else None
        return Grade(score, "answered" if answered else "no_answer", said, metrics, details)


def _is_read_whole(completion: Completion) -> bool:
    """True for a text without a statement that was cut off, without a reasoning and before any box was begun."""
    cut = completion.reasoning is None and completion.finish == "length"
    return cut and bool(completion.text.strip()) and not has_box(completion.text)


def _closed(text: str) -> str:
    """A cut-off text without the formula that breaks off at its end."""
    opening = max(text.rfind(mark) for mark in ("\\[", "\\(", "$"))
    return text[:opening] if opening >= 0 and breaks_off(text[opening:]) else text


def states(stated: Stated, reference: str) -> bool:
    """True where a stated answer equals the reference in one of its readings."""
    return any(equal(option, reference, boxed=is_whole(stated, option)) for option in stated.options)


def is_whole(stated: Stated, option: str) -> bool:
    """True where a reading is an expression as a whole: a box, or "2, 3" after "the answer is".

    In the others, sentences with mathematics in them, Math-Verify looks for the last expression.
    """
    if stated.kind != "statement":
        return stated.kind == "box"
    return not re.search(r"\$|\\[(\[]|[^\W\d_]{3,}", re.sub(r"\\[a-zA-Z]+", "", option))


def equal(given: str, reference: str, boxed: bool = True) -> bool:
    r"""True where two answers are equal: as normalised texts, as exact numbers, or for Math-Verify.

    Words are compared as words (Math-Verify reads "east" as e*a*s*t, so "seat" would equal it), numbers exactly
    (it rounds to six decimals) and written bases count (it drops them). `boxed` tells that all of `given` is the
    expression; otherwise Math-Verify looks for one in it.
    """
    (our_marks, given), (their_marks, reference) = marks(_cleaned(given)), marks(_cleaned(reference))
    if our_marks and their_marks and our_marks != their_marks:
        return False  # 7 PM is not 7 AM; where one side names none the numbers decide
    if number(normalised(reference)) is None:  # behind a number such a name is told from a unit
        given, reference = names_as_latex(given), names_as_latex(reference)
    ours, theirs = normalised(given), normalised(reference)
    if ours == theirs:
        return bool(ours)
    if _PATTERNS["ellipsis"].search(ours) or _PATTERNS["ellipsis"].search(theirs):
        return False  # Math-Verify reads no more than the members that are written out
    own, key = quantity(given), quantity(reference)
    if own is not None and key is not None and (own.unit or key.unit):
        return _same_quantity(own, key)
    if number(theirs) is not None:
        words = _PATTERNS["number_and_words"].fullmatch(_PATTERNS["wrapper"].sub(r" \1 ", given).strip())
        if words and not is_counted(words["rest"]):
            return False  # "3 sin x", "5 squared": Math-Verify may leave the words out
        ours, given = _bare_value(ours), _bare_value(given)
    elif ours.endswith("\\%"):
        ours, given, reference = (text.strip().removesuffix("\\%") for text in (ours, given, reference))
    if _PATTERNS["words"].fullmatch(reference.strip()):
        return _words(given) == _words(reference)
    bare = _PATTERNS["wrapper"].sub(r"\1", ours)
    our_base, their_base = _PATTERNS["based"].fullmatch(bare), _PATTERNS["based"].fullmatch(theirs)
    if our_base and their_base:
        return our_base.groups() == their_base.groups()
    our_number, their_number = number(bare), number(theirs)
    comma, point = _PATTERNS["decimal_comma"].fullmatch, _PATTERNS["decimal"].fullmatch
    if (comma(bare) and point(theirs)) or (comma(theirs) and point(bare)):
        return number(bare.replace(",", ".")) == number(theirs.replace(",", "."))
    if our_number is not None and their_number is not None:
        return our_number == their_number and not _PATTERNS["list"].search(given)
    if len(given) > (MATH_VERIFY_CHARS if boxed else SENTENCE_CHARS) or _PATTERNS["huge"].search(ours):
        return False
    cleaned = given if our_number is None else bare  # decimals are rounded, which Math-Verify knows
    if our_number is not None and not point(bare):
        cleaned = f"\\frac{{{our_number.numerator}}}{{{our_number.denominator}}}"
    return math_verify_equal(f"\\boxed{{{cleaned}}}" if boxed else cleaned, reference)


class Quantity(NamedTuple):
    """A number with its unit, None where it has none; `apart`: the unit is no factor of the number's own."""

    value: Fraction
    unit: Unit | None
    apart: bool


def quantity(latex: str) -> Quantity | None:
    """A number with a known unit, or without any; None for anything else."""
    money = _PATTERNS["money"].match(latex)
    text = latex if money is None else f"{latex[money.end() :].rstrip(' $')} {money['sign']}"
    match = _PATTERNS["quantity"].fullmatch(text if money else text.replace("$", "").strip())
    value = number(normalised(match["number"])) if match else None
    if match is None or value is None:
        return None
    rest = match["rest"].strip()
    unit = unit_of(rest) if rest else None
    apart = match["rest"][:1] in " \\~^°"
    return Quantity(value, unit, apart) if unit is not None or not rest else None


def _same_quantity(own: Quantity, key: Quantity) -> bool:
    """Equal values in equal units, converted; where one of the two has no unit the numbers decide."""
    if own.unit is None or key.unit is None:
        return own.value == key.value and (own.apart or own.unit is None)
    return own.unit.kinds == key.unit.kinds and own.value * own.unit.size == key.value * key.unit.size


def normalised(latex: str) -> str:
    """LaTeX without what does not change its meaning: spacing, sizes, dollars, degrees."""
    text = _cleaned(latex).replace("\\$", "").replace("$", "")
    text = _PATTERNS["spacing"].sub("", text).replace("{,}", ",").replace("^{\\circ}", "").replace("^\\circ", "")
    text = re.sub(r"\\[dt]frac(?![a-zA-Z])", r"\\frac", text)
    text = re.sub(r"(?<=\w)\s+(?=\w)", " ", text.strip())
    return re.sub(r"(?<!\w)\s+|\s+(?!\w)", "", text).rstrip(".")


def _cleaned(given: str) -> str:
    text = as_latex(given).replace("°", "^\\circ").replace("−", "-").replace("\\varnothing", "\\emptyset")
    text = _PATTERNS["ratio"].sub(":", text.strip().rstrip("."))
    return _PATTERNS["upright"].sub(r"\1", _PATTERNS["ordinal"].sub("", text))


def _bare_value(latex: str) -> str:
    """An expression without the phrase before it, and what is counted and the per cent sign behind it."""
    text = _PATTERNS["phrase"].sub("", latex.strip())
    wrapped = _PATTERNS["wrapper"].fullmatch(text)
    text = wrapped[1].strip() if wrapped else text
    behind = _PATTERNS["counted"].fullmatch(text) or _PATTERNS["unit"].search(text)
    if behind and is_counted(behind["rest"]):
        text = text[: behind.start("rest")]
    text = text.removesuffix("\\%").rstrip("\\,;~ ")
    return text or latex


def _words(latex: str) -> str:
    text = _PATTERNS["wrapper"].sub(r"\1", normalised(latex)).lower()
    words = re.sub(r"[^a-z0-9]+", " ", text).strip()
    return _PATTERNS["article"].sub("", words)


def number(text: str) -> Fraction | None:
    """The value of a decimal number, thousands parted or not, or of "1 1/2"; None for anything else."""
    if not text.isascii() or len(text) > MATH_VERIFY_CHARS or not any(c.isdigit() for c in text):
        return None
    if scientific := _PATTERNS["scientific"].fullmatch(text.replace(" ", "")):
        sign, factor, power = scientific.groups()
        return Fraction(f"{sign}{factor or 1}") * Fraction(10) ** int(power)
    if repeating := _PATTERNS["repeating"].fullmatch(text):
        sign, whole, once, again = repeating.groups()
        parts = 10 ** len(once) * (10 ** len(again) - 1)
        value = Fraction(int(f"{whole}{once}{again}") - int(f"{whole}{once}" or 0), parts)
        return -value if sign else value
    if (mixed := _PATTERNS["mixed"].fullmatch(text)) and int(mixed[4]):
        value = int(mixed[2]) + Fraction(int(mixed[3]), int(mixed[4]))
        return -value if mixed[1] else value
    plain = text.replace(",", "").replace(" ", "")
    return Fraction(plain) if _PATTERNS["number"].fullmatch(text) and plain.lower()[:1] != "e" else None


def math_verify_equal(given: str, reference: str) -> bool:
    """True where Math-Verify finds an expression in `given` that equals the LaTeX `reference`.

    Its own timeouts stay off, since their signal does not interrupt C code: the grader's process has a deadline.
    """
    if _is_deep(given):
        return False
    from math_verify import parse, verify

    for module in ("parser", "grader"):  # they warn at each call that no timeout is set
        logging.getLogger(f"math_verify.{module}").setLevel(logging.ERROR)
    parsed, key = _with_imaginary_unit(parse(given, parsing_timeout=None)), _parsed_reference(reference)
    if (decided := _decided(parsed, key)) is not None:
        return decided
    return bool(verify(key, parsed, timeout_seconds=None, allow_set_relation_comp=True))


def _is_deep(latex: str) -> bool:
    """True where brackets, bars, powers, functions and the like are so many that Math-Verify could take minutes."""
    depth = 0
    for bracket in _PATTERNS["bracket"].findall(latex):
        depth = depth + 1 if bracket in "([{" else max(depth - 1, 0)
        if depth > DEEPEST:
            return True
    floors = latex.count("\\lfloor") + latex.count("\\lceil")
    operators = len(_PATTERNS["operator"].findall(latex))
    counts = (floors, latex.count("|"), operators, latex.count(")^"))
    # a text that is read whole may hold a list of thousands
    gaps = _PATTERNS["prose_word"].split(latex) if len(latex) > MATH_VERIFY_CHARS else []
    if any(map(operator.gt, counts, MOST)) or any(len(gap) > MATH_VERIFY_CHARS for gap in gaps):
        return True
    return any(_PATTERNS[name].search(latex) for name in ("long_formula", "tower", "nested"))


def _with_imaginary_unit(parsed: list[Any]) -> list[Any]:
    """The expressions that Math-Verify has read, with the imaginary unit for i where that is the only letter."""
    import sympy

    letters = parsed[0].free_symbols if parsed and isinstance(parsed[0], sympy.Expr) else ()
    if {letter.name for letter in letters} != {"i"}:
        return parsed
    return [parsed[0].xreplace(dict.fromkeys(letters, sympy.I)), *parsed[1:]]


def _decided(given: list[Any], reference: list[Any]) -> bool | None:
    """The comparison of two expressions by their values; None where Math-Verify has to decide.

    Numbers are compared exactly: Math-Verify rounds to six decimals, so that 1/2^98 equals 1/2^99 for it, and finds the
    square root of 2.5 unequal to half the root of 10. What is close without being equal (0.333333 and 1/3) is left to
    it. Formulas with variables are unequal where their values differ; Math-Verify would try to make them simpler, for
    minutes. One so large that it could is equal where the values agree; one in a list or a matrix is only text.
    """
    import sympy

    if not (given and reference) or isinstance(given[0], str) or isinstance(reference[0], str):
        return None
    ours, theirs = given[0], reference[0]
    large = any(map(_is_large, (ours, theirs)))
    if not all(isinstance(each, sympy.Expr) for each in (ours, theirs)):
        return False if large else None
    names = sorted({symbol.name for symbol in ours.free_symbols | theirs.free_symbols})
    if names and (isinstance(ours, sympy.Symbol) or isinstance(theirs, sympy.Symbol)):
        return None  # "answer" may be read as a product of letters
    points = POINTS if names else POINTS[:1]
    found = [_same_values(ours, theirs, dict(zip(names, point, strict=False))) for point in points]
    if False in found or (None in found and large):
        return False
    return True if None not in found and (large or not names) else None


def _same_values(ours: Any, theirs: Any, values: Mapping[str, float]) -> bool | None:
    """True where two expressions have the same value for these values of the variables; None where that is not told."""
    import sympy

    try:
        numbers = {s: sympy.Rational(values[s.name]) for s in ours.free_symbols | theirs.free_symbols}
        given, key = (sympy.nsimplify(each, rational=True).xreplace(numbers) for each in (ours, theirs))
        difference, size = (abs(sympy.N(each, 30)) for each in (given - key, key))
        return True if difference <= size * NEAR_ZERO else False if difference > size * FAR else None
    except (TypeError, KeyError, ValueError, ArithmeticError):  # no number, or not comparable
        return None


def _is_large(expression: Any) -> bool:
    """True for what Math-Verify could need minutes to make simpler: many terms, or a function of combinatorics."""
    import sympy

    heavy = (sympy.binomial, sympy.factorial, sympy.gamma, sympy.floor, sympy.ceiling)
    for count, node in enumerate(sympy.preorder_traversal(expression)):
        if count >= MOST_NODES or (isinstance(node, heavy) and node.free_symbols):
            return True
        if isinstance(node, sympy.Pow) and node.base.is_Add and node.exp.is_Rational and abs(node.exp) > MOST_POWER:
            return True
    return False


@lru_cache(maxsize=1024)
def _parsed_reference(reference: str) -> Any:
    from math_verify import parse

    bare = re.sub(r"^\s*[a-zA-Z]\s*\\in(?![a-zA-Z])\s*", "", reference)  # "x \in [-2,7]" asks for the set
    return _with_imaginary_unit(parse(f"${bare}$", parsing_timeout=None))
