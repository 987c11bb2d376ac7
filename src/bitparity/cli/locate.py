"""Command `locate`: which modules and layers make a candidate's distance, and the recipe that spares them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from bitparity.cli.options import StudyFile
from bitparity.cli.output import console

KERNELS_HELP = (
    "Whose rounding is computed: the checkpoint's own; e8m0: scales of FP8 blocks as powers of two; weight-only: "
    "activations left as they are."
)
OUT_HELP = "Run directory; by default artifacts/<study>/."


def locate(
    study: StudyFile,
    candidate: Annotated[str, typer.Option(help="The variant to take apart.")],
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    answers: Annotated[int, typer.Option(min=2, max=1000, help="Answers of the baseline that are read.")] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 16,
    kernels: Annotated[Literal["checkpoint", "e8m0", "weight-only"], typer.Option(help=KERNELS_HELP)] = "checkpoint",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Find the layers that make a candidate's distance.

    And the modules to leave unquantized, as a recipe; no verdict on the model.
    """
    from bitparity.localization.document import FILE, folder_of
    from bitparity.report.live import show_tasks
    from bitparity.report.localization import show, write_picture
    from bitparity.runner import locate_losses
    from bitparity.study.resolve import load_study

    resolved = load_study(study)
    place = out or Path("artifacts") / resolved.name
    with show_tasks() as events:
        run, found = locate_losses(resolved, candidate, place, events, answers, max_tokens, kernels)
    write_picture(run, found)
    if as_json:
        print(json.dumps(found.document(), ensure_ascii=False, allow_nan=False))
        return
    show(found, console())
    print(f"figures and recipe: {folder_of(run, candidate) / FILE}; the picture lies beside")
