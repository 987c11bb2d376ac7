"""The outcome of `bitparity compare` on the terminal: a sentence a candidate, the table, subgroups, what to doubt."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bitparity.report.plain import cleaned
from bitparity.report.words import candidates, interval, margin, p_value, percent, points, sentence, verdict_words

_STYLES = {"equivalent": "green", "non_inferior": "green", "inconclusive": "yellow", "invalid": "red"}
LABEL = 28  # columns that a name gets at most


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print everything that people need of a comparison."""
    results = cleaned(results)  # a terminal obeys control characters, wherever they come from
    for name in candidates(results):
        console.print(f"[bold]{escape(sentence(name, results))}[/bold]", highlight=False)
    console.print(_table(results))
    for line in _overall(results):
        console.print(escape(line), highlight=False)
    for line in _margins(results):
        console.print(escape(line), highlight=False)
    for bench, entry in results["benchmarks"].items():
        for name, parts in entry["subgroups"].items():
            if parts:
                console.print(_parts(bench, name, parts))
    for line in _missing(results):
        console.print(f"[yellow]not compared[/yellow] {escape(line)}", highlight=False)
    for bench, entry in results["benchmarks"].items():
        for guard in entry["guards"]:
            colour = "red" if guard["level"] == "error" else "yellow"
            who = f" {guard['variant']}" if guard["variant"] else ""
            text = escape(f"{bench}{who}: {guard['message']}")
            console.print(f"[{colour}]{guard['level']}[/{colour}] {text}", highlight=False)


def _columns(words: Mapping[str, Iterable[str]], figures: str) -> Table:
    """An empty table; `words` has the cells of its first columns by title, which are cut only where very long."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0))
    for title, cells in words.items():
        table.add_column(title, overflow="fold", min_width=min(LABEL, max(map(len, cells), default=0)))
    for title in figures.split("|"):
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _table(results: Mapping[str, Any]) -> Table:
    names = {"benchmark": results["benchmarks"], "candidate": candidates(results)}
    table = _columns(names, "items|baseline|candidate|points|95 % interval|lost / gained|p")
    table.add_column("verdict")
    for bench, entry in results["benchmarks"].items():
        for name, c in entry["comparisons"].items():
            style = "red" if c["loss_shown"] else _STYLES[c["verdict"]]
            table.add_row(
                escape(bench),
                escape(name),
                *_figures(c),
                p_value(c["p_adjusted"]),
                f"[{style}]{verdict_words(c)}[/{style}]",
            )
        table.add_section()
    return table


def _figures(c: Mapping[str, Any]) -> list[str]:
    return [
        f"{c['items']:,}",
        percent(c["baseline"]),
        percent(c["candidate"]),
        points(c["difference"]),
        interval(c["ci95"]),
        f"{c['lost']} / {c['gained']}",
    ]


def _parts(bench: str, name: str, parts: Mapping[str, Any]) -> Table:
    table = _columns({escape(f"{bench}: {name}"): parts}, "items|baseline|candidate|points|95 % interval|lost / gained")
    for part, c in parts.items():
        table.add_row(escape(part), *_figures(c))
    return table


def _overall(results: Mapping[str, Any]) -> Iterator[str]:
    for name, pooled in results["overall"].items():
        yield (
            f"{name}, {len(pooled['benchmarks'])} benchmarks together, each counting the same: "
            f"{points(pooled['difference'])} points ({interval(pooled['ci95'])}), p {p_value(pooled['p_adjusted'])}, "
            f"margin {margin(pooled['margin'])}: {verdict_words(pooled)}"
        )


def _margins(results: Mapping[str, Any]) -> Iterator[str]:
    """One line for each margin in use and where it comes from."""
    used: dict[tuple[float, str], list[str]] = {}
    for bench, entry in results["benchmarks"].items():
        used.setdefault((entry["margin"], entry["margin_from"]), []).append(bench)
    for (value, origin), names in used.items():
        yield f"margin of {', '.join(names)}: {margin(value)} ({origin})"
    if sum(len(entry["comparisons"]) for entry in results["benchmarks"].values()) > 1:
        yield "p is adjusted (Holm) for the number of comparisons"


def _missing(results: Mapping[str, Any]) -> Iterator[str]:
    for bench, entry in results["benchmarks"].items():
        for reason in entry["not_compared"].values():
            yield f"{bench}: {reason}"
    for name, extra in results["only_in_candidates"].items():
        yield f"{', '.join(extra)}: only in '{name}', not in the baseline"
