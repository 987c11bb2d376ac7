"""How long an answer is taken for, where the order of requests is decided: those that may run longest come first."""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from bitparity.benchmarks.registry import load_benchmark
from bitparity.engines.batching import fixed_batches
from bitparity.engines.registry import engine_of
from bitparity.exam.frozen import Exam, ExamItem, samples_asked
from bitparity.exam.requests import Questions, Unanswered, check_lengths, exam_requests, follow_up
from bitparity.generation.chains import Ladder
from bitparity.generation.prepare import Prepared, _reference
from bitparity.grading.passes import opens_reasoning
from bitparity.grading.rules import completion_of
from bitparity.models.checkpoint import context_length
from bitparity.records import Request, RequestKey, Sample, SampleKeys
from bitparity.schema import BenchmarkSpec

if TYPE_CHECKING:
    from bitparity.exam.rendering import Renderer

BUDGET_WEIGHT = 0.5
"""Of the token budget, against what was measured of an item or its benchmark.

Whatever was measured, an answer may run into its budget: small models loop, and not over the same items in every
precision. One that begins too late computes alone at the end. With the answers of a 0.5B model
(`perf/request_order.py`) the measured lengths alone are no better than no order at all. Budgets alone do a little
better than this, but would put a benchmark of short answers with a large budget before one of long answers.
"""


TESTS = 512.0
"""Tokens that the tests of an answer's code count for, on top of the answer: about as many as one sequence gets while
a program runs into its time limit. So code is not what comes last, and its tests end beside the generation.
"""


def risk(measured: float | None, budget: float, tested: bool = False) -> float:
    """Tokens that an answer is taken for: its `budget` where nothing was measured, else between both.

    One whose code is `tested` is not done before its tests are.
    """
    tokens = budget if measured is None else BUDGET_WEIGHT * budget + (1 - BUDGET_WEIGHT) * measured
    return tokens + TESTS * tested


@dataclass(slots=True)
class Work:
    """What a variant still has to do: the requests that can be sent at once, and what builds on their answers.

    `counts` has by benchmark the samples that are stored, and all that are asked for.
    """

    first: Sequence[Request]
    ladders: dict[str, Ladder]
    batches: Callable[[Sequence[Request]], list[Request]] | None
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many samples are to come, as far as it is known now."""
        return len(self.first) + sum(ladder.missing() for ladder in self.ladders.values())


class _Done(Container[RequestKey]):
    """The (benchmark, item, sample) that are done."""

    def __init__(self, keys: Mapping[str, SampleKeys]) -> None:
        self._keys = keys

    def __contains__(self, name: object) -> bool:
        return isinstance(name, tuple) and name[1:] in self._keys[name[0]]


def plan_variant(prepared: Prepared, name: str) -> Work:
    """The requests that a variant still has to answer.

    Checks that it sits the same exam and that it fits: raises ModelError otherwise.
    """
    study, run = prepared.study, prepared.run
    model, variant = prepared.models[name], study.variants[name]
    engine = engine_of(variant.engine)
    reference = prepared.models[_reference(study, prepared.models)].renderer
    context = variant.engine.max_model_len or (context_length(model.folder) if model.folder else None)
    how = {"control": variant.control, "served": engine.served}
    questions: dict[str, Questions] = {}
    done: dict[str, SampleKeys] = {}
    ladders: dict[str, Ladder] = {}
    counts: dict[str, tuple[int, int]] = {}
    whole: dict[str, int] = {}  # benchmarks that a shard does not divide
    shard, batched = prepared.shard, engine.fixed_batches
    for number, spec in enumerate(study.benchmarks):
        exam = prepared.exams.get(spec.name)
        if exam is None:
            continue
        check_lengths(exam, name, context)
        samples = samples_asked(exam, spec)
        steps = any(entry.item.after is not None for entry in exam.items)
        if shard is not None and not batched:
            exam = shard.part(exam)
        questions[spec.name] = exam_requests(
            exam, spec.model_copy(update={"samples": samples}), model.renderer, reference, name, **how
        )
        done[spec.name] = prepared.done(name, spec.name)
        counts[spec.name] = len(done[spec.name]), len(exam.items) * samples
        if steps and batched:
            whole[spec.name] = number
        if steps and not (shard and batched and not shard.has_benchmark(number)):
            make = _follow_up(exam, spec, model.renderer, reference, name, how)
            ladders[spec.name] = Ladder(exam, spec.samples, run.samples(name, spec.name), make, context)
    if batched:

        def batches(requests: Sequence[Request]) -> list[Request]:
            return fixed_batches(requests, variant.engine.batch_size, _Done(done), shifted=variant.control)

        first = batches([request for asked in questions.values() for request in asked])
        return Work(first if shard is None else shard.batches(first, whole), ladders, batches, counts)
    return Work(Unanswered(questions, done), ladders, None, counts)


def in_order(prepared: Prepared, name: str, work: Work) -> Work:
    """The work with its requests in the order in which they are best sent; fixed batches have theirs already."""
    if work.batches is not None:
        return work
    lengths = _measured_lengths(prepared, name)
    return replace(work, first=longest_first(work.first, work.ladders, lengths, prepared.tested))


def longest_first(
    requests: Sequence[Request],
    ladders: Container[str],
    measured: Mapping[tuple[str, str], float],
    tested: Container[str],
) -> list[Request]:
    """The requests whose answers are expected to take longest first, so that none is still running alone at the end.

    The benchmarks in `ladders`, on whose answers others build, come before all else. An item's length, in tokens,
    follows from what another variant's took (`measured`, by benchmark and item), the token budget and whether its
    benchmark is one of code that is `tested`; its samples stay together and share their prefix.
    """

    def key(request: Request) -> tuple[bool, float]:
        name, budget = request.benchmark, request.sampling.max_tokens
        length = risk(measured.get((name, request.item)), budget, name in tested)
        return name not in ladders, 0.0 if request.scored is not None else -length

    return sorted(requests, key=key)


def _measured_lengths(prepared: Prepared, name: str) -> dict[tuple[str, str], float]:
    """The longest answer of each item, in tokens, that any variant before this one has given."""
    found: dict[tuple[str, str], float] = {}
    others = list(prepared.study.variants)
    for spec in prepared.study.benchmarks:
        for other in others[: others.index(name)]:
            for item, tokens in prepared.run.lengths(other, spec.name).items():
                key = (spec.name, item)
                found[key] = max(found.get(key, 0.0), tokens)
    return found


def _follow_up(
    exam: Exam,
    spec: BenchmarkSpec,
    renderer: Renderer | None,
    reference: Renderer | None,
    variant: str,
    how: Mapping[str, bool],
) -> Callable[[ExamItem, int, Sequence[Sample]], Request]:
    """What makes the request of an item from the answers before it."""
    benchmark, inside = load_benchmark(spec), opens_reasoning(exam, spec)

    def make(entry: ExamItem, sample: int, before: Sequence[Sample]) -> Request:
        prompt = benchmark.follow_up(entry.item, [completion_of(s, spec.protocol, inside) for s in before])
        return follow_up(exam, entry, sample, prompt, spec, renderer, reference, variant, **how)

    return make
