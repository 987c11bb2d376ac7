"""Page of the command `distance`: what its figures say, the plot and the table, in one file without scripts."""

from __future__ import annotations

import functools
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from bitparity.report.distance import number, rows, sentences
from bitparity.report.language import Lang, guard_message, suffix, text
from bitparity.report.plain import finalize
from bitparity.report.plots import distance_plot
from bitparity.results.schema import DistanceDocument
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run


def render(document: DistanceDocument, lang: Lang = "en") -> str:
    """The page as HTML."""
    shown = rows(document.distance, lang)
    said = {function.__name__: functools.partial(function, lang=lang) for function in (text, guard_message, sentences)}
    return _template().render(
        document=document,
        distance=document.distance,
        lang="zh-Hans" if lang == "zh" else "en",
        rows=shown,
        picture=Markup(distance_plot(shown, lang)) if shown else "",
        number=number,
        **said,
    )


def write_page(run: Run, document: DistanceDocument, lang: Lang = "en") -> None:
    """Write distance.html, or distance.zh.html in Chinese, beside distance.json."""
    write_atomically(run.path / f"distance{suffix(lang)}.html", [render(document, lang)])


@functools.cache
def _template() -> Template:
    environment = Environment(
        autoescape=True, finalize=finalize, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string((resources.files(__package__) / "distance.html.j2").read_text(encoding="utf-8"))
