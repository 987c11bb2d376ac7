from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitparity.benchmarks.answers import Stated, final_answer
from bitparity.benchmarks.letters import final_letter, options_of
from bitparity.benchmarks.lm_eval_math import aime_score, hendrycks_score
from bitparity.benchmarks.mathematics import normalised, number
from bitparity.benchmarks.mmlu_pro import stated_letter
from bitparity.grading.reasoning import split_reasoning
from bitparity.records import Item, Prompt
from bitparity.schema import ReasoningSpec


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (C).", "C"),
        ("the answer is **C**.", "C"),
        ("The answer is **(C)**", "C"),
        ("Answer: C", "C"),
        ("ANSWER: C", "C"),
        ("**Answer:** C", "C"),
        ("Final Answer:\n\nC) because of this", "C"),
        ("**Final Answer**: `C. 50 units`.", "C"),
        ("The correct answer is option C: the third", "C"),
        ("the answer to this question would be: C", "C"),
        ("so the answer is $\\boxed{C}$", "C"),
        ("\\boxed{\\text{C}}", "C"),
        ("\\boxed{\\text{(C) 5 m}}", "C"),
        ("\\[\n\\boxed{\\mathbf{C}}\n\\]", "C"),
        ('The answer is "C"', "C"),
        ("The answer is (c).", "C"),
        ("The answer is A because it is.", "A"),
        ("The answer is I.", "I"),
        ("c)", "C"),
        ("Reasoning.\n\n**(c)**", "C"),
        ("a) We first note that it is dark.", None),
        ("It has parts:\na) one thing", None),
        ("The answer is (A). Scratch that: (C).", "C"),
        ("The answer is (A). Correction, C.", "C"),
        ("The answer is (A)... make that (C).", "C"),
        ("The answer is (A). Sorry, I meant (C).", "C"),
        ("The answer is (A). Actually, (C) is correct.", "C"),
        ("The answer isn't B but C.", "C"),
        ("The answer is not (B), but rather (C).", "C"),
        ("Eliminating A and B, we are left with C.", "C"),
        ("That leaves A and B.", None),
        ("My final choice: **C**", "C"),
        ("Ans. C", "C"),
        ("The answer is definitely (C).", "C"),
        ("The answer is C (or maybe E).", None),
        ("C", "C"),
        ("(C)", "C"),
        ("C.", "C"),
        ("**C**", "C"),
        ("C. 5 m", "C"),
        ("Let me think.\n\n(C)\n", "C"),
        ("Is the answer A: no.\n\n**C**", "C"),
        ("Of all, the correct option is (C), I think.", "C"),
        ("It follows that C is the correct answer", "C"),
        ("Therefore the best description is (C).", "C"),
        # the last statement decides
        ("The answer is (A). Wait, that is wrong. The answer is (B).", "B"),
        ("Answer: A\n\nHmm, no.\n\n\\boxed{B}", "B"),
        ("\\boxed{A} was hasty; the answer is B", "B"),
        ("The answer is (B) or (F). The answer is (F).", "F"),
        ('Finish with "The answer is (X)". The answer is (D)', "D"),
        # no statement, no guess
        ("", None),
        ("I cannot say.", None),
        ("Options A, B and C look right. Option D does not", None),
        ("The answer is (None of the above)", None),
        ("The answer is (Cannot be determined).", None),
        ("The answer is Better insulation", None),
        ("The answer is A number between 1 and 2", None),
        ("The answer is I think 5", None),
        ("The answer is not (A)", None),
        ("The answer is (A + B)/2", None),
        ("The answer is A + B", None),
        ("The answer is $3,760", None),
        ("So the answers are (a) 112 volts, (b) 110 volts.", None),
        ("(G) is false.\n(H) is correct, so is (I), but not (J)", None),
        # several options are no answer to a question with one
        ("The answer is (A) and (B).", None),
        ("The answer is (A, G).", None),
        ("The answer is (B), (C), and (D).", None),
        ("Answer: A or C", None),
        ("The answer is C, and I am sure", "C"),
    ],
)
def test_letters(text: str, letter: str | None) -> None:
    assert final_letter(text, "ABCDEFGHIJ") == letter


WAYS_TO_SAY_IT = [
    ("**Final Answer: (B) 5 m**", "B"),
    ("The answer is: B) 5 m", "B"),
    ("Answer\n\nB", "B"),
    ("Final Answer\nB", "B"),
    ("The answer is therefore B", "B"),
    ("The final answer is: $\\boxed{\\text{B}}$.", "B"),
    ("The correct answer is **B: 5 m**", "B"),
    ("The correct answer is B: 5 m.", "B"),
    ('The correct answer is "B. 5 m"', "B"),
    ("Answer: $B$", "B"),
    ("Answer: \\text{B}", "B"),
    ("ANSWER: **B**", "B"),
    ("answer is: b)", "B"),
    ("The answer is **option B**", "B"),
    ("The answer is Option B: foo", "B"),
    ("**Answer**: B", "B"),
    ("**Answer**\n\nB", "B"),
    ("*Answer*: **B**", "B"),
    ("The answer is:\n\nB. 5 m", "B"),
    ("The answer is:\n\n- B. 5 m", "B"),
    ("The answer is:\n\n$$\\boxed{B}$$", "B"),
    ("Therefore, (B) is the correct answer.", "B"),
    ("So the correct option is:\n\n**B. 5 m**", "B"),
    ("...so the answer is B.\n\nLet me double-check: A would give 5. Yes.", "B"),
    ("The answer is B, since A is wrong.", "B"),
    ("The answer is B and not A.", "B"),
    ("The answer is B rather than A", "B"),
    ("The answer is B (not A).", "B"),
    ("The answer is (B), not (A).", "B"),
    ("The answer is B; A and C are wrong", "B"),
    ("The answer is B. A and C are wrong.", "B"),
    ("The answer is **B** or equivalently 5 m", "B"),
    ("The answer is A, B", None),
    ("The answer is both A and B", None),
    ("The answer is neither", None),
    ("**Answer: C**", "C"),
    ("Answer: (C)", "C"),
    ("the answer is option C", "C"),
    ("\\boxed{\\text{C}}", "C"),
    ("\\boxed{C. foo}", "C"),
    ("\\boxed{C: foo}", "C"),
    ("\\boxed{(C)}", "C"),
    ("\\boxed{\\textbf{(C) } 5}", "C"),
    ("$\\boxed{\\textbf{C}}$", "C"),
    ("\\boxed{\\text{C. foo bar}}", "C"),
    ("\\boxed{\\text{Answer: C}}", "C"),
    ("\\boxed{Option C}", "C"),
    ("\\boxed{C) foo}", "C"),
    ("\\boxed{\\mathrm{C}}", "C"),
    ("\\boxed{C }", "C"),
    ("答案：C", "C"),
    ("答案是 C", "C"),
    ("正确答案是 C。", "C"),
    ("因此，答案为（C）。", "C"),
    ("故选C", "C"),
    ("所以正确选项是 C", "C"),
    ("答案：**C**", "C"),
    ("答案是选项C。", "C"),
    ("因此选 (C)", "C"),
    ("**答案：C. 五米**", "C"),
    ("The answer is （C）.", "C"),
    ("Answer： C", "C"),
    ("The answer is 【C】", "C"),
    ("The answer is [C].", "C"),
    ("The answer is Ｃ.", "C"),
    ("answer: c", "C"),
    ("the answer is c.", "C"),
    ("the answer is c", "C"),
    ("Answer: c)", "C"),
    ("ANSWER IS C", "C"),
    ("The Answer Is: C", "C"),
    ("### Answer\nC", "C"),
    ("### Final Answer\n**C**", "C"),
    ("## Answer:\n\n**C) 5 m**", "C"),
    ("**Final answer**: C", "C"),
    ("Final Answer: The final answer is (C). I hope it is correct.", "C"),
    ("The correct answer is therefore:\n\n**(C)** 5 m", "C"),
    ("Thus, the answer must be C.", "C"),
    ("So C is correct.", "C"),
    ("Option C is correct.", "C"),
    ("Hence option C.", "C"),
    ("I choose C.", "C"),
    ("I'd go with C.", "C"),
    ("My answer: C", "C"),
    ("The best choice is C.", "C"),
    ("the correct choice is: C", "C"),
    ("The answer is thus (C) 5 m", "C"),
    ("The answer to the question is C) 5 m.", "C"),
    ("The answer is (A). Wait, actually the answer is (C).", "C"),
    ("Answer: A\n\nActually, Answer: C", "C"),
    ("The answer is A. Hmm, let me recheck. No, it should be C.", "C"),
    ("Answer: C (because ...)", "C"),
    ("Answer: C - foo", "C"),
    ("Answer: C – foo", "C"),
    ("Answer: C, foo", "C"),
    ("Answer: C\nExplanation: the answer A is wrong since ...", "C"),
    ("The answer is $\\text{C}$", "C"),
    ("The answer is $C$", "C"),
    ("The answer is \\(C\\).", "C"),
    ("The answer is *C*.", "C"),
    ("The answer is __C__.", "C"),
    ("The answer is `C`", "C"),
    ("The answer is: <C>", "C"),
    ("<answer>C</answer>", "C"),
    ("<answer>(C)</answer>", "C"),
    ("The answer is 'C'.", "C"),
    ("The answer is “C”.", "C"),
    ("The answer is C!", "C"),
    ("Answer:C", "C"),
    ("Answer is:C.", "C"),
    ("answer=C", "C"),
    ('{"answer": "C"}', "C"),
    ("'answer': 'C'", "C"),
    ("The correct answer is C.\n\nOption A is wrong because the answer would be negative.", "C"),
    ("Final answer: $$\\boxed{C}$$", "C"),
    ("The answer is (C)\n\nQ: Is it true? A: yes", "C"),
    ("The answer is (J).", "J"),
    ("Answer - C", "C"),
    ("The answer is – C", "C"),
    ("The answer is: \\(\\boxed{C}\\)", "C"),
    ("The answer would be (C).", "C"),
    ("So the answer should be C", "C"),
    ("So the final answer is:\n\nC", "C"),
    ("Answer: Option (C)", "C"),
    ("Correct answer: C", "C"),
    ("Correct option: C", "C"),
    ("Choice: C", "C"),
    ("Option: C", "C"),
    ("The answer is none of these", None),
    ("The answer is between A and C", None),
    ("A, B and C are possible", None),
    ("The answer is A or C", None),
    ("The answer isn't C", None),
    ("The answer cannot be C", None),
    ("The answer is not C", None),
    ("I think the answer is a good one", None),
    ("The answer is a", None),
    ("The answer is a matter of taste", None),
    ("Answer: A car moves", None),
    ("The answer is I don't know", None),
    ("答案不是C", None),
    ("The answer is A/B", None),
    ("the answer is either A or B", None),
    ("The answer is <b>D</b>.", "D"),
    ("The answer is <strong>(D)</strong>", "D"),
    ("The answer is ~~C~~ D.", "D"),
    ("The answer → D", "D"),
    ("Option D", "D"),
    ("Option D: Resistor", "D"),
    ("Thus, D is correct.", "D"),
    ("The answer's D", "D"),
    ("The answer’s option (D).", "D"),
    ("The answer's unit is known.", None),
    ("It's D.", "D"),
    ("x is 5, so it must be **D**.", "D"),
    ("It's D-glucose", None),
    ("It's B or D", None),
    ("It's a matter of taste", None),
    ("D it is.", "D"),
    ("We need to know how much vitamin D it is", None),
    ("Correct: D", "D"),
    ("Correct: A car moves", None),
    ("Only D fits", "D"),
    ("Only (D) fits the data.", "D"),
    ("Not only D fits", None),
    ("D would be the correct answer.", "D"),
    ("D would be the correct answer, but it is not listed.", None),
    (
        "If it were so, B would be the best choice. D is the best choice. If it were not, A would be the best choice.",
        "D",
    ),
    ("The answer is, I believe, (D)", "D"),
    ("The answer is, as shown above, D.", "D"),
    ("The answer is, either A, B or C", None),
    ("The answer is, A, B", None),
]


@pytest.mark.parametrize(("text", "letter"), WAYS_TO_SAY_IT)
def test_ways_to_state_a_letter(text: str, letter: str | None) -> None:
    assert final_letter(text, "ABCDEFGHIJ") == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        ("The answer is (B).\n\n答案：D", "B"),  # a statement in the question's language weighs more
        ("The answer is (CDF).", None),
        ("The answer is (B). No, the answer is BD.", None),
        ("所以选项（I）不符合", None),
        ("Option B is correct about heat, but C fits better.", None),
    ],
)
def test_what_weighs_more(text: str, letter: str | None) -> None:
    assert final_letter(text, "ABCDEFGHIJ") == letter


@pytest.mark.parametrize(
    ("text", "letter"),
    [
        # the first statement holds where the text only runs on
        ("Iron rusts. The answer is (C).\n\nNow, let's combine all the answers:\nThe answer is (F).", "C"),
        ("Iron rusts. The answer is (B).\n\n\nAnswer: The answer is (J).\n\n", "B"),
        ("It is nine. The answer is (D).\n\nFinal Answer:\nThe answer is (F).", "D"),
        ("It is nine. The answer is (D).\n\nQ: What about the second?\nA: The answer is (A).", "D"),
        ("It is nine. The answer is (D).\n\nQuestion 2: And then? We add and get 5. The answer is (A).", "D"),
        ("九。答案是 D。The answer is (D).\n\n总结：The answer is (A).", "D"),
        ("It is nine. The answer is (D).\nThe answer is (A).", "D"),
        # a withdrawal, or reasoning that leads to another option, gives it up
        ("The answer is (D). Wait, let me check again: 3 + 4 is 7. So the answer is (A).", "A"),
        ("The answer is (A). Hmm, wait. A second look shows the sign was wrong; so it must be (B).", "B"),
        ("The answer is (A). On reflection, that cannot be right. The answer is (B).", "B"),
        ("The answer is (A).\n\nHmm, let me check again: option C fits better. So (C).", "C"),
        ("Answer: D\n\nOn second thought that is wrong.\n\nAnswer: A", "A"),
        (
            "The answer is (D).\n\nHere is how: force is mass times acceleration, so 6 N. The answer is (A).",
            "A",
        ),
        ("The answer is (D). 不对，重新算一遍。The answer is (A).", "A"),
        # a list of bare answers, or of numbered ones, answers every question of the prompt, the asked one last
        ("The answer is (B).\n\nThe answer is (H).\n\nThe answer is (E).", "E"),
        (
            "Question 1: The answer is (B)\n\nQuestion 2: The answer is (J)\n\nQuestion 3: Well. The answer is (A)",
            "A",
        ),
        # under a condition
        ("Answer: A\n\nNote: If the mass were doubled the answer would be B.", "A"),
        ("If I had to guess, the answer would be (B).", "B"),
        # weak statements, and their denial
        (
            "The closest option is (E) 512 bits, but this is not the correct answer. The correct value is not listed.",
            None,
        ),
        ("The closest option is (C), 28 s, but it's likely that this is also incorrect.", None),
        ("The best match is option **C**.", "C"),
        ("The device that stores the charge is D. Capacitor.", "D"),
        ("Therefore the most likely diagnosis is (D) Broken valve.", "D"),
        ("The least likely to leak is option H, as it has no seal.", "H"),
        ("So it is (A) in summer and (B) in winter", None),
        # headings, tags, LaTeX, Chinese
        ("Given this, the most likely outcome would be:\n\n**H. Loss of pressure in the pump.**", "H"),
        ("\\[ \\text{The answer is } (J) \\]", "J"),
        ("### Final Answer\n\n**C) 42 m/s**", "C"),
        ("<final_answer>C</final_answer>", "C"),
        ("综上所述，选C。", "C"),
        # contractions
        ("The correct option's C.", "C"),
        ("Thus the answer’s clearly (C).", "C"),
        ("My choice's C.", "C"),
        ("The answer's unit is C", "C"),
        ("I think it's C.", "C"),
        # elimination
        ("All but D are wrong", "D"),
        ("Every option except (C) is false, as shown.", "C"),
        ("Everything other than B can be ruled out.", "B"),
        ("None of the options but D fits.", "D"),
        ("A, B and C can be ruled out, which leaves D", "D"),
        ("A, B and C can be eliminated. This leaves D as the only answer.", "D"),
        ("We can eliminate A, B and C, so D remains.", "D"),
        ("A is wrong. B is wrong. C is the only option that fits.", "C"),
        ("Neither A nor B, so C.", "C"),
        ("By elimination, (D)", "D"),
        ("The answer is not A, B or C, but D.", "D"),
        ("All but D are right.", None),
        ("Neither A nor B.", None),
        ("The answer is anything but D.", None),
        # a second choice beside the first
        ("(D) or, if wrong, (E)", None),
        ("The answer is (D) or, if wrong, (E)", None),
        ("The answer is D, otherwise E.", None),
        ("The answer is D; if not, E.", None),
        ("The answer is (D), but it could also be (E).", None),
        ("The answer is D, if A is positive.", "D"),
        ("The answer is D, otherwise the sum would be odd.", "D"),
        # letters that are none
        ("The answer is H. pylori.", None),
        ("The answer is B lymphocytes", None),
        ("The answer is $B$ = 3 T", None),
        ("Answer: D\n\nfinally \\boxed{C \\approx 3}", "D"),
        ("Answer: D\n\nthus \\boxed{C \\ln 2}", "D"),
    ],
)
def test_the_grammar_of_letters(text: str, letter: str | None) -> None:
    assert final_letter(text, "ABCDEFGHIJ") == letter


def test_the_text_of_an_option_confirms_its_letter() -> None:
    options = {
        "A": "Escherichia",
        "B": "lymphocytes of the marrow",
        "C": "a copper wire",
        "H": "pylori",
        "D": "sunlight",
    }
    for text, letter in (
        ("The answer is B lymphocytes", "B"),
        ("The answer is H. pylori.", "H"),
        ("It must be steel.\n\nC. a copper wire", "C"),
        ("The vitamin is D. Nothing else.", None),
    ):
        assert final_letter(text, "ABCDEFGHIJ", True, options) == letter, text


def test_options_are_read_from_the_prompt() -> None:
    shown = "Question: Which?\nOptions: A. one\nB. two words\nAnswer: "
    assert options_of(Item("1", (Prompt(messages=({"role": "user", "content": shown},)),), "A")) == {
        "A": "one",
        "B": "two words",
    }
    orders = tuple(Prompt(text=f"Which?\n(A) {first}\n(B) {last}\n") for first, last in (("x", "y"), ("y", "x")))
    assert options_of(Item("1", orders, "A"), sample=3) == {"A": "y", "B": "x"}
    assert options_of(Item("1", (), "A")) == {}


def test_more_than_ten_options() -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    assert final_letter("Answer: (R)", letters) == "R"
    assert final_letter("Answer: R\nConfidence: 90%", letters) == "R"
    assert final_letter("Answer: R", "ABCDEFGHIJ") is None


def test_a_letter_beyond_the_options_is_no_answer() -> None:
    assert final_letter("The answer is (E).", "ABCD") is None
    assert final_letter("The answer is (A). No: the answer is (E).", "ABCD") is None
    assert final_letter("The answer is (D).", "ABCD") == "D"


def test_a_last_line_counts_only_where_the_text_ended() -> None:
    assert final_letter("I add up.\nB", "ABCD") == "B"
    assert final_letter("I add up.\nB", "ABCD", ended=False) is None
    assert final_letter("Options:\nA. one\nB", "ABCD") is None
    assert final_letter("The answer is (C) since\nB", "ABCD", ended=False) == "C"


def box(content: str) -> Stated:
    return Stated("box", (content,))


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("It is $\\boxed{5}$.", box("5")),
        ("\\boxed{3} then \\boxed{4}", box("4")),
        ("\\boxed{\\frac{1}{\\sqrt{2}}}", box("\\frac{1}{\\sqrt{2}}")),
        ("\\boxed{\\{1, 2\\}}", box("\\{1, 2\\}")),
        ("\\boxed{\\left\\{1\\right.}", box("\\left\\{1\\right.")),
        ("\\boxed{\\boxed{5}}", box("5")),
        ("\\fbox{5}", box("5")),
        ("\\boxed 5.", box("5")),
        ("Put it in \\boxed{}. \\boxed{7} as asked, in \\boxed{}", box("7")),
        ("$\\boxed{2}$ and $\\boxed{3}$", box("2, 3")),
        ("$\\boxed{2}$, $\\boxed{3}$ or $\\boxed{4}$", box("2, 3, 4")),
        ("\\boxed{5}, \\boxed{5}, \\boxed{5}", box("5")),
        ("\\boxed{2}\n\nNo.\n\n\\boxed{3}", box("3")),
        # a later statement decides only where it gives an expression
        ("\\boxed{5}. Wait: the answer is 7.", Stated("statement", ("7",))),
        ("\\boxed{5}. The answer is $x = 7$", Stated("statement", ("$x = 7$",))),
        ("\\boxed{5}. This answer is in lowest terms.", box("5")),
        ("The answer is 7. So \\boxed{5}", box("5")),
        # several boxes in one list: adjacent, with a word or a label before the "and"; not across a sentence
        ("\\boxed{1}\\boxed{2}", box("1, 2")),
        ("\\boxed{1} papers and \\boxed{2} bins", box("1, 2")),
        ("$\\boxed{(3, 3)} \\text{ for part (a) and } \\boxed{(1, 1)}$", box("(3, 3), (1, 1)")),
        ("\\boxed{1} no no no no no \\boxed{2}", box("2")),
        ("\\boxed{1}\n\\boxed{2}", box("2")),
        # without a box
        ("The answer is 12 apples.", Stated("statement", ("12 apples", "12"))),
        ("The answer is $\\frac{1}{2}$, since $2 > 1$", Stated("statement", ("$\\frac{1}{2}$",))),
        ("The answer's 42. We are done.", Stated("statement", ("42",))),
        ("The final answer’s about $42$. We are done.", Stated("statement", ("$42$",))),
        ("The answer has to be 42. We are done.", Stated("statement", ("42",))),
        ("The answer's unit is 5 kg.", Stated("statement", ("5 kg",))),
        ("The answer is 5 north.", Stated("statement", ("5 north",))),
        ("The answer is: $1$ and $2$", Stated("statement", ("$1$ and $2$",))),
        ("**Final Answer**\n\n42", Stated("statement", ("42",))),
        ("The answer is 5 million.", Stated("statement", ("5 million",))),
        ("The final answer is Evelyn.", Stated("statement", ("Evelyn",))),
        ("We add.\nSo there are 42 ways.", Stated("conclusion", ("So there are 42 ways.",))),
        ("Thus\n\\[\nx = 5\n\\]", Stated("conclusion", ("\\[\nx = 5\n\\]",))),
        ("I do not know.", None),
        ("", None),
        # a box that never closes: the final answer is not there
        ("\\boxed{3} no, it is \\boxed{12", None),
    ],
)
def test_mathematical_statements(text: str, stated: Stated | None) -> None:
    assert final_answer(text) == stated


def test_a_long_last_line_is_not_cut_inside_a_formula() -> None:
    line = "We know $" + "x + " * 110 + "1 = 0$ so the pair is $(7, 6)$."
    assert final_answer(line) == Stated("conclusion", (" so the pair is $(7, 6)$.",))


@pytest.mark.parametrize(
    ("text", "stated"),
    [
        ("$\\boxed{2} \\quad \\text{and} \\quad \\boxed{7}$", box("2, 7")),
        ("$\\boxed{-5}\\qquad\\text{or}\\qquad\\boxed{8}$", box("-5, 8")),
        ("\\[ \\boxed{2} \\quad \\boxed{7} \\]", box("2, 7")),
        ("$\\boxed{2}, \\quad x_2 = \\boxed{7}$", box("2, 7")),
        ("It takes 4 days.\n\nboxed{28}", box("28")),
        ("Solve:\n   \\[\n   x = 14\n   \\]", Stated("conclusion", ("\\[\n   x = 14\n   \\]",))),
        ("Then\n\\[1 + 2\\sum_{n = 2}^\\infty \\frac{F_{n+1}}{F", None),
        ("So $x = 2 +", None),
        ("The answer is 204π.", Stated("statement", ("204π",))),
        ("The answer is 25x.", Stated("statement", ("25x",))),
        ("The answer is 5 kg.", Stated("statement", ("5 kg",))),
    ],
)
def test_boxes_displays_and_formulas_that_break_off(text: str, stated: Stated | None) -> None:
    assert final_answer(text) == stated


def test_a_cut_off_text_has_no_conclusion() -> None:
    assert final_answer("We add 3 + 5 = 8", ended=False) is None
    assert final_answer("\\boxed{8}, to check: 3 + 5 =", ended=False) == box("8")
    assert final_answer("the answer is 8. To check: 3 +", ended=False) == Stated("statement", ("8",))


ITEM = Item("1", (Prompt(text="Question: What?"),), "A", metadata={"letters": "ABCD"})
EXTRACTORS = {
    "final_answer": final_answer,
    "final_letter": lambda text: final_letter(text, "ABCDEFGHIJ"),
    "stated_letter": lambda text: stated_letter(text, ITEM, True),
    "hendrycks_score": lambda text: hendrycks_score(text, "5"),
    "aime_score": lambda text: aime_score(text, "5"),
    "split_reasoning": lambda text: split_reasoning(text, ReasoningSpec()),
    "normalised": normalised,
    "number": number,
}


@given(st.text(alphabet="ABcd()[]{}\\$*:. \nansweri1box,", max_size=200))
def test_extractors_take_any_text(text: str) -> None:
    for extract in EXTRACTORS.values():
        extract(text)
