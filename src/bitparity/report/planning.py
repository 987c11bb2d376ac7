"""A plan on the terminal: the answer to "can it tell?" first, then cost, then what was assumed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from bitparity.doctor.budget import TARGET, Budget, Option
from bitparity.doctor.plan import Advice, AtFlips, BenchmarkPlan, Plan
from bitparity.exam.flips import ASSUMED_SCORE, CORRELATION
from bitparity.report.language import Lang, hours, reason, text, tokens
from bitparity.report.terminal import cells, columns, say

TITLES = (
    *("items", "plan.samples", "plan.prompt_tokens", "plan.output_tokens", "plan.at_most", "plan.hours", "margin"),
    *("plan.detectable", "plan.provable"),
)


def show(plan: Plan, console: Console, lang: Lang = "en") -> None:
    """Print the plan."""
    for bench in plan.benchmarks:
        say(console, answer(bench, lang), style="green" if bench.answers else "red")
    if plan.together is not None:
        loss, provable, allowed = plan.together
        verdict = text("plan.together_can" if provable <= allowed else "plan.together_cannot", lang)
        figures = {"detectable": loss, "provable": provable, "margin": allowed}
        say(console, text("plan.together", lang, verdict=verdict, **figures))
    console.print(_table(plan, lang))
    for line in (*_cost(plan, lang), *_assumptions(plan, lang)):
        say(console, line)


def show_budget(budget: Budget, console: Console, lang: Lang = "en") -> None:
    """Print what so many hours can show, and what they cannot."""
    done = budget.loading
    for option in budget.chosen:
        done += option.hours
        say(console, _chosen(option, done, lang), style="green" if option.chance >= TARGET else "yellow")
    for name, alone in budget.left_out.items():
        would = text("budget.no_number" if alone is None else "budget.alone", lang, hours=alone)
        say(console, text("budget.left_out", lang, bench=name, budget=budget, would=would))
    say(console, text("budget.used", lang, budget=budget))


def show_forecast(budget: Budget, console: Console, lang: Lang = "en") -> None:
    """Print what a study shows that ends after so many hours."""
    show_budget(budget, console, lang)
    if all(option.chance < TARGET for option in budget.chosen):
        say(console, text("budget.nothing", lang, budget=budget), style="red")


def _chosen(option: Option, done: float, lang: Lang) -> str:
    detectable = option.design.detectable()
    loss = "" if detectable is None else text("budget.detects", lang, detectable=detectable)
    early = text("budget.early", lang, option=option) if option.asked < 1 else ""
    asked = _asked(option.items, option.samples, lang)
    return text("budget.chosen", lang, option=option, asked=asked, done=done, loss=loss, early=early)


def answer(bench: BenchmarkPlan, lang: Lang = "en") -> str:
    """One plain sentence on a benchmark: it can answer its question, or it cannot and what would."""
    if bench.size.items is None:
        return text("plan.unknown_size", lang, bench=bench)
    asked = _asked(bench.size.items, bench.samples, lang)
    if bench.answers:
        return text("plan.can", lang, bench=bench, asked=asked)
    loss = text("plan.detects_none" if bench.detectable[1] is None else "plan.detects", lang, bench=bench)
    able, advice = _able(bench, lang), _advice(bench.advice, lang)
    return text("plan.cannot", lang, bench=bench, asked=asked, able=able, loss=loss, advice=advice)


def _advice(advice: Advice | None, lang: Lang) -> str:
    if advice is None:
        return text("dash", lang)
    said: dict[str, float | None] = {"more_items" if advice.available else "too_few": advice.items}
    said |= {"more_samples": advice.samples, "margin": advice.margin}
    return text("plan.or", lang).join(
        text(f"plan.{key}", lang, advice=advice) for key, value in said.items() if value is not None
    )


def short_answer(bench: BenchmarkPlan, lang: Lang = "en") -> str:
    """One line on a benchmark that cannot answer, for those who are about to run it."""
    return text("plan.cannot_short", lang, bench=bench, able=_able(bench, lang))


def _able(bench: BenchmarkPlan, lang: Lang) -> str:
    return text("plan.rules_out_none" if bench.provable[1] is None else "plan.rules_out", lang, bench=bench)


def _asked(items: int, samples: int, lang: Lang) -> str:
    said = text("plan.item" if items == 1 else "plan.items", lang, count=items)
    return text("plan.asked_once" if samples == 1 else "plan.asked", lang, items=said, samples=samples)


def _table(plan: Plan, lang: Lang) -> Table:
    named = {text("benchmark", lang): [bench.name for bench in plan.benchmarks]}
    table = columns(named, [text(key, lang) for key in TITLES])
    for bench in plan.benchmarks:
        items = bench.size.items
        most = None if items is None else items * bench.samples * bench.budget
        asked = ("?" if items is None else f"{items:,}", str(bench.samples))
        lengths = map(tokens, (bench.prompt_tokens, bench.output_tokens, most))
        spent = _hours([plan.hours(bench, v) for v in plan.study.variants if v != plan.study.spot_check], lang)
        losses = (f"{100 * bench.margin:g}", _range(bench.detectable, lang), _range(bench.provable, lang))
        table.add_row(*cells(bench.name, *asked, *lengths, spent, *losses))
    return table


def _hours(values: list[float | None], lang: Lang) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return text("dash", lang)
    low, high = hours(min(known)), hours(max(known))
    return low if low == high else text("plan.between", lang, low=low, high=high)


def _range(values: AtFlips, lang: Lang) -> str:
    if all(value is None for value in values):
        return text("plan.none", lang)
    shown = [text("plan.none", lang) if value is None else f"{100 * value:.1f}" for value in values]
    return text("plan.range", lang, low=shown[0], middle=shown[1], high=shown[2])


def _cost(plan: Plan, lang: Lang) -> Iterator[str]:
    """Tokens and hours of the whole study."""
    count = len(plan.study.variants)
    if count < 2:
        yield text("plan.one_variant", lang)
    # benchmarks of unknown size count nothing here, and the line says so
    outputs = [plan.output_tokens(bench, name) for bench in plan.benchmarks for name in plan.study.variants]
    total = sum(each for each in outputs if each is not None)
    unknown = text("plan.without_unknown", lang) if None in outputs else ""
    yield text("plan.tokens", lang, count=count, tokens=total, unknown=unknown)
    if plan.study.spot_check is not None:
        yield text("plan.spot_check", lang, plan=plan)
    if not plan.rates:
        yield reason(plan.rate_source, lang)
        return
    spent = {name: found for name in plan.study.variants if (found := plan.hours_of(name)) is not None}
    rates = sorted({round(rate.middle) for rate in plan.rates.values()})
    low, high = f"{rates[0]:,}", f"{rates[-1]:,}"
    said = low if len(rates) == 1 else text("plan.between", lang, low=low, high=high)
    whole = _between(*map(sum, zip(*spent.values(), strict=True)), lang=lang)
    yield text("plan.cost", lang, hours=whole, rates=said, source=plan.rate_source)
    if len(rates) > 1:
        each = {name: _between(*found, lang=lang) for name, found in spent.items()}
        at = [text("plan.at_rate", lang, name=n, hours=said, rate=plan.rates[n].middle) for n, said in each.items()]
        yield text("plan.by_variant", lang, each=at)


def _between(middle: float, least: float, most: float, *, lang: Lang) -> str:
    """Hours, with the interval where there is one."""
    if least == most:
        return hours(middle)
    return text("plan.range", lang, middle=hours(middle), low=hours(least), high=hours(most))


def _assumptions(plan: Plan, lang: Lang) -> Iterator[str]:
    for flips in dict.fromkeys(bench.flips for bench in plan.benchmarks):
        names = [bench.name for bench in plan.benchmarks if bench.flips == flips]
        source = text(f"plan.flips.{flips.kind}", lang)
        yield text("plan.assumed_flips", lang, names=names, flips=flips, source=source)
    if in_proportion := [spec.name for spec in plan.study.benchmarks if spec.recovery is not None]:
        yield text("plan.proportion", lang, names=in_proportion, score=ASSUMED_SCORE)
    if repeated := [bench.name for bench in plan.benchmarks if bench.independent < bench.samples]:
        yield text("plan.repeated", lang, names=repeated)
    if lengths := [f"{b.name} {b.output_each:.0f}" for b in plan.benchmarks if b.output_source == "assumed"]:
        yield text("plan.lengths", lang, lengths=lengths)
    for bench in plan.benchmarks:
        if groups := len(bench.size.groups):
            yield text("plan.groups", lang, bench=bench, groups=groups, correlation=CORRELATION)
