"""Budget in hours: the items and samples of each benchmark with which most can be shown in that time.

The objective, in this order: as many benchmarks as can be answered (a loss of the margin ruled out with the probability
TARGET, where there is none); then the best chance for the worst-off of them; then, with what is left of the time, more
benchmarks where they tighten the verdict on the average.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from scipy.special import ndtri

from bitparity.doctor.plan import BenchmarkPlan, Plan
from bitparity.doctor.rates import grading_seconds, seconds_beside
from bitparity.errors import UserInputError
from bitparity.exam.looks import FEW_LOOKS, FEWEST, MANY, MANY_LOOKS
from bitparity.generation.hours import Expected
from bitparity.progress.counters import report_seconds
from bitparity.stats import power
from bitparity.stats.sequential import BEYOND_ALPHA, WITHIN_ALPHA, Spending, bounds, exits
from bitparity.study.files import read_yaml
from bitparity.study.template import write_study

TARGET = 0.8
STEPS = 40  # numbers of items that are tried
LEAST_ITEMS = 20
_CERTAIN = 0.9995


@dataclass(frozen=True, slots=True)
class Option:
    """One way to ask a benchmark: its hours for all variants, and how surely equally good variants are shown to be so.

    The hours are those of the answers, of grading the last variant's and of their part in the report. `asked` is the
    share of the items that a candidate then takes on average, with looks.
    """

    bench: BenchmarkPlan
    items: int
    samples: int
    hours: float
    chance: float
    asked: float
    design: power.Design


@dataclass(frozen=True, slots=True)
class Budget:
    """The choice for so many hours; `left_out` has the hours that a benchmark would take to be answered, if any.

    `loading` are the hours until the variants are loaded, and those of an empty report.
    """

    hours: float
    chosen: Sequence[Option]
    left_out: Mapping[str, float | None]
    loading: float

    @property
    def used(self) -> float:
        """The hours that the choice takes if nothing stops early."""
        return self.loading + sum(option.hours for option in self.chosen)


def choose(plan: Plan, hours: float) -> Budget:
    """The best use of so many hours. Raises UserInputError where no rate is known or the hours are not above 0."""
    check_hours(hours)
    if not plan.rates:
        raise UserInputError(f"--hours needs the speed of this device: {plan.rate_source}")
    loading = _loading(plan)
    hours, whole = hours - loading, hours
    options = {bench.name: _options(plan, bench) for bench in plan.benchmarks}
    needed = {name: _cheapest(found, TARGET) for name, found in options.items()}
    asked, left = [], hours
    # the cheapest first, so that as many as possible are answered
    for name, option in sorted(needed.items(), key=lambda pair: math.inf if pair[1] is None else pair[1].hours):
        if option is not None and option.hours <= left:
            asked.append(name)
            left -= option.hours
    chosen = _best_worst([options[name] for name in asked], hours)
    chosen = _tightening(chosen, [found for name, found in options.items() if name not in asked], hours)
    # one that was chosen only to tighten the average is in the plan, but its own question stays unanswered
    names = {option.bench.name for option in chosen}
    unanswered = {name: found for name, found in needed.items() if name not in names or name not in asked}
    left_out = {name: None if found is None else loading + found.hours for name, found in unanswered.items()}
    return Budget(whole, chosen, left_out, loading)


def check_hours(hours: float) -> None:
    """Raise UserInputError for hours that are not above 0."""
    if not (hours > 0 and math.isfinite(hours)):
        raise UserInputError(f"--hours is {hours:g}; give a number above 0")


def _loading(plan: Plan) -> float:
    return seconds_beside(plan.study, plan.loading, {}) / 3600


def as_it_stands(plan: Plan, hours: float) -> Budget | None:
    """The plan of a study that ends after so many hours, all its benchmarks asked alike; None where no rate is known.

    Raises UserInputError where the hours are not above 0.
    """
    check_hours(hours)
    sized = [bench for bench in plan.benchmarks if bench.size.items is not None and bench.size.items > 1]
    if not plan.rates or not sized:
        return None

    def at(share: float) -> list[Option]:
        counts = [max(2, round(share * (bench.size.items or 0))) for bench in sized]
        return [_option(plan, b, items, b.samples) for b, items in zip(sized, counts, strict=True)]

    loading = _loading(plan)
    whole = sum(option.hours for option in at(1.0))
    chosen = at(min(1.0, max(0.0, hours - loading) / whole) if whole else 1.0)
    return Budget(hours, chosen, {}, loading)


def expected(plan: Plan) -> dict[str, Expected]:
    """The seconds that every variant of a run with --hours is expected to take."""
    answers = {bench.name: (bench.size.items or 1) * bench.samples for bench in plan.benchmarks}
    graded = sum(grading_seconds(spec) * answers[spec.name] for spec in plan.study.benchmarks) / sum(answers.values())

    def seconds(variant: str) -> float:
        return sum(3600 * (plan.hours(bench, variant) or 0.0) for bench in plan.benchmarks)

    return {name: Expected(plan.loading[name], seconds(name) or 1.0, graded) for name in plan.study.variants}


def _options(plan: Plan, bench: BenchmarkPlan) -> list[Option]:
    most = bench.size.available or bench.size.items
    if most is None or most < 2:
        return []
    tried = np.unique(np.geomspace(min(LEAST_ITEMS, most), most, STEPS).round().astype(int)).tolist()
    samples = range(1, bench.independent + 1) if bench.independent > 1 else (1,)
    return [_option(plan, bench, items, k) for items in tried for k in samples]


def _option(plan: Plan, bench: BenchmarkPlan, items: int, samples: int) -> Option:
    answers = {name: plan.answers(bench, name, items * samples) for name in plan.study.variants}
    hours = sum(count * bench.output_each / plan.rates[name].middle / 3600 for name, count in answers.items())
    none = dict.fromkeys(plan.study.variants, 0.0)
    hours += (seconds_beside(plan.study, none, {bench.name: items * samples}) - report_seconds(0)) / 3600
    design = bench.flips.design(items, bench.size.groups, samples)
    assert design is not None
    once = samples == 1 and not design.sizes
    chance = power.margin_power(items, design.flip_rate, bench.margin) if once else design.margin_power(bench.margin)
    chance, asked = with_looks(chance, items if once else design.units)
    return Option(bench, items, samples, hours, chance, asked, design)


def with_looks(chance: float, units: float) -> tuple[float, float]:
    """The chance of a claim with the looks that so many units get, and the mean share of the items asked."""
    if units < FEWEST or chance < TARGET:  # such a plan has no looks
        return chance, 1.0
    spending: Spending = "power_2" if units >= MANY else "obrien_fleming"
    looks = MANY_LOOKS if units >= MANY else FEW_LOOKS
    times = tuple(look / looks for look in range(1, looks + 1))
    lower = tuple(-bound for bound in bounds(times, BEYOND_ALPHA, spending))
    drift = float(ndtri(min(chance, _CERTAIN)) + ndtri(1 - WITHIN_ALPHA))
    up, down = exits(times, bounds(times, WITHIN_ALPHA, spending), lower, drift)
    ended = [one + other for one, other in zip(up, down, strict=True)]
    asked = sum(share * time for share, time in zip(ended, times, strict=True)) + 1 - sum(ended)
    return sum(up), asked


def _cheapest(options: Sequence[Option], chance: float) -> Option | None:
    able = [option for option in options if option.chance >= chance]
    return min(able, key=lambda option: (option.hours, -option.chance), default=None)


def _best_worst(benchmarks: Sequence[Sequence[Option]], hours: float) -> list[Option]:
    """The choice whose worst-off benchmark has the best chance, none more than it can have."""

    def at(chance: float) -> list[Option]:
        best = [max(option.chance for option in options) for options in benchmarks]
        found = (_cheapest(options, min(chance, top)) for options, top in zip(benchmarks, best, strict=True))
        return [option for option in found if option is not None]

    low, high = TARGET, 1.0
    for _ in range(20):  # to a millionth of a chance
        middle = (low + high) / 2
        fits = sum(option.hours for option in at(middle)) <= hours
        low, high = (middle, high) if fits else (low, middle)
    return at(low)


def _tightening(chosen: Sequence[Option], others: Sequence[Sequence[Option]], hours: float) -> list[Option]:
    """The choice, and others in the hours left that bring the average's provable margin nearer to its margin."""
    found = [*chosen]
    for options in others:
        left = hours - sum(option.hours for option in found)
        fitting = [option for option in options if option.hours <= left]
        best = min(fitting, key=lambda option: _of_margin([*found, option]), default=None)
        if best is not None and _of_margin([*found, best]) < _of_margin(found):
            found.append(best)
    return found


def _of_margin(options: Sequence[Option]) -> float:
    """The margin that the average over benchmarks would prove, as a multiple of the mean of their margins."""
    together = power.average([option.design for option in options]) if options else None
    return math.inf if together is None else together[1] * len(options) / sum(each.bench.margin for each in options)


def write_cut(study: Path, budget: Budget, out: Path) -> None:
    """Write the study file with this choice. Raises UserInputError where it would lie elsewhere, or exists."""
    if out.resolve().parent != study.resolve().parent:
        raise UserInputError(f"--write {out}: write it beside {study}, whose paths it keeps")
    document = read_yaml(study.read_text(encoding="utf-8"), str(study))
    assert isinstance(document, dict)
    chosen = {option.bench.name: option for option in budget.chosen}
    benchmarks = []
    for entry in document["benchmarks"]:
        given = {"name": entry} if isinstance(entry, str) else dict(entry)
        if (option := chosen.get(given["name"])) is not None:
            cut = {"limit": option.items, "samples": option.samples, "stop_early": option.asked < 1}
            benchmarks.append(given | cut)
    text = yaml.safe_dump(document | {"benchmarks": benchmarks}, sort_keys=False, allow_unicode=True)
    write_study(out, f"# {study.name}, cut to what {budget.hours:g} hours can show\n{text}")
