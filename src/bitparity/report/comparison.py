"""The outcome of `bitparity compare` on the terminal, as a page and in Markdown, these two like those of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bitparity.compare.as_results import items_of, sheets_of
from bitparity.compare.records import Source
from bitparity.compare.schema import Benchmark, Difference, Outcome
from bitparity.report import html, markdown
from bitparity.report.gated import withheld
from bitparity.report.html.book import Bench, Book, book_of
from bitparity.report.language import Lang, percent, reason, text
from bitparity.report.tables import Disagreement
from bitparity.report.terminal import VERDICT, cells, columns, say, say_guard, show_doubts, show_headlines, verdict_cell
from bitparity.report.words import figures, noise
from bitparity.results.schema import Results
from bitparity.schema import LM_EVAL_PREFIX
from bitparity.store.output_files import write_given

FIGURES = "items baseline candidate difference interval lost_gained"


def show(
    outcome: Outcome, results: Results, console: Console, regradable: Sequence[str] = (), lang: Lang = "en"
) -> None:
    """Print everything that people need of a comparison; `results` are those of `as_results`.

    `regradable` are benchmarks whose grader could grade the answers too.
    """
    show_headlines(results, console, lang)
    if outcome.control is not None:
        say(console, noise(outcome, lang))
    console.print(_table(outcome, lang))
    told = [line for found in disagreements(outcome, lang) for line in found.said]
    offers = [text("compare.regrade", lang, name=name) for name in regradable]
    for line in (*told, *offers, *_margins(outcome, lang)):
        say(console, line)
    for bench, entry in outcome.benchmarks.items():
        for name, parts in entry.subgroups.items():
            if parts:
                console.print(_parts(text("colon", lang, name=bench, said=name), parts, lang))
    for line in _missing(outcome, lang):
        say(console, line, text("compare.not_compared", lang), "yellow")
    show_doubts(results, console, lang, whole=True)
    for bench, entry in outcome.benchmarks.items():
        primary = outcome.benchmarks.get(entry.view_of or "")
        known = {(guard.name, guard.variant) for guard in primary.guards} if primary else set()
        for guard in entry.guards if primary else ():
            if (guard.name, guard.variant) not in known:
                say_guard(console, bench, guard, lang)


def _table(outcome: Outcome, lang: Lang) -> Table:
    labels = {text("benchmark", lang): outcome.benchmarks, text("candidate", lang): outcome.candidates}
    table = columns(labels, [text(key, lang) for key in f"{FIGURES} p".split()])
    table.add_column(text("verdict", lang), min_width=VERDICT)
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


def disagreements(outcome: Outcome, lang: Lang = "en") -> Iterator[Disagreement]:
    """Figures that two filters or graders find on the same answers, and that differ by more than the margin."""
    for view in outcome.benchmarks.values():
        bench = view.view_of or ""
        primary = outcome.benchmarks.get(bench)
        if primary is not None and (said := list(_apart(view, primary, lang))):
            metrics = [entry.metric or "" for entry in (primary, view)]
            yield Disagreement(said, bench, metrics, list(_beside(outcome, primary, view, lang)))


def _apart(view: Benchmark, primary: Benchmark, lang: Lang) -> Iterator[str]:
    """A sentence for each candidate whose differences by the two lie further apart than the margin.

    Else one on the baseline's scores, where these do. The answers are the same ones, so no gap of the two is chance.
    """
    names = {"bench": view.view_of, "metric": primary.metric or "", "other_metric": view.metric or ""}
    both = [(name, c, view.comparisons[name]) for name, c in primary.comparisons.items() if name in view.comparisons]
    apart = [each for each in both if abs(each[1].difference - each[2].difference) > primary.margin]
    for name, own, other in apart:
        yield text("views", lang, name=name, own=own, other=other, **names)
    for _, own, other in both[:1]:
        if not apart and abs(own.baseline - other.baseline) > primary.margin:
            yield text("views.scores", lang, own=own.baseline, other=other.baseline, **names)


def _beside(outcome: Outcome, primary: Benchmark, view: Benchmark, lang: Lang) -> Iterator[tuple[str, Sequence[str]]]:
    """The rows of the baseline, its score by each, and of every candidate, with its difference too."""
    entries = (primary, view)
    baseline = next(name for name, about in outcome.variants.items() if about.baseline)
    yield baseline, [percent(next(iter(entry.comparisons.values())).baseline, lang) for entry in entries]
    for name in primary.comparisons:
        found = [entry.comparisons.get(name) for entry in entries]
        yield name, [text("dash", lang) if c is None else text("views.beside", lang, c=c) for c in found]


def _margins(outcome: Outcome, lang: Lang) -> Iterator[str]:
    """One line for each margin in use and where it comes from."""
    used: dict[tuple[float, str], list[str]] = {}
    for bench, entry in outcome.benchmarks.items():
        used.setdefault((entry.margin, entry.margin_from), []).append(bench)
    for (value, origin), benches in used.items():
        yield text("compare.margin", lang, names=benches, margin=value, origin=origin)
    if sum(len(entry.comparisons.keys() - {outcome.control}) for entry in outcome.benchmarks.values()) > 1:
        yield text("compare.holm", lang)


def _missing(outcome: Outcome, lang: Lang) -> Iterator[str]:
    for bench, entry in outcome.benchmarks.items():
        for why in entry.not_compared.values():
            yield text("colon", lang, name=bench, said=reason(why, lang))
    for name, extra in outcome.only_in_candidates.items():
        yield text("compare.only_in", lang, names=extra, name=name)


def write(
    outcome: Outcome, results: Results, sources: list[Source], page: Path | None, report: Path | None, lang: Lang = "en"
) -> None:
    """Write the page and the report of `sources` (arranged, the baseline first), each where a path is given.

    `results` are those of `as_results`. Raises UserInputError where one cannot be written.
    """
    found = list(disagreements(outcome, lang))
    if page is not None:
        write_given(page, html.page(results, page_book(results, sources), lang, found), "--html")
    if report is not None:
        write_given(report, markdown.render(results, lang, apart=found), "--report")


def page_book(results: Results, sources: Sequence[Source]) -> Book:
    """Every item with its answers, where a source holds texts."""
    benches = [_bench(name, results, sources[0]) for name in results.benchmarks]
    return book_of(
        results, ((each, items_of(each.name, sources[0]), sheets_of(each.name, sources)) for each in benches)
    )


def _bench(name: str, results: Results, baseline: Source) -> Bench:
    entry, run = results.benchmarks[name], baseline.run
    exam = None if run is None else run.exams[baseline.benchmarks[name].benchmark]
    if exam is not None:
        why = withheld(name, exam.provenance, "gated")
    else:  # a log tells its data set by the task's name alone
        why = withheld(LM_EVAL_PREFIX + name.removeprefix(LM_EVAL_PREFIX), {}, "gated")
    # no stem: others' answers do not lie in samples/
    return Bench(name, "", tuple(entry.subgroups), entry.samples, why)
