"""A run or a comparison as a gate for CI: one line a candidate and benchmark, an exit code, JUnit XML, a badge."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

from markupsafe import Markup
from rich.cells import set_cell_size

from bitparity.compare import schema as compare
from bitparity.errors import RunError, UserInputError
from bitparity.report.language import Lang, guard_message, guard_title, guards, text
from bitparity.report.markdown import markdown_template
from bitparity.report.templates import spoken, template
from bitparity.report.words import Judged, unmeasured, verdict_words
from bitparity.results import verdicts
from bitparity.results.schema import Benchmark, Guard, Overall, Results
from bitparity.store.output_files import write_given

Outcome = Literal["passed", "allowed", "failed", "open", "skipped"]
Require = Literal["overall", "every"]
# the colour of a badge, the gravest outcome first
_COLOURS: Mapping[Outcome, str] = {
    "failed": "red",
    "open": "yellow",
    "skipped": "yellow",
    "allowed": "yellowgreen",
    "passed": "brightgreen",
}
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


@dataclass(frozen=True, slots=True)
class Line:
    """The state of one candidate on one benchmark, or on all together (`benchmark` "overall").

    `outcome`: passed (no loss beyond the margin), failed (a loss beyond it), open (inconclusive, invalid or
    incomplete), allowed (inconclusive, which the user accepts) or skipped (not run). `kind` is the verdict, or
    "worse_size_unclear" (a loss is shown that may exceed the margin), "incomplete" or "not_run"; `words` says why in
    short, `detail` has the messages of the guards that forbid a verdict.
    """

    candidate: str
    benchmark: str
    outcome: Outcome
    kind: str
    words: str
    detail: str = ""
    lang: Lang = "en"

    @property
    def outcome_words(self) -> str:
        """The outcome in the line's language."""
        return text(f"outcome.{self.outcome}", self.lang)

    def __str__(self) -> str:
        said = text("colon", self.lang, name=f"{self.candidate} {self.benchmark}", said=self.words)
        return f"{set_cell_size(self.outcome_words, 7)} {said}"


def judge(results: Results, require: Require = "every", only: Sequence[str] = (), lang: Lang = "en") -> list[Line]:
    """The lines of a results.json, on the benchmarks in `only` or on all; their words in a language.

    Raises RunError where it has no candidate, UserInputError where it has no such benchmark.
    """
    names, entries = results.candidates, results.benchmarks
    if not names:
        raise RunError("the run has one variant only: there is no candidate to check; add one to the study")
    if unknown := [bench for bench in only if bench not in entries]:
        raise UserInputError(f"the run has no benchmark '{unknown[0]}'; there is: {', '.join(entries)}")
    if require == "overall":
        if only:
            raise UserInputError("--require overall is on all benchmarks of the study: leave --benchmark out")
        return [_overall(name, results, lang) for name in names]
    chosen = dict.fromkeys(only or entries)
    return [_single(name, bench, entries[bench], results, lang) for name in names for bench in chosen]


def allow_inconclusive(lines: Sequence[Line]) -> list[Line]:
    """The lines with "cannot tell" accepted. A shown loss, an invalid and an incomplete comparison never are."""
    return [replace(each, outcome="allowed") if each.kind == "inconclusive" else each for each in lines]


def judge_comparison(outcome: compare.Outcome, lang: Lang = "en") -> list[Line]:
    """The lines of a comparison; views of the same answers by another filter and the control decide nothing."""
    entries = {bench: entry for bench, entry in outcome.benchmarks.items() if entry.view_of is None}
    baseline = next(name for name, about in outcome.variants.items() if about.baseline)
    return [
        _paired(name, baseline, bench, entry, 0, lang)
        for name in outcome.candidates
        for bench, entry in entries.items()
        if name in entry.comparisons or name in entry.not_compared
    ]


def exit_code(lines: Sequence[Line]) -> int:
    """0 where all passed or were allowed, 1 where a candidate is worse beyond its margin, else 3."""
    return verdicts.exit_code("passed" if line.outcome == "allowed" else line.outcome for line in lines)


def _single(name: str, bench: str, entry: Benchmark, results: Results, lang: Lang) -> Line:
    if not entry.measured:
        return Line(name, bench, "skipped", "not_run", unmeasured(entry, lang), lang=lang)
    return _paired(name, results.baseline, bench, entry, _unscored(name, entry, results), lang)


def _paired(
    name: str, baseline: str, bench: str, entry: Benchmark | compare.Benchmark, unscored: int, lang: Lang
) -> Line:
    if (comparison := entry.comparisons.get(name)) is None:
        why = None if isinstance(entry, Benchmark) else entry.not_compared[name]
        words = text("gate.not_compared" if why else "gate.nothing", lang, reason=why, unscored=unscored)
        return Line(name, bench, "open", "incomplete", words, lang=lang)
    messages = _messages(name, baseline, entry.guards, lang)
    return _line(name, bench, comparison, _words(comparison, entry.margin, lang), unscored, lang, messages)


def _line(name: str, bench: str, judged: Judged, words: str, unscored: int, lang: Lang, detail: str = "") -> Line:
    outcome = verdicts.outcome(judged.verdict)
    if unscored and (outcome == "passed" or judged.verdict == "inconclusive"):
        words = text("gate.unscored", lang, unscored=unscored, words=words)
        return Line(name, bench, "open", "incomplete", words, lang=lang)
    hidden = isinstance(judged, Overall) and judged.hidden
    unclear = judged.verdict == "inconclusive" and (judged.loss_shown or hidden)
    return Line(name, bench, outcome, "worse_size_unclear" if unclear else judged.verdict, words, detail, lang)


def _overall(name: str, results: Results, lang: Lang) -> Line:
    """The pooled verdict; it passes only where every benchmark was run whole and none is invalid or beyond."""
    pooled, entries = results.overall.get(name), results.benchmarks
    line = partial(Line, name, "overall", lang=lang)
    used = pooled.benchmarks if pooled is not None else []
    words = text("gate.no_pool", lang) if pooled is None else _words(pooled, pooled.margin, lang)
    words += text("gate.over", lang, count=len(used), of=len(entries))
    words += text("gate.names", lang, names=used) if used else ""
    if invalid := [bench for bench in results.measured if bench not in used]:
        words += text("gate.left_out", lang, names=invalid)
    single = {bench: _single(name, bench, entry, results, lang) for bench, entry in entries.items()}
    if beyond := [bench for bench, each in single.items() if each.outcome == "failed"]:
        return line("failed", "worse_beyond_margin", text("gate.beyond", lang, names=beyond, words=words))
    if pooled is None:
        return line("open", "invalid", words)
    if verdicts.outcome(pooled.verdict) != "failed":
        if missing := [bench for bench, entry in entries.items() if not entry.measured]:
            return line("open", "incomplete", text("gate.missing", lang, names=missing, words=words))
        if invalid:
            return line("open", "invalid", words)
    unscored = sum(_unscored(name, entry, results) for entry in results.measured.values())
    return _line(name, "overall", pooled, words, unscored, lang)


def _words(judged: Judged, allowed: float, lang: Lang) -> str:
    said = text("gate.words", lang, verdict=verdict_words(judged, lang), c=judged, margin=allowed)
    named = guards(getattr(judged, "invalid_by", ()) or getattr(judged, "doubted_by", ()), lang)
    return text("separator", lang).join([said, named] if named else [said])


def _unscored(name: str, entry: Benchmark, results: Results) -> int:
    """Samples without a score, of the candidate and of the baseline."""
    return sum(entry.scores[variant].unscored for variant in {results.baseline, name})


def _messages(name: str, baseline: str, spoke: Sequence[Guard], lang: Lang) -> str:
    """The messages of the guards that make the candidate's verdict invalid."""
    return text("separator", lang).join(
        text("colon", lang, name=guard_title(each.name, lang), said=guard_message(each.name, each.message, lang))
        for each in spoke
        if each.forbids(name, baseline)
    )


def junit(lines: Sequence[Line], suite: str) -> str:
    """The lines as JUnit XML: worse is a failure, open an error, not run or allowed a skip. `suite`: the run's name."""
    # a value may hold characters that XML cannot
    now = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime())
    made = template(__package__, "junit.xml.j2", finalize=_text, lstrip_blocks=False, keep_trailing_newline=True)
    return made.render(lines=lines, suite=suite, now=now, counts=Counter(line.outcome for line in lines))


def summary(lines: Sequence[Line]) -> str:
    """The lines as Markdown for the summary page of a CI job: a headline and a table."""
    made = markdown_template(__package__, "gate.md.j2")
    return made.render(lines=lines, headline=_headline(lines)[0], **spoken(_language(lines), text))


def badge(lines: Sequence[Line]) -> str:
    """The worst outcome as JSON for a badge, in the form of shields.io's endpoint badges (schema version 1)."""
    message, colour = _headline(lines)
    return json.dumps({"schemaVersion": 1, "label": "bitparity", "message": message, "color": colour}) + "\n"


def _headline(lines: Sequence[Line]) -> tuple[str, str]:
    """The worst outcome in words, how many lines have it, and its colour."""
    counts = Counter(line.outcome for line in lines)
    worst: Outcome = next((outcome for outcome in _COLOURS if counts[outcome]), "open")
    lang = _language(lines)
    word = text(f"badge.{worst}", lang)
    return text("badge", lang, word=word, count=counts[worst], of=len(lines)), _COLOURS[worst]


def _language(lines: Sequence[Line]) -> Lang:
    return lines[0].lang if lines else "en"


def write(
    lines: Sequence[Line], suite: str, xml: Path | None = None, page: Path | None = None, shield: Path | None = None
) -> None:
    """Write the files for CI, each where a path is given; `suite` names the tests.

    Raises UserInputError where one cannot be written.
    """
    if xml is not None:
        write_given(xml, '<?xml version="1.0" encoding="UTF-8"?>\n' + junit(lines, suite), "--junit")
    if page is not None:
        write_given(page, summary(lines), "--summary")
    if shield is not None:
        write_given(shield, badge(lines), "--badge")


def _text(value: object) -> object:
    """Text without the characters that XML cannot hold."""
    fit = _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(value))
    return Markup(fit) if isinstance(value, Markup) else fit
