"""Commands on evidence: seal a run, and verify what somebody sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bitparity.cli.options import WITHOUT_HELP, RunDirectory
from bitparity.errors import EXIT_OPEN
from bitparity.report.plain import clean

TAKEN = "taken as the sealer's word: the questions, the margins, the facts, and that these models gave these answers"
RERUN_HELP = "Ask so many answers again, on a device of the same kind, and compare the texts."


def seal(
    run: RunDirectory,
    out: Annotated[Path | None, typer.Option(help="Where to write it; by default RUN.evidence.tar.xz.")] = None,
    key: Annotated[Path | None, typer.Option(help="Sign with this SSH key, as ssh-keygen makes it.")] = None,
    without_answers: Annotated[bool, typer.Option("--without-answers", help=WITHOUT_HELP)] = False,
) -> None:
    """Seal a run in one file that anybody can check.

    From it the results are recomputed offline. Questions and answers of gated data sets stay out.
    """
    from bitparity.cli.recorded import brought_up_to_date
    from bitparity.evidence.seal import seal as write

    sealed = write(brought_up_to_date(run), out, key, without_answers=without_answers)
    manifest = sealed.manifest
    if manifest.withheld:
        print(clean(f"without questions and answers: {', '.join(manifest.withheld)}"))
    signed = "signed" if manifest.signed else "not signed"
    print(clean(f"sealed: {sealed.path}, {len(manifest.files)} files, {sealed.size:,} bytes, {signed}"))


def verify(
    file: Annotated[Path, typer.Argument(help="The file that bitparity seal has written.")],
    key: Annotated[
        Path | None, typer.Option(help="Public SSH keys, one a line, one of which must have signed.")
    ] = None,
    rerun: Annotated[int | None, typer.Option(min=1, help=RERUN_HELP)] = None,
) -> None:
    """Recompute the results of a sealed run from what is inside.

    Exit code 0: verified; 2: refused, with the first difference; 3: something differs, perhaps by another version of
    the code.
    """
    from bitparity.evidence.rerun import rerun as ask_again
    from bitparity.evidence.verify import opened
    from bitparity.evidence.verify import verify as recompute
    from bitparity.report.live import show_tasks

    with opened(file, key) as sealed, show_tasks() as events:
        recompute(sealed, events)
        if rerun is not None:
            ask_again(sealed, rerun, events)
    for line in sealed.said:
        print(clean(line))
    for line in sealed.doubts:
        print(clean(f"doubt: {line}"))
    if sealed.doubts:
        print("not verified: see the doubts")
        raise typer.Exit(EXIT_OPEN)
    given = f", but for what was taken as given of {', '.join(sealed.given)}" if sealed.given else ""
    print(clean(f"verified{given}: these results follow from these answers"))
    print(TAKEN if rerun is None else f"{TAKEN}, but for those asked again")
