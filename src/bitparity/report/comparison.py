"""The outcome of `bitparity compare` on the terminal: a sentence a candidate, the table, subgroups, what to doubt."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rich.console import Console
from rich.table import Table

from bitparity.compare.schema import Difference, Outcome
from bitparity.report.terminal import cells, columns, say, say_guard, verdict_cell
from bitparity.report.words import figures, margin, noise, points, sentence, verdict_words

FIGURES = "items baseline candidate difference interval lost_gained"
TITLES = ("items", "baseline", "candidate", "points", "95 % interval", "lost / gained")


def show(outcome: Outcome, console: Console) -> None:
    """Print everything that people need of a comparison."""
    for name in outcome.candidates:
        say(console, sentence(name, outcome.benchmarks), style="bold")
    if outcome.control is not None:
        say(console, noise(outcome))
    console.print(_table(outcome))
    for line in (*_views(outcome), *_overall(outcome), *_margins(outcome)):
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


def _views(outcome: Outcome) -> Iterator[str]:
    """One filter of lm-eval finds a difference that another one, on the same answers, does not."""
    for view in outcome.benchmarks.values():
        primary = outcome.benchmarks.get(view.view_of or "")
        for name, other in view.comparisons.items() if primary else ():
            own = primary.comparisons.get(name) if primary else None
            if primary is None or own is None or (own.ci95[0] <= other.ci95[1] and other.ci95[0] <= own.ci95[1]):
                continue
            yield (
                f"{view.view_of}: by {primary.metric} {name} is {100 * own.difference:+.1f} points from the baseline, "
                f"by {view.metric} {100 * other.difference:+.1f}, on the same answers: most of what differs is the "
                f"form of the answers. {primary.metric} is primary, as in lm-eval's own order; choose with --filter"
            )


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
