"""The result on the terminal: the decision on each candidate, then the table."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from bitparity.report.distance import sentences
from bitparity.report.headline import headlines
from bitparity.report.language import Lang, beside, guard_message, listed, parted, percent, text
from bitparity.report.plain import shortened
from bitparity.report.tables import doubts, grader_rows
from bitparity.report.words import Judged, figures, noise, tone, unmeasured, verdict_words
from bitparity.results.schema import Distance, Guard, Results

LABEL = 18  # columns that a name gets at least, if it is that long, where there is little room
VERDICT = 12  # columns that a verdict gets at least: its words wrap
COLOURS = {"loss": "red", "fine": "green", "open": "yellow", "invalid": "red", "error": "red", "warning": "yellow"}


def show(results: Results, console: Console, lang: Lang = "en") -> None:
    """Print the answers, the table, the errors among the guards, and which warnings the report has."""
    show_headlines(results, console, lang)
    if results.candidates:
        say(console, noise(results, lang))
    console.print(_table(results, lang))
    if results.distance is not None:
        show_distance(results.distance, console, lang)
    for row in grader_rows(results):
        if not row.primary:
            means = zip(results.variants, row.means, strict=True)
            said = listed([f"{name} {percent(mean, lang)}" for name, mean in means], lang)
            say(console, text("colon", lang, name=f"{row.benchmark} ({row.metric})", said=said))
    for bench, entry in results.benchmarks.items():
        if not entry.measured:
            say(console, text("colon", lang, name=bench, said=unmeasured(entry, lang)))
    show_doubts(results, console, lang)


def show_doubts(results: Results, console: Console, lang: Lang = "en", *, whole: bool = False) -> None:
    """Print the errors of guards with their messages; the warnings by name alone, or with theirs too."""
    found = doubts(results, lang)
    for doubt in found:
        if whole or doubt.level == "error":
            said = text("colon", lang, name=beside(doubt.title, doubt.where, lang), said=doubt.message)
            say(console, said, text(doubt.level, lang), COLOURS[doubt.level])
    if warnings := [
        beside(doubt.title, doubt.where, lang) for doubt in found if doubt.level == "warning" and not whole
    ]:
        say(console, parted(warnings, lang), text("warning", lang), "yellow")


def show_headlines(results: Results, console: Console, lang: Lang = "en") -> None:
    """Print each candidate's decision with its reasons."""
    for block in headlines(results, lang):
        say(console, block.first, style="bold")
        for said in block.rest:
            console.print(Padding(Text(shortened(said)), (0, 0, 0, 2)))


def show_distance(distance: Distance, console: Console, lang: Lang = "en") -> None:
    """Print a line a candidate, and what guards say of the distances."""
    for line in sentences(distance, lang):
        say(console, line)
    for guard in distance.guards:
        say_guard(console, text("distance", lang), guard, lang)


def say(console: Console, line: str, lead: str = "", style: str = "") -> None:
    """Print a line as text, whatever it holds; after a word in a style, or all in that style."""
    # Text and not a string with markup: rich would read brackets in a name as a style
    said = Text.assemble((lead, style), " ", shortened(line)) if lead else Text(shortened(line), style)
    console.print(said)


def say_guard(console: Console, bench: str, guard: Guard, lang: Lang = "en") -> None:
    """Print what a guard says of a benchmark."""
    who = f"{bench} {guard.variant}" if guard.variant else bench
    said = text("colon", lang, name=who, said=guard_message(guard.name, guard.message, lang))
    say(console, said, text(guard.level, lang), COLOURS[guard.level])


def columns(labels: Mapping[str, Iterable[str]], numbers: Sequence[str]) -> Table:
    """An empty table with a title for each column; `labels` has the cells of those that hold names."""
    table = Table(box=SIMPLE_HEAD, header_style="bold", padding=(0, 1, 0, 0))
    # names fold where there is little room, figures never do: half a number would be another number
    for title, held in labels.items():
        table.add_column(Text(shortened(title)), overflow="fold", min_width=min(LABEL, max(map(len, held), default=0)))
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def cells(*texts: str) -> list[Text]:
    """Cells of a table that show each text as it is, whatever it holds."""
    return [Text(shortened(text)) for text in texts]


def verdict_cell(comparison: Judged, lang: Lang = "en") -> Text:
    """A verdict in its colour."""
    return Text(verdict_words(comparison, lang), COLOURS[tone(comparison)])


def _table(results: Results, lang: Lang) -> Table:
    labels = {text("benchmark", lang): list(results.benchmarks), text("variant", lang): list(results.variants)}
    table = columns(labels, [text(key, lang) for key in ["score", "difference", "interval", "lost_gained"]])
    table.add_column(text("verdict", lang), min_width=VERDICT)
    for bench, entry in results.benchmarks.items():
        if not entry.measured:
            table.add_row(
                *cells(bench, "", "N/A", "", "", "", text("not_graded" if entry.answered else "not_run", lang))
            )
            continue
        for name in results.variants:
            row = cells(bench, name, percent(entry.scores[name].mean, lang))
            if (c := entry.comparisons.get(name)) is not None:
                row += [*cells(*figures(c, "difference interval lost_gained", lang)), verdict_cell(c, lang)]
            table.add_row(*row)
        table.add_section()
    return table
