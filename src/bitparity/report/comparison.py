"""The outcome of `bitparity compare` on the terminal: a sentence a candidate, the table, subgroups, what to doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from bitparity.compare.schema import Difference, Outcome
from bitparity.report.language import Lang, text
from bitparity.report.terminal import cells, columns, say, say_guard, verdict_cell
from bitparity.report.words import difference, figures, margin, noise, points, sentence, verdict_words

FIGURES = "items baseline candidate difference interval lost_gained"
TITLES = ("items", "baseline", "candidate", "points", "95 % interval", "lost / gained")


def show(outcome: Outcome, console: Console) -> None:
    """Print everything that people need of a comparison."""
    own = {bench: entry for bench, entry in outcome.benchmarks.items() if entry.view_of is None}
    for name in outcome.candidates:
        say(console, sentence(name, own), style="bold")
    if outcome.control is not None:
        say(console, noise(outcome))
    console.print(_table(outcome))
    for line in (*views(outcome), *_overall(outcome), *_margins(outcome)):
        say(console, line)
    for bench, entry in outcome.benchmarks.items():
        for name, parts in entry.subgroups.items():
            if parts:
                console.print(_parts(bench, name, parts))
    for line in _missing(outcome):
        say(console, line, "not compared", "yellow")
    for bench, entry in outcome.benchmarks.items():
        for guard in entry.guards:
            say_guard(console, bench, guard)


def _table(outcome: Outcome) -> Table:
    table = columns({"benchmark": outcome.benchmarks, "candidate": outcome.candidates}, [*TITLES, "p"])
    table.add_column("verdict")
    for bench, entry in outcome.benchmarks.items():
        for name, c in entry.comparisons.items():
            table.add_row(*cells(bench, name, *figures(c, f"{FIGURES} p_holm")), verdict_cell(c))
        table.add_section()
    return table


def _parts(bench: str, name: str, parts: Mapping[str, Difference]) -> Table:
    table = columns({f"{bench}: {name}": parts}, TITLES)
    for part, c in parts.items():
        table.add_row(*cells(part, *figures(c, FIGURES)))
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


def _overall(outcome: Outcome) -> Iterator[str]:
    for name, pooled in outcome.overall.items():
        count, low_high, p = figures(pooled, "benchmarks interval p_holm")
        yield (
            f"{name}, {count} benchmarks together, each counting the same: {points(pooled.difference)} points "
            f"({low_high}), p {p}, margin {margin(pooled.margin)}: {verdict_words(pooled)}"
        )


def _margins(outcome: Outcome) -> Iterator[str]:
    """One line for each margin in use and where it comes from."""
    used: dict[tuple[float, str], list[str]] = {}
    for bench, entry in outcome.benchmarks.items():
        used.setdefault((entry.margin, entry.margin_from), []).append(bench)
    for (value, origin), names in used.items():
        yield f"margin of {', '.join(names)}: {margin(value)} ({origin})"
    if sum(len(entry.comparisons.keys() - {outcome.control}) for entry in outcome.benchmarks.values()) > 1:
        yield "p is adjusted (Holm) for the number of comparisons"


def _missing(outcome: Outcome) -> Iterator[str]:
    for bench, entry in outcome.benchmarks.items():
        for reason in entry.not_compared.values():
            yield f"{bench}: {reason}"
    for name, extra in outcome.only_in_candidates.items():
        yield f"{', '.join(extra)}: only in '{name}', not in the baseline"
