"""report.html without a browser: nothing from outside becomes markup, figures as everywhere, gated data, size."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Iterable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from html_support import HOSTILE, finished, gpqa_study, hostile_run, made_book, page
from hypothesis import given
from hypothesis import strategies as st
from made_results import results as typed
from made_results import typed as typed_as
from support import Cli, replay_study, stamp_grades, write_jsonl

from bitparity.report import html, language, markdown, words
from bitparity.report.gated import is_gated
from bitparity.report.headline import headlines
from bitparity.report.html import book as books
from bitparity.report.html import svg
from bitparity.report.html.book import Book, Packed, collect, cut, pack
from bitparity.report.html.page import json_in_script, length_rows, length_scale, length_ticks, render
from bitparity.report.plain import clean, flat
from bitparity.results.schema import Comparison, Results
from bitparity.store.run import Run

EMPTY = Book((), 0, (), (), (), {})


class Seen(HTMLParser):
    """What a browser would make of a page: tags with their attributes, and the text outside scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.blocks: dict[str, str] = {}
        self.rows: list[list[str]] = []  # the cells of each table row
        self._cell = False
        self._inside: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.text += " " if tag in ("td", "th") else ""
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._cell = True
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(dict(attrs).get("id") or tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._inside.pop()
        if tag in ("td", "th"):
            self._cell = False
            self.rows[-1][-1] = " ".join(self.rows[-1][-1].split())

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.blocks[self._inside[-1]] = self.blocks.get(self._inside[-1], "") + data
        else:
            self.text += data
            if self._cell:
                self.rows[-1][-1] += f" {data}"

    def words(self) -> str:
        return " ".join(self.text.split())


def unpacked(data: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(data)))


def index(seen: Seen) -> dict[str, Any]:
    found: dict[str, Any] = unpacked(seen.blocks["book-index"])
    return found


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Results, Seen]:
    folder = tmp_path_factory.mktemp("toy")
    wrong = {"bf16": [1], "fp8": [1, 2], "nvfp4": [2, 3, 4, 5, 6, 7]}
    run, found = finished(replay_study(folder, 40, wrong), folder / "run")
    html.write(run, found)
    return run, found, Seen(page(run))


# ---------------------------------------------------------------- text from outside


@given(st.text(st.characters(exclude_categories=())))
def test_cleaned_text_steers_nothing(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode("utf-8")
    assert not any((ord(c) < 32 and c not in "\n\t") or 0x7F <= ord(c) < 0xA0 for c in cleaned)
    assert not set(cleaned) & set("\u202a\u202e\u2066\u200b\ufeff")
    assert clean(cleaned) == cleaned


def test_what_is_cleaned_away_stays_visible() -> None:
    assert clean("\x1b[31mred\x07\x00 a\r\nb\ud800\u202e") == "␛[31mred␇␀ a\nb��"


@given(st.recursive(st.text() | st.integers() | st.none(), lambda v: st.lists(v) | st.dictionaries(st.text(), v)))
def test_json_inside_a_script_cannot_end_it(value: Any) -> None:
    text = json_in_script(value)
    assert not set(text) & set("<>&")
    assert json.loads(text) == value


def test_nothing_from_outside_becomes_markup(tmp_path: Path) -> None:
    seen = Seen(page(hostile_run(tmp_path)))
    names = {tag for tag, _ in seen.tags}
    assert not names & {"img", "iframe", "object", "embed", "form", "base", "video", "audio"}
    scripts = [attributes for tag, attributes in seen.tags if tag == "script"]
    assert [s.get("type") for s in scripts] == ["application/json", "text/plain", "text/plain", None]
    assert sum(tag == "style" for tag, _ in seen.tags) == 1
    for _, attributes in seen.tags:
        assert not any(name.startswith("on") or name in ("src", "style", "srcdoc") for name in attributes)
        assert (attributes.get("href") or "#").startswith(("#", "data:,"))
    assert HOSTILE in seen.words()
    assert "{{7*7}}" in seen.words()
    assert "\x1b" not in page(Run(tmp_path / "run"))


def test_the_policy_allows_this_script_and_this_style_and_no_request(toy: tuple[Run, Results, Seen]) -> None:
    import hashlib

    seen = toy[2]
    policy = next(a["content"] for t, a in seen.tags if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    for rule, block in (("script-src", "script"), ("style-src", "style")):
        digest = base64.b64encode(hashlib.sha256(seen.blocks[block].encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"
    assert "http://" not in page(toy[0])
    assert "https://" not in page(toy[0])


# ---------------------------------------------------------------- figures


def expected_rows(found: Results) -> Iterable[list[str]]:
    """The table rows that results.json asks for, in words."""
    for bench, entry in found.benchmarks.items():
        for name, score in entry.scores.items():
            cut_off, no_answer = language.percent(score.cut_off), language.percent(score.no_answer)
            yield [name, "", f"cut off {cut_off}", "", f"no answer {no_answer}", f"unscored {score.unscored}"]
        for name, c in entry.comparisons.items():
            points, bounds, verdict = language.points(c.difference), language.interval(c.ci95), words.verdict_words(c)
            lost, gained = str(c.lost), str(c.gained)
            tests = [language.p_value(c.p_value), language.p_value(c.p_adjusted), language.percent(c.recovery)]
            figures = [points, bounds, f"{lost} / {gained}", *tests, language.margin(entry.margin), verdict]
            yield [bench, name, str(c.items), *figures]
            yield [name, "", f"{points} ({bounds})", verdict]
            yield [name, lost, "", gained, language.percent(c.flips)]
        for name, group in entry.subgroups.items():
            yield [name, str(group.items), "", *map(language.percent, group.means.values())]
        for metric in next(iter(entry.scores.values())).metrics:
            label = f"{metric} primary" if metric == entry.metric else metric
            yield [bench, label, *(language.percent(score.metrics[metric]) for score in entry.scores.values())]


def test_the_figures_are_those_of_results_in_the_same_words(toy: tuple[Run, Results, Seen]) -> None:
    _, found, seen = toy
    assert [row for row in expected_rows(found) if row not in seen.rows] == []
    entry = found.benchmarks["math500"]
    cells = next(row for row in seen.rows if row[0].startswith("math500 40 items, margin "))
    assert language.margin(entry.margin) in cells[0]
    for name, cell in zip(found.variants, cells[1:], strict=True):
        said = [name, words.score(entry.scores[name])]
        if name in entry.comparisons:
            c = entry.comparisons[name]
            said += [f"{language.points(c.difference)} ({language.interval(c.ci95)})", words.verdict_words(c)]
        assert cell.startswith(" ".join(said))
    sentences = [said for block in headlines(found) for said in (block.decision, *block.rest)]
    for sentence in (words.noise(found), *sentences):
        assert sentence in seen.words()
    assert all(" ".join(guard.message.split()) in seen.words() for guard in entry.guards)


def test_a_plot_draws_what_the_table_says() -> None:
    comparison = {
        "difference": -0.03, "ci95": [-0.05, -0.01], "loss_shown": True, "verdict": "inconclusive", "control": False,
        "lost": 5, "gained": 2, "items": 100,
    }  # fmt: skip
    plot = svg.plot("interval_row", typed_as(Comparison, comparison), 0.02, svg.Scale(-0.1, 0.1))
    assert 'x1="25%" x2="45%"' in plot  # the interval
    assert 'x="40%" width="20%"' in plot  # the margin
    assert 'x="35%"' in plot  # the difference
    control = typed_as(Comparison, {"lost": 1, "gained": 3, "items": 100})
    bars = svg.plot("flips_row", typed_as(Comparison, comparison), control, 0.1)
    assert 'x="25%" width="25%"' in bars
    assert 'x="50%" width="10%"' in bars
    assert 'x1="45%"' in bars  # the control's losses
    assert 'x1="65%"' in bars


@given(st.floats(-1, 1), st.floats(1e-4, 1))
def test_ticks_are_few_and_inside(low: float, span: float) -> None:
    found = svg.ticks(svg.Scale(low, low + span))
    assert 1 <= len(found) <= 7
    assert all(low - 1e-6 <= tick <= low + span + 1e-6 for tick in found)


def test_flips_of_the_browser_are_those_of_the_results(toy: tuple[Run, Results, Seen]) -> None:
    _, found, seen = toy
    browser = index(seen)
    for (variant, _), codes in zip(browser["compared"], browser["changes"], strict=True):
        comparison = found.benchmarks["math500"].comparisons[browser["variants"][variant]]
        assert (codes.count("0"), codes.count("1")) == (comparison.lost, comparison.gained)


def test_flips_of_several_samples_count_items(tmp_path: Path) -> None:
    right = {"bf16": (2, 3, 1, 0, 2), "fp8": (1, 3, 2, 0, 2)}
    said = {
        name: {n: [k < share for k in range(3)] for n, share in enumerate(shares)} for name, shares in right.items()
    }
    run, found = finished(gpqa_study(tmp_path, said), tmp_path / "run")
    book = collect(run, found, "nothing")
    kinds = [books.CHANGES[entry.changes[0]] for entry in sorted(book.entries, key=lambda entry: entry.id)]
    assert kinds == ["lost", "both_right", "gained", "both_wrong", "both_right"]
    comparison = found.benchmarks["gpqa_diamond"].comparisons["fp8"]
    assert (comparison.lost, comparison.gained) == (1, 1)
    first = next(entry for entry in book.entries if entry.id == "rec0")
    assert first.short == (language.percent(2 / 3), language.percent(1 / 3))
    assert len(first.questions) == len(first.references) == 3  # each sample has its own order of the options
    assert [answer[3] for answer in first.answers[0]] == ["1", "1", "0"]


def test_speed_is_shown_where_it_was_measured_and_never_for_recordings(toy: tuple[Run, Results, Seen]) -> None:
    run, found, seen = toy
    assert "Accuracy against speed" not in seen.words()
    document = found.document()
    for name, seconds, size in (("bf16", 2.0, 1_000_000_000), ("fp8", 1.0, 500_000_000), ("nvfp4", 0.5, 300_000_000)):
        variant = document["variants"][name]
        variant["engine"] = {"engine": "vllm", "version": "1"}
        variant["identity"] = {"weights": {"bytes": size}}
        variant["generation"] = {"seconds": seconds, "samples": 40, "output_tokens": 3000}
    measured = typed(document)
    text = Seen(render(measured, collect(run, found, "gated"), Packed("", [], 0)))
    row = ["fp8", "output tokens a second 3,000 2.00 ×", "", "weights, GB 0.50 0.50 ×"]
    assert row in [cells[:4] for cells in text.rows]
    speeds, sizes = (
        "2.00 × the baseline's speed (3,000 output tokens a second against 1,500)",
        "0.50 × the size of its weights (0.50 against 1.00 GB)",
    )
    gain = f"{speeds}, {sizes}."
    assert gain in text.words()
    report = markdown.render(measured)
    assert "| fp8 | 3,000 | 2.00 | 0.50 | 0.50 |" in report
    assert gain in report
    chinese = (
        "速度为基线的 2.00 倍（每秒输出 token 数 3,000，基线 1,500），权重大小为基线的 0.50 倍（0.50，基线 1.00 GB）。"
    )
    assert chinese in markdown.render(measured, "zh")
    assert "tokens a second" not in markdown.render(found)


@given(st.lists(st.integers(1, 200_000), min_size=1))
def test_ticks_of_lengths_are_round_few_and_inside(tokens: list[int]) -> None:
    on = length_scale({"a": tokens, "b": []})
    found = length_ticks(on)
    assert len(found) <= 6
    assert all(min(tokens) <= tick <= max(*tokens, min(tokens) + 1) for tick in found)
    is_round = [str(tick).rstrip("0") in ("1", "2", "3", "5") for tick in found]
    assert all(is_round) or len(found) == 2  # the ends, where no two round numbers lie between them
    assert len(found) > 1


def test_lengths_are_counted_on_one_scale() -> None:
    rows = length_rows({"a": [10, 20, 30, 1000], "b": [10, 10, 10], "c": []})
    assert set(rows) == {"a", "b"}
    assert sum(rows["a"].bins) == 4
    assert rows["b"].bins[0] == 3
    assert (rows["a"].median, rows["a"].longest) == ("25", "1,000")


# ---------------------------------------------------------------- what stands in the page


def test_a_benchmark_that_was_not_run_says_why(toy: tuple[Run, Results, Seen]) -> None:
    found = toy[1].document()
    added = {"status": "not_run", "reason": "the data set is gated", "margin": 0.05}
    more = {**found, "benchmarks": {**found["benchmarks"], "aime24": added}}
    assert "aime24 N/A reason: the data set is gated" in Seen(render(typed(more), EMPTY, Packed("", [], 0))).words()
    nothing = {**found, "benchmarks": {"math500": added}, "overall": {}}
    seen = Seen(render(typed(nothing), EMPTY, Packed("", [], 0)))
    assert "math500 N/A reason: the data set is gated" in seen.words()
    assert "book-index" not in seen.blocks
    alone = {**nothing, "variants": {"bf16": found["variants"]["bf16"]}}
    seen = Seen(render(typed(alone), EMPTY, Packed("", [], 0)))
    assert "One variant only" in seen.words()
    assert words.noise(toy[1]) not in seen.words()


def test_the_browser_holds_texts_answers_and_the_failed_test(toy: tuple[Run, Results, Seen], tmp_path: Path) -> None:
    shutil.copytree(toy[0].path, tmp_path / "run")
    run = Run(tmp_path / "run")
    grades = run.grades_path("nvfp4", "math500")
    rows = [json.loads(line) for line in grades.read_text().splitlines()]
    wrong = next(row for row in rows if row.get("item") == "test/sums/2.json")
    wrong["details"] = {"verdict": "wrong_answer", "tests": 12, "failed_test": 3}
    grades.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stamp_grades(run.path)
    html.write(run, toy[1])
    seen = Seen(page(run))
    browser, texts = index(seen), unpacked(seen.blocks["book-0"])
    place = browser["id"].index("test/sums/2.json")
    assert [codes[place] for codes in browser["changes"]] == [str(books.LOST), str(books.LOST)]
    (question,), (reference,), (ours, _, theirs) = texts[place]
    assert "What is 2 + 2?" in question
    assert reference == "4"
    assert (ours[0][1], ours[0][3], theirs[0][1], theirs[0][3]) == ("4", "1", "5", "0")
    assert theirs[0][0] == "We add. The answer is \\boxed{5}."
    assert ["failed_test", "3"] in theirs[0][6]


def test_the_command_writes_the_page_in_both_languages(
    cli: Cli, toy: tuple[Run, Results, Seen], tmp_path: Path
) -> None:
    first = page(toy[0])
    shutil.copytree(toy[0].path, tmp_path / "run")
    assert "report.html" in cli("report", tmp_path / "run").out
    assert page(Run(tmp_path / "run")) == first  # nothing of the clock or of chance in it
    cli("report", tmp_path / "run", "--lang", "zh")
    assert page(Run(tmp_path / "run")) == first
    seen = Seen((tmp_path / "run" / "report.zh.html").read_text(encoding="utf-8"))
    assert ("html", {"lang": "zh-Hans"}) in seen.tags
    for name in toy[1].candidates:
        block = next(each for each in headlines(toy[1], "zh") if each.name == name)
        assert all(said in seen.text for said in (block.decision, *block.rest))


# ---------------------------------------------------------------- gated data


def test_gated_questions_stay_out_unless_asked_for(cli: Cli, tmp_path: Path) -> None:
    study = gpqa_study(tmp_path, {"bf16": {n: [True] for n in range(6)}, "fp8": {n: [n > 1] for n in range(6)}})
    run, _ = finished(study, tmp_path / "run")
    cli("report", run.path)
    seen = Seen(page(run))
    everything = seen.text + json.dumps([unpacked(seen.blocks[b]) for b in ("book-index", "book-0")])
    assert not any(secret in everything for secret in ("Secret", "truth", "lie "))
    assert sorted(index(seen)["id"]) == [f"rec{n}" for n in range(6)]
    assert set(index(seen)["short"][0]) <= set("ABCD")
    cli("report", run.path, "--include-gated")
    seen = Seen(page(run))
    assert "Secret question 1?" in json.dumps([unpacked(seen.blocks[b]) for b in ("book-index", "book-0")])


def test_a_page_without_answers_has_no_text_of_questions_references_or_completions(cli: Cli, tmp_path: Path) -> None:
    """The secrets stand in questions, options, references, completions, a grader's details and an engine's error."""
    study = gpqa_study(tmp_path, {"bf16": {n: [True] for n in range(6)}, "fp8": {n: [n > 1] for n in range(6)}})
    rows = [json.loads(line) for line in (tmp_path / "fp8.jsonl").read_text().splitlines()]
    rows[5] |= {"text": "", "finish": "error", "error": "HTTP 500: Secret prompt"}
    write_jsonl(tmp_path / "fp8.jsonl", rows)
    run, _ = finished(study, tmp_path / "run")
    environment = json.loads((run.path / "environment.json").read_text())
    restart = {"at": "2026-11-29T00:00:00Z", "reason": "Secret thoughts broke it", "lowered": {}}
    environment["variants"]["fp8"]["restarts"] = [restart]
    (run.path / "environment.json").write_text(json.dumps(environment))
    assert cli("report", run.path).code == 0
    assert (run.path / "results.json").read_text().count("Secret") == 2
    before = set(run.path.rglob("*"))
    ended = cli("report", run.path, "--without-answers", "--fill", write_table(tmp_path / "table.md"))
    made = ("results.json", "report.md", "report.html", "differences.svg", "scores.svg")
    written = [path for path in run.path.rglob("*") if path not in before or path.name in made]
    assert {path.name for path in written} >= {"results.json", "report.md", "report.html", "differences.svg"}
    seen = Seen(page(run))
    texts = [path.read_text(encoding="utf-8") for path in [*written, tmp_path / "table.md"] if path.is_file()]
    texts += [json.dumps(unpacked(block)) for name, block in seen.blocks.items() if name.startswith("book-")]
    secret = re.compile(r"Secret|truth \d|lie \d|The answer is|thoughts")
    assert [found for text in (*texts, ended.out) for found in secret.findall(text)] == []
    listed = index(seen)
    assert sorted(listed["id"]) == [f"rec{n}" for n in range(6)]  # ids, verdicts and flips stay
    assert listed["changes"][0].count("0") == 2
    assert sorted(listed["short"][1]) == ["", "0.0 %", "0.0 %", "100.0 %", "100.0 %", "100.0 %"]
    answers = [answer for item in unpacked(seen.blocks["book-0"]) for side in item[2] for answer in side]
    assert {tuple(answer[:2]) for answer in answers} == {(None, "")}
    assert {answer[3] for answer in answers} == {"0", "1", ""}


def write_table(path: Path) -> Path:
    path.write_text("| | FP8 | BF16 |\n|-|-|-|\n| GPQA Diamond | | |\n")
    return path


def test_texts_are_asked_in_or_out_but_not_both(cli: Cli, tmp_path: Path) -> None:
    ended = cli("report", tmp_path, "--include-gated", "--without-answers")
    assert (ended.code, ended.err.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("name", "tasks", "gated"),
    [
        ("gpqa_diamond", {}, True),
        ("math500", {}, False),
        ("lm_eval:gsm8k", {"gsm8k": {"dataset": "openai/gsm8k"}}, False),
        ("lm_eval:gpqa_diamond_zeroshot", {"gpqa_diamond_zeroshot": {"dataset": "json"}}, True),
        ("lm_eval:mine", {"mine": {"dataset": "Idavidrein/gpqa"}}, True),
        ("lm_eval:hle_text", {"hle_text": {"dataset": "json"}}, True),
        ("lm_eval:athletics", {"athletics": {"dataset": "json"}}, False),
    ],
)
def test_which_benchmarks_are_gated(name: str, tasks: dict[str, Any], gated: bool) -> None:
    assert is_gated(name, {"tasks": tasks}) is gated


# ---------------------------------------------------------------- size


@given(st.text(), st.integers(5, 60), st.integers(5, 60))
def test_a_cut_text_keeps_head_and_tail_and_counts_the_rest(text: str, first: int, second: int) -> None:
    once = cut(text, first)
    for kept, most in ((once, first), (cut(once, second), min(first, second))):
        if isinstance(kept, str):
            assert kept == text
        else:
            head, left_out, tail = kept
            assert len(head) + left_out + len(tail) == len(text)
            assert text.startswith(head)
            assert text.endswith(tail)
            assert len(head) + len(tail) <= most + 1


@pytest.mark.parametrize("limit", [4_000_000, 1_000_000, 300_000, 40_000, 3_000])
def test_a_page_never_grows_over_its_limit(limit: int) -> None:
    book = made_book(300, 3000)
    packed = pack(book, limit)
    assert packed.size <= limit
    kept = unpacked(packed.items)["changes"][0]
    assert len(kept) + packed.left_out == 300
    if packed.left_out and kept:  # flips are the last to go
        assert kept.count("0") + kept.count("1") == min(len(kept), 150)


def test_texts_of_flips_are_cut_last() -> None:
    packed = pack(made_book(300, 3000), 1_000_000)
    changes = unpacked(packed.items)["changes"][0]
    texts = [row for chunk in packed.chunks for row in unpacked(chunk)]
    kept = [
        sum(len(part) for part in (text if isinstance(text, list) else [text]) if isinstance(part, str))
        for text in (row[2][0][0][0] for row in texts)
    ]
    assert min(k for k, c in zip(kept, changes, strict=True) if c in "01") > max(
        k for k, c in zip(kept, changes, strict=True) if c not in "01"
    )


def test_the_whole_file_keeps_the_limit(
    toy: tuple[Run, Results, Seen], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, found, _ = toy
    shutil.copytree(run.path, tmp_path / "run")
    small = Run(tmp_path / "run")
    empty = len(render(found, collect(run, found, "gated"), Packed("", [], 40)).encode())
    monkeypatch.setattr(html, "LIMIT", empty + 10_000 + 2_000)
    html.write(small, found)
    assert (small.path / "report.html").stat().st_size <= empty + 12_000
    assert "items had no room in this file" in Seen(page(small)).words()


def test_facts_are_flat_and_bounded() -> None:
    rows = flat({"a": {"b": 1, "c": None}, "d": ["x", "y"], "e": [{"f": 2}], "g": "z" * 5000}, "top")
    assert rows[:3] == [("top.a.b", "1"), ("top.d", "x, y"), ("top.e.0.f", "2")]
    assert len(rows[3][1]) <= 1001
    assert flat({str(n): n for n in range(500)})[-1] == ("…", "380")
