"""Numbers, units and Unicode mathematics: understood as a whole, or not at all."""

from __future__ import annotations

import time
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bitparity.benchmarks.answers import Stated, final_answer, labelled_answer
from bitparity.benchmarks.hle import matches
from bitparity.benchmarks.mathematics import equal, number, quantity, states
from bitparity.benchmarks.unicode_maths import as_latex
from bitparity.benchmarks.units import is_counted, unit_of


@pytest.mark.parametrize(
    ("given_text", "key", "right"),
    [
        # a factor behind a number is no unit
        *[
            (f"{n}{rest}", str(n), False)
            for n, rest in enumerate(("π", "i", "x", "√3", "\\mathrm{i}", "\\mathrm{e}"), 2)
        ],
        ("10⁶", "10", False),
        ("2¹⁰", "2", False),
        ("5\\text{ squared}", "5", False),
        ("5\\text{ factorial}", "5", False),
        ("12\\text{ pi}", "12", False),
        ("3m", "3", False),
        # what is counted, ordinals and units behind a number leave it
        ("9^{\\text{th}} \\text{ row}", "9", True),
        ("9^{th}", "9", True),
        ("\\text{9th row}", "9", True),
        ("12\\text{ apples}", "12", True),
        ("45\\text{ cm}", "45", True),
        ("45^\\circ", "45", True),
        # the key's unit counts, and converts
        ("5\\text{ g}", "5\\text{ kg}", False),
        ("5000\\text{ g}", "5\\text{ kg}", True),
        ("5", "5\\text{ kg}", True),
        ("90\\text{ min}", "1.5\\text{ h}", True),
        ("36\\text{ km/h}", "10\\text{ m s}^{-1}", True),
        ("37°C", "37°F", False),
        ("864 \\text{ cm}^2", "864 \\mbox{ inches}^2", False),
        # what tells equal numbers apart; where one side does not say it the numbers decide
        *[
            (f"{value}{one}", f"{value}{other}", one == other)
            for value, pair in (
                ("7", (" PM", " AM")),
                ("7:30", ("\\text{ p.m.}", "\\text{ a.m.}")),
                ("44", ("\\text{ BCE}", "\\text{ CE}")),
                ("40^\\circ", ("\\text{ N}", "\\text{ S}")),
                ("5\\%", ("\\text{ increase}", "\\text{ decrease}")),
                ("5", ("\\text{ Jan}", "\\text{ Mar}")),
                ("30^\\circ", ("\\text{ east of north}", "\\text{ north of east}")),
                ("5", (" square feet", " cubic feet")),
                ("5", (" acres", " hectares")),
            )
            for one in pair
            for other in pair
        ],
        ("7\\text{ PM}", "7", True),
        ("7", "7 PM", True),
        ("7 p.m.", "7\\text{ PM}", True),
        ("44 BC", "44 BCE", True),
        ("90 N", "90 newtons", True),
        ("20 below zero", "20", False),
        ("5 half", "5", False),
        ("2 square meters", "2\\text{ m}^2", True),
        ("5 to 1", "1 to 5", False),
        ("5 to 1", "5:1", True),
        ("12 girls", "12", True),
        # Unicode
        ("√2", "\\sqrt{2}", True),
        ("2√3", "2\\sqrt{3}", True),
        ("3 × 10⁻⁹", "3 \\times 10^{-9}", True),
        ("3*10^-9", "3 \\times 10^{-9}", True),
        ("6.2×10⁵", "620000", True),
        ("∞", "\\infty", True),
        ("1½", "\\frac{3}{2}", True),
        ("x² + 1", "x^2+1", True),
        ("θ/2", "\\frac{\\theta}{2}", True),
        # where Math-Verify alone is wrong
        ("1+\\frac{1}{\\mathrm{e}}", "1-\\frac{1}{\\mathrm{e}}", False),
        ("\\frac{1}{2^{98}}", "\\frac{1}{2^{99}}", False),
        ("\\frac{1}{2006!}", "\\frac{1}{2004!}", False),
        ("3\\sqrt{2.5}", "\\frac{3\\sqrt{10}}{2}", True),
        ("1, 3, 5, \\ldots, 2n-1", "1, 2, \\ldots, n", False),
        ("1,2,\\ldots,n", "1, 2, \\ldots, n", True),
        ("0.333", "\\frac{1}{3}", False),
        ("12 cents", "\\$12", False),
        ("50 cents", "\\$0.50", True),
        ("\\$12.50", "12.5", True),
        ("12.50 \\text{ dollars}", "\\$12.50", True),
        ("€12", "\\$12", False),
        ("$12$", "12", True),
        ("10^{-9}", "1e-9", True),
        ("10⁻⁹", "1e-9", True),
        ("-10^3", "-1000", True),
    ],
)
def test_equal(given_text: str, key: str, right: bool) -> None:
    assert equal(given_text, key) is right


@pytest.mark.parametrize(
    ("said", "key", "right"),
    [
        ("4n log n", "4", False),
        ("3 sin x", "3", False),
        ("5 g", "5 kg", False),
        ("12 h", "12 min", False),
        ("5 m", "5 s", False),
        ("AG", "GA", False),
        ("3-5", "-2", False),
        ("10-4", "6", False),
        ("1:2", "2:1", False),
        ("2:1", "2:1", True),
        ("AG", "AG", True),
        ("5 kg", "5 kg", True),
        ("x+1", "1+x", True),
        ("n log n", "n\\log n", True),
        ("ln(2)", "\\ln 2", True),
        ("3 sqrt(2)", "3\\sqrt{2}", True),
        ("\\frac{\\sqrt{2}}{2}", "sqrt(2)/2", True),
        ("pi/4", "\\frac{\\pi}{4}", True),
        ("infinity", "\\infty", True),
        ("log cabin", "log bacin", False),
        ("K1b", "k1B", False),  # places of pieces on a board
        ("C1CCCCC1", "c1ccccc1", False),  # two molecules
        ("c1ccccc1", "c1ccccc1", True),
        ("0x1f", "0x1F", True),
    ],
)
def test_hle_answers(said: str, key: str, right: bool) -> None:
    stated = labelled_answer(f"Explanation: so.\nAnswer: {said}\nConfidence: 70%")
    assert stated is not None
    assert matches(stated, key) is right


@given(st.integers(0, 10**9), st.sampled_from("πixnk√²⁶"), st.sampled_from(["", " ", "·"]))
@settings(max_examples=60)
def test_no_factor_is_dropped(value: int, factor: str, between: str) -> None:
    text = f"{value}{between}{factor}"
    assert quantity(as_latex(text)) is None
    stated = final_answer(f"The answer is {text}.")
    assert stated is None or str(value) not in stated.options


@given(st.integers(-(10**6), 10**6), st.integers(-12, 12))
def test_spellings_of_a_power_of_ten_agree(value: int, power: int) -> None:
    raised = str(power).translate(str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"))
    expected = Fraction(value) * Fraction(10) ** power
    for text in (
        f"{value}×10{raised}",
        f"{value} \\times 10^{{{power}}}",
        f"{value}*10^{power}",
        f"{value} · 10^{power}",
    ):
        assert equal(text, f"{value} \\times 10^{{{power}}}")
        found = quantity(as_latex(text))
        assert found is not None
        assert (found.value, found.unit) == (expected, None)


@pytest.mark.parametrize("text", ["kg", "\\text{ km}", "m/s^2", "J mol^{-1}", "µm", "inches", "°C", "^\\circ F", "kWh"])
def test_units_are_known(text: str) -> None:
    assert (unit_of(text) is not None) == (text != "kWh")  # two units in one word are not in the list


def test_many_powers_of_brackets_are_not_expanded() -> None:
    equal("x", "y")  # imports Math-Verify
    begun = time.process_time()
    assert not equal("(x+y)^{9}" * 40, "\\frac{1}{2}")
    assert equal("(x+y)^{2}(x-y)^{2}", "(x^2-y^2)^2")
    assert time.process_time() - begun < 1


def test_words_that_change_a_number_are_not_counted() -> None:
    assert is_counted("apples")
    assert is_counted("ways to do so")
    assert not any(map(is_counted, ("squared", "pi", "sin x", "million", "n log n", "percent", "")))


def test_a_number_is_a_whole_text() -> None:
    assert number("6.2\\times10^{5}") == 620000
    assert number("10^6") == 10**6
    assert states(Stated("box", ("2, 7",)), "2,7")
