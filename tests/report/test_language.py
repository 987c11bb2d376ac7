from __future__ import annotations

import ast
import re
import shutil
from collections.abc import Iterator, Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from made_results import results, typed
from support import Cli
from test_words import compared

import bitparity
from bitparity.benchmarks.contract import Source
from bitparity.benchmarks.dataset import _hub_error
from bitparity.doctor.rates import UNKNOWN
from bitparity.errors import GatedDataError, MissingDependencyError
from bitparity.progress import tasks
from bitparity.progress.events import Task, TaskProgress
from bitparity.report import words
from bitparity.report.language import (
    _NARROW,
    _WRITTEN,
    GUARDS,
    LANGUAGES,
    TEXTS,
    guard_message,
    load_words,
    reason,
    text,
)
from bitparity.report.markdown import render
from bitparity.results.guards.facts import MESSAGES, differences
from bitparity.results.schema import Comparison

SOURCE = Path(bitparity.__file__).parent
CHINESE = re.compile(r"[\u4e00-\u9fff]")


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


def written(template: str) -> dict[str, str]:
    """How a template wants each of its figures written, by the figure's name."""
    return {name: spec or "" for _, name, spec, _ in Formatter().parse(template) if name}


def figure(name: str, number: int) -> str:
    """A figure for a template: a number where it must be one."""
    return f"{number}7" if name in _NARROW and name != "free" else f"{number}7.{number} %"


@pytest.mark.parametrize("key", TEXTS)
def test_both_languages_hold_the_same_figures(key: str) -> None:
    english, chinese = TEXTS[key]
    assert not CHINESE.search(english)
    assert fields(english) - {"where"} <= fields(chinese)
    assert fields(chinese) <= fields(english)
    # and each figure is written in the same way, which is one that there is
    assert written(chinese).items() <= written(english).items()
    assert all(spec in _WRITTEN or format(1, spec.rpartition("*")[2]) for spec in written(english).values())


def test_every_guard_has_a_chinese_name() -> None:
    """Guards are named in the modules that raise them, as the first argument of `guard`, and in their messages."""
    found = set()
    for path in [*SOURCE.glob("results/guards/*.py"), *SOURCE.glob("compare/*guards.py")]:
        code = path.read_text(encoding="utf-8")
        found |= set(re.findall(r'\bguard\(\s*"(\w+)"', code))
        found |= set(re.findall(r'": "(\w+_difference)"', code)) | set(re.findall(r'"(\w+_differs)"', code))
    assert len(found) > 30
    assert found | set(MESSAGES) <= set(GUARDS)


TEMPLATES = [(guard, key) for guard, messages in MESSAGES.items() for key in messages]


@pytest.mark.parametrize(("guard", "key"), TEMPLATES)
def test_every_message_of_a_guard_is_there_in_chinese_with_its_figures(guard: str, key: str) -> None:
    template, chinese = MESSAGES[guard][key], GUARDS[guard][key]
    assert fields(template) == fields(chinese)
    assert chinese == "{note}" or CHINESE.search(chinese)
    figures = {name: figure(name, number) for number, name in enumerate(sorted(fields(template)))}
    message = template.format(**figures)
    found = guard_message(guard, message, "zh")
    if guard != "prompt":  # its figure is a sentence of a benchmark
        figures = {name: figure.replace(" %", "%") for name, figure in figures.items()}
    assert found == chinese.format(**figures)
    assert guard_message(guard, message) == message


def test_chinese_has_no_message_that_no_guard_says() -> None:
    assert set(GUARDS) == set(MESSAGES)
    assert all(set(GUARDS[name]) == {"title", *messages} for name, messages in MESSAGES.items())


def test_the_parts_of_a_message_are_in_chinese_too() -> None:
    message = MESSAGES["unscored"]["elsewhere"].format(
        unscored=3, expected=40, items="a, b", reason=MESSAGES["unscored"]["reason"].format(reason="timeout")
    )
    said = guard_message("unscored", message, "zh")
    assert said == "40 个样本中有 3 个没有得分，例如 a, b；它们不参与比较（最常见的原因：timeout）。"
    parts = MESSAGES["unproved"]
    both = f"{parts['tokens']}; {parts['no_usage']}"
    said = guard_message("unproved", parts["message"].format(said=both), "zh")
    assert f"{GUARDS['unproved']['tokens']}；{GUARDS['unproved']['no_usage']}" in said


REASONS = load_words("reasons.toml")


@pytest.mark.parametrize("key", REASONS)
def test_every_reason_is_one_that_the_code_makes(key: str) -> None:
    english, chinese = REASONS[key]
    assert fields(english) == fields(chinese)
    assert CHINESE.search(chinese) or english == ": {why}"
    code = "".join(
        path.read_text(encoding="utf-8") for path in (*SOURCE.rglob("*.py"), *SOURCE.glob("doctor/vllm.toml"))
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # texts that are written in several lines
    for literal, *_ in Formatter().parse(english):
        for part in literal.split("; "):
            assert part.strip(" :).") in code, part
    figures = {name: figure(name, number) for number, name in enumerate(sorted(fields(english)))}
    assert reason(english.format(**figures), "zh") == chinese.format(**figures)
    assert reason(english.format(**figures)) == english.format(**figures)


@pytest.mark.parametrize(
    "error",
    [
        GatedDataError("org/data"),
        MissingDependencyError("datasets", "hub", "reading org/data from the hub"),
        _hub_error(Source("org/data", "test", "main"), OSError("no route"), None),
        _hub_error(Source("org/data", "test", "main"), OSError("no route"), "ConnectError"),
        _hub_error(Source("org/data", "test", "main"), type("DatasetNotFoundError", (Exception,), {})(), None),
    ],
)
def test_an_error_that_leaves_a_benchmark_out_is_told_in_chinese(error: Exception) -> None:
    found = reason(str(error), "zh")
    assert CHINESE.search(found)
    assert "org/data" in found
    assert not re.search(r"\b(the|is|not|needs|give)\b", found)


def told_by_the_code() -> Iterator[tuple[str, str, str]]:
    """(kind, text, unit) of each task, note, phase and state of a device in the code, with x1 for what it fills in."""
    places = {"task": 0, "Noted": 0, "PhaseChanged": 1, "DeviceChanged": 1}
    for path in SOURCE.rglob("*.py"):
        folder = path.relative_to(SOURCE.parent)
        if {"demo", "localization"} & set(folder.parts):  # commands without a language
            continue
        names = vars(import_module(".".join(folder.with_suffix("").parts))) if "events" in path.read_text() else {}
        for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
            kind = getattr(call.func, "attr", getattr(call.func, "id", ""))
            if kind not in places or len(call.args) <= places[kind]:
                continue
            said, unit = filled(call.args[places[kind]], names), call.args[-1]
            if said:
                yield kind, said, str(unit.value) if kind == "task" and isinstance(unit, ast.Constant) else ""


def filled(node: ast.expr, names: Mapping[str, Any]) -> str:
    """The text that an expression makes: constants of the module as they are, everything else as x1."""
    if isinstance(node, ast.JoinedStr):
        return "".join(filled(part, names) for part in node.values)
    if isinstance(node, ast.FormattedValue):
        node = node.value
        return (filled(node, names) if isinstance(node, ast.Name) else "") or "x1"
    if isinstance(node, ast.Constant):
        return str(node.value or "")
    return str(names[node.id]) if isinstance(node, ast.Name) and node.id.isupper() else ""


TOLD = sorted(set(told_by_the_code()))


def test_tasks_notes_and_phases_are_found_in_the_code() -> None:
    assert {kind for kind, *_ in TOLD} == {"task", "Noted", "PhaseChanged", "DeviceChanged"}
    assert len(TOLD) > 20


@pytest.mark.parametrize(("kind", "said", "unit"), TOLD)
def test_every_line_of_a_run_is_there_in_chinese(
    kind: str, said: str, unit: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind != "task":
        lines = [reason(said.replace("x1", "1"), "zh")]  # some of what is filled in must be a number
    else:
        monkeypatch.setattr(tasks, "PLAIN_INTERVAL", 0.0)
        for total in (None, 7):
            shown, task = tasks.TaskLines(partial(reason, lang="zh")), Task(said, total, unit)
            for finished, state in ((0, "running"), (3, "running"), (7, "done"), (0, "done")):
                shown(TaskProgress(task, finished, state))
        lines = capsys.readouterr().err.splitlines()
        assert len(lines) == 8
    for line in lines:
        assert CHINESE.search(line), line
        assert not re.search(r"[A-Za-z]{2,}", line), line


def test_where_the_figures_of_a_plan_come_from_is_told_in_chinese() -> None:
    assert reason("measured in a/run; the slowest of its rates for fp8", "zh") == "测自 a/run；fp8 取其中最慢的速率"
    assert CHINESE.search(reason(UNKNOWN, "zh"))


def test_a_task_is_told_by_its_name_and_not_the_line_by_the_task() -> None:
    assert reason("exam of smoke: 20 items done in 0.1 s", "zh") == "smoke 的试卷：已完成 20 题，用时 0.1 秒"
    assert reason("reading the baseline's answers: done in 2 s", "zh") == "读取基线的回答：已完成，用时 2 秒"


def test_differing_settings_are_told_in_chinese() -> None:
    both = differences({"dtype": "bf16", "seed": 1, "a": 1, "b": 2}, {"dtype": "fp16", "a": 2, "b": 3})
    said = guard_message("engine_difference", MESSAGES["engine_difference"]["message"].format(differing=both), "zh")
    assert "dtype fp16 对 bf16; seed 未给出 对 1; a 2 对 1；另有 1 项" in said


def test_the_parts_of_a_reason_are_in_chinese_too() -> None:
    said = (
        "/ has 58.5 GB free, and needs up to 3.0 GB: records 2.0 GB in out (--out), downloads 1.0 GB and of unknown "
        "size (org/a, org/b) in /cache (HF_HOME)"
    )
    assert reason(said, "zh") == (
        "/ 剩余 58.5 GB，最多需要 3.0 GB：记录 2.0 GB，位于 out（--out）；下载 1.0 GB 及未知大小（org/a, org/b），"
        "位于 /cache（HF_HOME）"
    )
    assert reason("stopped 2 min 3 s ago, incomplete: the same command goes on", "zh") == (
        "停止于 2 分 3 秒前，不完整：再次运行同一命令即可继续"
    )


def test_a_reason_that_nothing_here_makes_stands_as_it_is() -> None:
    assert reason("of another version", "zh") == "of another version"
    assert reason(None, "zh") == ""


def test_a_message_of_another_version_stands_as_it_is() -> None:
    assert guard_message("cut_off", "12 % were cut", "zh") == "原文：12 % were cut"
    assert guard_message("new_guard", "12 % were cut", "zh") == "原文：12 % were cut"


@pytest.mark.parametrize(
    ("comparison", "expected"),
    [
        (
            compared("worse_beyond_margin", -0.21, (-0.25, -0.17), True),
            "损失 21.0 个百分点（17.0 至 25.0），超出 2 个百分点的界值",
        ),
        (
            compared("inconclusive", -0.038, (-0.069, -0.007), True),
            "损失 3.8 个百分点（0.7 至 6.9），可能超出 2 个百分点的界值",
        ),
        (compared("equivalent", 0.001, (-0.005, 0.006)), "损失不超过 2 个百分点"),
        (
            compared("inconclusive", -0.012, (-0.04, 0.016)),
            "无法判定（差值 −1.2 个百分点，−4.0 至 +1.6；界值 2 个百分点）",
        ),
        (compared("invalid", -0.5, (-0.6, -0.4)), "没有有效结论（原因见检查项）"),
    ],
)
def test_each_verdict_is_one_chinese_sentence(comparison: dict[str, Any], expected: str) -> None:
    assert words.clause(typed(Comparison, comparison), 0.02, "zh") == expected


@pytest.mark.parametrize("lang", LANGUAGES)
def test_a_clause_without_a_benchmark_names_none(lang: Any) -> None:
    for verdict, loss in (("equivalent", False), ("inconclusive", True), ("inconclusive", False), ("invalid", False)):
        said = words.clause(typed(Comparison, compared(verdict, -0.02, (-0.03, -0.01), loss)), 0.02, lang)
        assert "{" not in said
        assert not said.startswith((" ", "在", "的"))


def test_an_unknown_key_or_figure_is_an_error() -> None:
    with pytest.raises(KeyError):
        text("no such key")
    with pytest.raises(KeyError):
        text("points", "zh")


def test_a_chinese_report_has_no_english_titles() -> None:
    entry = {
        "status": "measured",
        "items": 500,
        "samples": 1,
        "margin": 0.02,
        "scores": {
            name: {"mean": 0.5, "ci95": [0.45, 0.55], "cut_off": 0.1, "no_answer": 0.0, "unscored": 0, "metrics": {}}
            for name in ("bf16", "fp8")
        },
        "comparisons": {
            "fp8": compared("equivalent", 0.001, (-0.005, 0.006))
            | {"lost": 3, "gained": 4, "p_value": 0.9, "p_adjusted": 0.9, "recovery": 1.0}
        },
        "subgroups": {"algebra": {"items": 100, "means": {"bf16": 0.5, "fp8": 0.5}}},
        "guards": [{"name": "limit", "variant": None, "level": "warning", "value": 0.5, "message": "MESSAGE"}],
    }
    found = {
        "study": {"name": "s", "fingerprint": "f", "profile": "default", "limit": {"math500": 500}},
        "variants": {
            "bf16": {"baseline": True, "model": "m", "engine": None},
            "fp8": {"baseline": False, "model": "m", "engine": None},
        },
        "benchmarks": {"math500": entry},
        "overall": {},
    }
    said = render(results(found), "zh")
    for line in said.splitlines():
        if line.startswith(("#", "| 基准", "| 版本")):
            assert CHINESE.search(line)
            assert not re.search(r"score|verdict|subgroup|candidate", line)
    assert "50.0%（45.0 至 55.0）" in said
    assert "MESSAGE" in said


def test_the_language_is_an_option_of_report(cli: Cli, run: Path) -> None:
    cli("report", run)
    english = (run / "report.md").read_text()
    cli("report", run, "--lang", "zh")
    chinese = (run / "report.zh.md").read_text()
    assert (run / "report.md").read_text() == english  # never overwritten
    assert 'lang="en"' in (run / "report.html").read_text()
    assert 'lang="zh-Hans"' in (run / "report.zh.html").read_text()
    pictures = re.findall(r"\]\((plots/.*?)\)", chinese)
    assert pictures
    assert all(place.endswith(".zh.svg") and (run / place).exists() for place in pictures)
    assert chinese.startswith("# toy：更低的精度，代价几何？")
    figures = r"[+−]?\d+\.\d+"
    assert sorted(re.findall(figures, english)) == sorted(re.findall(figures, chinese))
    assert cli("report", run, "--lang", "fr").code == 2


def test_the_terminal_speaks_chinese_too(finished: Path, tmp_path: Path, cli: Cli) -> None:
    said = cli("report", shutil.copytree(finished, tmp_path / "run"), "--lang", "zh").out
    for word in ("基准", "版本", "得分", "差值", "结论"):
        assert word in said
    assert "verdict" not in said
    assert "Deploy" not in said
