"""Command `distance`: how far checkpoints are from a baseline, before any benchmark is run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from bitparity.cli.options import Language
from bitparity.cli.output import console
from bitparity.errors import EXIT_OPEN, DataError

Models = Annotated[
    list[str], typer.Argument(metavar="STUDY | BASELINE CANDIDATE ...", help="A study file, or models by folder or id.")
]
TEXT_HELP = 'Texts to read in the place of answers: lines {"text": ...}, with "prompt" where that is not to count.'


def distance(
    models: Models,
    text: Annotated[Path | None, typer.Option(metavar="FILE.jsonl", help=TEXT_HELP)] = None,
    items: Annotated[int, typer.Option(min=2, max=1000, help="Answers that the baseline writes.")] = 100,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer at most.")] = 256,
    engine: Annotated[str | None, typer.Option(help="Engine of models given by name.")] = None,
    out: Annotated[Path | None, typer.Option(help="Directory; by default artifacts/<study>-distance/.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
    lang: Language = "en",
) -> None:
    """Tell in minutes how far candidates are from the baseline.

    Each candidate reads the baseline's own answers, token by token; no verdict comes from it. Exit code 3: broken
    or not comparable.
    """
    from bitparity.report.distance_page import write_page
    from bitparity.report.language import suffix
    from bitparity.report.live import show_run
    from bitparity.report.terminal import show_distance
    from bitparity.results.distance import write_distance
    from bitparity.runner import measure_distance
    from bitparity.study.quick import short_study, study_of_models
    from bitparity.study.resolve import load_study

    whole = load_study(Path(models[0])) if len(models) == 1 else study_of_models(models, engine)
    study = short_study(whole, items, max_tokens)
    texts = None if text is None else _read_texts(text)
    place = out or Path("artifacts") / study.name
    with show_run(study, reported=False) as events:
        run = measure_distance(study, place, events, texts)
    document = write_distance(run, study, of_texts=texts is not None)
    write_page(run, document)
    page = place / f"distance{suffix(lang)}.html"
    if lang != "en":
        write_page(run, document, lang)
    if as_json:
        print(json.dumps(document.document(), ensure_ascii=False, allow_nan=False))
    else:
        show_distance(document.distance, console(), lang)
        print(f"page: {page}\nfigures: {place / 'distance.json'}")
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
