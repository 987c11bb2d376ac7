"""Grading rules that hold for every benchmark: reasoning, the end of the turn, cut-off answers, failures.

The reasoning is separated from the answer and never graded, and neither is what stands behind the end of the turn. A
failure of the engine or of a grader leaves the sample unscored, never wrong.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from bitparity.benchmarks.contract import Benchmark
from bitparity.grading.reasoning import TURN_END, UNNAMED_TAG, Parts, Reasoning, own_turn, split_reasoning
from bitparity.records import Completion, Grade, Item, Sample, Status
from bitparity.schema import Protocol

NOT_FINITE = "a log-likelihood is missing or no finite number: check the checkpoint and its kernels"
ALL_EQUAL = "all options have the same log-likelihood, so that none is chosen: check the checkpoint and its kernels"


class Job(NamedTuple):
    """One sample to grade: the arguments of `grade_sample`."""

    benchmark: Benchmark
    item: Item
    sample: Sample
    protocol: Protocol
    opened: bool | None = None
    earlier: Sequence[Sample] = ()


def completion_of(sample: Sample, protocol: Protocol, opened: bool | None = None) -> Completion:
    """The answer part of a sample; `opened` as in `split_reasoning`."""
    return _completion(sample, _parts(sample, protocol, opened))


def grade_sample(
    benchmark: Benchmark,
    item: Item,
    sample: Sample,
    protocol: Protocol,
    opened: bool | None = None,
    earlier: Sequence[Sample] = (),
) -> Grade:
    """The grade of one sample; `opened` as in `split_reasoning`, `earlier` the samples that its prompt is built on.

    A failed engine or grader gives "infrastructure_error", unscored. A reasoning that never ended scores 0 by
    every metric; a cut-off answer without a final statement is "cut_off" instead of "no_answer".

    A text without any tag, under a protocol with reasoning, is graded where it ended by itself and the prompt is
    known to have opened no reasoning: what the user sees is then an answer, and calling it none would turn a
    variant that thinks less often into one that knows less. It says so in `details`. Where the template supplied
    the opening tag (DeepSeek-R1, Qwen3-Thinking-2507), where the prompt is not known and where the text was cut
    off, the same text may be an unfinished reasoning and has no answer.
    """
    if sample.error is not None or sample.finish == "error":
        return unscored(sample.error or "the engine gave no completion")
    try:
        if sample.logprobs is not None:
            if (reason := unusable([value for value, _ in sample.logprobs])) is not None:
                return unscored(reason)
            return benchmark.grade(item, Completion(sample.text, sample.sample, logprobs=sample.logprobs))
        parts = _parts(sample, protocol, opened)
        before = tuple(completion_of(e, protocol, opened) for e in earlier)
        grade = benchmark.grade(item, replace(_completion(sample, parts), earlier=before))
    except Exception as error:  # a grader that fails on a text is our fault, never the model's
        return unscored(f"the grader failed: {type(error).__name__}: {str(error)[:200]}")
    tags = parts.unnamed
    if parts.turn_end is not None:
        grade = replace(grade, details={**grade.details, TURN_END: parts.turn_end})
    if tags is not None:
        grade = replace(grade, details={**grade.details, UNNAMED_TAG: tags.start})
    return _adjusted(grade, parts, sample, tags or protocol.reasoning)


def grade_job(job: Job) -> Grade:
    """The grade of one sample."""
    return grade_sample(*job)


def unusable(likelihoods: Sequence[float]) -> str | None:
    """The reason why log-likelihoods choose no option; None where they do.

    A checkpoint whose scales are broken gives NaN, and one that has lost its weights the same value for each option.
    """
    if not likelihoods or not all(map(math.isfinite, likelihoods)):
        return NOT_FINITE
    if len(likelihoods) > 1 and len(set(likelihoods)) == 1:
        return ALL_EQUAL
    return None


def unscored(reason: str) -> Grade:
    """The grade of a sample that could not be graded through no fault of the model."""
    return Grade(None, "infrastructure_error", details={"error": reason})


def _parts(sample: Sample, protocol: Protocol, opened: bool | None) -> Parts:
    parts = split_reasoning(sample.text, protocol.reasoning, opened if sample.finish == "stop" else None)
    answer, turn_end = own_turn(parts.answer)
    return parts._replace(answer=answer, turn_end=turn_end)


def _completion(sample: Sample, parts: Parts) -> Completion:
    return Completion(parts.answer, sample.sample, sample.finish, parts.reasoning)


def _adjusted(grade: Grade, parts: Parts, sample: Sample, reasoning: Reasoning) -> Grade:
    """A benchmark's grade after the rules for unfinished and absent reasoning and for cut-off answers."""
    end_tag = "" if reasoning == "none" else reasoning.end
    if not parts.ended:
        details = {**grade.details, "reason": f"the reasoning never ended (no {end_tag})"}
        status: Status = "cut_off" if sample.finish == "length" else "no_answer"
        return Grade(0.0, status, None, dict.fromkeys(grade.metrics, 0.0), details)
    if grade.status == "no_answer" and sample.finish == "length":
        # the other graders' scores stay: they are what those graders give for this text
        return replace(grade, status="cut_off", details={**grade.details, "reason": "cut off before a final answer"})
    if parts.reasoning == "" and end_tag not in sample.text:
        return replace(grade, details={**grade.details, "reason": "answered without a reasoning"})
    return grade
