"""One figure is the same in results.json, both reports and their plots, in English and Chinese, in a filled table, the
summary, CSV, the model card and the decisions."""

from __future__ import annotations

import csv
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from support import Cli

from bitparity.report.headline import headlines
from bitparity.report.language import LANGUAGES, Lang, interval, margin, percent, points, suffix
from bitparity.report.markdown import escaped
from bitparity.report.words import score as shown_score
from bitparity.report.words import verdict_words
from bitparity.results.schema import Results

TABLE = "| | nvfp4 | fp8 | bf16 | notes |\n|-|-|-|-|-|\n| MATH-500 | | | | |\n"


def test_every_figure_is_the_same_everywhere(cli: Cli, run: Path, tmp_path: Path) -> None:
    document = tmp_path / "doc.md"
    document.write_text(TABLE)
    terminal = " ".join(cli("report", run, "--fill", document).out.split())
    found = json.loads((run / "results.json").read_text())["benchmarks"]["math500"]
    report, filled = (run / "report.md").read_text(), document.read_text()
    summary, csv = (cli("export", run, "--format", form).out for form in ("summary", "csv"))
    scores, differences = ((run / "plots" / f"{name}.svg").read_text() for name in ("scores", "differences"))
    for score in found["scores"].values():
        low, high = score["ci95"]
        shown = f"{100 * score['mean']:.1f} % ({100 * low:.1f} to {100 * high:.1f})"
        assert all(shown in text for text in (report, filled, summary, scores))
        assert f",{score['mean']},{low},{high}," in csv
        assert f"{100 * score['mean']:.1f} %" in terminal
    for comparison in found["comparisons"].values():
        points = f"{100 * comparison['difference']:+.1f}".replace("-", "−")
        bounds = " to ".join(f"{100 * bound:+.1f}".replace("-", "−") for bound in comparison["ci95"])
        assert all(points in text and bounds in text for text in (report, summary, differences, terminal))
        assert f",{comparison['difference']}," in csv
        assert f"{comparison['lost']} / {comparison['gained']}" in report
        assert f"{abs(100 * comparison['difference']):.1f} points" in filled


def test_a_decision_is_the_same_in_every_form(cli: Cli, run: Path) -> None:
    terminal, gate = (" ".join(cli(command, run).out.split()) for command in ("report", "check"))
    report, page = (run / "report.md").read_text(), Text((run / "report.html").read_text()).said
    card, table = (cli("export", run, "--format", form).out for form in ("model-card", "csv"))
    stored = json.loads((run / "results.json").read_text())
    results = Results.model_validate(stored)
    assert {block.name for block in headlines(results)} == set(stored["decisions"]) == {"fp8", "nvfp4"}
    for block in headlines(results):
        for said in (block.decision, *block.rest):
            assert all(said in text for text in (terminal, gate, page))
            assert all(escaped(said) in text for text in (report, card))
        shown = stored["decisions"][block.name]
        (row,) = (row for row in csv.DictReader(table.splitlines()) if row["variant"] == block.name)
        finding = next(iter(shown["findings"]), {"standing": "fine", "up_to": None})
        assert row["decision"] == shown["decision"]
        assert (row["standing"], row["up_to"]) == (finding["standing"], str(finding["up_to"] or ""))
        c = results.benchmarks["math500"].comparisons[block.name]
        assert any(points(c.difference) in said and interval(c.ci95) in said for said in block.rest)


class Text(HTMLParser):
    """The text of a page, plots included, scripts and styles left out."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.said, self._silent = "", False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self._silent = tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        self.said += "" if self._silent else data


@pytest.mark.parametrize("lang", LANGUAGES)
def test_both_reports_and_their_plots_say_the_figures_of_results_json(cli: Cli, run: Path, lang: Lang) -> None:
    cli("report", run, "--lang", lang)
    entry = Results.model_validate_json((run / "results.json").read_text()).benchmarks["math500"]
    own = suffix(lang)
    report, page = (run / f"report{own}.md").read_text(), Text((run / f"report{own}.html").read_text()).said
    scores, differences = ((run / "plots" / f"{name}{own}.svg").read_text() for name in ("scores", "differences"))
    for found in entry.scores.values():
        assert all(shown_score(found, lang) in text for text in (report, page, scores))
        for share in (found.cut_off, found.no_answer):
            assert percent(share, lang) in page
    for c in entry.comparisons.values():
        figures = [points(c.difference), interval(c.ci95, lang=lang), verdict_words(c, lang)]
        assert all(figure in text for figure in figures for text in (report, page, differences))
        for shown in (percent(c.recovery, lang), margin(entry.margin, lang), f"{c.lost} / {c.gained}"):
            assert shown in report
            assert shown in page
    # and no figure in a plot that is nowhere else: ticks are whole numbers of points or per cent
    plotted = re.findall(r">([^<]*[(（][^<]*)</text>", scores + differences)
    stated = set(re.findall(r"\d+\.\d", report))
    assert set(re.findall(r"\d+\.\d", " ".join(plotted))) <= stated
