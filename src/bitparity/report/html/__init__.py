"""report.html: one page with the whole result and the flip browser, which makes no request."""

from __future__ import annotations

from bitparity.report.gated import Withhold
from bitparity.report.html.book import Book, Packed, collect, pack
from bitparity.report.html.page import load, render
from bitparity.report.language import Lang, suffix
from bitparity.report.localization import html_part
from bitparity.report.tables import Disagreements
from bitparity.results.schema import Results
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

__all__ = ["LIMIT", "load", "page", "write"]

LIMIT = 30_000_000  # bytes of the page
_ROOM = 10_000  # bytes for what the page says about the data itself


def write(run: Run, results: Results, lang: Lang = "en", withhold: Withhold = "gated") -> None:
    """Write report.html, or report.zh.html in Chinese, beside results.json, at most `LIMIT` bytes.

    `withhold` says whose questions and answers stay out. Raises RunError or StoreError where the run's files cannot
    be used.
    """
    localized = html_part(run, lang)
    whole = page(results, collect(run, results, withhold), lang, localized=localized)
    write_atomically(run.path / f"report{suffix(lang)}.html", [whole])


def page(results: Results, book: Book, lang: Lang = "en", apart: Disagreements = (), localized: str = "") -> str:
    """The page, at most `LIMIT` bytes; `apart` and `localized` as in `render`."""
    empty = render(results, book, Packed("", [], len(book.entries)), lang, apart, localized)
    return render(results, book, pack(book, LIMIT - len(empty.encode()) - _ROOM), lang, apart, localized)
