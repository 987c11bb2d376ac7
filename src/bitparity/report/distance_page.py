"""Page of the command `distance`: what its figures say, the plot and the table, in one file without scripts."""

from __future__ import annotations

from markupsafe import Markup

from bitparity.report.distance import rows, sentences
from bitparity.report.language import Lang, guard_message, suffix, text
from bitparity.report.plots import distance_plot
from bitparity.report.templates import spoken, template
from bitparity.results.schema import DistanceDocument
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run


def render(document: DistanceDocument, lang: Lang = "en") -> str:
    """The page as HTML."""
    shown = rows(document.distance, lang)
    return template(__package__, "distance.html.j2").render(
        document=document,
        distance=document.distance,
        lang="zh-Hans" if lang == "zh" else "en",
        rows=shown,
        picture=Markup(distance_plot(shown, lang)) if shown else "",
        **spoken(lang, text, guard_message, sentences),
    )


def write_page(run: Run, document: DistanceDocument, lang: Lang = "en") -> None:
    """Write distance.html, or distance.zh.html in Chinese, beside distance.json."""
    write_atomically(run.path / f"distance{suffix(lang)}.html", [render(document, lang)])
