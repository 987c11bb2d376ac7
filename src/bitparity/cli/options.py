"""Options that several commands share, and the texts of the long ones."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

UNSAFE_HELP = "Run a model's code without a sandbox where none works here; the results say so."
RAY_HELP = "Use all devices of a Ray cluster; auto: the one that runs, else every GPU of this host."
SHARD_HELP = "Run part I of N alone, in a directory of its own; bitparity merge joins the parts."
STOP_EARLY_HELP = "End a benchmark as soon as its verdict is certain; decided before the first answer."
HOURS_HELP = (
    "End after so many hours, grading and report included, every variant having answered the same questions. The hours "
    "count over all sessions of the run."
)
DETACH_HELP = (
    "Go on in the background, also when this terminal is lost (on hosts that end a user's processes at logout: "
    "loginctl enable-linger). Returns once the run has begun, with its pid, its log, and how to watch and stop it."
)
GATED_HELP = "Put questions and answers of gated data sets into report.html, which then must not be passed on."
WITHOUT_HELP = "Leave every question, reference and answer out, so that it can be published."

StudyFile = Annotated[Path, typer.Argument(help="The study file (bitparity init writes one).")]
RunDirectory = Annotated[Path, typer.Argument(help="A run directory, such as artifacts/demo.")]
Out = Annotated[Path | None, typer.Option(help="Run directory; by default artifacts/<study>/.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Items of each benchmark, a fair subset.")]
UnsafeExec = Annotated[bool, typer.Option("--unsafe-exec", help=UNSAFE_HELP)]
Junit = Annotated[Path | None, typer.Option(help="Write JUnit XML there.")]
Summary = Annotated[Path | None, typer.Option(help="Write a headline and a table there, in Markdown.")]
Badge = Annotated[Path | None, typer.Option(help="Write a badge there, as JSON for shields.io's endpoint.")]
