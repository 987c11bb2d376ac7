"""Names, ids and messages that try to be more than text, in everything that is printed or written as plain text."""

from __future__ import annotations

import io
import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import results as typed
from made_results import typed as typed_as
from markdown_it import MarkdownIt
from rich.console import Console
from support import Cli, answers, math_rows, stamp_grades, write_jsonl, write_yaml

from bitparity.compare.schema import Outcome
from bitparity.report import comparison, filling, markdown, plots, terminal
from bitparity.report.plain import shortened

HOSTILE = [
    "\x1b]0;title\x07\x1b[2J\x1b[1;31mred\x1b[0m",
    "\x1b]52;c;cm0gLXJmIC8=\x07\x9b31m\x9d0;t\x9c",  # OSC 52 writes the clipboard; C1 forms of the same
    "\x1b]8;;javascript:alert(1)\x07here\x1b]8;;\x07",
    "\r\x08\x08\x0boverwritten\x0c\x7f",
    "\ud800 \udfff lone \ufffe",
    "line\u2028separator\u2029paragraph\x85next",
    "\u202eesrever\u2066isolate\u200b\ufeff",
    "</script></style><script>pwned()</script><img src=x onerror=pwned()>",
    "[x](javascript:pwned()) <javascript:pwned()> ![y](http://evil.example/z.png)",
    "| a | b |\n|---|---|\n| `c` | **d** |",
    "[red]markup[/red] [link=http://evil.example]x[/link] [/]",
    "<!-- /bitparity --><!-- bitparity -->",
    "x" * 1_000_000,
]
TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # change the direction of writing
HIDDEN = {"\u200b", "\u200e", "\u200f", "\u061c", "\u2060", "\ufeff", *map(chr, range(0xE0000, 0xE0080))}


def poisoned(found: Any, text: str) -> Any:
    """results.json with the text in every place that a study, a model or a data set can reach."""
    results: dict[str, Any] = json.loads(json.dumps(found))
    entry = results["benchmarks"].pop("math500")
    guard = {"name": text, "variant": text, "level": "error", "value": None, "message": text}
    entry["guards"] += [guard, guard | {"level": "warning"}]
    entry["subgroups"] = {text: next(iter(entry["subgroups"].values()))}
    entry["metric"] = text
    for score in entry["scores"].values():
        score["metrics"] = {text: 0.5, "other": 0.4}
    results["benchmarks"] = {text: entry, f"{text} 2": {"status": "not_run", "reason": text, "margin": 0.01}}
    results["study"] |= {"name": text, "profile": text, "limit": {text: 3}}
    for variant in results["variants"].values():
        variant |= {"model": text, "engine": {"engine": text, "version": text, "device_name": text}}
    return results


def is_plain(text: str) -> bool:
    """No control character or lone surrogate, no other line end than a newline, nothing that turns or hides text."""
    return not {
        c
        for c in text
        if c != "\n"
        and (
            unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")
            or unicodedata.bidirectional(c) in TURNING
            or c in HIDDEN
        )
    }


@pytest.fixture(scope="module")
def found(finished: Path) -> Any:
    return json.loads((finished / "results.json").read_text())


def printed(show: Any, results: Any, colour: bool = False) -> str:
    out = io.StringIO()
    show(results, Console(file=out, width=120, force_terminal=colour, color_system="standard" if colour else None))
    return out.getvalue()


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_the_terminal_shows_text_and_obeys_none_of_it(found: Any, text: str) -> None:
    results = typed(poisoned(found, text))
    shown = printed(terminal.show, results)
    assert is_plain(shown)
    assert len(shown) < 200_000
    coloured = printed(terminal.show, results, colour=True)
    assert is_plain(re.sub(r"\x1b\[[\d;]*m", "", coloured))  # nothing but the colours of the verdicts
    assert "\x1b]8" not in coloured


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_comparison_on_the_terminal_too(found: Any, text: str) -> None:
    results = poisoned(found, text)
    whole = typed(results)
    results["benchmarks"].popitem()
    (entry,) = results["benchmarks"].values()
    compared = {
        name: {key: c[key] for key in ("items", "difference", "ci95", "lost", "gained", "verdict", "loss_shown")}
        for name, c in entry["comparisons"].items()
    }
    entry = {key: entry[key] for key in ("metric", "items", "guards")} | {"margin_from": text, "comparisons": compared}
    part = {key: compared["fp8"][key] for key in ("items", "difference", "ci95", "lost", "gained")}
    entry |= {"not_compared": {"x": text}, "subgroups": {"fp8": {text: part}}}
    variants = {name: {"source": text, "baseline": v["baseline"]} for name, v in results["variants"].items()}
    outcome = {"variants": variants, "benchmarks": {text: entry}, "only_in_candidates": {text: [text]}}
    shown = printed(lambda made, console: comparison.show(made, whole, console), typed_as(Outcome, outcome))
    assert is_plain(shown)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_markdown_has_no_link_picture_or_html_from_outside(found: Any, text: str) -> None:
    results = typed(poisoned(found, text))
    for document in (markdown.render(results), markdown.summary(results), markdown.render(results, "zh")):
        assert is_plain(document)
        tokens = MarkdownIt("commonmark").enable(["table", "strikethrough"]).parse(document)
        inner = [child for token in tokens for child in token.children or []]
        kinds = {token.type for token in [*tokens, *inner]}
        assert not kinds & {"html_block", "html_inline", "link_open", "image", "fence", "code_block"}
    for picture in plots.draw(results).values():
        assert is_plain(picture)
        assert not re.search(r"<(?!/?(svg|text|title|rect|line|path)\b)", picture)


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_a_filled_table_keeps_its_lines(found: Any, text: str) -> None:
    results = json.loads(json.dumps(found))
    results["benchmarks"]["gpqa_diamond"] = {"status": "not_run", "reason": text, "margin": 0.05}
    document = "| | NVFP4 | FP8 | BF16 | notes |\n|-|-|-|-|-|\n| MATH-500 | | | | |\n| GPQA Diamond | | | | |\nend\n"
    once = filling.fill(document, typed(results))
    assert is_plain(once.text)
    assert once.text.count("\n") == document.count("\n")
    assert filling.fill(once.text, typed(results)).text == once.text
    assert once.text.count("<!-- bitparity -->") == once.text.count("<!-- /bitparity -->") == 2


@given(st.text(st.characters(exclude_categories=()), max_size=200))
@settings(max_examples=200)
def test_any_text_is_plain_once_it_is_cleaned(text: str) -> None:
    assert all(is_plain(each.replace("\t", "")) for each in (shortened(text), markdown.escaped(text)))


def test_ids_and_errors_reach_the_terminal_as_text(cli: Cli, tmp_path: Path) -> None:
    """The item ids of a data set, in what `grade`, `report` and error messages print."""
    escape = "\x1b[2J\x1b]0;pwned\x07"
    rows = [row | {"unique_id": f"{escape}{n}"} for n, row in enumerate(math_rows(6))]
    data = write_jsonl(tmp_path / "math.jsonl", rows)
    said = [row | {"item": f"{escape}{n}"} for n, row in enumerate(answers(6, [1]))]
    for name in ("bf16", "fp8"):
        write_jsonl(tmp_path / f"{name}.jsonl", said)
    variants = {name: {"model": f"{name}.jsonl", "baseline": name == "bf16"} for name in ("bf16", "fp8")}
    study = {"study": "toy", "variants": variants, "engine": {"kind": "replay"}}
    path = write_yaml(tmp_path / "study.yaml", study | {"benchmarks": [{"name": "math500", "data": data.name}]})
    grades = tmp_path / "run" / "grades" / "fp8" / "math500.jsonl"
    outs = [cli("run", path, "--out", tmp_path / "run")]
    grades.write_text(grades.read_text().replace('"score":1.0', '"score":0.0').replace('"score": 1.0', '"score": 0.0'))
    stamp_grades(tmp_path / "run")
    outs += [cli("grade", tmp_path / "run"), cli("report", tmp_path / "run"), cli("check", tmp_path / "run")]
    outs += [cli("report", tmp_path / f"{escape}nowhere"), cli("run", tmp_path / f"{escape}no.yaml")]
    assert "fp8 math500: 5 changed" in outs[1].out
    for ended in outs:
        assert "\x1b" not in ended.out + ended.err
        assert "\x07" not in ended.out + ended.err
