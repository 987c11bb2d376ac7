from __future__ import annotations

import gzip
import json
import time
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from support import SHARED_DATA, grade_all, math_rows, write_jsonl

from bitparity.benchmarks.answers import final_answer
from bitparity.benchmarks.lm_eval_math import aime_score, equivalent, hendrycks_score
from bitparity.benchmarks.mathematics import equal, states
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError
from bitparity.grading.rules import Job, grade_sample
from bitparity.records import Completion, Grade, Item, Sample
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

needs_shared = pytest.mark.skipif(not SHARED_DATA.is_dir(), reason=f"no shared data at {SHARED_DATA}")

ASK = "\nPlease reason step by step, and put your final answer within \\boxed{}."


def spec(chat: bool = True, **entry: Any) -> BenchmarkSpec:
    study = {
        "study": "s",
        "variants": {"a": {"model": "some/model"}},
        "protocol": {"apply_chat_template": chat},
        "benchmarks": [{"name": "math500", **{k: str(v) for k, v in entry.items()}}],
    }
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def read(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [json.loads(line) for line in text.split("\n") if line]


def verdict(text: str, reference: str, ended: bool = True) -> bool:
    stated = final_answer(text, ended)
    return stated is not None and states(stated, reference)


# ---------------------------------------------------------------- items


def test_items(tmp_path: Path) -> None:
    rows = math_rows(3)
    rows[1]["solution"] = "So $\\boxed{2}$"
    bench = load_benchmark(spec(data=write_jsonl(tmp_path / "math.jsonl", rows)))
    items = list(bench.items())
    assert [i.id for i in items] == ["test/sums/0.json", "test/sums/1.json", "test/sums/2.json"]
    assert items[1].prompts[0].messages == ({"role": "user", "content": "What is 1 + 1?" + ASK},)
    assert (items[1].reference, items[1].subgroup) == ("2", "Algebra")
    assert [i.metadata["lm_eval_reference"] for i in items] == [None, "2", None]
    assert bench.provenance()["rows"] == 3
    assert bench.task_settings() == {}
    assert bench.slow_grader


def test_the_lm_eval_form(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "math.jsonl", math_rows(1))
    text = "Problem: What is 0 + 0?\nAnswer:"
    bench = load_benchmark(spec(chat=False, form="lm-eval", data=data))
    assert next(iter(bench.items())).prompts[0].text == text
    assert bench.task_settings()["stop"] == ["Problem:"]
    chat = load_benchmark(spec(form="lm-eval", data=data))
    assert next(iter(chat.items())).prompts[0].messages == ({"role": "user", "content": text},)


def test_a_file_of_another_benchmark(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "other.jsonl", [{"question": "q", "answer": "4"}])
    with pytest.raises(DataError, match="is this a file of another benchmark"):
        list(load_benchmark(spec(data=data)).items())


# ---------------------------------------------------------------- the grader


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ("\\text{Evelyn}", "\\text{Evelyn}"),
        ("e^{i\\pi}", "-1"),
        ("3 + 2i", "2i + 3"),
        ("\\frac{2}{1+i}", "1 - i"),
        ("\\frac{1}{2} + \\frac{\\sqrt{3}}{2}i", "e^{i\\pi/3}"),
        ("0.1\\overline{6}", "\\frac16"),
        ("1.\\overline{3}", "\\frac43"),
        ("(x+1)^{20}(x+1)", "(x+1)^{21}"),
        ("Evelyn", "\\text{Evelyn}"),
        ("\\textbf{evelyn}", "\\text{Evelyn}"),
        ("\\text{an ellipse}", "\\text{ellipse}"),
        ("C", "\\text{(C)}"),
        ("90", "90^\\circ"),
        ("90°", "90^\\circ"),
        ("90 \\text{ degrees}", "90^\\circ"),
        ("32348", "\\$32,\\!348"),
        ("\\$32,348", "\\$32,\\!348"),
        ("\\$18.9", "\\$18.90"),
        ("18.90 \\text{ dollars}", "\\$18.90"),
        ("11111111100", "11,\\! 111,\\! 111,\\! 100"),
        ("1{,}320", "1320"),
        ("1320 km", "1320"),
        ("864 \\text{ square inches}", "864 \\mbox{ inches}^2"),
        ("5.4 cents", "5.4 \\text{ cents}"),
        ("50\\%", "50"),
        ("52", "52_8"),
        ("52_{8}", "52_8"),
        ("(52)_8", "52_8"),
        ("52_{\\text{8}}", "52_8"),
        ("x = 5", "5"),
        ("5", "x=5"),
        ("2x+3", "y = 2x + 3"),
        ("-5x+7y-11z-4=0", "5x - 7y + 11z + 4 = 0"),
        ("-2,1", "1,-2"),
        ("x=1 \\text{ and } x=-2", "1,-2"),
        ("1+\\sqrt{19}, 1-\\sqrt{19}", "1 \\pm \\sqrt{19}"),
        ("1-\\sqrt5, 1+\\sqrt5, -2", "\\{1\\pm\\sqrt{5},-2\\}"),
        ("[-2,7]", "x \\in [-2,7]"),
        ("-2 \\le x \\le 7", "x \\in [-2,7]"),
        ("x > 5", "(5,\\infty)"),
        ("1,-16,-4,43", "(1,-16,-4,43)"),
        ("(3,\\frac{\\pi}{2})", "\\left( 3, \\frac{\\pi}{2} \\right)"),
        ("\\begin{bmatrix} -2 \\\\ -14 \\end{bmatrix}", "\\begin{pmatrix} -2 \\\\ -14 \\end{pmatrix}"),
        ("1.8", "1\\frac{4}{5}"),
        ("1/2", "\\frac12"),
        ("0.5", "\\dfrac{1}{2}"),
        ("6.72 \\times 10^{-5}", ".0000672"),
        ("7.0", "7"),
        ("42.", "42"),
        ("033", "33"),
        ("−5", "-5"),
        ("2\\sqrt{5}", "\\sqrt{20}"),
        # decimals as Math-Verify rounds them, and with the comma of other countries
        ("0.0833333333333333", "\\frac{1}{12}"),
        ("0.333333", "\\frac{1}{3}"),
        ("1000,99", "1000.99"),
        ("0.111", "0,111"),
        ("\\varnothing", "\\emptyset"),
        ("$\\emptyset$", "\\varnothing"),
    ],
)
def test_equal(given: str, reference: str) -> None:
    assert equal(given, reference)


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ("42", "43"),
        ("3 - 2i", "3 + 2i"),
        ("-i", "i"),
        ("0.\\overline{3}", "0.3"),
        ("(x+1)^{20}(x+2)", "(x+1)^{21}"),
        ("\\binom{22+735235|\\lfloor x \\rfloor|}{2356}", "6"),
        ("(\\binom{9+7|\\lfloor x \\rfloor|}{2356}, 1)", "(6, 1)"),
        ("", "5"),
        ("12", "1,2"),
        ("1 2", "12"),
        ("2,3", "3"),
        ("3", "2,3"),
        ("2 \\text{ or } 3", "2"),
        ("(1,2)", "(2,1)"),
        ("[1,2]", "(1,2)"),
        ("(3,4)", "(3,4]"),
        ("[2,\\infty)", "(2,\\infty)"),
        ("\\text{seat}", "\\text{east}"),
        ("Angela", "\\text{Evelyn}"),
        ("B", "\\text{(C)}"),
        ("52_7", "52_8"),
        ("y=5", "x=5"),
        ("32.348", "\\$32,\\!348"),
        ("50\\%", "5"),
        ("0.33", "\\frac13"),
        ("0.0000671", ".0000672"),
        ("3.14", "\\pi"),
        ("-5", "5"),
        ("\\text{no solution}", "5"),
        ("2^{606279079}", "5"),
        ("9^{9^{9^9}}", "5"),
        ("123456789!", "5"),
        ("0.33", "\\frac{1}{3}"),
        ("32, 349", "32349"),  # a list
        ("1,000", "1.000"),
        ("(" * 190 + "1" + ")" * 190, "1"),  # minutes for Math-Verify
        ("\\lfloor " * 8 + "1" + "\\rfloor" * 8, "2"),
        ("1/2" * 100, "\\frac{1}{2}"),  # for ever
        ("\\sum_{i=1}^{9}\\sqrt2" * 15, "\\frac{1}{2}"),
        ("x_" * 150, "x"),
        ("0,111", "111"),
        ("\\{\\varnothing\\}", "\\emptyset"),
    ],
)
def test_unequal(given: str, reference: str) -> None:
    assert not equal(given, reference)


WAYS_TO_SAY_IT = [
    ("Answer: 5\n\nExplanation: 2+3", "5"),
    ("The answer is 5 (five).", "5"),
    ("The answer is $5\\text{ cm}$.", "5"),
    ("Answer: $\\frac{1}{2}$ or 0.5", "\\frac12"),
    ("so $x=2$ or $x=3$. The answer is $\\{2,3\\}$.", "\\{2,3\\}"),
    ("Final answer: **$12\\sqrt{3}$**", "12\\sqrt{3}"),
    ("The value is \\boxed{\\$12.50}", "12.5"),
    ("\\boxed{12.5\\text{ dollars}}", "12.5"),
    ("\\boxed{\\text{12 cm}}", "12"),
    ("\\boxed{12\\ \\text{cm}}", "12"),
    ("\\boxed{12 \\%}", "12\\%"),
    ("\\boxed{x=2,y=3}", "(2,3)"),
    ("\\boxed{(x,y)=(2,3)}", "(2,3)"),
    ("\\boxed{2 < x < 3}", "(2,3)"),
    ("\\boxed{\\frac{-3}{4}}", "-\\frac{3}{4}"),
    ("\\boxed{\\tfrac34}", "\\frac{3}{4}"),
    ("\\boxed{3^{1/2}}", "\\sqrt3"),
    ("\\boxed{60^\\circ}", "60"),
    ("\\boxed{\\frac{\\pi}{6}}", "\\frac{\\pi}{6}"),
    ("\\boxed{-1 \\pm \\sqrt{2}}", "-1+\\sqrt2, -1-\\sqrt2"),
    ("\\boxed{\\{-1, 1\\}}", "-1,1"),
    ("\\boxed{\\text{Yes}}", "\\text{yes}"),
    ("\\boxed{025}", "25"),
    ("The answer is \\(\\boxed{025}\\)", "25"),
    ("\\boxed{25.0}", "25"),
    ("\\boxed{25\\text{ ways}}", "25"),
    ("\\boxed{\\approx 3.5}", "3.5"),
    ("$\\boxed{7}$. Thus the answer is indeed $7$", "7"),
    ("\\boxed{7} is the answer.", "7"),
    ("\\boxed{7}. The answer is positive.", "7"),
    ("\\boxed{1320 km}", "1320"),
    ("1320 km", "1320"),
    ("The answer is 1320 km.", "1320"),
    ("\\boxed{033}", "33"),
    ("\\boxed{1,320}", "1320"),
    ("\\boxed{1\\,320}", "1320"),
    ("\\boxed{1 320}", "1320"),
    ("\\boxed{1{,}320}", "1320"),
    ("\\boxed{50\\%}", "50"),
    ("\\boxed{50%}", "50"),
    ("\\boxed{50\\%}", "50\\%"),
    ("\\boxed{50}", "50\\%"),
    ("\\boxed{1\\frac{1}{2}}", "\\frac{3}{2}"),
    ("\\boxed{1 \\frac{1}{2}}", "1.5"),
    ("\\boxed{1 1/2}", "\\frac32"),
    ("\\boxed{(1,2]}", "(1,2]"),
    ("\\boxed{\\{1,2\\}}", "\\{2,1\\}"),
    ("\\boxed{1, 2}", "1,2"),
    ("\\boxed{x = 5}", "5"),
    ("\\boxed{x=5}", "x=5"),
    ("\\boxed{5}", "x = 5"),
    ("\\boxed{90°}", "90"),
    ("\\boxed{90^\\circ}", "90^\\circ"),
    ("\\boxed{90^{\\circ}}", "90"),
    ("\\boxed{90 \\text{ degrees}}", "90"),
    ("\\boxed{\\$5.00}", "5"),
    ("\\boxed{5 \\text{ cm}^2}", "5"),
    ("\\boxed{5\\,\\text{cm}^2}", "5"),
    ("\\boxed{5\\text{ cm}^{2}}", "5\\text{ cm}^2"),
    ("\\boxed{5~\\mathrm{m/s}}", "5"),
    ("\\boxed{5 \\mathrm{~cm}}", "5"),
    ("答案是 5", "5"),
    ("答案：$\\frac{1}{2}$", "\\frac12"),
    ("所以答案为 $5$。", "5"),
    ("答案为5。", "5"),
    ("**Answer:** 5", "5"),
    ("Answer: $5$", "5"),
    ("**Answer: 5**", "5"),
    ("The answer is **5**.", "5"),
    ("The answer is $\\boxed{5}$.", "5"),
    ("\\boxed{\\frac{3}{4}}", "0.75"),
    ("\\boxed{\\dfrac{3}{4}}", "3/4"),
    ("\\boxed{3/4}", "\\frac{3}{4}"),
    ("\\boxed{-\\frac{1}{2}}", "\\frac{-1}{2}"),
    ("\\boxed{\\sqrt{8}}", "2\\sqrt{2}"),
    ("\\boxed{(3, -1)}", "(3,-1)"),
    ("\\boxed{3,-1}", "(3,-1)"),
    ("\\boxed{x \\in [1,2]}", "[1,2]"),
    ("\\boxed{[1,2]}", "[1, 2]"),
    ("\\boxed{1 \\leq x \\leq 2}", "[1,2]"),
    ("\\boxed{x>2}", "(2,\\infty)"),
    ("\\boxed{(-\\infty, 1) \\cup (2, \\infty)}", "(-\\infty,1)\\cup(2,\\infty)"),
    ("\\boxed{\\text{Tuesday}}", "Tuesday"),
    ("\\boxed{Tuesday}", "\\text{Tuesday}"),
    ("\\boxed{\\text{(C)}}", "\\text{(C)}"),
    ("\\boxed{C}", "\\text{(C)}"),
    ("\\boxed{\\text{even}}", "\\text{even}"),
    ("\\boxed{2n+1}", "1+2n"),
    ("\\boxed{\\pi r^2}", "r^2\\pi"),
    ("\\boxed{3\\pi}", "3 \\pi"),
    ("\\boxed{6.02 \\times 10^{23}}", "6.02\\times10^{23}"),
    ("\\boxed{10^{6}}", "1000000"),
    ("\\boxed{1e6}", "1000000"),
    ("\\boxed{2^{10}}", "1024"),
    ("\\boxed{\\infty}", "\\infty"),
    ("\\boxed{\\frac12}", "0.5"),
    ("\\boxed{.5}", "0.5"),
    ("\\boxed{5.0}", "5"),
    ("\\boxed{+5}", "5"),
    ("\\boxed{５}", "5"),
    ("\\boxed{−5}", "-5"),
    ("\\boxed{–5}", "-5"),
    ("\\boxed{5 }", "5"),
    ("\\boxed{ 5.}", "5"),
    ("\\boxed{\\mathbf{5}}", "5"),
    ("\\boxed{\\text{5}}", "5"),
    ("\\boxed{{5}}", "5"),
    ("\\boxed{\\left(1,2\\right)}", "(1,2)"),
    ("\\boxed{\\displaystyle 5}", "5"),
    ("\\boxed{\\frac{\\sqrt{3}}{3}}", "\\frac{1}{\\sqrt{3}}"),
    ("$x = \\boxed{5}$ and $y = \\boxed{6}$", "5,6"),
    ("\\boxed{5} \\text{ or } \\boxed{6}", "5,6"),
    ("\\boxed{5}\n\nso it is \\boxed{5}.", "5"),
    ("<answer>5</answer>", "5"),
    ("#### 5", "5"),
    ("So the answer is 5, not 6.", "5"),
    ("The final answer is $5$. I hope it is correct.", "5"),
    ("Final Answer: 5", "5"),
    ("### Final Answer\n\n$$5$$", "5"),
    ("Therefore, $m+n = 12+13 = 25$.", "25"),
    ("\\boxed{m+n=25}", "25"),
    ("\\boxed{f(x) = x^2}", "x^2"),
    ("\\boxed{y = 2x+3}", "2x+3"),
    ("\\boxed{\\begin{pmatrix}1\\\\2\\end{pmatrix}}", "\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}"),
    ("\\boxed{5\\text{ units}}", "5"),
    ("\\boxed{5 \\text{ or } 6}", "5,6"),
    ("\\boxed{5,\\ 6}", "5,6"),
    ("\\boxed{\\text{No solution}}", "\\text{no solution}"),
    ("\\boxed{i}", "i"),
    ("\\boxed{3+4i}", "4i+3"),
    ("\\boxed{\\log_2 8}", "3"),
    ("\\boxed{12:30}", "12:30"),
    ("\\boxed{11\\frac{1}{9}\\%}", "11\\frac19"),
    ("\\boxed{3:4}", "3:4"),
    ("\\boxed{\\frac{3}{4}}", "3:4"),
    ("\\boxed{5!}", "120"),
    ("\\boxed{\\binom{5}{2}}", "10"),
    ("The answer is x = 5", "5"),
    ("The answer is 90°.", "90"),
    ("The answer is 1,320.", "1320"),
    ("The answer is $1,320$.", "1320"),
    ("The answer is \\$1,320.50", "1320.5"),
    ("The answer is 50%.", "50"),
    ("The answer is 1/2.", "\\frac{1}{2}"),
    ("The answer is (1, 2).", "(1,2)"),
    ("The answer is \\frac{1}{2}", "\\frac12"),
    ("\\[ \\boxed{5} \\]", "5"),
    ("\\boxed{\\text{The answer is } 5}", "5"),
    ("\\boxed{5\\text{ and }6}", "5,6"),
    ("\\boxed{A = 5}", "5"),
    ("\\boxed{2,\\,3}", "2,3"),
    ("\\boxed{32,\\!348}", "32348"),
    ("\\boxed{10{,}000}", "10000"),
    ("\\boxed{5 \\quad}", "5"),
    ("\\boxed{5^\\circ \\text{C}}", "5"),
    ("\\boxed{\\approx 5}", "5"),
    ("\\boxed{\\boxed{5}}", "5"),
    ("\\boxed{\\text{12 cm}}", "12"),
    ("\\boxed{\\text{12 cm}}", "12.0"),
]
OTHER_ANSWERS = [
    ("The answer is 2, 3.", "3"),
    ("The answer is 2 or 3.", "3"),
    ("The answer is (2, 3).", "3"),
    ("\\boxed{5}", "6"),
    ("\\boxed{1320 km}", "132"),
    ("\\boxed{50\\%}", "0.05"),
    ("\\boxed{(1,2)}", "[1,2]"),
    ("\\boxed{2,1}", "(1,2)"),
    ("\\boxed{1 1/2}", "\\frac{11}{2}"),
    ("\\boxed{3 \\text{ or } 4}", "3"),
    ("\\boxed{12}", "1,2"),
    ("\\boxed{(1,320)}", "1320"),
    ("\\boxed{1,2}", "12"),
    ("\\boxed{0.3333}", "\\frac13"),
    ("\\boxed{3.14}", "\\pi"),
    ("\\boxed{x}", "y"),
    ("\\boxed{5 \\text{ not } 6}", "6"),
    ("\\boxed{-5}", "5"),
    ("\\boxed{Tuesday}", "Monday"),
    ("\\boxed{2n}", "2n+1"),
    ("\\boxed{10:30}", "10:31"),
    ("\\boxed{1 320}", "320"),
    ("\\boxed{1 320}", "1"),
]


@pytest.mark.parametrize(("text", "reference"), WAYS_TO_SAY_IT)
def test_ways_to_state_an_answer(text: str, reference: str) -> None:
    assert verdict(text, reference)


@pytest.mark.parametrize(("text", "reference"), OTHER_ANSWERS)
def test_other_answers(text: str, reference: str) -> None:
    assert not verdict(text, reference)


def test_metrics_and_status() -> None:
    bench = load_benchmark(spec())
    item = Item("1", (), "5", metadata={"lm_eval_reference": "5"})
    both = {"math_verify": 1.0, "lm_eval_exact_match": 1.0}
    assert bench.grade(item, Completion("It is $5$")) == Grade(
        1.0, "answered", "It is $5$", both, {"stated": "conclusion"}
    )
    boxed = bench.grade(item, Completion("So $1 + 4 = \\boxed{5}$."))
    assert (boxed.score, boxed.extracted, boxed.metrics["lm_eval_exact_match"]) == (1, "5", 0)
    silent = bench.grade(item, Completion("I do not know"))
    assert (silent.score, silent.status, silent.extracted) == (0, "no_answer", None)
    other = load_benchmark(spec(metric="lm_eval_exact_match"))
    assert other.grade(item, Completion("So $1 + 4 = \\boxed{5}$.")).score == 0


# ---------------------------------------------------------------- lm-eval's own metric


@pytest.mark.parametrize(
    ("given", "reference"),
    [
        ("5", "5"),
        ("", ""),
        ("\\frac12", "\\frac{1}{2}"),
        ("1/2", "\\frac{1}{2}"),
        ("0.5", "\\frac{1}{2}"),
        (".5", "0.5"),
        ("x = 5", "5"),
        ("abc = 5", "5"),
        ("\\sqrt3", "\\sqrt{3}"),
        ("\\sqrt", "\\sqrt"),
        ("\\frac", "\\frac"),
        ("\\frac1", "\\frac1"),
        ("5\\text{ cm}", "5"),
        ("5\\text{ cm}\\text{ x}", "5"),
        ("1/2/3", "1/2/3"),
        ("a/b", "a/b"),
        ("01/2", "\\frac{1}{2}"),
        ("90^\\circ", "90"),
        ("\\$5\\%", "5"),
        ("\\left(1\\right)", "(1)"),
        (" .5", "0.5"),
        ("9" * 5000 + "/2", "1"),
    ],
)
def test_equivalence_is_lm_evals(given: str, reference: str) -> None:
    utils = pytest.importorskip("lm_eval.tasks.hendrycks_math.utils", reason="lm-eval is not installed")
    assert equivalent(given, reference) == utils.is_equiv(given, reference)


@needs_shared
def test_the_lm_eval_metric_is_lm_evals_on_every_recorded_text() -> None:
    hendrycks = pytest.importorskip("lm_eval.tasks.hendrycks_math.utils", reason="lm-eval is not installed")
    aime = pytest.importorskip("lm_eval.tasks.aime.utils", reason="lm-eval is not installed")
    solutions = {row["unique_id"]: row for row in read(SHARED_DATA / "math500.jsonl")}
    right = 0
    for row in read(SHARED_DATA / "recorded" / "bf16.jsonl.gz"):
        if row["set"] not in ("math500", "aime24x16"):
            continue
        text, gold = row["text"], row["gold"]
        assert aime_score(text, gold) == aime.process_results({"Answer": gold}, [text])["exact_match"]
        if row["set"] == "math500":
            boxed = hendrycks.remove_boxed(hendrycks.last_boxed_only_string(solutions[row["id"]]["solution"]))
            theirs = hendrycks.process_results(solutions[row["id"]], [text])["exact_match"]
            assert hendrycks_score(text, boxed) == theirs
            right += aime_score(text, gold) == 1
    assert right > 20  # so the comparison saw both verdicts


@needs_shared
@pytest.mark.parametrize("run", ["all", "math"])
def test_lm_evals_own_samples_give_its_numbers(run: str) -> None:
    bench = load_benchmark(spec(data=SHARED_DATA / "math500.jsonl", form="lm-eval", metric="lm_eval_exact_match"))
    items = {item.id: item for item in bench.items()}
    rows = read(SHARED_DATA / "recorded" / "lm_eval" / f"{run}_samples_math500_local.jsonl.gz")
    assert len(rows) == 500
    for row in rows:
        grade = bench.grade(items[row["doc"]["unique_id"]], Completion(row["resps"][0][0]))
        assert grade.score == row["exact_match"]


# ---------------------------------------------------------------- other people's verdicts


@needs_shared
def test_a_hundred_problems_with_eight_answers() -> None:
    differing = Counter(
        row["answer"]
        for row in read(SHARED_DATA / "graded" / "math_100x8_qwen25math.jsonl")
        for text, right in zip(row["code"], row["score"], strict=True)
        if verdict(text, row["answer"]) != right
    )
    # we are right where only the markup differs: 10000, and eight times 4:30 \\text{ p.m.}
    assert differing == {"10{,}000": 1, "\\text{4:30 p.m.}": 8}


@needs_shared
def test_fifty_answers() -> None:
    """The log compares texts: "1320 km" is wrong for 1320 there, and an answer without a box."""
    rows = read(SHARED_DATA / "graded" / "math_50_nemo.jsonl")
    ours = [verdict(row["generation"], row["expected_answer"]) for row in rows]
    other = [n for n, row in enumerate(rows) if ours[n] != row["symbolic_correct"]]
    assert len(other) <= 4
    assert all(ours[n] for n in other)
    assert "\\boxed{1320 km}" in rows[23]["generation"]
    assert 23 in other


@cache
def recorded_grades(run: str) -> dict[str, Grade]:
    bench = load_benchmark(spec(data=SHARED_DATA / "math500.jsonl"))
    items = {item.id: item for item in bench.items()}
    rows = [row for row in read(SHARED_DATA / "recorded" / f"{run}.jsonl.gz") if row["set"] == "math500"]
    samples = [Sample("math500", r["id"], 0, r["text"], r["fin"], r["n"], 0, 0.0) for r in rows]
    jobs = [Job(bench, items[sample.item], sample, bench.spec.protocol) for sample in samples]
    return dict(zip((r["id"] for r in rows), grade_all(jobs), strict=True))


@needs_shared
@pytest.mark.parametrize(("run", "right"), [("bf16", 56), ("bf16_aa", 49), ("fp8", 51), ("nvfp4", 34)])
def test_recorded_runs(run: str, right: int) -> None:
    """The figures of Math-Verify on the whole texts, less four loops that were cut off at the right number."""
    grades = recorded_grades(run)
    assert sum(grade.score or 0 for grade in grades.values()) == right
    statuses = Counter(grade.status for grade in grades.values())
    rows = [row for row in read(SHARED_DATA / "recorded" / f"{run}.jsonl.gz") if row["set"] == "math500"]
    cut = sum(row["fin"] == "length" and "\\boxed{" not in row["text"] for row in rows)
    assert statuses["infrastructure_error"] == 0
    assert cut <= statuses["cut_off"] <= cut + 2
    assert statuses["answered"] >= 370


@needs_shared
@pytest.mark.parametrize(("run", "lost", "gained"), [("bf16_aa", 14, 7), ("fp8", 21, 16), ("nvfp4", 40, 18)])
def test_recorded_flips(run: str, lost: int, gained: int) -> None:
    before, after = recorded_grades("bf16"), recorded_grades(run)
    flips = Counter((before[item].score, after[item].score) for item in before)
    assert (flips[1, 0], flips[0, 1]) == (lost, gained)


def test_a_cut_off_text_is_read_whole_where_there_is_no_reasoning() -> None:
    bench = load_benchmark(spec())
    item = Item("1", (), "5", metadata={"lm_eval_reference": "5"})
    cut = bench.grade(item, Completion("We add: $2 + 3 = 5$", finish="length"))
    assert (cut.score, cut.status, cut.extracted, cut.details) == (1, "no_answer", None, {"read": "the whole text"})
    sample = Sample("math500", "1", 0, "We add: $2 + 3 = 5$", "length", 9, 9, 0.1)
    grade = grade_sample(bench, item, sample, bench.spec.protocol)
    assert (grade.score, grade.status, grade.details["reason"]) == (1, "cut_off", "cut off before a final answer")
    assert bench.grade(item, Completion("We add: $2 + 3 = 5$", finish="length", reasoning="")).score == 0
    assert bench.grade(item, Completion("$5$ \\boxed{1", finish="length")).score == 0
    assert bench.grade(item, Completion("", finish="length")).score == 0
    started = time.process_time()
    assert bench.grade(item, Completion("\\[" * 100_000, finish="length")).score == 0
    assert time.process_time() - started < 10  # 1 s; a pattern that goes back over it takes minutes
