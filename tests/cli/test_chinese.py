"""The whole terminal in Chinese: a study through all commands, and the help of each, without English left over."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from smoke_runs import smoke_run
from support import Cli

from bitparity.cli.app import app

GROUP: Any = typer.main.get_command(app)
ENGLISH = re.compile(r"(?<![\w./-])[A-Za-z][a-z']+(?: [A-Za-z][a-z']+){2,}(?![\w./-])")
# what is no language: commands, text in quotes, code in braces, names in brackets of a usage line
QUOTED = re.compile(
    r"bitparity (?:-\S+ |[a-z]+)[^；。，）]*|`[^`]*`|\{[^{}]*\}|<[^<>]*>|“[^”]*”|\"[^\"]*\"|'[^']*'|http\S+"
)
OF_OTHERS = ("Input format not supported by decoder", "No such file or directory")  # Python's and the system's


def left_over(shown: str) -> list[str]:
    """What is said in English in the output of a command."""
    for words in OF_OTHERS:
        shown = shown.replace(words, "")
    return [found[0] for line in shown.splitlines() for found in ENGLISH.finditer(QUOTED.sub("", line))]


@pytest.mark.parametrize("command", ["", *GROUP.commands])
def test_the_help_is_in_chinese(command: str, cli: Cli) -> None:
    shown = cli("--lang", "zh", *command.split(), "--help")
    assert shown.code == 0
    assert left_over(shown.out) == []
    assert "用法：" in shown.out
    texts = [line for line in shown.out.splitlines() if re.search(r"[A-Za-z]{2,}\.(  \[|$)", line)]
    assert [line for line in texts if not re.search(r"[\u4e00-\u9fff]", line)] == []


def commands(folder: Path) -> Iterator[tuple[object, ...]]:
    """Every command on a finished run; the last ones are refused."""
    study, run = folder / "study.yaml", folder / "run"
    yield "init", folder / "new.yaml"
    yield "init", folder / "new.yaml"
    yield "doctor", study
    yield "doctor", study, "--fix"
    yield "plan", study
    yield "plan", study, "--rate", 1000
    yield "plan", study, "--rate", 1000, "--hours", 1, "--write", folder / "planned.yaml"
    yield "run", study, "--out", run
    yield "run", study, "--out", folder / "limited", "--limit", 20, "--control"
    yield "run", study, "--out", folder / "timed", "--hours", 5
    for shard in ("1/2", "2/2"):
        yield "run", study, "--out", folder / shard[0], "--shard", shard
    yield "merge", folder / "merged", folder / "1"
    yield "merge", folder / "merged", folder / "1", folder / "2"
    yield "status", run
    yield "status", run, "--watch"
    yield "grade", run
    yield "report", run
    yield "check", run
    yield "check", run, "--require", "overall"
    yield "compare", f"{run}:bf16", f"{run}:fp8", f"{run}:nvfp4"
    yield "history", folder
    yield "seal", run, "--out", folder / "sealed.tar.xz"
    yield "seal", run, "--out", folder / "bare.tar.xz", "--without-answers"
    yield "verify", folder / "sealed.tar.xz"
    yield "verify", folder / "bare.tar.xz"
    yield "verify", folder / "study.yaml"
    yield "verify", folder / "none"
    yield "verify", folder / "sealed.tar.xz", "--rerun", 2
    yield ("benchmarks",)
    yield "export", run, "--format", "lm-eval", "--out", folder / "exported"
    yield "export", run, "--format", "no"
    yield "distance", study
    yield "locate", study, "--candidate", "fp8"
    yield "locate", study, "--candidate", "no"
    yield "report", folder
    yield "check", run, "--margin", 3
    yield "compare", f"{run}:bf16", f"{run}:no"
    yield from REFUSED


# command lines that typer refuses
REFUSED = [
    *(("run",), ("run", "a", "b"), ("run", "a", "--foo"), ("distance", "a", "--items", "x"), ("run", "a", "--out")),
    *(
        ("run", "a", "--hours", "x"),
        ("run", "a", "--detach=3"),
        ("check", "a", "--allow", "no"),
        ("run", "--lang", "fr"),
    ),
    ("distance", "a", "--items", 1),
]


@pytest.mark.parametrize("words", [*REFUSED, ("rum",)], ids=str)
def test_a_command_line_that_cannot_be_read_is_told_in_one_line(cli: Cli, words: tuple[object, ...]) -> None:
    ended = cli(*words)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.count("\n") == 1
    assert ended.err.startswith("error: ")
    assert ended.err.endswith(" --help\n")


def test_a_study_goes_through_all_commands_in_chinese(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoke_run(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BITPARITY_LANG", "zh")
    given = list(commands(tmp_path))
    assert {words[0] for words in given} == {*GROUP.commands} - {"demo"}  # which loads a model
    english: dict[str, list[str]] = {}
    for words in given:
        shown = cli(*words)
        if found := left_over(shown.out.replace(str(tmp_path), "/")) + left_over(shown.err.replace(str(tmp_path), "/")):
            english[" ".join(map(str, words))] = found
    assert english == {}
