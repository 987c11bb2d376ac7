"""A plan on the terminal: the answer to "can it tell?" first, then cost, then what was assumed."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from bitparity.doctor.budget import TARGET, Budget, Option
from bitparity.doctor.plan import AtFlips, BenchmarkPlan, Plan
from bitparity.exam.flips import ASSUMED_SCORE, CORRELATION
from bitparity.report.language import Lang, reason, text
from bitparity.report.terminal import cells, columns, say
from bitparity.report.words import margin

TITLES = (
    *("items", "plan.samples", "plan.prompt_tokens", "plan.output_tokens", "plan.at_most", "plan.hours", "margin"),
    *("plan.detectable", "plan.provable"),
)


def show(plan: Plan, console: Console, lang: Lang = "en") -> None:
    """Print the plan."""
    for bench in plan.benchmarks:
        say(console, answer(bench, lang), style="green" if bench.answers else "red")
    for line in _together(plan, lang):
        say(console, line)
    console.print(_table(plan, lang))
    for line in (*_cost(plan, lang), *_assumptions(plan, lang)):
        say(console, line)


def show_budget(budget: Budget, console: Console, lang: Lang = "en") -> None:
    """Print what so many hours can show, and what they cannot."""
    done, given = budget.loading, f"{budget.hours:g}"
    for option in budget.chosen:
        done += option.hours
        say(console, _chosen(option, done, lang), style="green" if option.chance >= TARGET else "yellow")
    for name, hours in budget.left_out.items():
        would = text("budget.no_number" if hours is None else "budget.alone", lang, hours=_hour(hours or 0.0))
        say(console, text("budget.left_out", lang, bench=name, budget=given, would=would))
    say(console, text("budget.used", lang, used=_hour(budget.used), budget=given, loading=_hour(budget.loading)))


def show_forecast(budget: Budget, console: Console, lang: Lang = "en") -> None:
    """Print what a study shows that ends after so many hours."""
    show_budget(budget, console, lang)
    if all(option.chance < TARGET for option in budget.chosen):
        say(console, text("budget.nothing", lang, budget=f"{budget.hours:g}"), style="red")


def _chosen(option: Option, done: float, lang: Lang) -> str:
    detectable = option.design.detectable()
    loss = "" if detectable is None else text("budget.detects", lang, detectable=_points(detectable, lang))
    early = text("budget.early", lang, share=f"{100 * option.asked:.0f}") if option.asked < 1 else ""
    said = {"bench": option.bench.name, "asked": _asked(option.items, option.samples, lang), "loss": loss}
    said |= {"hours": _hour(option.hours), "done": _hour(done), "margin": margin(option.bench.margin, lang)}
    return text("budget.chosen", lang, chance=f"{100 * option.chance:.0f}", early=early, **said)


def answer(bench: BenchmarkPlan, lang: Lang = "en") -> str:
    """One plain sentence on a benchmark: it can answer its question, or it cannot and what would."""
    if bench.size.items is None:
        return text("plan.unknown_size", lang, bench=bench.name, source=reason(bench.size.source, lang))
    provable, detectable = bench.provable[1], bench.detectable[1]
    said = {"bench": bench.name, "margin": margin(bench.margin, lang)}
    said["asked"] = _asked(bench.size.items, bench.samples, lang)
    if bench.answers and provable is not None:
        return text("plan.can", lang, provable=_points(provable, lang), **said)
    said["loss"] = text("plan.detects_none", lang)
    if detectable is not None:
        said["loss"] = text("plan.detects", lang, detectable=_points(detectable, lang))
    return text("plan.cannot", lang, able=_able(bench, lang), advice=_advice(bench, lang), **said)


def _advice(bench: BenchmarkPlan, lang: Lang) -> str:
    advice = bench.advice
    if advice is None:
        return text("dash", lang)
    said = [text("plan.more_items" if advice.available else "plan.too_few", lang, items=f"{advice.items:,}")]
    if advice.samples is not None:
        said.append(text("plan.more_samples", lang, samples=advice.samples))
    if advice.margin is not None:
        said.append(text("plan.margin", lang, margin=margin(advice.margin, lang)))
    return text("plan.or", lang).join(said)


def short_answer(bench: BenchmarkPlan, lang: Lang = "en") -> str:
    """One line on a benchmark that cannot answer, for those who are about to run it."""
    allowed = margin(bench.margin, lang)
    return text("plan.cannot_short", lang, bench=bench.name, margin=allowed, able=_able(bench, lang))


def _able(bench: BenchmarkPlan, lang: Lang) -> str:
    provable = bench.provable[1]
    if provable is None:
        return text("plan.rules_out_none", lang)
    return text("plan.rules_out", lang, provable=_points(provable, lang))


def _asked(items: int, samples: int, lang: Lang) -> str:
    said = text("plan.item" if items == 1 else "plan.items", lang, count=f"{items:,}")
    return text("plan.asked_once" if samples == 1 else "plan.asked", lang, items=said, samples=samples)


def _points(value: float, lang: Lang) -> str:
    return text("points", lang, value=f"{100 * value:.2g}" if value < 0.1 else f"{100 * value:.1f}")


def _together(plan: Plan, lang: Lang) -> Iterator[str]:
    if plan.together is not None:
        loss, provable, allowed = plan.together
        verdict = text("plan.together_can" if provable <= allowed else "plan.together_cannot", lang)
        shown = {"detectable": _points(loss, lang), "provable": _points(provable, lang)}
        yield text("plan.together", lang, verdict=verdict, margin=f"{100 * allowed:.3g}", **shown)


def _table(plan: Plan, lang: Lang) -> Table:
    named = {text("benchmark", lang): [bench.name for bench in plan.benchmarks]}
    table = columns(named, [text(key, lang) for key in TITLES])
    for bench in plan.benchmarks:
        items = bench.size.items
        row = (
            bench.name,
            "?" if items is None else f"{items:,}",
            str(bench.samples),
            _tokens(bench.prompt_tokens),
            _tokens(bench.output_tokens),
            _tokens(None if items is None else items * bench.samples * bench.budget),
            _hours([plan.hours(bench, v) for v in plan.study.variants if v != plan.study.spot_check], lang),
            f"{100 * bench.margin:g}",
            _range(bench.detectable, lang),
            _range(bench.provable, lang),
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


def _hours(values: list[float | None], lang: Lang) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return text("dash", lang)
    low, high = _hour(min(known)), _hour(max(known))
    return low if low == high else text("plan.between", lang, low=low, high=high)


def _hour(value: float) -> str:
    return f"{value:.1f}" if value >= 0.1 else f"{value:.2f}"


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
    total = sum(tokens for tokens in outputs if tokens is not None)
    unknown = text("plan.without_unknown", lang) if None in outputs else ""
    yield text("plan.tokens", lang, count=count, tokens=_tokens(total), unknown=unknown)
    if (name := plan.study.spot_check) is not None:
        yield text("plan.spot_check", lang, name=name, count=plan.spot_check)
    if not plan.rates:
        yield reason(plan.rate_source, lang)
        return
    hours = {name: found for name in plan.study.variants if (found := plan.hours_of(name)) is not None}
    rates = sorted({round(rate.middle) for rate in plan.rates.values()})
    ends = {"low": f"{rates[0]:,}", "high": f"{rates[-1]:,}"}
    said = ends["low"] if len(rates) == 1 else text("plan.between", lang, **ends)
    whole = _between(*map(sum, zip(*hours.values(), strict=True)), lang=lang)
    yield text("plan.cost", lang, hours=whole, rates=said, source=reason(plan.rate_source, lang))
    if len(rates) > 1:
        each = []
        for name, found in hours.items():
            rate = f"{plan.rates[name].middle:,.0f}"
            each.append(text("plan.at_rate", lang, name=name, hours=_between(*found, lang=lang), rate=rate))
        yield text("plan.by_variant", lang, each=text("comma", lang).join(each))


def _between(middle: float, least: float, most: float, *, lang: Lang) -> str:
    """Hours, with the interval where there is one."""
    if least == most:
        return _hour(middle)
    return text("plan.range", lang, middle=_hour(middle), low=_hour(least), high=_hour(most))


def _assumptions(plan: Plan, lang: Lang) -> Iterator[str]:
    comma = text("comma", lang)
    for flips in dict.fromkeys(bench.flips for bench in plan.benchmarks):
        names = comma.join(bench.name for bench in plan.benchmarks if bench.flips == flips)
        least, total, most = (f"{100 * share:g}" for share in flips.total)
        shares = {"least": least, "total": total, "most": most, "noise": f"{100 * flips.noise[1]:g}"}
        yield text("plan.assumed_flips", lang, names=names, source=text(f"plan.flips.{flips.kind}", lang), **shares)
    if in_proportion := [spec.name for spec in plan.study.benchmarks if spec.recovery is not None]:
        yield text("plan.proportion", lang, names=comma.join(in_proportion), score=f"{100 * ASSUMED_SCORE:g} %")
    if repeated := [bench.name for bench in plan.benchmarks if bench.independent < bench.samples]:
        yield text("plan.repeated", lang, names=comma.join(repeated))
    if assumed := [bench for bench in plan.benchmarks if bench.output_source == "assumed"]:
        yield text("plan.lengths", lang, lengths=comma.join(f"{each.name} {each.output_each:.0f}" for each in assumed))
    for bench in plan.benchmarks:
        if groups := len(bench.size.groups):
            figures = {"items": bench.size.available, "groups": groups, "correlation": f"{CORRELATION:g}"}
            yield text("plan.groups", lang, bench=bench.name, **figures)
