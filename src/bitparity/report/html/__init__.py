"""report.html: the whole result as one page without any request, with the flip browser in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bitparity.report.html.book import Packed, collect, pack
from bitparity.report.html.gating import Withhold
from bitparity.report.html.page import load, render
from bitparity.report.language import Lang
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

__all__ = ["LIMIT", "load", "write"]

LIMIT = 30_000_000  # bytes of the page
_ROOM = 10_000  # bytes for what the page says about the data itself


def write(run: Run, results: Mapping[str, Any], lang: Lang = "en", withhold: Withhold = "gated") -> None:
    """Write report.html beside results.json, at most `LIMIT` bytes.

    `withhold` says whose questions and answers stay out. Raises RunError or StoreError where the run's files cannot
    be used.
    """
    book = collect(run, results, withhold)
    empty = render(results, book, Packed("", [], len(book.entries)), lang)
    packed = pack(book, LIMIT - len(empty.encode()) - _ROOM)
    write_atomically(run.path / "report.html", [render(results, book, packed, lang)])
