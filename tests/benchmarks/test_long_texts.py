"""No text of 200,000 characters, however it is made, takes a reader of answers a second of processor time."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bitparity.benchmarks.answers import breaks_off, final_answer, labelled_answer
from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.fenced_code import last_code, upstream_code
from bitparity.benchmarks.hle import text_key
from bitparity.benchmarks.letters import final_letter
from bitparity.benchmarks.lm_eval_math import aime_score, hendrycks_score
from bitparity.benchmarks.mathematics import equal, math_verify_equal, normalised, number
from bitparity.benchmarks.mmlu_pro import stated_letter
from bitparity.benchmarks.registry import load_benchmark
from bitparity.benchmarks.unicode_maths import as_latex
from bitparity.grading.reasoning import own_turn, split_reasoning
from bitparity.records import Completion, Item, Prompt
from bitparity.results.guards.completions import DAMAGES
from bitparity.stats.texts import is_loop
from bitparity.study.resolve import parse_study

LENGTH, LIMIT_S = 200_000, 1.0
OPTIONS = {letter: f"text of {letter}" for letter in "ABCDEFGHIJ"}
ASKED = "Question: What?\nOptions:\n" + "".join(f"{letter}. {text}\n" for letter, text in OPTIONS.items())
ITEM = Item("q", (Prompt(text=ASKED),), "A", metadata={"letters": "ABCDEFGHIJ"})


def _bench(name: str) -> Benchmark:
    study = {"study": "s", "variants": {"a": {"model": "some/model"}}, "benchmarks": [name]}
    return load_benchmark(parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0])


def _hle(letters: str | None, key: str, text: str) -> None:
    """A finished and a cut-off text."""
    asked = Item("q", (Prompt(messages=({"role": "user", "content": ASKED},)),), key, metadata={"letters": letters})
    for finish in ("stop", "length"):
        HLE.grade(asked, Completion(text, finish=finish))


HLE = _bench("hle")
READERS: dict[str, Callable[[str], object]] = {
    "letters": lambda text: final_letter(text, "ABCDEFGHIJ", True, OPTIONS),
    "parts": lambda text: stated_letter(text, ITEM, True),
    "answer": final_answer,
    "labelled": labelled_answer,
    "broken formula": breaks_off,
    "mathematics": lambda text: equal(text, "\\frac{1}{2}"),
    "Unicode": as_latex,
    "text": text_key,
    "code": partial(last_code, name="f"),
    "upstream's code": upstream_code,
    "normal form": normalised,
    "number": number,
    "lm-eval, MATH": lambda text: hendrycks_score(text, "1"),
    "lm-eval, AIME": lambda text: aime_score(text, "1"),
    "reasoning": lambda text: split_reasoning(text, "none"),
    "turn": own_turn,
    "loop": is_loop,
    "HLE, letter": partial(_hle, "ABCDE", "A"),
    "HLE, formula": partial(_hle, None, "\\frac{1}{2}"),
    "HLE, code": partial(_hle, None, "K1b"),
    "HLE, words": partial(_hle, None, "the empty set"),
    "damage": lambda text: [sign.search(text) for sign in DAMAGES.values()],
}
PIECES = (
    *"([{})\\$1`-=_√½² \t\u0301\u00a0选",
    *("\\frac{", "$$", "12,", "1.", "boxed{", "\\boxed{1}", "\\boxed{A}", "<think>", "</think>", "<|", "analysis"),
    *("```\n", "```python\n", "~~~\n", "\n", " \n", "\r\n", "A ", "(A)", "(A), ", "A\n", "the answer is ", "so "),
    *("The answer is (A). ", "answer ", "Answer:\n", "Question:", "option ", "is (A) ", "wait ", "no, ", "if ", "~~"),
    *(
        "would be ",
        "答案是",
        "√(",
        "10^",
        "^{",
        "x^",
        "1/",
        "**",
        "> ",
        "\\quad ",
        "\\text{",
        "&lt;",
        "\\n",
        "kg ",
        "°",
    ),
    *("1e5", "...", "combine ", "user\n", "Human:", "assistant\n", "def f(x):\n", "f(", "not not ", ">>> x\n", "#### "),
    *("Exact Answer: ", "\nConfidence: ", "$x ", "K1b ", "<answer>", "\\(", "\\[", "</b>", "1 1/2 ", "5\\%"),
)
HEADS = ["", "The answer is ", "The answer is (A). ", "Answer: ", "\\boxed{", "```python\n", "<think>", "$", "#### "]
TAILS = ["", "\nThe answer is (B).", "}", "\n```"]


@example("The answer is (A). ", " \n", "\n```")
@example("```python\n", "\n", "\n```")
@example("```python\n", "x = 1\n", "\n```")
@given(
    st.sampled_from(HEADS),
    st.lists(st.sampled_from(PIECES), min_size=1, max_size=2).map("".join),
    st.sampled_from(TAILS),
)
@settings(max_examples=12, deadline=None)
def test_no_text_takes_a_second(head: str, piece: str, tail: str) -> None:
    math_verify_equal("1", "1")  # imports SymPy
    text = head + (piece * LENGTH)[: LENGTH - len(head) - len(tail)] + tail
    for name, read in READERS.items():
        begun = time.process_time()
        read(text)
        assert time.process_time() - begun < LIMIT_S, f"{name}: {head!r}, {piece!r} again and again, {tail!r}"


FORMULAS = [  # that Math-Verify needs seconds or minutes for
    *(head * 9 + "x" + ")" * 9 for head in ("\\exp(", "\\sinh(", "1-(", "1-(1-(")),
    "\\log_{2}{" * 9 + "x" + "}" * 9,
    *(unit * (380 // len(unit)) for unit in ("1½", "\\pi^", "\\ln ", "(1,2),", "(9^{9999})", "(x+y)^{9}")),
    *(unit * (4900 // len(unit)) for unit in ("(1,2),", "(-\\infty,1)\\cup", "\\pi^", "\\ln ")),
    "1 1/2 " * 25,
    *(f"${(word * 999)[:length]}$" for word in ("word ", "energy ", "word = ") for length in (399, 4898)),
    "\\[" + "seven " * 810 + "\\]",
    *("    x\n^{9}^" * count for count in (30, 380)),
    "11:30" * 30,
    "(x+y+" * 9 + "1" + ")^{9}" * 9,
    "\\binom{5}{" * 9 + "x" + "}" * 9,
    "\\binom{22+735235|\\lfloor x \\rfloor|}{2356}",
]


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_formula_takes_a_second(formula: str) -> None:
    math_verify_equal("\\frac{1}{2}", "x + 1")  # imports SymPy
    bench = _bench("math500")
    for key in ("\\frac{1}{2}", "\\{1,2\\}"):
        item = Item("q", (), key, metadata={"lm_eval_reference": key})
        for text, finish in (
            (f"\\boxed{{{formula}}}", "stop"),
            (f"The answer is ${formula}$.", "stop"),
            (formula, "length"),
        ):
            begun = time.process_time()
            bench.grade(item, Completion("word. " * 30_000 + text, finish=finish))
            assert time.process_time() - begun < LIMIT_S, (key, finish)
