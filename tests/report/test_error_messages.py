"""Errors in Chinese: every message that the code makes has one, with the same figures, and no value is lost in it."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path
from string import Formatter

import pytest
from error_messages import SOURCE, holes, in_source, numbered
from pydantic_core._pydantic_core import list_all_errors
from support import Cli

from bitparity.inputs.packaged import packaged_toml
from bitparity.report.language import _NARROW, load_words, reason

CATALOGUE: dict[str, str] = packaged_toml("bitparity.report", "errors.zh.toml")
KNOWN = CATALOGUE | {english.replace("!s", ""): chinese for english, chinese in load_words("reasons.toml").values()}
CAUSES = [entry["told"] for entry in tomllib.loads((SOURCE / "engines/causes.toml").read_text())["cause"]]
# made where no error is named: of parts, or by pydantic
JOINED = {
    *("{path}, line {number}", "{message} (given: {given})", "{count} more problems", "variant '{name}': {error}"),
    *("{w}: no field {m}; is this a file of another benchmark?", "engine {k} takes no {n}, which engine {o} has"),
    "{v} on {b}: different answers to the same question: {s}; and {n} more. Leave one of the two directories out: "
    "which answer counts must not be decided by chance",
    "the chat template in {f} fails: {e}; it may not take a system message: remove 'system' from the protocol",
    *("a text or an integer", "a text or a list of texts", "lines {a} and {b}", "rows {a} and {b}"),
    *(f"{{what}}. {rest}log: {{log}}" for rest in ("", "last lines: {l}. ", "likely cause: {c}. ")),
    *("{what}. last lines: {l}. likely cause: {c}. log: {log}", "the engine process {ended}"),
    *(each["message_template_python"] for each in list_all_errors()),
    *(
        "; see: {command} --help",
        "Invalid value for {n} (env var: {v}): {p}",
        "No such option: {n} (Possible options: {o})",
    ),  # and by typer
    *("Missing argument {n}", "Missing option {n}", "No such option: {n}", "No such command {n}", "Invalid value: {p}"),
    *("No such command {n}. Did you mean {o}?", "Got unexpected extra argument(s) ({n})", "Invalid value for {n}: {p}"),
    *("Option {n} does not take a value", "Option {n} requires an argument", "Option {n} requires {count} arguments"),
    *("{value} is not one of {others}", "Value {value} is not a valid {kind}"),
}


def fields(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.fixture(scope="module")
def messages() -> dict[str, str]:
    """Each message of the source with the file that makes it; likely causes of an engine's end among them."""
    return {**in_source(), **dict.fromkeys(CAUSES, "engines/causes.toml")}


def test_messages_are_found_in_the_whole_source(messages: dict[str, str]) -> None:
    assert len(messages) > 550
    rooms = {file.split("/")[0] for file in messages.values()}
    assert rooms >= {
        *("benchmarks", "cli", "cluster", "compare", "demo", "distance", "doctor", "engines", "evidence", "exam"),
        *("generation", "grading", "hardware", "localization", "models", "plugins.py", "report", "results"),
        *("runner.py", "sandbox", "schema.py", "store", "study"),
    }


def test_every_message_of_an_error_is_there_in_chinese(messages: dict[str, str]) -> None:
    known = {holes(english) for english in KNOWN}
    assert [f"{file}: {said}" for said, file in messages.items() if holes(said) not in known] == []


def test_chinese_has_no_message_that_no_code_makes(messages: dict[str, str]) -> None:
    made = {holes(said) for said in [*messages, *JOINED]}
    assert [english for english in CATALOGUE if holes(english) not in made] == []


@pytest.mark.parametrize("english", CATALOGUE)
def test_a_message_keeps_every_value_in_chinese(english: str) -> None:
    chinese = CATALOGUE[english]
    assert fields(english) - {"class_name"} == fields(chinese)  # of our own code, as pydantic names it
    names = enumerate(sorted(fields(english)))
    figures = {name: f"{number}7" if name in _NARROW else f"/v{number}.{number}" for number, name in names}
    said = reason(english.format(**figures), "zh")
    assert said == chinese.format(**figures)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            "data file /a b/c.jsonl does not exist; check the path in the study",
            "数据文件 /a b/c.jsonl 不存在；请检查研究文件中的路径",
        ),
        (
            "variant 'fp8': model folder /m has no config.json; is it a model's folder?",
            "版本“fp8”：模型文件夹 /m 没有 config.json；这是模型的文件夹吗？",
        ),
        (
            "/s.yaml exists already and is left as it is; give another path",
            "/s.yaml 已存在，未作改动；请给出另一个路径",
        ),
        ("/s: File name too long; give another path", "/s：File name too long；请给出另一路径"),
        (
            "/f.xz is refused: it ends too early. It was damaged or changed after it was sealed",
            "拒绝 /f.xz：文件过早结束。它在封存之后受损或被改动过",
        ),
        (
            "variant 'fp8': /m/config.json cannot be read as JSON: Expecting value: line 1 column 1 (char 0)",
            "版本“fp8”：无法将 /m/config.json 作为 JSON 读取：Expecting value: line 1 column 1 (char 0)",
        ),
        (
            "s.yaml: variants.a: unknown key 'modle'; known keys: model, engine; also: benchmarks: Field required",
            "s.yaml：variants.a：未知的键“modle”；已知的键：model, engine；另外：benchmarks：缺少该项",
        ),
        (
            "the disk is full: /r/x.jsonl could not be written; everything finished before is kept. Free some space "
            "and run the same command again",
            "磁盘已满：无法写入 /r/x.jsonl；此前完成的都已保留。请腾出空间，然后再次运行同一命令",
        ),
        (
            "variant 'fp8' is incomplete: the engine process ended with code 1. last lines: ValueError: no. x. likely "
            "cause: A package is missing or does not fit the others: reinstall the engine. log: /r/fp8.log. Run the "
            "same command again to go on",
            "版本 fp8 不完整：引擎进程以代码 1 结束。最后几行：ValueError: no. x。"
            "可能的原因：某个软件包缺失或与其他的不匹配：请重新安装引擎。"
            "日志：/r/fp8.log。再次运行同一命令即可继续",
        ),
    ],
)
def test_an_error_inside_another_is_in_chinese_too(said: str, expected: str) -> None:
    assert reason(f"error: {said}", "zh") == f"错误：{expected}"
    assert reason(said) == said


def test_the_command_line_tells_errors_in_the_language_that_is_asked_for(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = tmp_path / "none.yaml"
    english = f"error: study file {missing} does not exist; write one with: bitparity init {missing}\n"
    chinese = f"错误：研究文件 {missing} 不存在；可用以下命令写出：bitparity init {missing}\n"
    assert cli("plan", missing).err == english
    assert cli("plan", missing, "--lang", "zh").err == chinese
    assert cli("--lang", "zh", "plan", missing).err == chinese
    monkeypatch.setenv("BITPARITY_LANG", "zh")
    assert cli("plan", missing) == (2, "", chinese)
    assert cli("plan", missing, "--lang=en").err == english


def test_the_words_of_chinese_are_loaded_only_where_they_are_asked_for() -> None:
    program = (
        "import sys, atexit; from bitparity.inputs import packaged; load, seen = packaged.packaged_toml, []; "
        "packaged.packaged_toml = lambda package, name: (seen.append(name), load(package, name))[1]; "
        "sys.argv[0] = 'bitparity'; from bitparity.cli.app import main; "
        "atexit.register(lambda: print({name for name in seen if '.zh.' in name and 'guards' not in name})); main()"
    )
    ended = [
        subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False).stdout
        for words in (["--help"], ["verify", "/none"], ["verify", "/none", "--lang", "zh"])
    ]
    assert [said.splitlines()[-1] for said in ended] == ["set()", "set()", "{'errors.zh.toml'}"]


def test_braces_that_are_no_holes_are_doubled() -> None:
    assert numbered("{a} and {a}") == "{a} and {a2}"
    assert holes("{{x}} {a}") == holes("{{x}} {other}")
