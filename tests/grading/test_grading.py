from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import grade_all

from bitparity.benchmarks.contract import Benchmark, Info
from bitparity.errors import BitparityError
from bitparity.grading.process_pool import Graded, GradingPool
from bitparity.grading.reasoning import TURN_END, UNNAMED_TAG, USUAL_TAGS, ends_in_reasoning, own_turn, split_reasoning
from bitparity.grading.rules import Job, grade_sample
from bitparity.records import Completion, Finish, Grade, Item, Prompt, Sample
from bitparity.schema import BenchmarkSpec, Protocol, ReasoningSpec
from bitparity.study.resolve import parse_study

THINK = ReasoningSpec()
ITEM = Item("1", (Prompt(text="2 + 2?"),), "4")


class Sums(Benchmark):
    """Right where the reference is the text's last word; some texts are orders."""

    info = Info("Sums", 1, ("chat",), "last_word", None)

    def items(self) -> Iterable[Item]:
        return [ITEM]

    def grade(self, item: Item, completion: Completion) -> Grade:
        words = completion.text.split()
        self.obey(words[-1] if words else "")
        right = float(words[-1:] == [item.reference])
        said = "answered" if words and words[-1].isdigit() else "no_answer"
        return Grade(right, said, words[-1] if words else None, {"last_word": right, "anywhere": float("4" in words)})

    def obey(self, order: str) -> None:
        if order == "raise":
            raise RuntimeError("tripped")


class SlowSums(Sums):
    """The same behind a process."""

    slow_grader: ClassVar[bool] = True

    def obey(self, order: str) -> None:
        super().obey(order)
        if order == "sleep":
            time.sleep(600)
        if order == "c":  # never leaves C code, so that no Python signal handler runs
            9 ** (9**9)
        if order == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "nap":
            time.sleep(1.5)
        if order.startswith("/") and not Path(order).exists():  # dies the first time
            Path(order).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if order == "torch?":
            raise RuntimeError(f"torch imported: {'torch' in sys.modules}")
        if order == "pid":
            raise RuntimeError(f"pid {os.getpid()}")


class Broken(SlowSums):
    """A grader that cannot be loaded."""

    def load_grader(self) -> None:
        raise ImportError("no such package")


def spec(reasoning: str = "none") -> BenchmarkSpec:
    study = {
        "study": "s",
        "variants": {"a": {"model": "some/model"}},
        "protocol": {"reasoning": json.loads(reasoning) if reasoning.startswith("{") else reasoning},
        "benchmarks": [{"name": "math500"}],
    }
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def protocol(thinking: bool = False) -> Protocol:
    return spec('{"start": "<think>", "end": "</think>"}' if thinking else "none").protocol


def sample(text: str, finish: Finish = "stop", error: str | None = None) -> Sample:
    return Sample("sums", "1", 0, text, finish, 5, 5, 0.1, error=error)


def graded(text: str, finish: Finish = "stop", thinking: bool = False) -> Grade:
    return grade_sample(Sums(spec()), ITEM, sample(text, finish), protocol(thinking))


class Choices(Sums):
    """Right where the first option is the likeliest."""

    def grade(self, item: Item, completion: Completion) -> Grade:
        assert completion.logprobs is not None
        values = [value for value, _ in completion.logprobs]
        right = float(values.index(max(values)) == 0)
        return Grade(right, "answered", "A", {"last_word": right})


@pytest.mark.parametrize(
    ("likelihoods", "says"),
    [
        ((math.nan,) * 4, "no finite number"),
        ((math.nan, -1.0, -2.0, -2.0), "no finite number"),
        ((-1.0, -2.0, math.nan, -3.0), "no finite number"),
        ((-math.inf,) * 4, "no finite number"),
        ((-1.0, -math.inf, -2.0, -3.0), "no finite number"),
        ((), "missing"),
        ((0.0,) * 4, "the same log-likelihood"),
        ((-7.25, -7.25), "the same log-likelihood"),
        ((-1.0, -1.0, -2.0, -3.0), None),
        ((-3.0,), None),
    ],
)
def test_log_likelihoods_that_choose_nothing_are_unscored(likelihoods: tuple[float, ...], says: str | None) -> None:
    given = replace(sample(""), logprobs=tuple((value, False) for value in likelihoods))
    grade = grade_sample(Choices(spec()), ITEM, given, protocol())
    if says is None:
        assert grade.score == 1
    else:
        assert (grade.score, grade.status) == (None, "infrastructure_error")
        assert says in grade.details["error"]


# ---------------------------------------------------------------- reasoning


@pytest.mark.parametrize(
    ("text", "reasoning", "answer", "ended"),
    [
        ("<think>a</think>b", "a", "b", True),
        ("a</think>b", "a", "b", True),  # the template supplied the opening tag
        ("<think>\n\n</think>\n\nb", "\n\n", "\n\nb", True),
        ("<think>a </think>b </think>c", "a ", "b </think>c", True),
        ("<think>a</think>b<think>c</think>d", "ac", "bd", True),
        ("<think>a</think>b<think>c", "ac", "", False),
        ("<think>a", "a", "", False),
        ("a", "a", "", False),
        ("", "", "", False),
        ("</think>b", "", "b", True),
    ],
)
def test_splitting(text: str, reasoning: str, answer: str, ended: bool) -> None:
    assert split_reasoning(text, THINK)[:3] == (reasoning, answer, ended)


def test_without_reasoning_all_is_answer() -> None:
    assert split_reasoning("a b", "none")[:3] == (None, "a b", True)
    spoken = "Use `</think>` or <think> in HTML."
    assert split_reasoning(spoken, "none")[:3] == (None, spoken, True)


@pytest.mark.parametrize(("start", "end"), USUAL_TAGS)
@pytest.mark.parametrize("reasoning", ["none", ReasoningSpec(start="<mine>", end="</mine>")])
def test_tags_that_the_protocol_does_not_name_part_a_text(
    start: str, end: str, reasoning: ReasoningSpec | Literal["none"]
) -> None:
    assert split_reasoning(f"{start}Maybe (A).{end}It is (B).", reasoning)[:3] == ("Maybe (A).", "It is (B).", True)
    again = split_reasoning(f"\n{start}Maybe.{end}Yes.{start}Or not?{end} (B)", reasoning)
    assert again[:3] == ("Maybe.Or not?", "Yes. (B)", True)
    if start != "analysis":  # which may be a word of an answer
        assert not split_reasoning(f"{start}Maybe the answer is (C), or let me see", reasoning).ended
        assert split_reasoning(f"Maybe (A).{end}It is (B).", reasoning)[:3] == ("Maybe (A).", "It is (B).", True)
        assert split_reasoning(f"{start}Maybe.{end}Yes.{start}The answer is (C)", reasoning)[1:3] == ("", False)


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("<Think>", "</Think>"),
        ("<THINK>", "</THINK>"),
        ("<thoughts>", "</thoughts>"),
        ("<scratchpad>", "</scratchpad>"),
        ("<inner_monologue>", "</inner_monologue>"),
        ("<my:think>", "</my:think>"),
        ("<|thinking|>", "<|/thinking|>"),
        ("<|start_of_thought|>", "<|end_of_thought|>"),
        ("<\uff5cbegin\u2581of\u2581thinking\uff5c>", "<\uff5cend\u2581of\u2581thinking\uff5c>"),
        ('<reasoning effort="low">', "</reasoning>"),
        ("[THINKING]", "[/THINKING]"),
        ("<|im_start|>assistant\n<Think>", "</Think>"),
    ],
)
def test_tags_in_other_spellings(start: str, end: str) -> None:
    assert split_reasoning(f"{start}Maybe (A).{end}It is (B).", "none")[1:3] == ("It is (B).", True)
    if start.startswith("<"):
        begun = graded(f"{start}Maybe it is 4")
        assert (begun.status, begun.details[UNNAMED_TAG][0]) == ("no_answer", "<")


@pytest.mark.parametrize(
    "text",
    [
        "[Analysis] It is so. [Answer] (B)",
        "<b>think</b> so",
        "Use <thinker> for it",
        "I <think> so",
        "if a < reason > b",
    ],
)
def test_no_reasoning(text: str) -> None:
    assert split_reasoning(text, "none")[:3] == (None, text, True)


def test_a_reasoning_that_the_protocol_does_not_name_is_never_graded_and_is_noted() -> None:
    closed = graded("<think>So 4</think> it is 5")
    assert (closed.score, closed.extracted, closed.details[UNNAMED_TAG]) == (0.0, "5", "<think>")
    begun = graded("<think>Maybe it is 4")
    assert (begun.score, begun.status, begun.extracted) == (0.0, "no_answer", None)
    assert begun.details["reason"] == "the reasoning never ended (no </think>)"
    assert UNNAMED_TAG not in graded("it is 4").details
    assert UNNAMED_TAG not in graded("<think>So</think> it is 4", thinking=True).details
    assert graded("[THINK]So 5[/THINK] it is 4", thinking=True).details[UNNAMED_TAG] == "[THINK]"


@pytest.mark.parametrize(
    ("text", "answer", "marker"),
    [
        ("It is (A).", "It is (A).", None),
        ("It is (A).<|im_end|>", "It is (A).", None),
        ("It is (A).<|im_end|>\n<|endoftext|>", "It is (A).", None),
        ("It is (A).<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>", "It is (A).", "<|im_end|>"),
        ("It is (A).<|eot_id|><|start_header_id|>user", "It is (A).", "<|eot_id|>"),
        ("It is (A).<end_of_turn>\n<start_of_turn>user\nAnd?", "It is (A).", "<end_of_turn>"),
        ("It is (A).\n<|im_start|>user\nAnd?", "It is (A).", "<|im_start|>"),
        ("It is (A).</s><s>[INST] And? [/INST]", "It is (A).", "</s>"),
        (
            "It is (A).<\uff5cend\u2581of\u2581sentence\uff5c>And?",
            "It is (A).",
            "<\uff5cend\u2581of\u2581sentence\uff5c>",
        ),
        ("It is (A).\nuser\nAnd?\nassistant\nIt is (B).", "It is (A).", "user"),  # without its special tokens
        ("It is (A).\n\nHuman: And?\n\nAssistant: It is (B).", "It is (A).", "Human"),
        ("It is (A).\n\n### Instruction:\nAnd?\n\n### Response:\n(B)", "It is (A).", "### Instruction"),
        ("User: a name\nIt is (A).", "User: a name\nIt is (A).", None),
        ("The roles are\nuser\nand admin", "The roles are\nuser\nand admin", None),
        ("<|im_start|>It is (A).", "<|im_start|>It is (A).", None),  # nothing before it has ended
        ("<s>old</s> <b>x</b> if a <|b|> c", "<s>old</s> <b>x</b> if a <|b|> c", None),  # HTML and logic
    ],
)
def test_an_answer_ends_with_the_turn(text: str, answer: str, marker: str | None) -> None:
    assert own_turn(text) == (answer, marker)


def test_nothing_behind_the_turn_is_graded_and_that_is_noted() -> None:
    found = graded("it is 4<|im_end|>\n<|im_start|>user\nAnd?<|im_end|>\nit is 5")
    assert (found.score, found.extracted) == (1.0, "4")
    assert found.details[TURN_END] == "<|im_end|>"
    assert TURN_END not in graded("it is 4<|im_end|>").details


def test_other_tags() -> None:
    assert split_reasoning("[[a]]b", ReasoningSpec(start="[[", end="]]"))[:3] == ("a", "b", True)


@given(st.lists(st.sampled_from(["<think>", "</think>", "a", "b "])))
def test_nothing_is_invented_and_no_open_block_is_answer(pieces: list[str]) -> None:
    parts = split_reasoning("".join(pieces), THINK)
    assert parts.ended == ("</think>" in pieces and "<think>" not in after_last(pieces, "</think>"))
    assert parts.ended or parts.answer == ""
    letters = [p for p in pieces if p in ("a", "b ")]
    assert parts.ended is False or len(letters) == sum((parts.reasoning or "").count(x[0]) for x in "ab") + sum(
        parts.answer.count(x) for x in "ab"
    )


def after_last(pieces: list[str], tag: str) -> list[str]:
    return pieces[len(pieces) - pieces[::-1].index(tag) :] if tag in pieces else pieces


# ---------------------------------------------------------------- one sample


def test_nothing_inside_the_reasoning_is_graded() -> None:
    assert graded("<think>it is 4</think>so 5", thinking=True).score == 0
    assert graded("<think>it is 5</think>so 4", thinking=True).score == 1


@pytest.mark.parametrize(("finish", "status"), [("length", "cut_off"), ("stop", "no_answer")])
@pytest.mark.parametrize("text", ["<think>surely 4", "surely 4", "<think>x</think>y <think>4"])
def test_a_reasoning_that_never_ends(text: str, finish: Finish, status: str) -> None:
    grade = graded(text, finish, thinking=True)
    assert (grade.score, grade.status, grade.extracted) == (0, status, None)
    assert grade.metrics == {"last_word": 0, "anywhere": 0}
    assert "</think>" in grade.details["reason"]


@pytest.mark.parametrize(
    ("text", "finish", "opened", "score", "status"),
    [
        ("so 4", "stop", False, 1, "answered"),  # asked to think, and answered at once
        ("so 4", "stop", True, 0, "no_answer"),  # the template opened the reasoning, which ended nowhere
        ("so 4", "stop", None, 0, "no_answer"),  # a recording: nothing shows which of the two it is
        ("so 4", "length", False, 0, "cut_off"),
        ("<think>so 4", "stop", False, 0, "no_answer"),
        ("<think>5</think>so 4", "stop", False, 1, "answered"),
        ("5</think>so 4", "stop", True, 1, "answered"),
    ],
)
def test_a_text_without_tags_is_an_answer_only_where_the_prompt_opened_no_reasoning(
    text: str, finish: Finish, opened: bool | None, score: float, status: str
) -> None:
    grade = grade_sample(Sums(spec()), ITEM, sample(text, finish), protocol(thinking=True), opened)
    assert (grade.score, grade.status) == (score, status)
    assert (grade.details.get("reason") == "answered without a reasoning") == (text == "so 4" and score == 1)


def test_whether_a_prompt_ends_in_a_reasoning() -> None:
    assert ends_in_reasoning("<|assistant|><think>\n", THINK)
    assert not ends_in_reasoning("<|assistant|>", THINK)
    assert not ends_in_reasoning("<|assistant|><think>\n\n</think>\n\n", THINK)  # Qwen3 with thinking off
    assert not ends_in_reasoning("<think>", "none")


def test_workers_know_how_the_prompt_ended() -> None:
    for opened, score in ((False, 1), (True, 0)):
        (grade,) = grade_all([Job(SlowSums(spec()), ITEM, sample("so 4"), protocol(thinking=True), opened)])
        assert grade.score == score


def test_a_cut_off_answer() -> None:
    grade = graded("4 or else", "length")
    assert (grade.score, grade.status) == (0, "cut_off")
    assert grade.metrics["anywhere"] == 1  # what that grader gives for this text, as its own tool would
    assert graded("so 4", "length").status == "answered"
    assert graded("4 or else").status == "no_answer"


def test_failures_are_unscored() -> None:
    protocol_ = protocol()
    for bad in (sample("4", "error"), sample("4", error="out of memory")):
        grade = grade_sample(Sums(spec()), ITEM, bad, protocol_)
        assert (grade.score, grade.status, grade.metrics) == (None, "infrastructure_error", {})
    assert grade_sample(Sums(spec()), ITEM, sample("4", error="no memory"), protocol_).details["error"] == "no memory"
    tripped = graded("raise")
    assert tripped.score is None
    assert "RuntimeError: tripped" in tripped.details["error"]


# ---------------------------------------------------------------- many samples

TEXTS = ["so 4", "so 5", "none", "raise", "", "4"]


def verdicts(benchmark: Benchmark, texts: Iterable[str], workers: int = 2, timeout_s: float = 20) -> list[Grade]:
    return grade_all([job(benchmark, text) for text in texts], workers, timeout_s)


def job(benchmark: Benchmark, text: str) -> Job:
    return Job(benchmark, ITEM, sample(text), protocol())


def test_verdicts_do_not_depend_on_processes() -> None:
    texts = TEXTS * 7
    expected = verdicts(Sums(spec()), texts)
    for workers in (1, 3):
        assert verdicts(SlowSums(spec()), texts, workers) == expected


def test_nothing_to_grade() -> None:
    with GradingPool(SlowSums(spec()), 2, lambda _: pytest.fail("nothing was graded")):
        pass


def test_an_error_stops_a_grader_that_is_at_work() -> None:
    benchmark, graded, kept = SlowSums(spec()), threading.Event(), []

    def keep(new: Graded) -> None:
        kept.extend(grade.score for _, grade in new)
        graded.set()

    started = time.monotonic()
    pool = GradingPool(benchmark, 1, keep, timeout_s=60)
    pool.put(job(benchmark, "so 4"))
    assert graded.wait(30)
    pool.put(job(benchmark, "sleep"))
    pool.__exit__(KeyboardInterrupt)
    assert time.monotonic() - started < 30
    assert kept == [1]


@pytest.mark.parametrize(
    ("order", "timeout_s", "said"),
    [("sleep", 0.1, "took over 2 s and was stopped"), ("c", 0.5, "took over 0.5 CPU seconds and was stopped")],
)
def test_a_grader_that_hangs_is_stopped(order: str, timeout_s: float, said: str) -> None:
    started = time.monotonic()
    before, hung, after = verdicts(SlowSums(spec()), ["so 4", order, "so 4"], workers=1, timeout_s=timeout_s)
    assert time.monotonic() - started < 60
    assert (hung.score, hung.status) == (None, "infrastructure_error")
    assert hung.details == {"error": f"the grader {said}"}
    assert before.score == after.score == 1


def test_the_limit_of_a_grader_is_cpu_time() -> None:
    """Waiting, as beside busy processes, costs nothing of it."""
    (late,) = verdicts(SlowSums(spec()), ["nap"], workers=1, timeout_s=0.5)
    assert (late.score, late.status) == (0, "no_answer")


def test_a_grader_that_fails_gets_one_rerun_alone(tmp_path: Path) -> None:
    mark = tmp_path / "seen"
    again, other = verdicts(SlowSums(spec()), [f"once {mark}", "so 4"])
    assert mark.exists()
    assert (again.score, other.score) == (0, 1)


def test_a_grader_that_dies_costs_one_pair() -> None:
    died, after = verdicts(SlowSums(spec()), ["die", "so 4"], workers=1)
    assert died.score is None
    assert died.details == {"error": "the grader ended with code -9"}
    assert after.score == 1


def test_a_grader_that_cannot_be_loaded_ends_the_grading(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BitparityError, match="the grader of math500 ended with code 1"):
        verdicts(Broken(spec()), ["so 4"])
    assert "no such package" in capfd.readouterr().err


def test_workers_do_not_import_torch() -> None:
    (grade,) = verdicts(SlowSums(spec()), ["torch?"])
    assert "torch imported: False" in grade.details["error"]


PARENT = """
import sys
sys.path[:0] = {tests!r}
from test_grading import *

def keep(graded):
    print(graded[0][1].details["error"], flush=True)
    told.set()

benchmark, told = SlowSums(spec()), threading.Event()
with GradingPool(benchmark, 1, keep, timeout_s=3.0) as pool:
    pool.put(job(benchmark, "pid"))
    told.wait()
    pool.put(job(benchmark, "c"))
"""


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes through /proc")
def test_a_killed_parent_leaves_no_worker() -> None:
    """Not even one that is in C code: its own timer ends it soon after the deadline."""
    code = PARENT.format(tests=[str(Path(__file__).parent), str(Path(__file__).parents[1])])
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline().split()[-1])
        time.sleep(1)  # by then it is in C code, and has two more seconds
        assert Path(f"/proc/{worker}").is_dir()
        parent.kill()
    for _ in range(300):
        if not Path(f"/proc/{worker}").is_dir():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker outlived its parent by 30 s")
