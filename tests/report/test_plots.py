from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from made_results import results as typed
from support import Cli
from test_words import compared

from bitparity.report import plots
from bitparity.report.language import LANGUAGES, Lang, interval, points
from bitparity.report.words import score, verdict_words

SVG = "{http://www.w3.org/2000/svg}"


def results() -> dict[str, Any]:
    compare = {
        "fp8": compared("equivalent", 0.001, (-0.005, 0.006)),
        "nvfp4": compared("worse_beyond_margin", -0.05, (-0.07, -0.03), True),
        "broken": compared("invalid", -0.4, (-0.5, -0.3)),
        "again": compared("inconclusive", -0.01, (-0.03, 0.01)) | {"control": True},
    }
    scores = {name: {"mean": 0.8 - 0.02 * n, "ci95": [0.7, 0.85]} for n, name in enumerate(["bf16", *compare])}
    scores["again"] = {"mean": None, "ci95": None}
    measured = {"status": "measured", "margin": 0.02, "comparisons": compare, "scores": scores}
    return {
        "variants": {name: {} for name in scores},
        "benchmarks": {"math500": measured, "gpqa_diamond": {"status": "not_run", "reason": "gated"}},
    }


def words(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter(f"{SVG}text")]


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_plot_says_the_figures_of_the_tables(lang: Lang) -> None:
    found = typed(results())
    drawn = plots.draw(found, lang)
    entry = found.benchmarks["math500"]
    said = " ".join(words(drawn["differences.svg"]))
    for comparison in entry.comparisons.values():
        assert points(comparison.difference) in said
        assert interval(comparison.ci95, lang=lang) in said
    assert verdict_words(entry.comparisons["nvfp4"], lang) in said
    assert all(score(each, lang) in words(drawn["scores.svg"]) for each in entry.scores.values())


def test_places_follow_the_scale() -> None:
    """The band lies around zero, the difference in the middle of its interval, what is invalid at the edge."""
    tree = ET.fromstring(plots.draw(typed(results()))["differences.svg"])
    bands = [e for e in tree.iter(f"{SVG}rect") if e.get("opacity")]
    left, width = float(bands[0].get("x", "")), float(bands[0].get("width", ""))
    marks = [e.get("transform", "") for e in tree.iter(f"{SVG}path")]
    places = [float(re.findall(r"[\d.]+", mark)[0]) for mark in marks]
    zero, per_point = left + width / 2, width / 4
    assert len(bands) == 3
    assert places.pop(2) == plots.LEFT + 8
    assert places == pytest.approx([zero + per_point * value for value in (0.1, -5.0, -1.0)], abs=0.3)
    assert min(places) < plots.LEFT + (plots.RIGHT - plots.LEFT) / 2  # valid rows have the width for themselves


def test_scores_start_at_nought_and_fill_the_width() -> None:
    tree = ET.fromstring(plots.draw(typed(results()))["scores.svg"])
    ticks = [e.text for e in tree.iter(f"{SVG}text") if e.get("text-anchor") == "middle"]
    assert (ticks[0], ticks[-1]) == ("0", "80")  # the highest bound is 85: the axis ends at 90
    low = results()
    for each in low["benchmarks"]["math500"]["scores"].values():
        each |= {"mean": 0.0, "ci95": [0.0, 0.0]}
    assert ">100</text>" in plots.draw(typed(low))["scores.svg"]


def test_marks_differ_in_shape_or_fill_not_only_in_colour() -> None:
    tree = ET.fromstring(plots.draw(typed(results()))["differences.svg"])
    looks = [(e.get("d"), e.get("fill") == "#ffffff") for e in tree.iter(f"{SVG}path")]
    assert len(set(looks)) == 4
    shapes = {e.get("d") for e in ET.fromstring(plots.draw(typed(results()))["scores.svg"]).iter(f"{SVG}path")}
    assert len(shapes) == 4


def test_plots_are_the_same_bytes_each_time() -> None:
    assert plots.draw(typed(results())) == plots.draw(typed(results()))


def test_names_cannot_become_markup_and_long_ones_are_shortened() -> None:
    found = results()
    found["benchmarks"] = {"lm_eval:<script>" + "x" * 60: found["benchmarks"]["math500"]}
    picture = plots.draw(typed(found))["differences.svg"]
    assert "<script" not in picture
    assert max(len(said) for said in words(picture)[1:3]) <= plots.LONGEST


def test_nothing_to_show_is_no_plot() -> None:
    found = results()
    found["benchmarks"]["math500"]["comparisons"] = {}
    assert list(plots.draw(typed(found))) == ["scores.svg"]
    del found["benchmarks"]["math500"]
    assert plots.draw(typed(found)) == {}


def test_the_report_shows_the_plots_beside_it(cli: Cli, run: Path) -> None:
    cli("report", run)
    text = (run / "report.md").read_text()
    shown = re.findall(r"!\[[^\]]+\]\((plots/[a-z]+\.svg)\)", text)
    assert shown == ["plots/differences.svg", "plots/scores.svg"]
    figures = re.findall(r"\d+\.\d", text)
    for name in shown:
        said = [w for w in words((run / name).read_text()) if "(" in w and "%" not in w.split("(")[1]]
        assert said
        assert set(re.findall(r"\d+\.\d", " ".join(said))) <= set(figures)
