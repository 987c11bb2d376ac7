"""Output of the commands: on a terminal, into a pipe, and where either is lost.

A terminal that is lost, a closed pipe or a log on a full disk costs nothing that was measured.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from bitparity.cli.language import language, told
from bitparity.redaction import RedactedStream, redacted
from bitparity.report.plain import clean

if TYPE_CHECKING:
    import typer
    from rich.console import Console

    from bitparity.report.gated import Withhold
    from bitparity.results.schema import Results

PLAIN_WIDTH = 120  # columns of the table where stdout is no terminal
_LONG_WORD = re.compile(r"\S{300,}")


class TolerantStream(RedactedStream):
    """A text stream that drops what it cannot write, and writes no secret."""

    def write(self, text: str) -> int:
        """Write what can be written."""
        with suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be flushed; the rest is tried again with the next line."""
        with suppress(OSError):
            self._stream.flush()


def given_line(context: typer.Context) -> str:
    """The command line of a command, quoted for a shell: its arguments and options as they were given."""
    said = ["bitparity", str(context.info_name)]
    for each in context.command.params:
        value, source = context.params.get(str(each.name)), context.get_parameter_source(str(each.name))
        if source is None or source.name != "COMMANDLINE":
            continue
        for one in value if isinstance(value, list | tuple) else [value]:
            said += [each.opts[0]] if each.param_type_name == "option" else []
            said.append(f"{one:g}" if isinstance(one, float) else str(one))
    return shlex.join(said)


def drop_stdout() -> None:
    """Let stdout go nowhere: what it still holds would fail once more when the interpreter ends."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def console() -> Console:
    """Stdout for tables."""
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def report_run(path: Path, withhold: Withhold = "gated") -> Results:
    """Write results.json and the reports of a run, and print the table."""
    made = make_report(path, withhold)
    show_report(path, made)
    return made


def make_report(path: Path, withhold: Withhold = "gated") -> Results:
    """Write results.json and the reports of a run: in English, and in another language beside them."""
    from bitparity.report import html, markdown
    from bitparity.results import build as results
    from bitparity.store.run import Run

    made = results.write(Run(path), with_texts=withhold != "everything")
    for each in {"en", language()}:  # what a newer results.json says must not lack in the first file
        markdown.write(Run(path), made, each)
        html.write(Run(path), made, each, withhold)
    return made


def show_report(path: Path, made: Results) -> None:
    """Print the table of a report, and where it lies."""
    from bitparity.report import terminal
    from bitparity.report.language import suffix

    page, report = (path / f"report{suffix(language())}{ending}" for ending in (".html", ".md"))
    try:
        terminal.show(made, console(), language())
        say(f"report: {page} and {report}")
        say(f"results: {path / 'results.json'}")
    except OSError as error:  # what was measured stands, and so does the exit code that says how it ended
        drop_stdout()
        print_error(f"the table could not be written ({error.strerror}); it is in {report}")


def say(line: str, indent: str = "") -> None:
    """One line on stdout in the language of the command, without control characters."""
    print(indent + clean(told(line)), flush=True)


def print_error(line: str) -> None:
    """One line on stderr, in the language of the command, without control characters.

    Names and ids come from studies and data sets: the middle of a word that fills a screen is left out.
    """
    short = _LONG_WORD.sub(lambda word: f"{word[0][:100]}…{word[0][-100:]}", redacted(told(line)))
    print(clean(short), file=sys.stderr, flush=True)
