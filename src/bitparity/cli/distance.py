"""Commands `distance` and `locate`: how far checkpoints are from a baseline, and which layers make that distance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal

import typer

from bitparity.cli.language import language
from bitparity.cli.options import Out, StudyFile
from bitparity.cli.output import console, say
from bitparity.errors import EXIT_OPEN, DataError

Models = Annotated[
    list[str], typer.Argument(metavar="STUDY | BASELINE CANDIDATE ...", help="A study file, or models by folder or id.")
]
TEXT_HELP = 'Texts to read in the place of answers: lines {"text": ...}, with "prompt" where that is not to count.'
KERNELS_HELP = (
    "Whose rounding is computed: the checkpoint's own; e8m0: scales of FP8 blocks as powers of two; weight-only: "
    "activations left as they are."
)


def distance(
    models: Models,
    text: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help=TEXT_HELP)] = None,
    items: Annotated[int, typer.Option(min=2, max=1000, help="Answers that the baseline writes.")] = 100,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 256,
    engine: Annotated[str | None, typer.Option(help="Engine of models given by name.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory; by default artifacts/<study>-distance/.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Tell in minutes how far candidates are from the baseline.

    Each candidate reads the baseline's own answers, token by token; no verdict comes from it. Exit code 3: broken
    or not comparable.
    """
    from bitparity.report import distance_page, live, terminal
    from bitparity.report.language import suffix
    from bitparity.results.distance import write_distance
    from bitparity.runner import measure_distance
    from bitparity.study import quick, resolve

    whole = resolve.load_study(Path(models[0])) if len(models) == 1 else quick.study_of_models(models, engine)
    study = quick.short_study(whole, items, max_tokens)
    texts = None if text is None else _read_texts(text)
    place = out or Path("artifacts") / study.name
    with live.show_run(study, reported=False, lang=language()) as events:
        run = measure_distance(study, place, events, texts)
    document = write_distance(run, study, of_texts=texts is not None)
    for each in {"en", language()}:
        distance_page.write_page(run, document, each)
    if as_json:
        print(json.dumps(document.document(), ensure_ascii=False, allow_nan=False))
    else:
        terminal.show_distance(document.distance, console(), language())
        say(f"page: {place / f'distance{suffix(language())}.html'}")
        say(f"figures: {place / 'distance.json'}")
    measured = all(found.overall is not None for found in document.distance.variants.values())
    raise typer.Exit(EXIT_OPEN if document.distance.broken or not measured else 0)


def _read_texts(path: Path) -> list[tuple[str, str]]:
    """(prompt, text) of each line. Raises DataError naming the line that is none."""
    from bitparity.benchmarks.dataset import read_jsonl

    found = []
    for number, row in enumerate(read_jsonl(path), 1):
        text, prompt = row.get("text"), row.get("prompt", "")
        if not isinstance(text, str) or not isinstance(prompt, str):
            raise DataError(
                f'{path}, line {number}: it needs the form {{"text": "..."}}, with "prompt" where that helps'
            )
        found.append((prompt, text))
    return found


def locate(
    study: StudyFile,
    candidate: Annotated[str, typer.Option(help="The variant to take apart.")],
    out: Out = None,
    answers: Annotated[int, typer.Option(min=2, max=1000, help="Answers of the baseline that are read.")] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 16,
    kernels: Annotated[Literal["checkpoint", "e8m0", "weight-only"], typer.Option(help=KERNELS_HELP)] = "checkpoint",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Find the layers that make a candidate's distance.

    And the modules to leave unquantized, as a recipe; no verdict on the model.
    """
    from bitparity.localization.document import FILE, folder_of
    from bitparity.report import live, localization
    from bitparity.runner import locate_losses
    from bitparity.study.resolve import load_study

    resolved = load_study(study)
    place = out or Path("artifacts") / resolved.name
    with live.show_tasks(language()) as events:
        run, found = locate_losses(resolved, candidate, place, events, answers, max_tokens, kernels)
    localization.write_picture(run, found)
    if as_json:
        print(json.dumps(found.document(), ensure_ascii=False, allow_nan=False))
        return
    localization.show(found, console(), language())
    say(f"figures and recipe: {folder_of(run, candidate) / FILE}; the picture lies beside")
