from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_results import results as typed
from support import Cli
from test_words import compared

from bitparity.report import filling
from bitparity.report.filling import Filled
from bitparity.report.words import score


def measured(scores: dict[str, float], compare: dict[str, dict[str, Any]], **more: Any) -> dict[str, Any]:
    shown = {
        name: {"mean": mean, "ci95": [mean - 0.02, mean + 0.02], "unscored": 0, "cut_off": 0.0, "no_answer": 0.0}
        for name, mean in scores.items()
    }
    return {
        "status": "measured",
        "items": 500,
        "available": 500,
        "samples": 1,
        "margin": 0.02,
        "scores": shown,
        "comparisons": compare,
        "guards": [],
    } | more


def fill(document: str, results: dict[str, Any]) -> Filled:
    return filling.fill(document, typed(results))


def shown(results: dict[str, Any], benchmark: str, variant: str) -> str:
    return score(typed(results).benchmarks[benchmark].scores[variant], "zh")


@pytest.fixture(name="results")
def made_results() -> dict[str, Any]:
    """A run of three variants: one benchmark measured, one with an invalid verdict, one that was not run."""
    return made()


def made() -> dict[str, Any]:
    loss = compared("worse_beyond_margin", -0.05, (-0.07, -0.03), True)
    same = compared("equivalent", 0.001, (-0.005, 0.006))
    invalid = compared("invalid", -0.01, (-0.05, 0.03)) | {"invalid_by": ["cut_off", "cut_off"]}
    means = {"bf16": 0.85, "fp8": 0.851, "nvfp4": 0.8}
    return {
        "study": {"name": "qwen", "fingerprint": "f", "profile": "default", "limit": {}},
        "variants": {
            "bf16": {"model": "Qwen/Qwen3-32B", "baseline": True},
            "fp8": {"model": "Qwen/Qwen3-32B-FP8", "baseline": False},
            "nvfp4": {"model": "RedHatAI/Qwen3-32B-NVFP4", "baseline": False},
        },
        "benchmarks": {
            "math500": measured(means, {"fp8": same, "nvfp4": loss}),
            "mmlu_pro": measured(means, {"fp8": invalid, "nvfp4": invalid}, available=12032),
            "gpqa_diamond": {"status": "not_run", "reason": "gated | no access", "margin": 0.05},
        },
        "overall": {},
    }


CHINESE = """\
\ufeff# 结果\r
\r
前文 | 不是表格\r
\r
| 维度 | 指标 | NVFP4 | FP8 | BF16 | 备注 |\r
|:-----|:----:|------:|-----|------|------|\r
| 知识 | **MMLU Pro** |       |  |  | 重点 |  \r
| 知识 | [GPQA Diamond](https://x.y/a\\|b) |  |  |  |  |\r
| 数学 | ＭＡＴＨ－５００ |                              | 旧 | 旧 |  |\r
| 数学 | AIME 2024 |  |  |  |  |\r
| 其他 | 平均 | 1 | 2 | 3 | 自己的 |\r
\r
```\r
| 指标 | NVFP4 |\r
|---|---|\r
| MATH-500 |  |\r
```\r
尾\r
"""


def rows(text: str) -> dict[str, list[str]]:
    found = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if len(cells) == 6:
            found[cells[1]] = cells[2:]
    return found


def test_a_chinese_table_is_filled(results: dict[str, Any]) -> None:
    filled = fill(CHINESE, results)
    found = rows(filled.text)
    assert found["ＭＡＴＨ－５００"][:3] == [shown(results, "math500", name) for name in ("nvfp4", "fp8", "bf16")]
    assert found["ＭＡＴＨ－５００"][0] == "80.0%（78.0 至 82.0）"
    note = found["ＭＡＴＨ－５００"][3]
    assert "nvfp4：损失 5.0 个百分点（3.0 至 7.0），超出 2 个百分点的界值" in note
    assert "fp8：损失不超过 2 个百分点" in note
    knowledge = found["**MMLU Pro**"]
    assert knowledge[2] == "85.0%（83.0 至 87.0）"
    assert knowledge[3].startswith("重点 <!-- bitparity -->仅测 12032 题中的 500 题；")
    assert "结论无效（截断）" in knowledge[3]
    gated = found["[GPQA Diamond](https://x.y/a\\|b)"]
    assert gated[:3] == ["N/A"] * 3
    assert "未运行：gated \\| no access" in gated[3]
    assert found["AIME 2024"][:3] == ["N/A"] * 3
    assert "不在本次研究之内" in found["AIME 2024"][3]
    assert found["平均"] == ["1", "2", "3", "自己的"]
    assert any("'其他 | 平均' is left: it names no benchmark" in line for line in filled.messages)


def test_everything_else_stays_byte_for_byte(results: dict[str, Any]) -> None:
    before, after = CHINESE.split("\r\n"), fill(CHINESE, results).text.split("\r\n")
    assert len(before) == len(after)
    changed = [n for n, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]
    assert changed == [6, 7, 8, 9]
    for n in changed:
        old, new = (re.split(r"(?<!\\)\|", line) for line in (before[n], after[n]))
        assert (old[:3], old[-1]) == (new[:3], new[-1])


def test_filling_again_changes_nothing_and_new_results_replace_the_old(results: dict[str, Any]) -> None:
    once = fill(CHINESE, results).text
    assert fill(once, results).text == once
    entry = results["benchmarks"]["math500"]
    entry["scores"]["nvfp4"]["mean"], entry["scores"]["nvfp4"]["ci95"] = 0.9, [0.88, 0.92]
    entry["comparisons"]["nvfp4"] = compared("non_inferior", 0.05, (0.03, 0.07))
    again = fill(once, results).text
    found = rows(again)["ＭＡＴＨ－５００"]
    assert found[0] == "90.0%（88.0 至 92.0）"
    assert "nvfp4：损失不超过 2 个百分点" in found[3]
    assert "5.0" not in found[3]
    assert found[3].count("<!-- bitparity -->") == 1
    assert rows(again)["**MMLU Pro**"][3].startswith("重点 <!--")


HEADERS = ["NVFP4", "**FP8**", "BF16", "备注", "指标", "Δ", "", "FP8 延迟", "control"]
LABELS = ["MMLU Pro", "MATH-500", "AIME 2025", "平均", "", "[GPQA Diamond](x)", "a \\| b", "1.0", "`HLE`"]
SPACE = st.sampled_from(["", " ", "   "])


@st.composite
def tables(draw: st.DrawFn) -> str:
    """A table with any columns and rows, short and long ones, with and without outer pipes."""

    def line(cells: list[str]) -> str:
        inner = "|".join(draw(SPACE) + cell + draw(SPACE) for cell in cells)
        return draw(st.sampled_from(["|", "| ", ""])) + inner + draw(st.sampled_from(["|", "|\t", "", " "]))

    header = draw(st.lists(st.sampled_from(HEADERS), min_size=1, max_size=6))
    rows = draw(st.lists(st.lists(st.sampled_from(LABELS), max_size=7), max_size=4))
    lines = [line(header), "|" + "---|" * len(header), *map(line, rows)]
    return draw(st.sampled_from(["\n", "\r\n"])).join(
        [draw(st.sampled_from(["", "\ufeff", "x"])), "", *lines, "", "end"]
    )


@given(tables())
@settings(max_examples=60)
def test_any_table_keeps_its_lines_and_is_the_same_when_filled_again(document: str) -> None:
    filled = fill(document, made())
    assert fill(filled.text, made()).text == filled.text
    assert re.findall("\r?\n", filled.text) == re.findall("\r?\n", document)
    assert filled.cells or filled.text == document


def test_order_and_number_of_columns_and_rows_do_not_matter(results: dict[str, Any]) -> None:
    text = "| Remark | BF16 | note on speed | Benchmark | fp-8 |\n|-|-|-|-|-|\n| mine | | | MATH 500 | | extra |\n"
    filled = fill(text, results)
    line = filled.text.splitlines()[2]
    assert line.startswith("| mine <!-- bitparity -->fp8: no loss larger than 2 points<!-- /bitparity --> | 85.0 % (")
    assert line.endswith("| | MATH 500 | 85.1 % (83.1 to 87.1) | extra |")
    assert any("no column for nvfp4" in message for message in filled.messages)
    assert any("no row for mmlu_pro, gpqa_diamond" in message for message in filled.messages)


def test_without_a_notes_column_the_cell_says_what_must_be_known(results: dict[str, Any]) -> None:
    results["benchmarks"]["math500"]["scores"]["nvfp4"]["unscored"] = 7
    text = "| benchmark | NVFP4 | BF16 |\n|---|---|---|\n| MMLU Pro | | |\n| MATH-500 | | |\n| GPQA Diamond | | |\n"
    lines = fill(text, results).text.splitlines()
    assert "80.0 % (78.0 to 82.0); 500 of 12032 items only; nvfp4: no valid verdict (cut off)" in lines[2]
    assert "nvfp4: 7 samples unscored" in lines[3]
    assert "N/A; not run: gated \\| no access" in lines[4]


def test_a_data_set_that_is_not_whole_is_said(results: dict[str, Any]) -> None:
    results["benchmarks"]["math500"]["guards"] = [{"name": "fewer_items", "level": "warning", "variant": None}]
    text = "| 指标 | NVFP4 |\n|---|---|\n| MATH-500 | |\n"
    assert "80.0%（78.0 至 82.0）；数据集不完整" in fill(text, results).text


def test_another_studys_figures_stay(results: dict[str, Any]) -> None:
    text = "| 指标 | NVFP4 | 备注 |\n|---|---|---|\n| AIME 2024 | 70.1 | <!-- bitparity -->x<!-- /bitparity --> |\n"
    filled = fill(text + "| MATH-500 | | |\n", results)
    assert filled.text.startswith(text)


def test_a_table_can_be_kept_for_one_study(results: dict[str, Any]) -> None:
    table = "| 指标 | NVFP4 |\n|---|---|\n| MATH-500 | |\n"
    text = f"<!-- bitparity: other -->\n\n{table}\n<!-- bitparity: qwen -->\n{table}"
    filled = fill(text, results)
    assert filled.text.startswith(f"<!-- bitparity: other -->\n\n{table}")
    assert filled.text.count("80.0%") == 1
    assert any("kept for study 'other'" in message for message in filled.messages)


def test_a_reason_cannot_break_out_of_its_cell(results: dict[str, Any]) -> None:
    results["benchmarks"]["gpqa_diamond"]["reason"] = "a | b\n<!-- /bitparity --><script>"
    text = "| 指标 | NVFP4 | 备注 |\n|---|---|---|\n| GPQA Diamond | | |\n"
    once = fill(text, results).text
    assert len(once.splitlines()) == 3
    assert "<script" not in once.replace("\\<", "")
    assert fill(once, results).text == once


def test_report_fills_a_document(cli: Cli, run: Path, tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_bytes(b"| | NVFP4 | FP8 | BF16 |\r\n|-|-|-|-|\r\n| MATH-500 | | | |\r\n| AIME 2025 | | | |\r\n")
    path.chmod(0o640)
    link = tmp_path / "link.md"
    link.symlink_to(path)
    ended = cli("report", run, "--fill", link)
    assert ended.code == 0
    assert "row 'AIME 2025' is left" in " ".join(ended.out.split())
    filled = path.read_bytes()
    report = (run / "report.md").read_text()
    shown = re.findall(rb"\d+\.\d % \(\d+\.\d to \d+\.\d\)", filled)
    assert len(shown) == 3
    assert all(each.decode() in report for each in shown)
    assert link.is_symlink()
    assert path.stat().st_mode & 0o777 == 0o640
    changed = path.stat().st_mtime_ns
    cli("report", run, "--fill", path)
    assert path.read_bytes() == filled
    assert path.stat().st_mtime_ns == changed
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"no table here\n", "has no table to fill"),
        (b"| a | INT4 |\n|---|---|\n| MATH-500 | |\n", "has no table to fill"),
        (b"| a | FP8 |\n|---|---|\n| other | |\n", "no row of this table names a benchmark"),
        ("| 指标 | FP8 |".encode("gbk"), "is not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_a_document_that_cannot_be_filled(
    results: dict[str, Any], tmp_path: Path, content: bytes | None, said: str
) -> None:
    path = tmp_path / "doc.md"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(filling.UserInputError, match=said):
        filling.write(path, typed(results))
    assert content is None or path.read_bytes() == content


VARIANT_HEADERS = {
    "NVFP4": "nvfp4",
    "**FP8**": "fp8",
    "BF16（基线）": "bf16",
    "Qwen3-32B-FP8": "fp8",
    "`bf16` (基线)": "bf16",
}
OTHER_HEADERS = ["维度", "FP8 延迟", "Δ", "备注", "INT4", "NVFP4 − BF16", ""]
ROW_LABELS = {
    "MATH-500": "math500",
    "ＭＡＴＨ－５００": "math500",
    "**MMLU Pro**": "mmlu_pro",
    "[MMLU-Pro](https://x.y)": "mmlu_pro",
}
OTHER_LABELS = ["AIME 2025", "平均", "HumanEval+", "MATH-500 latency", "a \\| b"]


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, list[list[str]], list[str]]:
    """A document with a table of columns and rows in any order, and what it holds: the cells, the header."""
    columns = draw(st.lists(st.sampled_from([*VARIANT_HEADERS, *OTHER_HEADERS]), min_size=1, max_size=6, unique=True))
    header = draw(st.permutations(["指标", *columns]))
    labels = draw(st.lists(st.sampled_from([*ROW_LABELS, *OTHER_LABELS]), min_size=1, max_size=6))
    held = st.sampled_from(["", "旧", "1.0", "x \\| y", "  "])
    rows = [[label if name == "指标" else draw(held) for name in header] for label in labels]
    aligned = [draw(st.sampled_from(["---", ":--", "--:", ":-:"])) for _ in header]
    end = draw(st.sampled_from(["\n", "\r\n"]))
    before, after = (
        draw(st.sampled_from(["", "# 标题\n\n前文 | 不是表\n\n", "- a\n\n"])),
        draw(st.sampled_from(["", "\n后文\n"])),
    )
    lines = ["| " + " | ".join(cells) + " |" for cells in (header, aligned, *rows)]
    return (before + "\n".join([*lines, ""]) + after).replace("\n", end), rows, list(header)


@given(documents())
@settings(max_examples=150)
def test_every_cell_of_a_variant_and_a_benchmark_is_filled_and_no_other(
    made_up: tuple[str, list[list[str]], list[str]],
) -> None:
    document, rows, header = made_up
    results = made()
    filled = fill(document, results)
    before, after = (re.split("(\r?\n)", text) for text in (document, filled.text))
    assert len(before) == len(after)
    first = next(n for n, line in enumerate(before) if "指标" in line)
    assert [line for n, line in enumerate(after) if n <= first + 2 or n > first + 2 + 2 * len(rows)] == [
        line for n, line in enumerate(before) if n <= first + 2 or n > first + 2 + 2 * len(rows)
    ]
    named = {name: column for column, name in enumerate(header)}
    twice = {v for v in VARIANT_HEADERS.values() if sum(VARIANT_HEADERS.get(name) == v for name in header) > 1}
    for number, row in enumerate(rows):
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", after[first + 4 + 2 * number])[1:-1]]
        benchmark = ROW_LABELS.get(row[named["指标"]])
        for column, (name, cell) in enumerate(zip(header, cells, strict=True)):
            variant = VARIANT_HEADERS.get(name)
            if benchmark and variant in twice:
                continue
            if benchmark and variant:
                expected = shown(results, benchmark, variant)
                assert cell == expected or cell.startswith(f"{expected}；")
            elif name != "备注":
                assert cell == row[column].strip()
    assert fill(filled.text, results).text == filled.text
