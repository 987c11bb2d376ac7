"""The outcome of `bitparity compare` on the terminal: decisions, the table, subgroups, what to doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from bitparity.compare.schema import Difference, Outcome
from bitparity.report.language import Lang, text
from bitparity.report.terminal import cells, columns, say, say_guard, show_headlines, verdict_cell
from bitparity.report.words import difference, figures, margin, noise, points, verdict_words
from bitparity.results.schema import Results

FIGURES = "items baseline candidate difference interval lost_gained"


def show(outcome: Outcome, results: Results, console: Console, lang: Lang = "en") -> None:
    """Print everything that people need of a comparison; `results` are those of `as_results`."""
    show_headlines(results, console, lang)
    if outcome.control is not None:
        say(console, noise(outcome, lang))
    console.print(_table(outcome, lang))
    for line in (*views(outcome, lang), *_overall(outcome, lang), *_margins(outcome, lang)):
        say(console, line)
    for bench, entry in outcome.benchmarks.items():
        for name, parts in entry.subgroups.items():
            if parts:
                console.print(_parts(text("colon", lang, name=bench, said=name), parts, lang))
    for line in _missing(outcome, lang):
        say(console, line, text("compare.not_compared", lang), "yellow")
    for bench, entry in outcome.benchmarks.items():
        for guard in entry.guards:
            say_guard(console, bench, guard, lang)


def _table(outcome: Outcome, lang: Lang) -> Table:
    labels = {text("benchmark", lang): outcome.benchmarks, text("candidate", lang): outcome.candidates}
    table = columns(labels, [text(key, lang) for key in f"{FIGURES} p".split()])
    table.add_column(text("verdict", lang))
    for bench, entry in outcome.benchmarks.items():
        for name, c in entry.comparisons.items():
            table.add_row(*cells(bench, name, *figures(c, f"{FIGURES} p_holm", lang)), verdict_cell(c, lang))
        table.add_section()
    return table


def _parts(title: str, parts: Mapping[str, Difference], lang: Lang) -> Table:
    table = columns({title: parts}, [text(key, lang) for key in FIGURES.split()])
    for part, c in parts.items():
        table.add_row(*cells(part, *figures(c, FIGURES, lang)))
    return table


def views(outcome: Outcome, lang: Lang = "en") -> Iterator[str]:
    """One filter or grader finds a difference that another one, on the same answers, does not."""
    for view in outcome.benchmarks.values():
        primary = outcome.benchmarks.get(view.view_of or "")
        for name, other in view.comparisons.items() if primary else ():
            own = primary.comparisons.get(name) if primary else None
            if primary is None or own is None or (own.ci95[0] <= other.ci95[1] and other.ci95[0] <= own.ci95[1]):
                continue
            shown = {"own": difference(own, lang), "other": difference(other, lang)}
            metrics = {"metric": primary.metric, "other_metric": view.metric}
            yield text("views", lang, bench=view.view_of, name=name, **metrics, **shown)


def _overall(outcome: Outcome, lang: Lang) -> Iterator[str]:
    for name, pooled in outcome.overall.items():
        count, low_high, p = figures(pooled, "benchmarks interval p_holm", lang)
        shown = {"difference": points(pooled.difference), "interval": low_high, "margin": margin(pooled.margin, lang)}
        verdict = verdict_words(pooled, lang)
        yield text("compare.overall", lang, name=name, count=count, p=p, verdict=verdict, **shown)


def _margins(outcome: Outcome, lang: Lang) -> Iterator[str]:
    """One line for each margin in use and where it comes from."""
    used: dict[tuple[float, str], list[str]] = {}
    for bench, entry in outcome.benchmarks.items():
        used.setdefault((entry.margin, entry.margin_from), []).append(bench)
    for (value, origin), benches in used.items():
        names = text("comma", lang).join(benches)
        yield text("compare.margin", lang, names=names, margin=margin(value, lang), origin=origin)
    if sum(len(entry.comparisons.keys() - {outcome.control}) for entry in outcome.benchmarks.values()) > 1:
        yield text("compare.holm", lang)


def _missing(outcome: Outcome, lang: Lang) -> Iterator[str]:
    for bench, entry in outcome.benchmarks.items():
        for reason in entry.not_compared.values():
            yield text("colon", lang, name=bench, said=reason)
    for name, extra in outcome.only_in_candidates.items():
        yield text("compare.only_in", lang, names=text("comma", lang).join(extra), name=name)
