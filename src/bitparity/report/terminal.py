"""The result on the terminal: one sentence a candidate, then the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bitparity.report.graders import grader_rows
from bitparity.report.plain import cleaned
from bitparity.report.words import candidates, interval, noise, percent, points, sentence, verdict_words

_STYLES = {"equivalent": "green", "non_inferior": "green", "inconclusive": "yellow", "invalid": "red"}


def show(results: Mapping[str, Any], console: Console) -> None:
    """Print the answers, the table, the errors among the guards, and which warnings the report has."""
    results = cleaned(results)  # a terminal obeys control characters, wherever they come from
    for name in candidates(results):
        console.print(f"[bold]{escape(sentence(name, results))}[/bold]", highlight=False)
    if candidates(results):
        console.print(escape(noise(results)), highlight=False)
    console.print(_table(results))
    for row in grader_rows(results):
        if not row.primary:
            means = ", ".join(
                f"{name} {percent(mean)}" for name, mean in zip(results["variants"], row.means, strict=True)
            )
            console.print(f"{escape(row.benchmark)} by {escape(row.metric)}: {escape(means)}", highlight=False)
    for bench, entry in results["benchmarks"].items():
        if entry["status"] == "not_run":
            console.print(f"{escape(bench)}: not run: {escape(entry['reason'])}", highlight=False)
        for guard in entry.get("guards", []):
            if guard["level"] == "error":
                who = f" {guard['variant']}" if guard["variant"] else ""
                text = escape(f"{bench}{who}: {guard['message']}")
                console.print(f"[red]error[/red] {text}", highlight=False)
        if warnings := _warnings(entry.get("guards", [])):
            console.print(f"[yellow]warnings[/yellow] {escape(f'{bench}: {warnings}')}", highlight=False)


def _warnings(guards: Sequence[Mapping[str, Any]]) -> str:
    """The warnings by name, each with its variants, in one line: "cut_off (bf16, fp8); limit"."""
    found: dict[str, list[str]] = {}
    for guard in guards:
        if guard["level"] == "warning":
            found.setdefault(guard["name"], []).extend([guard["variant"]] if guard["variant"] else [])
    return "; ".join(f"{name} ({', '.join(variants)})" if variants else name for name, variants in found.items())


def _table(results: Mapping[str, Any]) -> Table:
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0))
    for title in ("benchmark", "variant", "score", "points", "95 % interval", "lost / gained", "verdict"):
        words = title in ("benchmark", "variant", "verdict")
        table.add_column(title, justify="left" if words else "right", no_wrap=title != "benchmark")
    for bench, entry in results["benchmarks"].items():
        if entry["status"] == "not_run":
            table.add_row(escape(bench), "", "N/A", "", "", "", "not run")
            continue
        for name in results["variants"]:
            table.add_row(*_row(bench, name, entry))
        table.add_section()
    return table


def _row(bench: str, name: str, entry: Mapping[str, Any]) -> list[str]:
    score = percent(entry["scores"][name]["mean"])
    comparison = entry["comparisons"].get(name)
    if comparison is None:
        return [escape(bench), escape(name), score, "", "", "", ""]
    style = "red" if comparison["loss_shown"] else _STYLES[comparison["verdict"]]
    verdict = f"[{style}]{verdict_words(comparison)}[/{style}]"
    return [
        escape(bench),
        escape(name),
        score,
        points(comparison["difference"]),
        interval(comparison["ci95"]),
        f"{comparison['lost']} / {comparison['gained']}",
        "noise floor" if comparison.get("control") else verdict,
    ]
