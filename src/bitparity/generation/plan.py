"""Plan of a variant: the requests that it still has to answer, those with the longest answers first."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bitparity.benchmarks.registry import load_benchmark
from bitparity.engines.registry import engine_of
from bitparity.engines.scheduling import fixed_batches
from bitparity.exam.frozen import Exam, ExamItem, samples_asked
from bitparity.exam.looks import MANY_LOOKS, MOST_BLOCKS, block_of, ends_of
from bitparity.exam.requests import BenchmarkRequests, Examinee, UnansweredRequests, check_lengths
from bitparity.exam.stops import note_stops
from bitparity.generation.chains import Batches, FollowUp, ItemChains
from bitparity.generation.prepare import Prepared, reference_renderer
from bitparity.grading.passes import opens_reasoning
from bitparity.grading.rules import completion_of
from bitparity.models.checkpoint import context_length
from bitparity.progress.events import Events, VariantEnded, VariantPlanned
from bitparity.records import Request, Sample, SampleKeys
from bitparity.schema import BenchmarkSpec, Study

BUDGET_WEIGHT = 0.5
"""Of the token budget, against what was measured of an item or its benchmark.

Whatever was measured, an answer may run into its budget: small models loop, and not over the same items in every
precision. One that begins too late computes alone at the end. With the answers of a 0.5B model
(`perf/request_order.py`) the measured lengths alone are no better than no order at all. Budgets alone do a little
better than this, but would put a benchmark of short answers with a large budget before one of long answers.
"""

TEST_TOKENS = 512.0
"""Tokens that the tests of an answer's code count for, on top of the answer: about as many as one sequence gets while
a program runs into its time limit. So code is not what comes last, and its tests end beside the generation.
"""


@dataclass(slots=True)
class VariantPlan:
    """The work that a variant still has: the requests that can be sent at once, and the chains of those that cannot.

    `batches` divides requests for an engine that computes fixed batches, None for any other. `counts` has by
    benchmark the samples that are stored, and all that are asked for.
    """

    requests: Sequence[Request]
    chains: dict[str, ItemChains] = field(default_factory=dict)
    batches: Batches | None = None
    counts: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """The number of samples to come, as far as it is known now."""
        return len(self.requests) + sum(chains.missing() for chains in self.chains.values())


def plan_study(prepared: Prepared, events: Events) -> dict[str, VariantPlan]:
    """The plan of each variant; listeners are told, also that a variant without missing samples is finished.

    Raises ModelError where a variant cannot be asked the exam.
    """
    plans = {name: plan_variant(prepared, name) for name in in_order(prepared.study)}
    for name, plan in plans.items():
        events.emit(VariantPlanned(name, plan.counts))
        if not plan.missing:
            events.emit(VariantEnded(name))
    return plans


def in_order(study: Study) -> list[str]:
    """The variants in the order in which they are asked: the study's, the baseline before those that it may stop."""
    return sorted(study.variants, key=lambda name: study.stops_early and name != study.baseline)


def plan_variant(prepared: Prepared, name: str) -> VariantPlan:
    """The requests that a variant still has to answer.

    Checks that it is asked the same exam and that this fits its context: raises ModelError otherwise.
    """
    variant, model, shard = prepared.study.variants[name], prepared.models[name], prepared.shard
    engine = engine_of(variant.engine)
    fixed = engine.fixed_batches
    control, drawn = bool(variant.control), prepared.drawn(name)
    reference = reference_renderer(prepared.study, prepared.models)
    examinee = Examinee(name, model.renderer, reference, control, engine.served, drawn)
    context = variant.engine.max_model_len or (context_length(model.folder) if model.folder else None)
    requests: dict[str, BenchmarkRequests] = {}
    done: dict[str, SampleKeys] = {}
    plan = VariantPlan(())
    undivided: dict[str, int] = {}  # benchmarks that a shard has whole or not at all
    for spec, whole in prepared.asked:
        check_lengths(whole, name, context)  # of the whole exam, so that every shard refuses alike
        exam = whole if shard is None or fixed else shard.part(whole)
        samples = samples_asked(exam, spec)
        note_stops(prepared.run, prepared.study, spec, whole, prepared.environment)
        if (ended := prepared.environment.variants[name].stops.get(spec.name)) is not None:
            plan.counts[spec.name] = ended * samples, ended * samples
            continue
        requests[spec.name] = examinee.requests(exam, spec.model_copy(update={"samples": samples}))
        done[spec.name] = prepared.done(name, spec.name)
        plan.counts[spec.name] = len(done[spec.name]), len(exam.items) * samples
        if drawn is not None:
            total = len(requests[spec.name])
            plan.counts[spec.name] = total - len(requests[spec.name].unanswered(done[spec.name])), total
        if drawn is not None or not exam.chained:
            continue
        number = prepared.study.benchmarks.index(spec)  # in the study, which is the same for every shard
        if fixed:
            undivided[spec.name] = number
        if shard is None or not fixed or shard.has(number):
            known = prepared.run.samples(name, spec.name)
            make = _follow_up(examinee, exam, spec)
            plan.chains[spec.name] = ItemChains(exam, spec.samples, known, make, context)
    if not fixed:
        plan.requests = UnansweredRequests(requests, done)
        return plan

    block = blocks_of(prepared)

    def batches(requests: Sequence[Request]) -> list[Request]:
        # all requests are divided, answered ones too, so that the batches of a continued run are those of a whole one
        ordered = sorted(requests, key=block)
        stored = {(benchmark, *key) for benchmark, keys in done.items() for key in keys}
        return fixed_batches(ordered, variant.engine.batch_size, stored, shifted=control, part=block)

    plan.batches = batches
    plan.requests = batches(list(itertools.chain.from_iterable(requests.values())))
    if shard is not None:
        plan.requests = shard.batches(plan.requests, undivided)
    return plan


def _follow_up(examinee: Examinee, exam: Exam, spec: BenchmarkSpec) -> FollowUp:
    """A function that makes the request of an item from the answers before it."""
    benchmark, opened = load_benchmark(spec), opens_reasoning(exam, spec)

    def make(entry: ExamItem, sample: int, before: Sequence[Sample]) -> Request:
        prompt = benchmark.follow_up(entry.item, [completion_of(s, spec.protocol, opened) for s in before])
        return examinee.follow_up(exam, spec, entry, sample, prompt)

    return make


def longest_first(prepared: Prepared, name: str, plan: VariantPlan) -> VariantPlan:
    """The plan with its requests in the order in which they are best sent; fixed batches have theirs already."""
    if plan.batches is not None:
        return plan
    lengths, block = _measured_lengths(prepared, name), blocks_of(prepared)
    requests = sort_longest_first(plan.requests, plan.chains, lengths, prepared.tested, block)
    if prepared.environment.hours is not None:  # no benchmark, chained or not, may be ahead of another
        requests.sort(key=block)
    return replace(plan, requests=requests)


def sort_longest_first(
    requests: Sequence[Request],
    chained: Container[str],
    measured: Mapping[tuple[str, str], float],
    tested: Container[str],
    block: Callable[[Request], float] = lambda request: 0.0,
) -> list[Request]:
    """The requests whose answers are expected to take longest first, so that none is still running alone at the end.

    The benchmarks in `chained`, on whose answers others build, come before all else. An item's length, in tokens,
    follows from what another variant's took (`measured`, by benchmark and item), the token budget and whether its
    benchmark is one of code that is `tested`; its samples stay together and share their prefix. Longest first is within
    a `block`: those come one after another.
    """

    def key(request: Request) -> tuple[bool, float, float]:
        name, budget = request.benchmark, request.sampling.max_tokens
        length = expected_tokens(measured.get((name, request.item)), budget, name in tested)
        return name not in chained, block(request), 0.0 if request.scored is not None else -length

    return sorted(requests, key=key)


def blocks_of(prepared: Prepared) -> Callable[[Request], float]:
    """The block of a request: the share of its exam that comes before it; 0 where nothing may end a benchmark early.

    A benchmark without looks has blocks too, so that others' answers fill the places that the end of a block leaves.
    """
    if not prepared.study.stops_early and prepared.environment.hours is None:
        return lambda request: 0.0
    # looked up for each request of a sort, so computed once for each item
    shares: dict[tuple[str, str], float] = {}
    for spec, exam in prepared.asked:
        count, ends = len(exam.items), block_ends(prepared, spec, exam)
        for row, entry in enumerate(exam.items):
            shares[spec.name, entry.item.id] = (0, *ends)[bisect.bisect_right(ends, row)] / count
    return lambda request: shares[request.benchmark, request.item]


def block_ends(prepared: Prepared, spec: BenchmarkSpec, exam: Exam) -> Sequence[int]:
    """The numbers of items after which a block ends.

    In a run that ends by the clock blocks are small, but no smaller than a fixed batch, and all that may not be parted
    is in one.
    """
    if prepared.environment.hours is None:
        equal = [round(block * len(exam.items) / MANY_LOOKS) for block in range(1, MANY_LOOKS + 1)]
        return equal if exam.stop is None else exam.stop.looks
    engines = [variant.engine for variant in prepared.study.variants.values()]
    batch = max((engine.batch_size for engine in engines if engine_of(engine).fixed_batches), default=1)
    most = max(1, len(exam.items) * samples_asked(exam, spec) // batch)
    ends = ends_of(block_of([entry.item for entry in exam.items]), min(MOST_BLOCKS, most))
    return sorted({*ends, *(() if exam.stop is None else exam.stop.looks)})


def expected_tokens(measured: float | None, budget: float, tested: bool = False) -> float:
    """Tokens that an answer is taken for: its `budget` where nothing was measured, else between both.

    One whose code is `tested` is not done before its tests are.
    """
    tokens = budget if measured is None else BUDGET_WEIGHT * budget + (1 - BUDGET_WEIGHT) * measured
    return tokens + TEST_TOKENS * tested


def _measured_lengths(prepared: Prepared, name: str) -> dict[tuple[str, str], float]:
    """The longest answer of each item, in tokens, that any variant before this one has given."""
    found: dict[tuple[str, str], float] = {}
    for other in itertools.takewhile(lambda other: other != name, in_order(prepared.study)):
        for spec in prepared.study.benchmarks:
            for item, tokens in prepared.run.lengths(other, spec.name).items():
                found[spec.name, item] = max(found.get((spec.name, item), 0.0), tokens)
    return found
