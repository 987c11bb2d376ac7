"""Copied answers that are too short to tell by their length, and texts whose signs were changed on their way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from bitparity.records import Sample
from bitparity.results.guards.completions import changed_characters
from bitparity.results.guards.copies import same_answers
from bitparity.results.guards.facts import Answers
from bitparity.results.sheet import Sheet

CODE = "def f(x):\n    return x + {} if x > 0 else sum(range({}, x))\n"
ITEMS, UNSTABLE = 160, 27


def sheet(first: int, other: int) -> Sheet:
    """Short code for each item: the baseline's, but `other` texts of its own from the item `first` on."""
    own = range(first, first + other)
    texts = [CODE.format(n, n + 1000 * (n in own) * other) for n in range(ITEMS)]
    samples = {(str(n), 0): Sample("b", str(n), 0, text, "stop", 1, 1, 0.0) for n, text in enumerate(texts)}
    return Sheet(np.ones((ITEMS, 1)), samples, {})


def answers(candidate: Sheet, control: Sheet) -> Answers:
    sheets = {"bf16": sheet(0, 0), "fp8": candidate, "again": control}
    return Answers("bf16", sheets, [str(n) for n in range(ITEMS)], 0.02, control="again", temperature=0.0)


def test_copies_are_told_where_the_baselines_own_two_runs_differ() -> None:
    found = answers(sheet(4, 8), sheet(0, UNSTABLE))  # a twentieth is not copied
    (guard,) = same_answers(found)
    assert (guard.variant, guard.level) == ("fp8", "error")
    assert f"in 19 of the {UNSTABLE} answers" in guard.message
    assert not list(same_answers(replace(found, temperature=0.7)))  # drawn: the control's draws are others'
    assert not list(same_answers(replace(found, control=None)))


@pytest.mark.parametrize("copied", [0, 5, 10])
def test_other_weights_seldom_find_a_text_again_that_noise_decides(copied: int) -> None:
    assert not list(same_answers(answers(sheet(copied, 90), sheet(0, UNSTABLE))))


def test_copies_of_the_second_run_are_told_too() -> None:
    control = sheet(0, UNSTABLE)
    (guard,) = same_answers(answers(control, control))
    assert f"{UNSTABLE} of the {UNSTABLE}" in guard.message


def long_texts(copied: int, kept: int, count: int = 1000) -> Sheet:
    """Long texts, of which the first `copied` and the first `kept` from the middle on are the baseline's."""
    half = count // 2
    own = [not (n < copied or half <= n < half + kept) for n in range(count)]
    texts = [CODE.format(n, "x" * 60 + (f"{copied} {kept}" if own[n] else "")) for n in range(count)]
    samples = {(str(n), 0): Sample("b", str(n), 0, text, "stop", 1, 1, 0.0) for n, text in enumerate(texts)}
    return Sheet(np.ones((count, 1)), samples, {})


@pytest.mark.parametrize(
    ("copied", "kept", "told"), [(5, 40, False), (30, 80, False), (150, 160, True), (200, 260, True)]
)
def test_who_copies_writes_unstable_answers_as_often_as_stable_ones(copied: int, kept: int, told: bool) -> None:
    """The baseline's second run differs in the first half."""
    control = long_texts(0, 500)
    sheets = {"bf16": long_texts(1000, 0), "fp8": long_texts(copied, kept), "again": control}
    found = Answers("bf16", sheets, [str(n) for n in range(1000)], 0.02, control="again", temperature=0.0)
    assert bool(list(same_answers(found))) is told


def drawn(copied: float, edit: str = "", samples: int = 2, exchanged: bool = False) -> Answers:
    """Long drawn texts of two variants that part after 250 characters on average, and a share that was copied."""
    rng, first, second = np.random.default_rng(1), {}, {}

    def words(count: int) -> str:
        return " ".join(str(n) for n in rng.integers(100, 999, count))

    for n in range(300):
        own = [words(250) for _ in range(samples)]
        for k, text in enumerate(own):
            at = int(rng.exponential(250))
            copy = own[(k + exchanged) % samples]
            other = copy[:800] + edit + copy[800:] if rng.random() < copied else text[:at] + words(250)[at : len(text)]
            first[str(n), k] = Sample("b", str(n), k, text, "stop", 1, 1, 0.0)
            second[str(n), k] = Sample("b", str(n), k, other, "stop", 1, 1, 0.0)
    sheets = {name: Sheet(np.ones((300, samples)), found, {}) for name, found in (("bf16", first), ("fp8", second))}
    return Answers("bf16", sheets, [str(n) for n in range(300)], 0.02, temperature=0.7)


@pytest.mark.parametrize(
    ("copied", "edit", "exchanged", "told"),
    [(0.0, "", False, False), (0.5, "", False, True), (0.5, "So. ", False, True), (0.3, "", True, True)],
)
def test_a_part_of_drawn_answers_was_copied(copied: float, edit: str, exchanged: bool, told: bool) -> None:
    assert bool(list(same_answers(drawn(copied, edit, exchanged=exchanged)))) is told


def test_copies_of_the_baselines_second_run_are_told() -> None:
    """The two runs of the baseline themselves may write the same."""
    found = drawn(0.5)
    again = found.sheets["bf16"]
    turned = {key: replace(sample, text=sample.text[::-1]) for key, sample in again.samples.items()}
    sheets = {"bf16": replace(again, samples=turned), "fp8": found.sheets["fp8"], "again": again}
    (guard,) = same_answers(replace(found, sheets=sheets, control="again"))
    assert guard.variant == "fp8"
    assert "'again' and 'fp8'" in guard.message
    assert not list(same_answers(replace(found, sheets={"bf16": again, "again": again}, control="again")))


PROSE = 'So the sum of {} and \\(\\frac{{1}}{{2}}\\) is "known".\n\n  Take it. ' * 8


def signs(change: Callable[[str], str], bare: int = 0) -> list[str]:
    """The guard's words on texts that were changed so, of which the first `bare` of 30 have no quotes."""
    written = {str(n): PROSE.format(*range(n, n + 8)) for n in range(30)}
    written |= {str(n): written[str(n)].replace('"', "") for n in range(bare)}

    def of(change: Callable[[str], str]) -> Sheet:
        samples = {(i, 0): Sample("b", i, 0, change(text), "stop", 1, 1, 0.0) for i, text in written.items()}
        return Sheet(np.ones((30, 1)), samples, {})

    found = Answers("a", {"a": of(str), "b": of(change)}, list(written), 0.02)
    return [f"{guard.level}: {guard.message[:110]}" for guard in changed_characters(found)]


@pytest.mark.parametrize(
    ("change", "sign"),
    [
        (str.lower, "CAPITAL letters"),
        (lambda text: " ".join(text.split()), "line ends"),
        (lambda text: text.replace("\\", ""), "REVERSE SOLIDUS"),
        (lambda text: text.replace(" ", "\u2581"), "SPACE"),
        (lambda text: text.replace("\n  ", "\n"), "indents"),
    ],
)
def test_signs_that_texts_have_lost_on_their_way(change: Callable[[str], str], sign: str) -> None:
    (found,) = signs(change)
    assert found.startswith("error")
    assert sign in found


def test_quotes_that_few_texts_have_and_that_others_have_replaced() -> None:
    (found,) = signs(lambda text: text.replace('"', "”"), bare=24)
    assert "QUOTATION MARK" in found
    assert signs(lambda text: text.replace('"', "”"), bare=28) == []
    assert signs(lambda text: text.replace('"', ""), bare=24) == []  # a matter of style


@pytest.mark.parametrize(
    "change",
    [
        str,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: "!" * 300,  # a model that writes no sense has lost them by itself
        lambda text: text.replace("\\frac", "\\dfrac").replace("Take", "We take"),
        lambda text: "我们可以这样计算，结果是已知的。" * 20,
        lambda text: text[:100].lower(),  # too short to tell
    ],
)
def test_signs_that_a_model_writes_are_its_own(change: Callable[[str], str]) -> None:
    assert signs(change) == []
