"""How report.html behaves in a browser: size, time to open, filters, search, opening an item.

    python perf/html_report.py [RUN] [--items 12000] [--variants 3] [--rounds 5]

RUN is a run directory; without one, a run of made-up answers is made: ITEMS multiple-choice questions in the schema of
MMLU-Pro, so many variants, answers of about 1,200 characters. The page is written as `bitparity report` does and
opened in headless Chromium (needs chromium and chromedriver). Prints one JSON line: items and completions; seconds to
write the page; its size in MB; milliseconds until the page is loaded (`load_ms`), until its flip browser can be used
(`ready_ms`), until a filter and a search have shown their outcome, layout included, and until an item's texts stand
there; requests beside the page itself and console messages, of which there must be none. Times are medians, and the
slowest of each.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from bitparity.progress.events import Events
from bitparity.report import html
from bitparity.results import build as results
from bitparity.runner import run_study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study

WORDS = [
    "the",
    "rate",
    "of",
    "a",
    "process",
    "that",
    "we",
    "know",
    "from",
    "its",
    "energy",
    "and",
    "the",
    "sum",
    "over",
    "all",
    "states",
    "gives",
    "an",
    "answer",
]
FILTERS = [
    ("change", "all"),
    ("change", "0"),
    ("candidate", "1"),
    ("status", "2"),
    ("status", "all"),
    ("change", "flips"),
]
SEARCHES = ["question 11", "energy", "nothing has this", ""]
TESTS = Path(__file__).resolve().parents[1] / "tests"
# Chooses an item by its place in the list and hands over the milliseconds until its texts are shown.
ITEM = """
const [key, done] = arguments, list = document.getElementById('flip-list'), start = performance.now();
const before = document.getElementById('item-title');
new MutationObserver((_, watch) => { watch.disconnect(); done(performance.now() - start); })
  .observe(document.getElementById('flip-detail'), {childList: true});
list.dispatchEvent(new KeyboardEvent('keydown', {key}));
"""


def made_run(folder: Path, items: int, variants: int) -> Run:
    """A finished run of made-up questions and answers; a twentieth of each variant's answers differ."""
    from support import write_jsonl, write_yaml

    draw = random.Random(7)
    fields = ("math", "law", "physics", "history")
    rows = [
        {
            "question_id": n,
            "question": f"Made-up question {n}: {' '.join(draw.choices(WORDS, k=40))}?",
            "options": [f"option {k} of {n}" for k in range(10)],
            "answer": "ABCDEFGHIJ"[n % 10],
            "answer_index": n % 10,
            "category": fields[n % 4],
            "src": "made",
            "cot_content": "",
        }
        for n in range(items)
    ]
    write_jsonl(folder / "mmlu_pro.jsonl", rows)
    names = [f"v{number}" for number in range(variants)]
    base = [draw.random() < 0.7 for _ in range(items)]
    for name in names:
        said = []
        for n, good in enumerate(base):
            right = good if draw.random() < 0.95 else not good
            letter = "ABCDEFGHIJ"[(n + (0 if right else 1 + draw.randrange(9))) % 10]
            text = f"{' '.join(draw.choices(WORDS, k=280))}. The answer is ({letter})."
            said.append({"item": str(n), "text": text, "tokens": 280 + draw.randrange(60), "finish": "stop"})
        write_jsonl(folder / f"{name}.jsonl", said)
    study = {
        "study": "made-up",
        "engine": {"kind": "replay"},
        "variants": {name: {"model": f"{name}.jsonl", "baseline": name == "v0"} for name in names},
        "benchmarks": [{"name": "mmlu_pro", "data": "mmlu_pro.jsonl"}],
    }
    return run_study(load_study(write_yaml(folder / "study.yaml", study)), folder / "run", Events()).run


def measure(browser: Any, page: Path, rounds: int) -> dict[str, Any]:
    """Times in milliseconds, and what must not happen."""
    from chromium import FILTER

    times: dict[str, list[float]] = {key: [] for key in ("load", "ready", "filter", "search", "item")}
    asked, said = set(), []
    for _ in range(rounds):
        browser.requests()
        browser.log("browser")
        browser.open(page)
        times["ready"].append(browser.run("return performance.now()"))  # asked for every 20 ms
        times["load"].append(browser.run("return performance.getEntriesByType('navigation')[0].loadEventEnd"))
        for name, value in FILTERS:
            times["filter"].append(browser.run(FILTER, name, value))
        for words in SEARCHES:
            times["search"].append(browser.run(FILTER, "search", words))
        for key in ("End", "ArrowUp", "Home", "PageDown"):
            times["item"].append(browser.run_async(ITEM, key))
        asked |= set(browser.requests()) - {page.as_uri()}
        said += browser.log("browser")
    figures = {f"{key}_ms": round(statistics.median(found), 1) for key, found in times.items()}
    worst = {f"{key}_worst_ms": round(max(found), 1) for key, found in times.items()}
    return {**figures, **worst, "requests": sorted(asked), "console": said}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, nargs="?")
    parser.add_argument("--items", type=int, default=12_000)
    parser.add_argument("--variants", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    sys.path[:0] = [str(TESTS), str(TESTS / "report")]  # the browser and the made-up files are those of the tests
    from chromium import Browser

    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run = Run(given.run.resolve()) if given.run else made_run(folder, given.items, given.variants)
        found = results.build(run)
        start = time.perf_counter()
        html.write(run, found)
        seconds = time.perf_counter() - start
        page = run.path.resolve() / "report.html"
        browser = Browser(folder / "profile")
        try:
            figures = measure(browser, page, given.rounds)
        finally:
            browser.close()
        measured = list(found.measured.values())
        items = sum(entry.items for entry in measured)
        completions = sum(entry.items * entry.samples for entry in measured) * len(found.variants)
        size = round(page.stat().st_size / 1e6, 2)
        sizes = {"items": items, "completions": completions, "write_s": round(seconds, 1), "size_mb": size}
        print(json.dumps({**sizes, **figures}))


if __name__ == "__main__":
    main()
