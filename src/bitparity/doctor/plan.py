"""Plan of a study: what it will cost and what loss it could show, before an hour is spent. Loads no model.

Two figures are not known before a run and are assumed, which the plan says: the tokens of an answer, and how many
answers flip. A short run (`--limit 20`) measures the first, a control the second.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from bitparity.benchmarks.contract import Info
from bitparity.benchmarks.dataset import read_jsonl
from bitparity.benchmarks.registry import benchmark_class, group_of, known_benchmark, load_benchmark
from bitparity.doctor.host import Host
from bitparity.doctor.rates import UNKNOWN, Rate, Rates, estimated_rates, loading_seconds, rates_of_run
from bitparity.errors import BitparityError
from bitparity.exam.flips import ASSUMED_SCORE, RANGE, ROUNDING, SAMPLED, Flips, assumed_flips
from bitparity.exam.frozen import Exam, load_if_frozen
from bitparity.exam.spot_check import SPOT_CHECK, shares
from bitparity.records import Item
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, ReasoningSpec, Study
from bitparity.stats import power
from bitparity.store.run import Run

OUTPUT_PLAIN, OUTPUT_REASONING = 500, 6000  # tokens of an answer where no run has measured them
TEMPLATE_TOKENS = 40  # what a prompt and a chat template add
CHARACTERS_PER_TOKEN = 4
MOST_SAMPLES = 256  # more samples an item are no advice
PUBLISHED, DATA_FILE = "the published number of items", "the data file"

AtFlips = tuple[float | None, ...]  # at the least, middle and most assumed flips; None where there is none


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a benchmark: its items, those the data set has, the mean tokens of a prompt, and if answers are written.

    `items` and `available` are None where nothing tells; `groups` are the sizes of the groups where items share
    problems; `source` says where the figures come from.
    """

    items: int | None
    available: int | None
    prompt_tokens: float
    writes: bool
    source: str
    groups: tuple[int, ...] = ()


class Advice(NamedTuple):
    """The means to answer a question: so many items (`available`: the data set has them), samples an item, or a margin.

    `samples` and `margin` (a fraction) are None where no number of them would.
    """

    items: int
    available: bool
    samples: int | None
    margin: float | None


@dataclass(frozen=True)
class BenchmarkPlan:
    """One benchmark of a study: size, tokens of one variant, and what it could show (fractions).

    `samples` are asked an item, of which `independent` ones: repeats of greedy answers count as one.
    `output_each` is the expected length of an answer in tokens, `budget` the most it may have. `detectable` is the
    smallest loss that would be shown in 80 % of such runs and `provable` the smallest margin that equally good
    variants would prove in 80 %, each at the least, middle and most assumed flips; None where there is none.
    """

    name: str
    size: Size
    samples: int
    independent: int
    output_each: float
    output_source: str
    budget: int
    margin: float
    flips: Flips
    detectable: AtFlips
    provable: AtFlips

    @property
    def prompt_tokens(self) -> float | None:
        """Prompt tokens of one variant; None where the number of items is not known."""
        return None if self.size.items is None else self.size.items * self.samples * self.size.prompt_tokens

    @property
    def output_tokens(self) -> float | None:
        """Expected output tokens of one variant."""
        return None if self.size.items is None else self.size.items * self.samples * self.output_each

    @property
    def answers(self) -> bool:
        """True where equally good variants would be shown to lie within the margin, at the assumed flips."""
        return self.provable[1] is not None and self.provable[1] <= self.margin + ROUNDING

    def design(self, at: int = 1) -> power.Design | None:
        """The planned comparison at the least (0), middle (1) or most (2) assumed flips; None for an unknown size."""
        return self.flips.design(self.size.items, self.size.groups, self.independent, at)

    @cached_property
    def advice(self) -> Advice | None:
        """The means to answer a question that this plan cannot: more items, more samples, or another margin."""
        size, design = self.size, self.design()
        if design is None or self.answers:
            return None
        needed, provable = power.items_needed_by(design, self.margin), self.provable[1]
        # repeats of greedy answers are no samples: more of them means sampled decoding
        sampled = SAMPLED.design(size.items, size.groups, design.samples)
        more = None if sampled is None or not size.writes else power.samples_needed(sampled, self.margin, MOST_SAMPLES)
        return Advice(
            items=needed,
            available=size.available is None or needed <= size.available,
            samples=more if more is not None and more > design.samples else None,
            margin=math.ceil(1000 * provable) / 1000 if provable is not None and provable < 0.5 else None,
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole study. `rates` are output tokens a second by variant (empty: unknown), `rate_source` says where from.

    `loading` are the seconds until each variant is loaded. `together` is (detectable loss, provable margin, mean
    margin) of the average over two or more benchmarks.
    """

    study: Study
    benchmarks: Sequence[BenchmarkPlan]
    rates: Mapping[str, Rate]
    rate_source: str
    together: tuple[float, float, float] | None
    loading: Mapping[str, float] = field(default_factory=dict)

    def answers(self, bench: BenchmarkPlan, variant: str, answers: int) -> int:
        """The answers that one variant gives of a benchmark of which the others give so many: few for a spot check."""
        if variant != self.study.spot_check:
            return answers
        return min(answers, self._drawn.get(bench.name, 0))

    @property
    def _drawn(self) -> dict[str, int]:
        sizes = {b.name: (b.size.items or 0) * b.samples for b in self.benchmarks if b.size.writes}
        return shares(sizes, SPOT_CHECK)

    @property
    def spot_check(self) -> int:
        """The answers of a spot check, where the study has one."""
        return sum(self._drawn.values())

    def output_tokens(self, bench: BenchmarkPlan, variant: str) -> float | None:
        """Expected output tokens of one variant on one benchmark; None where its size is not known."""
        if bench.size.items is None:
            return None
        return self.answers(bench, variant, bench.size.items * bench.samples) * bench.output_each

    def hours(self, bench: BenchmarkPlan, variant: str) -> float | None:
        """Expected hours of one variant on one benchmark; None where rate or size is not known."""
        rate, tokens = self.rates.get(variant), self.output_tokens(bench, variant)
        return None if rate is None or tokens is None else tokens / rate.middle / 3600

    def hours_of(self, variant: str) -> tuple[float, float, float] | None:
        """Expected hours of one variant over the benchmarks of known size, and the least and most of them."""
        rate = self.rates.get(variant)
        if rate is None:
            return None
        tokens = sum(self.output_tokens(bench, variant) or 0.0 for bench in self.benchmarks) / 3600
        return tokens / rate.middle, tokens / rate.high, tokens / rate.low if rate.low else math.inf


def make_plan(study: Study, rates: Rates | None = None, run: Run | None = None, host: Host | None = None) -> Plan:
    """Plan a study. `run` is a run that measured lengths, and rates where none are given; else `host` tells them.

    Raises RunError or DataError where the run or a data file cannot be read.
    """
    benchmarks = [benchmark_plan(spec, run) for spec in study.benchmarks]
    if rates is None:
        rates = rates_of_run(study, run) if run is not None else _estimated(study, benchmarks, host or Host())
    loading = loading_seconds(study, run, host)
    return Plan(study, benchmarks, rates.of, rates.source, _together(benchmarks), loading)


def _estimated(study: Study, benchmarks: Sequence[BenchmarkPlan], host: Host) -> Rates:
    """Rates by the mean lengths of all answers together, each token counting the same."""
    known = [(bench, bench.output_tokens) for bench in benchmarks if bench.output_tokens]
    total = sum(tokens for _, tokens in known)
    if not total:
        return Rates({}, UNKNOWN)
    prompt = sum(bench.size.prompt_tokens * tokens for bench, tokens in known) / total
    answer = sum(bench.output_each * tokens for bench, tokens in known) / total
    return estimated_rates(study, host, prompt, answer)


def unanswerable(study: Study) -> Iterator[BenchmarkPlan]:
    """The benchmarks whose question a study cannot answer, before anything is asked; none without a candidate."""
    for spec in study.benchmarks if len(study.variants) > 1 else ():
        with suppress(BitparityError):  # the run itself says what is wrong with a benchmark's data
            plan = benchmark_plan(spec)
            if plan.size.items is not None and not plan.answers:
                yield plan


def benchmark_plan(spec: BenchmarkSpec, run: Run | None = None) -> BenchmarkPlan:
    """Plan one benchmark. Raises RunError or DataError where the run or its data file cannot be read."""
    exam = None if run is None else load_if_frozen(run, spec.name)
    size = _size(spec) if exam is None else _size_of_exam(spec, exam)
    samples = spec.samples if size.writes else 1
    sampling = spec.protocol.sampling() if exam is None else exam.sampling
    flips, independent = assumed_flips(size.writes, sampling.temperature, samples)
    margin = spec.margin_at(ASSUMED_SCORE)  # a margin in proportion depends on a score that is not known yet
    budget = sampling.max_tokens if size.writes else 0
    designs = [flips.design(size.items, size.groups, independent, at) for at in RANGE]
    detectable = tuple(None if design is None else design.detectable() for design in designs)
    provable = tuple(None if design is None else design.provable() for design in designs)
    output = _output(spec, size, run, sampling.max_tokens)
    return BenchmarkPlan(spec.name, size, samples, independent, *output, budget, margin, flips, detectable, provable)


def _size(spec: BenchmarkSpec) -> Size:
    if spec.name.startswith(LM_EVAL_PREFIX):
        return _size_of_task(spec)
    info = benchmark_class(spec.name).info
    fewshot_from_hub = spec.form == "lm-eval" and spec.fewshot_data is None
    if info.source is None or (spec.data is not None and not fewshot_from_hub):
        items = list(load_benchmark(spec).items())
        tokens, source = _mean_tokens(items) + TEMPLATE_TOKENS, DATA_FILE if spec.data else "made by bitparity"
        return _counted(items, _limited(len(items), spec.limit), len(items), tokens, source)
    available, source = _available(spec, info)
    writes = spec.form not in info.scored_forms
    groups = tuple(size for size, number in info.groups for _ in range(number))
    return Size(_limited(available, spec.limit), available, _assumed_prompt(info, spec.form), writes, source, groups)


def _available(spec: BenchmarkSpec, info: Info) -> tuple[int, str]:
    """The items that there are, and where that figure comes from."""
    return (info.items, PUBLISHED) if spec.data is None else (len(read_jsonl(Path(spec.data))), DATA_FILE)


def _limited(available: int, limit: int | None) -> int:
    return available if limit is None else min(limit, available)


def _size_of_exam(spec: BenchmarkSpec, exam: Exam) -> Size:
    items = [entry.item for entry in exam.items]
    lengths = [entry.prompt_tokens for entry in exam.items if entry.prompt_tokens is not None]
    tokens = sum(lengths) / len(lengths) if lengths else _mean_tokens(items)
    tasks = exam.provenance.get("tasks") if spec.name.startswith(LM_EVAL_PREFIX) else None
    counts = [task["items"] for task in tasks.values()] if tasks else [exam.available]
    count = sum(_limited(available, spec.limit) for available in counts)
    return _counted(items, count, exam.available, tokens, "the run's exam")


def _counted(items: Sequence[Item], count: int, available: int, prompt_tokens: float, source: str) -> Size:
    """The size of a benchmark whose items are here."""
    writes = any(not prompt.continuations for item in items for prompt in item.prompts)
    sizes = tuple(Counter(item.group or f"\0{item.id}" for item in items).values())
    return Size(count, available, prompt_tokens, writes, source, sizes if len(sizes) < len(items) else ())


def _mean_tokens(items: Sequence[Item]) -> float:
    """Mean tokens of the items' first prompts, by their characters."""
    firsts = [item.prompts[0] for item in items]
    lengths = [sum(len(m["content"]) for m in p.messages) if p.messages else len(p.text or "") for p in firsts]
    return sum(lengths) / len(lengths) / CHARACTERS_PER_TOKEN


def _size_of_task(spec: BenchmarkSpec) -> Size:
    """A task of lm-eval, without loading it: its data file, the benchmark of ours that it asks, or the limit."""
    task = spec.name.removeprefix(LM_EVAL_PREFIX)
    known = known_benchmark(task)
    info = benchmark_class(known or spec.name).info
    # lm-eval's limit takes the first items of each subtask
    limit = spec.limit and spec.limit * (info.subtasks if task == known else 1)
    prompt = _assumed_prompt(info, "lm-eval")
    if spec.data is not None or (known is not None and group_of(task) is None):
        available, source = _available(spec, info)
        return Size(_limited(available, limit), available, prompt, True, source)
    unknown = "lm-eval tells it once it loads the task; give data: or limit: in the study, or --run"
    return Size(limit, None, prompt, True, "the limit" if limit else unknown)


def _assumed_prompt(info: Info, form: str) -> float:
    examples = info.fewshot_factor if form == "lm-eval" else 1
    return info.question_tokens * examples + TEMPLATE_TOKENS


def _output(spec: BenchmarkSpec, size: Size, run: Run | None, budget: int) -> tuple[float, str]:
    """Expected tokens of an answer and where the figure comes from."""
    if not size.writes:
        return 0.0, "log-likelihoods: nothing is written"
    if run is not None:
        lengths = [
            sample.tokens
            for variant in run.study().variants
            for sample in run.samples(variant, spec.name).values()
            if sample.finish != "error" and sample.tokens is not None
        ]
        if lengths:
            return sum(lengths) / len(lengths), "measured"
    assumed = OUTPUT_REASONING if isinstance(spec.protocol.reasoning, ReasoningSpec) else OUTPUT_PLAIN
    return float(min(assumed, budget)), "assumed"


def _together(benchmarks: Sequence[BenchmarkPlan]) -> tuple[float, float, float] | None:
    """The average over the benchmarks, each counting the same, at the assumed flips."""
    known = [(b, design) for b in benchmarks if (design := b.design()) is not None]
    if len(known) < 2:
        return None
    margin = sum(b.margin for b, _ in known) / len(known)
    together = power.average([design for _, design in known])
    return None if together is None else (*together, margin)
