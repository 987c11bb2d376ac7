"""Grading: what holds for every benchmark before and around its own `grade`.

The reasoning is parted from the answer and never graded, failures of the engine or of a grader stay
unscored, and graders that may hang run in processes of their own, which are killed at a deadline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, NamedTuple

from bitparity.benchmarks.contract import Benchmark
from bitparity.records import Completion, Grade, Item, Sample, Status
from bitparity.schema import Protocol, ReasoningSpec


class Parts(NamedTuple):
    """A raw text apart: the reasoning (None without one), the answer, and whether the reasoning ended."""

    reasoning: str | None
    answer: str
    ended: bool


def split_reasoning(text: str, reasoning: ReasoningSpec | Literal["none"], opened: bool | None = None) -> Parts:
    """Part a raw text into reasoning and answer.

    The first end tag closes the reasoning. The opening tag may be absent, since many chat templates supply
    it; for the same reason a text without an end tag is all reasoning, whatever its finish: nothing shows
    that any of it is an answer. A block opened again inside the answer is reasoning too, and one that stays
    open means that the reasoning never ended.

    `opened` tells whether the prompt ended inside a reasoning (None: not known, as with recorded answers). Where
    it did not, a text without either tag holds no reasoning and is all answer, with `reasoning` "": the model was
    asked to think and answered at once, or the template closed an empty reasoning (Qwen3 without thinking).
    """
    if reasoning == "none":
        return Parts(None, text, True)
    start, end = reasoning.start, reasoning.end
    if opened is False and start not in text and end not in text:
        return Parts("", text, True)
    thought, closed, answer = text.partition(end)
    thoughts, answers = [thought.removeprefix(start) if thought.startswith(start) else thought], []
    while closed and start in answer:
        said, _, rest = answer.partition(start)
        thought, closed, answer = rest.partition(end)
        answers.append(said)
        thoughts.append(thought)
    if not closed:
        return Parts("".join(thoughts), "", False)
    return Parts("".join(thoughts), "".join([*answers, answer]), True)


def ends_in_reasoning(prompt: str, reasoning: ReasoningSpec | Literal["none"]) -> bool:
    """Whether a final prompt leaves the model inside a reasoning, its last opening tag not closed."""
    if reasoning == "none":
        return False
    return prompt.rstrip().endswith(reasoning.start)


def completion_of(sample: Sample, protocol: Protocol, opened: bool | None = None) -> Completion:
    """The answer part of a sample; `opened` as in `split_reasoning`."""
    parts = split_reasoning(sample.text, protocol.reasoning, opened if sample.finish == "stop" else None)
    return Completion(parts.answer, sample.sample, sample.finish, parts.reasoning)


def grade_sample(
    benchmark: Benchmark,
    item: Item,
    sample: Sample,
    protocol: Protocol,
    opened: bool | None = None,
    earlier: Sequence[Sample] = (),
) -> Grade:
    """The verdict on one sample; `opened` as in `split_reasoning`, `earlier` the samples that it is built on.

    A failed engine or grader gives "infrastructure_error", unscored. A reasoning that never ended scores 0 by
    every metric; a cut-off answer without a final statement is "cut_off" instead of "no_answer".

    A text without any tag, under a protocol with reasoning, is graded where it ended by itself and the prompt is
    known to have opened no reasoning: what the user sees is then an answer, and calling it none would turn a
    variant that thinks less often into one that knows less. It says so in `details`. Where the template supplied
    the opening tag (DeepSeek-R1, Qwen3-Thinking-2507), where the prompt is not known and where the text was cut
    off, the same text may be an unfinished reasoning and has no answer.
    """
    if sample.error is not None or sample.finish == "error":
        return _unscored(sample.error or "the engine gave no completion")
    try:
        return _grade(benchmark, item, sample, protocol, opened, earlier)
    except Exception as error:  # a grader that trips over a text is our fault, never the model's
        return _unscored(f"the grader failed: {type(error).__name__}: {str(error)[:200]}")


def _grade(
    benchmark: Benchmark,
    item: Item,
    sample: Sample,
    protocol: Protocol,
    opened: bool | None,
    earlier: Sequence[Sample],
) -> Grade:
    if sample.logprobs is not None:
        return benchmark.grade(item, Completion(sample.text, sample.sample, logprobs=sample.logprobs))
    parts = split_reasoning(sample.text, protocol.reasoning, opened if sample.finish == "stop" else None)
    before = tuple(completion_of(e, protocol, opened) for e in earlier)
    completion = Completion(parts.answer, sample.sample, sample.finish, parts.reasoning, earlier=before)
    grade = benchmark.grade(item, completion)
    if not parts.ended:
        details = {**grade.details, "reason": f"the reasoning never ended (no {_end_tag(protocol)})"}
        status: Status = "cut_off" if sample.finish == "length" else "no_answer"
        return Grade(0.0, status, None, dict.fromkeys(grade.metrics, 0.0), details)
    if grade.status == "no_answer" and sample.finish == "length":
        # the other graders' scores stay: they are what those graders give for this text
        return replace(grade, status="cut_off", details={**grade.details, "reason": "cut off before a final answer"})
    if parts.reasoning == "" and _end_tag(protocol) not in sample.text:
        return replace(grade, details={**grade.details, "reason": "answered without a reasoning"})
    return grade


def _end_tag(protocol: Protocol) -> str:
    return "" if protocol.reasoning == "none" else protocol.reasoning.end


def _unscored(reason: str) -> Grade:
    return Grade(None, "infrastructure_error", details={"error": reason})
