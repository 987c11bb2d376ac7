"""The page and the Markdown report of a comparison: those of a run, made from results of anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bitparity.compare.as_results import items_of, sheets_of
from bitparity.compare.records import Source
from bitparity.compare.schema import Outcome
from bitparity.report import html, markdown
from bitparity.report.comparison import disagreements
from bitparity.report.gated import withheld
from bitparity.report.html.book import Bench, Book, Entry, answer_lengths, entries_of
from bitparity.report.language import Lang
from bitparity.results.schema import Results
from bitparity.schema import LM_EVAL_PREFIX
from bitparity.store.output_files import write_given


def write(
    outcome: Outcome,
    results: Results,
    sources: Sequence[Source],
    page: Path | None,
    report: Path | None,
    lang: Lang = "en",
) -> None:
    """Write the page and the report of `sources` (arranged, the baseline first), each where a path is given.

    `results` are those of `as_results`. Raises UserInputError where one cannot be written.
    """
    found = list(disagreements(outcome, lang))
    if page is not None:
        write_given(page, html.page(results, book_of(results, sources), lang, found), "--html")
    if report is not None:
        write_given(report, markdown.render(results, lang, disagreements=found), "--report")


def book_of(results: Results, sources: Sequence[Source]) -> Book:
    """Every item with its answers, where a source holds texts."""
    names, baseline = list(results.variants), sources[0]
    compared = [*results.candidates, *([results.control] if results.control else [])]
    book = Book(
        variants=tuple(names),
        baseline=names.index(baseline.label),
        compared=tuple((names.index(name), name == results.control) for name in compared),
        benches=tuple(_bench(name, results, baseline) for name in results.benchmarks),
        entries=(),
        lengths={},
    )
    entries: list[Entry] = []
    lengths: dict[str, dict[str, list[int]]] = {}
    for number, bench in enumerate(book.benches):
        sheets = sheets_of(bench.name, sources)
        entries += entries_of(number, bench, items_of(bench.name, baseline), sheets, baseline.label, compared)
        lengths[bench.name] = {name: answer_lengths(sheet) for name, sheet in sheets.items()}
    return replace(book, entries=tuple(entries), lengths=lengths)


def _bench(name: str, results: Results, baseline: Source) -> Bench:
    entry, run = results.benchmarks[name], baseline.run
    exam = None if run is None else run.exams[baseline.benchmarks[name].benchmark]
    if exam is not None:
        why = withheld(name, exam.provenance, "gated")
    else:  # a log tells its data set by the task's name alone
        why = withheld(LM_EVAL_PREFIX + name.removeprefix(LM_EVAL_PREFIX), {}, "gated")
    # no stem: others' answers do not lie in samples/
    return Bench(name, "", tuple(entry.subgroups), entry.samples, why)
