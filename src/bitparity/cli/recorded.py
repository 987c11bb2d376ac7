"""Commands on what has been recorded: grade, report, export, compare, check and seal a run, verify a sealed one."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from bitparity.cli.language import given_language, language
from bitparity.cli.options import GATED_HELP, WITHOUT_HELP, Badge, Junit, RunDirectory, Summary, UnsafeExec
from bitparity.cli.output import console, given_line, print_error, report_run, say
from bitparity.errors import EXIT_OPEN, UserInputError
from bitparity.report.exports import formats
from bitparity.report.plain import clean

if TYPE_CHECKING:
    from bitparity.report.gated import Withhold

TAKEN = "taken as the sealer's word: the questions, the margins, the facts, and that these models gave these answers"
RERUN_HELP = "Ask so many answers again, on a device of the same kind, and compare the texts."


def brought_up_to_date(run: Path) -> Path:
    """The run, graded again where another version of the graders has graded any of it."""
    from bitparity.grading.passes import regrade_if_needed
    from bitparity.report.live import show_tasks

    with show_tasks(language()) as events:
        regraded, left_out = regrade_if_needed(run, events)
    if regraded:
        print_error("note: another version of the grader had graded this run; it was graded again")
    for name, why in left_out.items():
        print_error(f"note: another version of the grader had graded {name}, which cannot be graded again here: {why}")
    return run


def grade(run: RunDirectory, unsafe_exec: UnsafeExec = False) -> None:
    """Grade all answers of a run again, and say what changed.

    No model is asked. Programs that a model wrote run in the sandbox.
    """
    from bitparity.grading.passes import grade_run
    from bitparity.report.live import show_tasks

    with show_tasks(language()) as events:
        changes = grade_run(run, events, unsafe_exec=unsafe_exec, again=True)
    for (variant, benchmark), keys in changes.items():
        names = ", ".join(f"{item}#{sample}" for item, sample in keys[:10])
        more = f" and {len(keys) - 10} more" if len(keys) > 10 else ""
        say(f"{variant} {benchmark}: {len(keys)} changed{': ' + names + more if keys else ''}")
    report_run(run)


def report(
    run: RunDirectory,
    fill: Annotated[Path | None, typer.Option(help="A Markdown document whose table to fill in place.")] = None,
    include_gated: Annotated[bool, typer.Option("--include-gated", help=GATED_HELP)] = False,
    without_answers: Annotated[bool, typer.Option("--without-answers", help=WITHOUT_HELP)] = False,
) -> None:
    """Make the report of a run again from its files.

    Writes results.json, report.md and report.html, and prints the table. No model is asked.
    """
    if include_gated and without_answers:
        raise UserInputError("--include-gated puts texts in and --without-answers leaves them out; give one of them")
    withhold: Withhold = "everything" if without_answers else "nothing" if include_gated else "gated"
    if fill is not None:
        from bitparity.report import filling

        filling.read(fill)  # a document that cannot be read is known before anything is made
    made = report_run(brought_up_to_date(run), withhold)
    if fill is not None:
        filled = filling.write(fill, made, given_language())
        say(f"filled: {fill}, {filled.cells} cells")
        for message in filled.messages:
            say(message, "  ")


def export(
    run: RunDirectory,
    form: Annotated[
        str, typer.Option("--format", help=f"One of: {', '.join(formats())}.", autocompletion=formats)
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Where to write it; csv, model-card, summary: stdout.")] = None,
) -> None:
    """Write a run's results for other programs.

    Tables (csv, parquet), per-item results in lm-eval's form, a model card's figures, the Hub's results, a CI summary.
    """
    from bitparity.report.exports import export
    from bitparity.store.run import Run

    made = export(Run(brought_up_to_date(run)), form, out)
    if isinstance(made, str):
        sys.stdout.write(made)
    else:
        for path in made:
            say(f"wrote {path}")


def compare(
    context: typer.Context,
    baseline: Annotated[
        str, typer.Argument(help="RUN:VARIANT, a folder or file of another tool's logs, or JSONL rows.")
    ],
    candidates: Annotated[list[str], typer.Argument(help="What is compared with it, one or more of the same.")],
    margin: Annotated[
        float | None,
        typer.Option(help="The loss in points that does not matter; by default the study's or the benchmark's own."),
    ] = None,
    control: Annotated[str | None, typer.Option(help="Results of the baseline run again: they show the noise.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there, as JSON.")] = None,
    filter_name: Annotated[
        str | None, typer.Option("--filter", help="The filter of lm-eval's logs that decides.")
    ] = None,
    metric: Annotated[str | None, typer.Option(help="The metric or scorer of the logs that decides.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write a page there, like a run's report.html.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report there, in Markdown.")] = None,
    regrade: Annotated[
        str | None, typer.Option(help="A benchmark, such as math500, whose grader grades the logs' answers too.")
    ] = None,
    junit: Junit = None,
    summary: Summary = None,
    badge: Badge = None,
) -> None:
    """Compare per-item results from anywhere, paired by item.

    Runs, logs of lm-eval, Inspect, EvalScope, NeMo Evaluator and LiveBench, or JSONL rows of item and score. Exit
    code 1: a candidate is worse beyond its margin; 3: inconclusive or invalid.
    """
    from bitparity.compare import as_results, compare, readers, regrading
    from bitparity.report import comparison, gate

    given = [baseline, *candidates, *([] if control is None else [control])]
    sources = compare.arranged(readers.read_all(given, filter_name, metric))
    if regrade is not None:
        sources = regrading.regraded(sources, regrade)
    first, *others = sources
    again = None if control is None else others.pop()
    outcome = compare.compare(first, others, None if margin is None else margin / 100, again)
    outcome = outcome.model_copy(update={"command": given_line(context)})
    results = as_results.as_results(outcome, sources)
    regradable = regrading.offered(first) if regrade is None else []
    comparison.show(outcome, results, console(), regradable, language())
    if json_file is not None:
        compare.write_document(json_file, outcome.document())
    if html is not None or report is not None:
        comparison.write(outcome, results, sources, html, report, language())
    lines = gate.judge_comparison(outcome, language())
    gate.write(lines, "compare", junit, summary, badge)
    raise typer.Exit(gate.exit_code(lines))


def history(
    folder: Annotated[Path, typer.Argument(help="The folder that holds run directories, at any depth.")],
    out: Annotated[Path | None, typer.Option(help="The page; by default FOLDER/history.html.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures there.")] = None,
) -> None:
    """Make one page over all runs of a folder.

    What a new vLLM, device or kernel changed on the same exam, paired question by question.
    """
    from bitparity.compare.compare import write_document
    from bitparity.report import history, live
    from bitparity.report.language import suffix
    from bitparity.store.jsonl import write_atomically

    with live.show_tasks(language()) as events:
        found = history.history(folder, events)
    page = out or folder / f"history{suffix(language())}.html"
    write_atomically(page, [history.render(found, language())])
    if json_file is not None:
        write_document(json_file, found.document())
    say(f"{len(found.runs)} runs on {len(found.lines)} lines: {page}")
    for name, why in found.left_out.items():
        say(f"left out: {name}: {why}")


def check(
    run: RunDirectory,
    junit: Junit = None,
    require: Annotated[
        Literal["overall", "every"], typer.Option(help="What must pass: every benchmark, or their average.")
    ] = ("every"),
    benchmark: Annotated[list[str] | None, typer.Option(help="Only this benchmark; may be given again.")] = None,
    allow: Annotated[
        Literal["inconclusive"] | None,
        typer.Option(help="Let 'cannot tell' pass; a loss, an invalid and an incomplete result never do."),
    ] = None,
    summary: Summary = None,
    badge: Badge = None,
    margin: Annotated[str | None, typer.Option(hidden=True)] = None,
) -> None:
    """Gate a CI job on the verdicts of a run, one line each.

    Exit code 0: all passed; 1: a candidate is worse beyond its margin; 3: incomplete, invalid or inconclusive.
    """
    from bitparity.report import gate, headline
    from bitparity.results.build import build
    from bitparity.store.run import Run

    if margin is not None:
        raise UserInputError(
            "a margin belongs to the study, where it is fixed before any answer is seen; one that is chosen when the "
            "scores are known proves nothing. Set margin in the study file and run it in a new directory"
        )
    made = build(Run(brought_up_to_date(run)))  # a stored results.json is not believed
    lines = gate.judge(made, require, benchmark or (), language())
    if allow is not None:
        lines = gate.allow_inconclusive(lines)
    for line in lines:
        print(clean(str(line)))
    for block in headline.headlines(made, language()):
        print(clean("\n  ".join([f"\n{block.first}", *block.rest])))
    gate.write(lines, run.resolve().name, junit, summary, badge)
    raise typer.Exit(gate.exit_code(lines))


def seal(
    run: RunDirectory,
    out: Annotated[Path | None, typer.Option(help="Where to write it; by default RUN.evidence.tar.xz.")] = None,
    key: Annotated[Path | None, typer.Option(help="Sign with this SSH key, as ssh-keygen makes it.")] = None,
    without_answers: Annotated[bool, typer.Option("--without-answers", help=WITHOUT_HELP)] = False,
) -> None:
    """Seal a run in one file that anybody can check.

    From it the results are recomputed offline. Questions and answers of gated data sets stay out.
    """
    from bitparity.evidence.seal import seal as write

    sealed = write(brought_up_to_date(run), out, key, without_answers=without_answers)
    manifest = sealed.manifest
    if manifest.withheld:
        say(f"without questions and answers: {', '.join(manifest.withheld)}")
    signed = "with a signature" if manifest.signed else "without a signature"
    say(f"sealed: {sealed.path}, {len(manifest.files)} files, {sealed.size:,} bytes, {signed}")


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

    with opened(file, key) as sealed, show_tasks(language()) as events:
        recompute(sealed, events)
        if rerun is not None:
            ask_again(sealed, rerun, events)
    for line in sealed.said:
        say(line)
    for line in sealed.doubts:
        say(f"doubt: {line}")
    if sealed.doubts:
        say("not verified: see the doubts")
        raise typer.Exit(EXIT_OPEN)
    given = f", but for what was taken as given of {', '.join(sealed.given)}" if sealed.given else ""
    say(f"verified{given}: these results follow from these answers")
    say(TAKEN if rerun is None else f"{TAKEN}, but for those asked again")
