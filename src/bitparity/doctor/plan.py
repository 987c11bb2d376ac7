"""Plan of a study: what it will cost and what loss it could show, before an hour is spent. Loads no model.

Two figures are not known before a run and are assumed, which the plan says: the tokens of an answer, and how many
answers flip. A short run (`--limit 20`) measures the first, a control the second.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitparity.benchmarks.contract import Info
from bitparity.benchmarks.dataset import read_jsonl
from bitparity.benchmarks.registry import benchmark_class, group_of, known_benchmark, load_benchmark
from bitparity.engines.registry import engine_of
from bitparity.errors import UserInputError
from bitparity.exam.frozen import Exam, load_if_frozen
from bitparity.records import Item
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, ReasoningSpec, Study
from bitparity.stats import power
from bitparity.store.run import Run

# How many answers flip between two variants that are equally good, as a fraction of the items: what truly changes and
# what decoding noise adds. Measured: 4.2 % of a greedy baseline's answers against itself (MATH-500, one H100), and
# 11 % from the spread of sampled AIME 2024 runs (SD 4.3 points a run of 30); 3.2 % for FP8 and 6.1 % for NVFP4.
CHANGED = 0.01
GREEDY_NOISE = 0.04
SAMPLED_NOISE = 0.10
RANGE = (0.5, 1.0, 2.0)  # the assumption halved, as it stands, doubled

OUTPUT_PLAIN, OUTPUT_REASONING = 500, 6000  # tokens of an answer where no run has measured them
TEMPLATE_TOKENS = 40  # what a prompt and a chat template add
CHARACTERS_PER_TOKEN = 4
ROUNDING = 1e-4  # to which margins are computed
MOST_SAMPLES = 256  # more samples an item are no advice
PUBLISHED, DATA_FILE = "the published number of items", "the data file"

Rates = tuple[float | None, ...]  # at RANGE times the assumed flips; None where there is none


@dataclass(frozen=True, slots=True)
class Size:
    """Size of a benchmark: its items, those the data set has, the mean tokens of a prompt, and if answers are written.

    `items` and `available` are None where nothing tells; `problems` is the number of groups where items share
    problems; `source` says where the figures come from.
    """

    items: int | None
    available: int | None
    prompt_tokens: float
    writes: bool
    source: str
    problems: int | None = None


@dataclass(frozen=True, slots=True)
class Flips:
    """The share of items assumed to flip with one sample, and the part of it that is decoding noise."""

    total: float
    noise: float

    def scaled(self, factor: float) -> Flips:
        """Both times a factor, at most all items."""
        return Flips(min(1.0, self.total * factor), min(1.0, self.noise * factor))


@dataclass(frozen=True, slots=True)
class BenchmarkPlan:
    """One benchmark of a study: size, tokens of one variant, and what it could show (fractions).

    `output_each` is the expected length of an answer in tokens, `budget` the most it may have. `detectable` is the
    smallest loss that would be shown in 80 % of such runs and `provable` the smallest margin that equally good
    variants would prove in 80 %, at RANGE times the assumed flips; None where there is none. `advice` says what would
    answer a question that this plan cannot.
    """

    name: str
    size: Size
    samples: int
    output_each: float
    output_source: str
    budget: int
    margin: float
    flips: Flips
    detectable: Rates
    provable: Rates
    advice: str | None

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


@dataclass(frozen=True, slots=True)
class Plan:
    """A whole study. `rates` are output tokens a second by variant (empty: unknown), `rate_source` says where from.

    `together` is (detectable loss, provable margin, mean margin) of the average over two or more benchmarks.
    """

    study: Study
    benchmarks: Sequence[BenchmarkPlan]
    rates: Mapping[str, float]
    rate_source: str
    together: tuple[float, float, float] | None

    def hours(self, bench: BenchmarkPlan, variant: str) -> float | None:
        """Expected hours of one variant on one benchmark; None where rate or size is not known."""
        rate, tokens = self.rates.get(variant), bench.output_tokens
        return None if rate is None or tokens is None else tokens / rate / 3600


def make_plan(study: Study, rate: float | None = None, run: Run | None = None) -> Plan:
    """Plan a study. `rate` is in output tokens a second; `run` is a run that measured lengths and rates.

    Raises UserInputError for a rate of 0 or less, RunError or DataError where the run or a data file cannot be read.
    """
    if rate is not None and not (rate > 0 and math.isfinite(rate)):
        raise UserInputError(f"rate is {rate:g}; give output tokens per second, above 0")
    benchmarks = [_benchmark(spec, run) for spec in study.benchmarks]
    rates, source = _rates(study, rate, run)
    return Plan(study, benchmarks, rates, source, _together(benchmarks))


def _benchmark(spec: BenchmarkSpec, run: Run | None) -> BenchmarkPlan:
    exam = None if run is None else load_if_frozen(run, spec.name)
    size = _size(spec) if exam is None else _size_of_exam(spec, exam)
    samples = spec.samples if size.writes else 1
    sampling = spec.protocol.sampling() if exam is None else exam.sampling
    each, source = _output(spec, size, run, sampling.max_tokens)
    noise = SAMPLED_NOISE if size.writes and sampling.temperature > 0 else GREEDY_NOISE
    flips = Flips(CHANGED + noise, noise)
    margin = spec.margin / 100
    detectable, provable = _power(size.items, samples, flips)
    budget = sampling.max_tokens if size.writes else 0
    plan = BenchmarkPlan(spec.name, size, samples, each, source, budget, margin, flips, detectable, provable, None)
    if size.items is None or plan.answers:
        return plan
    return dataclasses.replace(plan, advice=_advice(size, samples, flips, margin))


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
    return Size(_limited(available, spec.limit), available, _assumed_prompt(info, spec.form), writes, source)


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
    groups = len({item.group or f"\0{item.id}" for item in items})
    return Size(count, available, prompt_tokens, writes, source, groups if groups < len(items) else None)


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


def _rates(study: Study, rate: float | None, run: Run | None) -> tuple[dict[str, float], str]:
    if rate is not None:
        return dict.fromkeys(study.variants, rate), "given"
    if run is None:
        return {}, "hours are not known: give --rate, or --run with a run that measured it"
    computed = {name for name, variant in run.study().variants.items() if not engine_of(variant.engine).recorded}
    measured: dict[str, float] = {}
    for name, stored in run.environment().variants.items():
        total = stored.generation
        if name in computed and total is not None and total.seconds and total.output_tokens:
            measured[name] = total.output_tokens / total.seconds
    if not measured:
        return {}, f"hours are not known: {run.path} measured no rate (recorded answers have none); give --rate"
    slowest = min(measured.values())
    others = [name for name in study.variants if name not in measured]
    note = f"; the slowest of its rates for {', '.join(others)}" if others else ""
    return {name: measured.get(name, slowest) for name in study.variants}, f"measured in {run.path}{note}"


def _power(items: int | None, samples: int, flips: Flips) -> tuple[Rates, Rates]:
    """(detectable losses, provable margins) at RANGE times the assumed flips."""
    if items is None or items < 2:
        return (None, None, None), (None, None, None)
    detectable, provable = zip(*(_at(items, samples, flips.scaled(factor)) for factor in RANGE), strict=True)
    return detectable, provable


def _at(items: int, samples: int, flips: Flips) -> tuple[float | None, float | None]:
    """(detectable loss, provable margin) with `samples` an item."""
    if samples == 1:
        return power.detectable_loss(items, flips.total), power.provable_margin(items, flips.total)
    se = power.standard_error(items, flips.total, samples, flips.noise)
    loss, provable = power.detectable_loss_normal(se, items), power.provable_margin_normal(se, items)
    return loss if loss <= 1 else None, provable if provable <= 1 else None


def _advice(size: Size, samples: int, flips: Flips, margin: float) -> str:
    """Words on what would answer the question: more items, more samples, or another margin."""
    assert size.items is not None
    parts = []
    needed = _items_needed(samples, flips, margin)
    if size.available is None or needed <= size.available:
        parts.append(f"{needed:,} items (raise the limit)")
    else:
        parts.append(f"{needed:,} items, which it does not have: use a larger benchmark or pool several")
    # repeats of greedy answers are no samples: more of them means sampled decoding
    sampled = Flips(CHANGED + SAMPLED_NOISE, SAMPLED_NOISE)
    more = power.samples_needed(margin, size.items, sampled.total, sampled.noise)
    if more is not None and samples < more <= MOST_SAMPLES:
        parts.append(f"{more} samples an item at a temperature above 0")
    provable = _at(size.items, samples, flips)[1]
    if provable is not None and provable < 0.5:
        parts.append(f"a margin of {math.ceil(1000 * provable) / 10:g} points, if a loss that large does not matter")
    return "; or ".join(parts)


def _items_needed(samples: int, flips: Flips, margin: float) -> int:
    if samples == 1:
        return power.items_needed(margin, flips.total)
    high = 2
    while (power.provable_margin_normal(power.standard_error(high, flips.total, samples, flips.noise), high)) > margin:
        high = math.ceil(high * 1.02) + 1
    return high


def _together(benchmarks: Sequence[BenchmarkPlan]) -> tuple[float, float, float] | None:
    """The average over the benchmarks, each counting the same, at the assumed flips."""
    known = [(b, b.size.items) for b in benchmarks if b.size.items is not None and b.size.items >= 2]
    if len(known) < 2:
        return None
    errors = [power.standard_error(items, b.flips.total, b.samples, b.flips.noise) for b, items in known]
    se, items = math.hypot(*errors) / len(errors), sum(count for _, count in known)
    margin = sum(b.margin for b, _ in known) / len(known)
    return power.detectable_loss_normal(se, items), power.provable_margin_normal(se, items), margin
