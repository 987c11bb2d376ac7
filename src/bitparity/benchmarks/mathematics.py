"""Chat prompt and Math-Verify grader of the mathematical benchmarks MATH-500 and AIME 2024."""

from __future__ import annotations

import logging
import re
from abc import abstractmethod
from fractions import Fraction
from functools import lru_cache
from typing import Any, ClassVar

from bitparity.benchmarks.answers import Stated, final_answer, has_box
from bitparity.benchmarks.rows import RowsBenchmark
from bitparity.records import Completion, Grade, Item, Prompt

# the wording that Qwen2.5-Math and Qwen3 recommend for mathematics: model card of Qwen/Qwen3-32B, best
# practices, "Standardize Output Format"
INSTRUCTION = "\nPlease reason step by step, and put your final answer within \\boxed{}."

MATH_VERIFY_CHARS = 1000  # a longer expression is compared as text alone
WHOLE_CHARS = 5000  # of a cut-off text the end is read; Math-Verify takes quadratic time on some texts


class MathBenchmark(RowsBenchmark):
    """A benchmark whose answers are mathematical expressions, graded by Math-Verify 0.9.0 and by lm-eval."""

    slow_grader: ClassVar[bool] = True
    lm_eval_prompt: ClassVar[str]
    """The prompt of lm-eval's task, with "{}" for the problem."""

    def prompt(self, problem: str) -> Prompt:
        """The prompt of the spec's form."""
        if self.spec.form == "chat":
            return Prompt(messages=({"role": "user", "content": problem + INSTRUCTION},))
        text = self.lm_eval_prompt.format(problem)
        if self.spec.protocol.apply_chat_template:
            return Prompt(messages=({"role": "user", "content": text},))
        return Prompt(text=text)

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
            right, details = math_verify_equal(completion.text[-WHOLE_CHARS:], reference), {"read": "the whole text"}
        else:
            right, details = False, {}
        metrics = {"math_verify": float(right), "lm_eval_exact_match": self.lm_eval_score(item, completion.text)}
        score = metrics[self.metric]
        answered = stated is not None or (score > 0 and completion.finish != "length")
        return Grade(
            score, "answered" if answered else "no_answer", stated.options[0] if stated else None, metrics, details
        )


def _is_read_whole(completion: Completion) -> bool:
    """True for a text without a statement that was cut off, without a reasoning and before any box was begun."""
    cut = completion.reasoning is None and completion.finish == "length"
    return cut and bool(completion.text.strip()) and not has_box(completion.text)


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
    ours, theirs = normalised(given), normalised(reference)
    if ours == theirs:
        return bool(ours)
    if number(theirs) is not None:
        ours, given = _bare_value(ours), _bare_value(given)
    elif ours.endswith("\\%"):
        ours, given, reference = (text.strip().removesuffix("\\%") for text in (ours, given, reference))
    if _is_words(reference):
        return _words(given) == _words(reference)
    bare = _WRAPPER.sub(r"\1", ours)
    our_base, their_base = _BASED.fullmatch(bare), _BASED.fullmatch(theirs)
    if our_base and their_base:
        return our_base.groups() == their_base.groups()
    our_number, their_number = number(bare), number(theirs)
    if our_number is not None and their_number is not None:
        return our_number == their_number
    if len(given) > MATH_VERIFY_CHARS or _HUGE.search(ours):
        return False
    cleaned = f"\\frac{{{our_number.numerator}}}{{{our_number.denominator}}}" if our_number else _cleaned(given)
    return math_verify_equal(f"\\boxed{{{cleaned}}}" if boxed else cleaned, reference)


_BASED = re.compile(r"\(?(\w+)\)?_\{?(\d+)\}?")
_HUGE = re.compile(r"(?:[2-9]|\d\d)\)?\^\{?\d{5}|\d\^\{?\d+\^|\d{5}!")  # Math-Verify would write the number out
_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+|\d+)?(?:\.\d*)?(?:[eE][-+]?\d{1,2})?")
_MIXED = re.compile(r"(-?)(\d{1,9}) (\d{1,9})/(\d{1,9})")
_SCALES = "hundred|thousand|million|billion|trillion|dozen|percent"
_UNIT = re.compile(
    r"(?<=[\d})])\s*\\(?:text(?:rm)?|mathrm|mbox)\s*\{(?!\s*(?:" + _SCALES + r"|and|or|not|no|to)\b)[^{}]*\}"
    r"(?:\^\{?-?\d\}?)?$"
)
_PHRASE = re.compile(r"^\\text\s*\{[^{}]*\b(?:answer|is|equals)\b[^{}]*\}(?=.)")
_WRAPPER = re.compile(r"\\(?:text(?:bf|rm|it|sf|normal)?|math(?:bf|rm|it|sf)|mbox)\s*\{([^{}]*)\}")
_SPACING = re.compile(r"\\[!,;: ]|\\(?:left|right|displaystyle|big|Big)(?![a-zA-Z])|~")
_WORDS = re.compile(r"\\(?:text(?:bf|rm)?|mbox|mathrm)\s*\{([A-Za-z() ]*)\}|[A-Za-z]{3,}(?: [A-Za-z]+)*")
_ARTICLE = re.compile(r"^(?:the|an|a) ")


def normalised(latex: str) -> str:
    """LaTeX without what does not change its meaning: spacing, sizes, dollars, degrees."""
    text = _cleaned(latex).replace("\\$", "").replace("$", "")
    text = _SPACING.sub("", text).replace("{,}", ",").replace("^{\\circ}", "").replace("^\\circ", "")
    text = re.sub(r"\\[dt]frac(?![a-zA-Z])", r"\\frac", text)
    text = re.sub(r"(?<=\w)\s+(?=\w)", " ", text.strip())
    return re.sub(r"(?<!\w)\s+|\s+(?!\w)", "", text).rstrip(".")


def _cleaned(given: str) -> str:
    return given.replace("°", "^\\circ").replace("−", "-").strip().rstrip(".")


def _bare_value(latex: str) -> str:
    """An expression without the phrase before it, and the unit and per cent sign behind it."""
    text = _PHRASE.sub("", latex.strip())
    wrapped = _WRAPPER.fullmatch(text)
    text = _UNIT.sub("", wrapped[1].strip() if wrapped else text).removesuffix("\\%").rstrip("\\,;~ ")
    return text or latex


def _is_words(reference: str) -> bool:
    return _WORDS.fullmatch(reference.strip()) is not None


def _words(latex: str) -> str:
    text = _WRAPPER.sub(r"\1", normalised(latex)).lower()
    words = re.sub(r"[^a-z0-9]+", " ", text).strip()
    return _ARTICLE.sub("", words)


def number(text: str) -> Fraction | None:
    """The value of a decimal number, thousands parted or not, or of "1 1/2"; None for anything else."""
    if not text.isascii() or len(text) > MATH_VERIFY_CHARS or not any(c.isdigit() for c in text):
        return None
    mixed = _MIXED.fullmatch(text)
    if mixed and int(mixed[4]):
        value = int(mixed[2]) + Fraction(int(mixed[3]), int(mixed[4]))
        return -value if mixed[1] else value
    plain = text.replace(",", "").replace(" ", "")
    return Fraction(plain) if _NUMBER.fullmatch(text) and plain.lower()[:1] != "e" else None


def math_verify_equal(given: str, reference: str) -> bool:
    """True where Math-Verify finds an expression in `given` that equals the LaTeX `reference`.

    Its own timeouts stay off, since their signal does not interrupt C code: the grader's process has a deadline.
    """
    from math_verify import parse, verify

    for module in ("parser", "grader"):  # they warn at each call that no timeout is set
        logging.getLogger(f"math_verify.{module}").setLevel(logging.ERROR)
    parsed = parse(given, parsing_timeout=None)
    return bool(verify(_parsed_reference(reference), parsed, timeout_seconds=None, allow_set_relation_comp=True))


@lru_cache(maxsize=1024)
def _parsed_reference(reference: str) -> Any:
    from math_verify import parse

    bare = re.sub(r"^\s*[a-zA-Z]\s*\\in(?![a-zA-Z])\s*", "", reference)  # "x \in [-2,7]" asks for the set
    return parse(f"${bare}$", parsing_timeout=None)
