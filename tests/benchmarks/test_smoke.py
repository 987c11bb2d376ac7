from __future__ import annotations

import math
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bitparity.benchmarks.registry import load_benchmark
from bitparity.benchmarks.smoke import CATEGORIES, Smoke, stated_number, stated_string
from bitparity.grading.rules import grade_sample
from bitparity.records import Completion, Item, Sample
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

STUDY = "{study: s, variants: {a: {model: some/model}}, benchmarks: [smoke]}"
SPEC: BenchmarkSpec = parse_study(STUDY, "test", Path.cwd()).benchmarks[0]
SMOKE = load_benchmark(SPEC)
ITEMS = {item.id: item for item in SMOKE.items()}


def question(item: Item) -> str:
    assert item.prompts[0].messages is not None
    return item.prompts[0].messages[0]["content"]


def of_task(name: str) -> list[Item]:
    return [item for item in ITEMS.values() if item.metadata["task"] == name]


def score(item: Item, text: str, cut: bool = False) -> float | None:
    return SMOKE.grade(item, Completion(text, finish="length" if cut else "stop")).score


def test_the_exam_never_changes_unnoticed() -> None:
    # another hash means other items: raise smoke.VERSION with it
    assert SMOKE.provenance() == {
        "generator": "1",
        "sha256": "616b93fc77488e97454289984710341b03e715d9c7f4e55684d31b14310597be",
    }


def test_items_are_distinct_and_counted() -> None:
    items = list(SMOKE.items())
    assert len(items) == len(ITEMS) == Smoke.info.items
    assert len({question(item) for item in items}) == len(items)
    kinds = Counter(item.subgroup for item in items)
    assert set(kinds) == {"sum", "string", "choice"}
    assert Smoke.info.chance == pytest.approx(kinds["choice"] * 0.25 / len(items))


def test_references_are_right() -> None:
    for item in ITEMS.values():
        asked, options = question(item), item.prompts[0].continuations
        if item.subgroup == "sum":
            a, b = map(int, re.findall(r"\d+", asked))
            assert int(item.reference) == a + b
        elif item.subgroup == "choice":
            words = [option.strip() for option in options]
            name = re.match(r"Which of these is (.*?):", asked)
            assert name
            assert [word in CATEGORIES[name.group(1)] for word in words].index(True) == item.reference
            assert len(set(words)) == 4
            assert sum(word in CATEGORIES[name.group(1)] for word in words) == 1
        else:
            assert item.reference.lower() in asked


@pytest.mark.parametrize(
    ("text", "right"),
    [
        (" 12", True),
        ("12.", True),
        (" 12.0", True),
        (" 12, which is the sum of 7 and 5", True),
        (" 7 + 5 = 12.", True),
        (" 5 + 7 = 12, so it is", True),
        ("The answer is 12", True),
        ("The sum of 7 and 5 is 12. That is more than 9.", True),
        (" 12 (not 13)", True),
        (" 112", False),
        (" 12.5", False),
        (" -12", False),
        (" 1 2", False),
        (" 12 + 1", False),
        (" 12 + 1 = 13", False),
        (" 13. No, 12", False),
        (" 12th", False),
        (" 1,012", False),
    ],
)
def test_sums_as_a_person_would_grade_them(text: str, right: bool) -> None:
    item = Item("x", (), "12", subgroup="sum", metadata={"task": "digits"})
    assert score(item, text) == float(right)


@pytest.mark.parametrize(
    ("task", "reference", "text", "right"),
    [
        ("first-word", "stone", "stone", True),
        ("first-word", "stone", 'Stone" and then', True),
        ("first-word", "stone", " stone.", True),
        ("first-word", "stone", "stones", False),
        ("first-word", "stone", "stone, garden", False),
        ("upper-case", "STONE", "STONE", True),
        ("upper-case", "STONE", "Stone", False),
        ("first-letter", "s", "S", True),
        ("copy-letters", "abcde", "abcd", False),
    ],
)
def test_strings_as_a_person_would_grade_them(task: str, reference: str, text: str, right: bool) -> None:
    item = Item("x", (), reference, subgroup="string", metadata={"task": task})
    assert score(item, text) == float(right)


@pytest.mark.parametrize("text", ["", "  ", "I do not know", "?", '"', "\n12"[:1]])
def test_nothing_stated_is_no_answer(text: str) -> None:
    grade = SMOKE.grade(of_task("digits")[0], Completion(text))
    assert (grade.score, grade.status, grade.extracted) == (0.0, "no_answer", None)


@pytest.mark.parametrize("text", [" 7 + 5 = 1", " 12", "The sum of 7 and 5", ""])
def test_a_cut_off_sum_is_never_graded_as_an_answer(text: str) -> None:
    item = Item("x", (), "12", subgroup="sum", metadata={"task": "digits"})
    grade = grade_sample(SMOKE, item, Sample("smoke", "x", 0, text, "length", 12, 40, 1.0), SPEC.protocol)
    assert (grade.score, grade.status) == (0.0, "cut_off")


def test_a_cut_off_after_the_answer_does_not_matter() -> None:
    item = Item("x", (), "12", subgroup="sum", metadata={"task": "digits"})
    assert score(item, " 12, which is the sum of", cut=True) == 1.0
    assert stated_string('stone" is the', cut=True) == "stone"
    assert stated_string("stone", cut=True) is None


def test_a_choice_is_the_likeliest_option() -> None:
    item = of_task("category")[0]
    for chosen in range(4):
        logprobs = tuple((-1.0 if i == chosen else -2.0 - i, False) for i in range(4))
        grade = SMOKE.grade(item, Completion("", logprobs=logprobs))
        assert grade.score == float(chosen == item.reference)
        assert grade.extracted == item.prompts[0].continuations[chosen].strip()


def test_a_choice_without_its_log_likelihoods_is_unscored() -> None:
    item = of_task("category")[0]
    broken = Sample("smoke", item.id, 0, "", "stop", 0, 40, 1.0, logprobs=((math.nan, False),) * 4)
    assert grade_sample(SMOKE, item, broken, SPEC.protocol).status == "infrastructure_error"


@given(st.text(max_size=200), st.booleans())
def test_any_text_is_judged(text: str, cut: bool) -> None:
    for item in (of_task("digits")[0], of_task("upper-case")[0]):
        grade = SMOKE.grade(item, Completion(text, finish="length" if cut else "stop"))
        assert grade.status == ("answered" if grade.extracted is not None else "no_answer")


@given(st.integers(-(10**9), 10**9), st.sampled_from(["", ".", "!", ", I think", "\n\nThis is", " apples"]))
def test_a_plain_number_is_found_whole(number: int, rest: str) -> None:
    assert stated_number(f" {number}{rest}") == str(number)
    assert stated_number(f" {number:,}{rest}") == str(number)


@pytest.mark.parametrize("text", ["1" * 200_000, "1 " * 100_000, "1," * 100_000, " " * 200_000, "1.1" * 66_000])
def test_nasty_texts_are_quick(text: str) -> None:
    stated_number(text)
    stated_string(text)
