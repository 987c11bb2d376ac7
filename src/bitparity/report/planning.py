"""A plan on the terminal: the answer to "can it tell?" first, then cost, then what was assumed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from bitparity.doctor.budget import TARGET, Budget, Option
from bitparity.doctor.plan import AtFlips, BenchmarkPlan, Plan
from bitparity.exam.flips import ASSUMED_SCORE, CORRELATION
from bitparity.report.terminal import cells, columns, say
from bitparity.report.words import margin

TITLES = (
    *("items", "samples", "prompt\ntokens", "output\ntokens", "output\nat most", "hours", "margin"),
    *("could detect\n(points)", "could rule out\n(points)"),
)


def show(plan: Plan, console: Console) -> None:
    """Print the plan."""
    for bench in plan.benchmarks:
        say(console, answer(bench), style="green" if bench.answers else "red")
    for line in _together(plan):
        say(console, line)
    console.print(_table(plan))
    for line in (*_cost(plan), *_assumptions(plan)):
        say(console, line)


def show_budget(budget: Budget, console: Console) -> None:
    """Print what so many hours can show, and what they cannot."""
    done = 0.0
    for option in budget.chosen:
        done += option.hours
        say(console, _chosen(option, done), style="green" if option.chance >= TARGET else "yellow")
    for name, hours in budget.left_out.items():
        would = "no number of its items would" if hours is None else f"that takes {_hour(hours)} alone"
        say(console, f"{name}: {budget.hours:g} hours CANNOT answer whether a loss is below its margin; {would}")
    say(console, f"{_hour(budget.used)} of {budget.hours:g} if nothing stops early; loading and grading come on top")


def _chosen(option: Option, done: float) -> str:
    detectable = option.design.detectable()
    loss = "" if detectable is None else f", detects a loss of {_points(detectable)} with 80 %"
    early = f"; a candidate without a loss is asked {100 * option.asked:.0f} % of them" if option.asked < 1 else ""
    asked = f"{option.items:,} item{_s(option.items)} with {option.samples} sample{_s(option.samples)} each"
    return (
        f"{option.bench.name}: {asked}, {_hour(option.hours)}, done after {_hour(done)}: rules out a loss of "
        f"{margin(option.bench.margin)} with {100 * option.chance:.0f} % where there is none{loss}{early}"
    )


def answer(bench: BenchmarkPlan) -> str:
    """One plain sentence on a benchmark: it can answer its question, or it cannot and what would."""
    if bench.size.items is None:
        return f"{bench.name}: what it can tell is not known, since its size is not ({bench.size.source})"
    items, samples, provable, allowed = bench.size.items, bench.samples, bench.provable[1], margin(bench.margin)
    asked = f"{items:,} item{_s(items)} with {samples} sample{_s(samples)} each"
    if bench.answers and provable is not None:
        return f"{bench.name}: can answer. {asked} can rule out a loss of {_points(provable)}; margin {allowed}"
    able = "could rule out no loss at all" if provable is None else f"could rule out {_points(provable)} at best"
    return (
        f"{bench.name}: CANNOT answer whether a loss is below {allowed}: {asked} {able} and {_loss(bench)}"
        f". What would: {bench.advice}"
    )


def short_answer(bench: BenchmarkPlan) -> str:
    """One line on a benchmark that cannot answer, for those who are about to run it."""
    provable = bench.provable[1]
    able = "no loss at all" if provable is None else f"{_points(provable)} at best"
    return (
        f"{bench.name}: this study CANNOT answer whether a loss is below {margin(bench.margin)} (it could rule out "
        f"{able}); bitparity plan says what would"
    )


def _loss(bench: BenchmarkPlan) -> str:
    detectable = bench.detectable[1]
    return "detect no loss reliably, however large" if detectable is None else f"detect one of {_points(detectable)}"


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _points(value: float) -> str:
    return f"{100 * value:.2g} points" if value < 0.1 else f"{100 * value:.1f} points"


def _together(plan: Plan) -> Iterator[str]:
    if plan.together is not None:
        loss, provable, allowed = plan.together
        verdict = "can answer" if provable <= allowed else "CANNOT answer"
        yield (
            f"average over all benchmarks: {verdict}. It could detect a loss of {_points(loss)} and rule out "
            f"{_points(provable)}; mean margin {100 * allowed:.3g} points"
        )


def _table(plan: Plan) -> Table:
    table = columns({"benchmark": [bench.name for bench in plan.benchmarks]}, TITLES)
    for bench in plan.benchmarks:
        items = bench.size.items
        row = (
            bench.name,
            "?" if items is None else f"{items:,}",
            str(bench.samples),
            _tokens(bench.prompt_tokens),
            _tokens(bench.output_tokens),
            _tokens(None if items is None else items * bench.samples * bench.budget),
            _hours([plan.hours(bench, variant) for variant in plan.study.variants]),
            f"{100 * bench.margin:g}",
            _range(bench.detectable),
            _range(bench.provable),
        )
        table.add_row(*cells(*row))
    return table


def _tokens(value: float | None) -> str:
    if value is None:
        return "?"
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.1f} {unit}"
    return f"{value:.0f}"


def _hours(values: list[float | None]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return "–"
    low, high = min(known), max(known)
    return _hour(low) if _hour(low) == _hour(high) else f"{_hour(low)} to {_hour(high)}"


def _hour(value: float) -> str:
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


def _range(values: AtFlips) -> str:
    if all(value is None for value in values):
        return "none"
    low, middle, high = ("none" if value is None else f"{100 * value:.1f}" for value in values)
    return f"{middle} ({low} to {high})"


def _cost(plan: Plan) -> Iterator[str]:
    """Tokens and hours of the whole study."""
    count = len(plan.study.variants)
    if count < 2:
        yield "One variant only: there is nothing to compare; add a baseline or a candidate."
    # benchmarks of unknown size count nothing here, and the line says so
    outputs = [bench.output_tokens for bench in plan.benchmarks]
    total = sum(tokens for tokens in outputs if tokens is not None) * count
    unknown = " (without the benchmarks of unknown size)" if None in outputs else ""
    yield f"Tokens and hours in the table are of one variant. All {count}: {_tokens(total)} output tokens{unknown}"
    if not plan.rates:
        yield plan.rate_source
        return
    hours = {name: found for name in plan.study.variants if (found := plan.hours_of(name)) is not None}
    rates = sorted({round(rate.middle) for rate in plan.rates.values()})
    said = f"{rates[0]:,}" if len(rates) == 1 else f"{rates[0]:,} to {rates[-1]:,}"
    yield (
        f"Hours, all variants: {_between(*map(sum, zip(*hours.values(), strict=True)))} at {said} output tokens a "
        f"second over all requests ({plan.rate_source}); loading, prompts and log-likelihoods are not counted"
    )
    if len(rates) > 1:
        each = (f"{name} {_between(*found)} at {plan.rates[name].middle:,.0f}" for name, found in hours.items())
        yield f"Hours by variant: {', '.join(each)}"


def _between(middle: float, least: float, most: float) -> str:
    """Hours, with the interval where there is one."""
    return _hour(middle) if least == most else f"{_hour(middle)} ({_hour(least)} to {_hour(most)})"


def _assumptions(plan: Plan) -> Iterator[str]:
    for flips in dict.fromkeys(bench.flips for bench in plan.benchmarks):
        names = ", ".join(bench.name for bench in plan.benchmarks if bench.flips == flips)
        least, total, most = (f"{100 * share:g}" for share in flips.total)
        yield (
            f"Assumed for {names}: with one sample {total} % of the answers flip between equally good variants "
            f"({least} to {most} % in brackets), {100 * flips.noise[1]:g} % by decoding noise, which more samples "
            f"average out ({flips.source}). Power 80 %, level 5 %"
        )
    if in_proportion := [spec.name for spec in plan.study.benchmarks if spec.recovery is not None]:
        score = f"{100 * ASSUMED_SCORE:g} %"
        yield f"Margins in proportion to the baseline's score ({', '.join(in_proportion)}) are shown for one of {score}"
    if repeated := [bench.name for bench in plan.benchmarks if bench.independent < bench.samples]:
        yield f"Repeats of greedy answers ({', '.join(repeated)}) are nearly the same answers and count as one sample"
    if assumed := [bench for bench in plan.benchmarks if bench.output_source == "assumed"]:
        lengths = ", ".join(f"{bench.name} {bench.output_each:.0f}" for bench in assumed)
        yield (
            f"Assumed tokens of an answer: {lengths}. A short run measures them and the rate: bitparity run --limit 20 "
            "--out DIR, then bitparity plan --run DIR"
        )
    for bench in plan.benchmarks:
        if bench.size.groups:
            yield (
                f"{bench.name}: its {bench.size.available} items share {len(bench.size.groups)} problems; differences "
                f"within one are assumed to correlate by {CORRELATION:g}, so it tells less than so many single items"
            )
