"""Command line of bitparity: the list of its commands, and how it ends.

A new command is a function in one of the files of commands, and a line below.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import Annotated, Any, NoReturn

import typer

from bitparity.cli import distance, recorded, studies
from bitparity.cli.language import Command, Group, Language, told, with_language
from bitparity.cli.output import TolerantStream, drop_stdout, print_error
from bitparity.errors import EXIT_INPUT, EXIT_OPEN, BitparityError
from bitparity.redaction import RedactedStream, remember_environment

EXIT_STOPPED = 128 + 2  # by SIGINT, as shells say it
UNUSABLE_PATH = (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR)  # no file system could hold such a path
EXIT_PIPE = 128 + 13  # by SIGPIPE: who reads this has gone

app = typer.Typer(
    name="bitparity",
    cls=Group,
    help="What do fewer bits cost? Every precision of one model sits the same exam, compared item by item.",
    epilog="Begin with init, doctor, plan and run, or see it work with demo. Exit codes: 0 fine, 1 a candidate is "
    "worse beyond its margin, 2 bad input or usage, 3 incomplete, invalid or inconclusive, 130 stopped.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
for command in (
    *(studies.init, studies.run, studies.merge, studies.doctor, studies.status),
    *(recorded.grade, recorded.report, recorded.export, recorded.compare, recorded.check, recorded.history),
    *(recorded.seal, recorded.verify),
    *(distance.distance, distance.locate, studies.plan, studies.benchmarks, studies.demo),
):
    app.command(cls=Command)(with_language(command))


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    lang: Language = "en",
) -> None:
    if version:
        from bitparity import __version__

        print(f"bitparity {__version__}")
        raise typer.Exit


def _stopped() -> NoReturn:
    """End at once: a test of a model's code that still runs must not hold up the end."""
    print_error("stopped; what was finished is kept, the same command goes on")
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(EXIT_STOPPED)


def _fail() -> NoReturn:
    """End on a fault of bitparity itself: with its traceback, and never with the code for "worse"."""
    traceback.print_exc()
    sys.exit(EXIT_OPEN)


def _refuse(error: Any) -> NoReturn:
    """End on a command line that cannot be read, of which typer tells."""
    if type(error).__name__ == "NoArgsIsHelpError":  # typer names it nowhere else
        error.show()
    else:
        problem = error.format_message().replace("Value error, ", "").rstrip(".")
        context = getattr(error, "ctx", None)  # typer does not always say which command
        place = context.command_path if context else "bitparity"
        print_error(told(f"error: {problem}") + told(f"; see: {place} --help"))
    sys.exit(EXIT_INPUT)


def main() -> None:
    """The entry point: errors become one line on stderr and the exit code of the design."""
    remember_environment()
    sys.stdout, sys.stderr = RedactedStream(sys.stdout), TolerantStream(sys.stderr)
    for number in (signal.SIGTERM, signal.SIGHUP):  # a run that is to end does so as with Ctrl-C: in order
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        ended = app(standalone_mode=False)
    except BitparityError as error:
        print_error(f"error: {' '.join(str(error).split())}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        _stopped()
    except BrokenPipeError:
        drop_stdout()
        sys.exit(EXIT_PIPE)
    except OSError as error:
        if error.errno not in UNUSABLE_PATH or error.filename is None:
            _fail()
        print_error(f"error: {str(error.filename)[:200]}: {error.strerror}; give another path")
        sys.exit(EXIT_INPUT)
    except Exception as error:
        if hasattr(error, "format_message"):  # typer's versions have no other base of such errors in common
            _refuse(error)
        _fail()
    if ended == EXIT_STOPPED:  # what typer makes of Ctrl-C
        _stopped()
    sys.exit(ended)
