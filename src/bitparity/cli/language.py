"""Language of the command line: `--lang`, or the variable BITPARITY_LANG; the help in Chinese.

Every command takes `--lang`, and so does `bitparity` itself, before the command's name. What machines read (JSON, CSV,
files' names, exit codes) is the same in every language. The words of Chinese are loaded only where it is asked for.
"""

from __future__ import annotations

import functools
import inspect
import os
import re
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

if TYPE_CHECKING:
    from bitparity.report.language import Lang

VARIABLE = "BITPARITY_LANG"
Language = Annotated[Literal["en", "zh"], typer.Option("--lang", envvar=VARIABLE, help="English or Chinese.")]
# a line of the help: what stands before two blanks, the text, what typer adds in brackets
_PARTS = re.compile(r"^( *(?:\S.*? {2,})?)(.*?)((?: *\[[^\[\]]*\])?)$")


def given_language() -> Lang | None:
    """The language that `--lang` asks for, wherever it stands on the command line; None without it."""
    found: list[Lang] = re.findall(r"\0--lang[=\0](en|zh)(?=\0)", "\0".join(["", *sys.argv[1:], ""]))
    return found[-1] if found else None


def language() -> Lang:
    """The language of this command: what `--lang` says, else the variable, else English."""
    return given_language() or ("zh" if os.environ.get(VARIABLE) == "zh" else "en")


def told(line: str) -> str:
    """A line of the terminal in the language of this command."""
    if language() == "en":
        return line
    from bitparity.report.language import reason

    return reason(line, "zh")


def with_language(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the option `--lang`, which `language` reads."""

    @functools.wraps(command)
    def speaking(**given: Any) -> None:
        del given["lang"]
        command(**given)

    option = inspect.Parameter("lang", inspect.Parameter.KEYWORD_ONLY, default="en", annotation=Language)
    parameters = [*inspect.signature(command, eval_str=True).parameters.values(), option]
    speaking.__annotations__ = {each.name: each.annotation for each in parameters}
    speaking.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return speaking


class _Helping:
    """Help in the language of the command line."""

    def get_help(self, ctx: Any) -> str:
        """The help, as wide as the terminal."""
        made: Callable[[Any], str] = super().get_help  # type: ignore[misc]
        if language() == "en":
            return made(ctx)
        width = ctx.make_formatter().width
        ctx.terminal_width = 10_000  # every text in one line, as help.zh.toml has it
        return "\n".join(line for whole in made(ctx).splitlines() for line in _in_chinese(whole, width))


class Command(_Helping, TyperCommand):
    """A command."""


class Group(_Helping, TyperGroup):
    """The list of commands."""


def _in_chinese(line: str, width: int) -> list[str]:
    """A line of the help in Chinese, as lines of so many columns."""
    from rich.console import Console
    from rich.text import Text

    from bitparity.inputs.packaged import packaged_toml

    words: dict[str, str] = packaged_toml(__package__, "help.zh.toml")
    before, said, more = _PARTS.findall(line)[0]
    more = re.sub(words["more"], lambda word: words[word[0]], more)
    if (whole := (before + said).strip()) in words:  # on a line of its own, below its option
        before, said = line[: line.index(whole)], whole
    usage, colon, rest = said.partition(": ")
    said = words.get(said) or (f"{words[usage]}：{rest}" if colon and usage in words else said)
    room = Text(before).cell_len
    parts = Text(said + more).wrap(Console(), max(10, width - room)) if said + more else [Text()]
    return [(" " * room if number else before) + part.plain.rstrip() for number, part in enumerate(parts)]
