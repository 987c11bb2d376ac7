"""report.md: the answer first, then the table, what could be wrong, and what ran."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable
from typing import Any

from jinja2 import Template

from bitparity.localization.document import load_localizations
from bitparity.report import plots, words
from bitparity.report.distance import rows, sentences
from bitparity.report.headline import headlines
from bitparity.report.language import Lang, guard_message, margin, percent, reason, suffix, text
from bitparity.report.localization import markdown_part, write_picture
from bitparity.report.plain import shortened
from bitparity.report.tables import Disagreements, card, doubt_count, doubts, grader_rows, program_rows, speed_rows
from bitparity.report.templates import spoken, template
from bitparity.results.schema import Results
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

LONGEST = 20_000  # characters of one text
# what the template says in the language of the report
_SAID = (
    *(text, card, doubt_count, doubts, guard_message, headlines, margin, percent, reason, rows, sentences),
    *(program_rows, speed_rows, words.noise, words.engine, words.figures, words.score_beside, words.verdict_words),
)


def render(
    results: Results, lang: Lang = "en", pictures: Iterable[str] = (), apart: Disagreements = (), short: bool = False
) -> str:
    """The report as Markdown; `pictures` are the files in `plots/` that it shows."""
    levels = Counter(guard.level for entry in results.measured.values() for guard in entry.guards)
    shown = {"results": results, "pictures": pictures, "disagreements": apart, "levels": levels, "short": short}
    made = markdown_template(__package__, "report.md.j2")
    return made.render(**shown, suffix=suffix(lang), grader_rows=grader_rows, **spoken(lang, *_SAID))


def summary(results: Results, lang: Lang = "en") -> str:
    """A short report for the summary page of a CI job: the answers, the scores, the verdicts, the errors."""
    return render(results, lang, short=True)


def write(run: Run, results: Results, lang: Lang = "en") -> None:
    """Write report.md and its plots beside results.json, in Chinese report.zh.md and plots of its own."""
    drawn = {name.replace(".svg", f"{suffix(lang)}.svg"): plot for name, plot in plots.draw(results, lang).items()}
    for name, picture in drawn.items():
        write_atomically(run.path / "plots" / name, [picture])
    for found in load_localizations(run) if lang != "en" else ():  # `locate` itself draws in English
        write_picture(run, found, lang)
    parts = [render(results, lang, drawn), markdown_part(run, escaped, lang)]
    write_atomically(run.path / f"report{suffix(lang)}.md", parts)


def escaped(text: object) -> str:
    """Text that cannot break out of a table cell or become markup."""
    plain = " ".join(shortened(str(text), LONGEST).split())
    # the backslash first, or it would escape the escapes; a pipe ends a cell and "<" opens HTML
    for mark in ("\\", "|", "<", "`", "[", "*", "_"):
        plain = plain.replace(mark, f"\\{mark}")
    return plain


@functools.cache
def markdown_template(package: str, name: str) -> Template:
    """A template of Markdown, whose filter `e` makes a text harmless."""
    # no escaping of HTML: the template escapes each value that is not ours, as Markdown
    options: dict[str, Any] = {"autoescape": False, "finalize": None, "keep_trailing_newline": True}
    return template(package, name, filters={"e": escaped}, **options)
