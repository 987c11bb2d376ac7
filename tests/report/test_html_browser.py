"""report.html in headless Chromium, driven through ChromeDriver: silence, filters, keyboard, accessibility, widths."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from chromium import CHROMIUM, DRIVER, FILTER, Browser
from html_support import HOSTILE, filled_out, finished, gpqa_study, hostile_run, made_book

from bitparity.report import html
from bitparity.report.html.book import pack
from bitparity.report.html.page import render

ITEMS = 36_000

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs chromium and chromedriver")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    driven = Browser(tmp_path_factory.mktemp("profile"))
    yield driven
    driven.close()


def lengths() -> dict[str, list[int]]:
    """Tokens of made-up completions by variant."""
    return {"bf16": [3, 40, 40, 500, 8000], "fp8": [7, 40, 900, 32_768, 32_768]}


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A page of 36,000 items, over the figures of a small run, with something in each of its parts."""
    folder = tmp_path_factory.mktemp("large")
    right = {"bf16": {n: [True] for n in range(40)}, "fp8": {n: [n > 9] for n in range(40)}}
    _, found = finished(gpqa_study(folder, right), folder / "run")
    book = made_book(ITEMS, 400)
    found = filled_out(found)
    book = replace(book, lengths={name: lengths() for name in found.benchmarks})
    path = folder / "report.html"
    path.write_text(render(found, book, pack(book, html.LIMIT)), encoding="utf-8")
    assert path.stat().st_size < html.LIMIT
    return path


def test_a_page_of_36000_items_opens_in_silence(browser: Browser, large: Path) -> None:
    browser.log("browser")
    browser.requests()
    browser.open(large)
    assert set(browser.requests()) == {large.as_uri()}
    assert browser.log("browser") == []


def test_filters_count_and_show_what_they_say(browser: Browser, large: Path) -> None:
    browser.open(large)
    expected = {
        ("change", "all"): ITEMS,
        ("change", "0"): ITEMS // 4,
        ("change", "flips"): ITEMS // 2,
        ("subgroup", "0:1"): ITEMS // 6,
        ("subgroup", "all"): ITEMS // 2,
        ("bench", "0"): ITEMS // 2,
        ("candidate", "0"): ITEMS // 2,
        ("status", "1"): ITEMS // 4,
        ("status", "all"): ITEMS // 2,
        ("search", "item35996"): 1,
        ("search", ""): ITEMS // 2,
    }
    for (name, value), count in expected.items():
        browser.run(FILTER, name, value)
        shown = browser.run("return document.getElementById('flip-count').textContent")
        assert shown.startswith(f"{count:,} of {ITEMS:,} ")
    assert browser.run("return document.querySelectorAll('.row').length") < 100  # only what is in sight


def test_the_keyboard_reaches_every_item(browser: Browser, large: Path) -> None:
    browser.open(large)
    down, end = "\ue015", "\ue010"
    browser.press(down, "#flip-list")
    chosen = "return document.querySelector('#flip-list [aria-selected=true] span').textContent"
    assert browser.run(chosen) == "item1"
    browser.press(end, "#flip-list")
    assert browser.run(chosen) == f"item{ITEMS - 3}"
    heading = ""
    for _ in range(100):
        heading = browser.run("return document.getElementById('item-title').textContent")
        if heading == f"item{ITEMS - 3}":
            break
        time.sleep(0.05)
    assert heading == f"item{ITEMS - 3}"
    sides = browser.run("return [...document.querySelectorAll('.side')].map(side => side.innerText)")
    assert [("bf16" in side, "fp8" in side) for side in sides] == [(True, False), (False, True)]
    assert f"samples/fp8/math500.jsonl, item item{ITEMS - 3}, sample 0" in sides[1]
    assert browser.run("return [...document.querySelectorAll('.side dd mark')].map(m => m.textContent)") == ["00", "11"]


def test_what_tries_to_be_a_script_is_only_shown(browser: Browser, tmp_path: Path) -> None:
    run = hostile_run(tmp_path)
    browser.log("browser")
    browser.open(run.path / "report.html")
    for position in range(6):
        browser.run(
            "const rows = [...document.querySelectorAll('.row')]; rows[arguments[0]] && rows[arguments[0]].click()",
            position,
        )
        time.sleep(0.1)
        assert browser.run("return window.pwned") is None
        assert browser.run("return document.querySelectorAll('img, #flip-app script, iframe').length") == 0
    assert HOSTILE in browser.run("return document.querySelector('#flip-detail .side pre').textContent")
    assert browser.run("return document.title").startswith(HOSTILE)
    assert browser.log("browser") == []
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


def test_a_page_without_answers_still_browses_its_flips(browser: Browser, tmp_path: Path) -> None:
    right = {"bf16": {n: [True] for n in range(6)}, "fp8": {n: [n > 1] for n in range(6)}}
    run, found = finished(gpqa_study(tmp_path, right), tmp_path / "run")
    html.write(run, found, withhold="everything")
    browser.log("browser")
    browser.open(run.path / "report.html")
    shown = browser.run("return [...document.querySelectorAll('.row:not([hidden])')].map(row => row.innerText)")
    assert len(shown) == 2
    assert all("lost" in row and "100.0 % → 0.0 %" in row for row in shown)
    detail = ""
    for _ in range(100):
        detail = browser.run("return document.getElementById('flip-detail').innerText")
        if "made without questions" in detail:
            break
        time.sleep(0.05)
    assert "made without questions" in detail
    assert "answer read" not in detail
    assert browser.log("browser") == []


AXE = "axe-playwright-python==0.1.8"  # the package on PyPI that has axe-core 4.12 in it; nothing else of it is used


@pytest.fixture(scope="module")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    """axe-core's source."""
    folder = tmp_path_factory.mktemp("axe")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    got = subprocess.run([*pip, "--no-deps", "--target", folder, AXE], capture_output=True, text=True)
    if got.returncode != 0:
        pytest.skip(f"axe-core cannot be had here: pip install {AXE} failed")
    return (folder / "axe_playwright_python" / "axe.min.js").read_text(encoding="utf-8")


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (2560, "dark")])
def test_axe_finds_no_serious_fault(browser: Browser, large: Path, axe: str, width: int, scheme: str) -> None:
    browser.show(width, scheme)
    browser.open(large)
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    browser.run(axe + "; window.axe = axe;")
    found = browser.run_async(
        "const done = arguments[0]; axe.run({resultTypes: ['violations']}).then(r => done(r.violations.map("
        "v => [v.impact, v.id, v.nodes.slice(0, 3).map(n => n.html)])))"
    )
    assert [fault for fault in found if fault[0] in ("serious", "critical")] == []
    assert browser.run("return document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280, 2560])
def test_nothing_sticks_out_or_overlaps(browser: Browser, large: Path, width: int, scheme: str) -> None:
    """No element is wider than the page but inside a region that scrolls, and no text of a table covers another."""
    browser.show(width, scheme)
    browser.open(large)
    browser.run("document.querySelectorAll('details').forEach(each => each.open = true)")
    outside = browser.run(
        "return [...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, .list, pre, svg, .hidden') "
        "&& e.getBoundingClientRect().width && e.getBoundingClientRect().right > innerWidth + 1)"
        ".map(e => e.outerHTML.slice(0, 100))"
    )
    assert outside == []
    overlapping = browser.run(
        "const over = (a, b) => a.left + 1 < b.right && b.left + 1 < a.right"
        " && a.top + 1 < b.bottom && b.top + 1 < a.bottom;"
        "return [...document.querySelectorAll('main tr')].filter(row => {"
        " const cells = [...row.cells].map(c => c.getBoundingClientRect()).filter(r => r.width && r.height);"
        " return cells.some((a, n) => cells.slice(n + 1).some(b => over(a, b)));"
        "}).map(row => row.textContent.slice(0, 80))"
    )
    assert overlapping == []
