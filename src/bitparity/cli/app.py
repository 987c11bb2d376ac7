"""The command line: parse, call, print; nothing else. `bitparity --help` lists the commands."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NoReturn

import typer

from bitparity.cli.streams import Lenient, drop_stdout
from bitparity.errors import EXIT_OPEN, BitparityError, UserInputError
from bitparity.report.exports import formats

if TYPE_CHECKING:
    from rich.console import Console

    from bitparity.generation.prepare import Outcome
    from bitparity.generation.shards import Shard
    from bitparity.report.gated import Withhold
    from bitparity.report.language import Lang
    from bitparity.results.schema import Results
    from bitparity.schema import Study

app = typer.Typer(
    name="bitparity",
    help="What do fewer bits cost? Every precision of one model sits the same exam, compared item by item.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


UNSAFE_HELP = "Run a model's code without a sandbox where none works here; the results say so."


RAY_HELP = "Use all devices of a Ray cluster; auto: the one that runs, else every GPU of this host."


SHARD_HELP = "Run part I of N alone, in a directory of its own; bitparity merge joins the parts."


OUT_HELP = "Run directory; by default artifacts/<study>/."


DETACH_HELP = (
    "Go on in the background, also when this terminal is lost (on hosts that end a user's processes at logout: "
    "loginctl enable-linger). Returns once the run has begun, with its pid, its log, and how to watch and stop it."
)


GATED_HELP = "Put questions and answers of gated data sets into report.html, which then must not be passed on."


WITHOUT_HELP = "Leave every question, reference and answer out, for a report that can be published."


EXIT_STOPPED = 128 + 2  # by SIGINT, as shells say it


EXIT_PIPE = 128 + 13  # by SIGPIPE: who reads this has gone


PLAIN_WIDTH = 120  # columns of the table where stdout is no terminal


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if version:
        from bitparity import __version__

        print(f"bitparity {__version__}")
        raise typer.Exit


@app.command()
def init(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("study.yaml")) -> None:
    """Write a commented study file to start from."""
    from bitparity.study.template import STUDY_TEMPLATE

    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(STUDY_TEMPLATE)
    except FileExistsError:
        raise UserInputError(f"{path} exists already and is left as it is; give another path") from None
    except OSError as error:
        raise UserInputError(f"{path} cannot be written: {error.strerror}") from None
    print(f"wrote {path}; edit its variants, then: bitparity run {path}")


@app.command()
def run(
    study: Annotated[Path, typer.Argument(help="The study file.")],
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each benchmark, a fair subset.")] = None,
    control: Annotated[bool, typer.Option(help="Run the baseline a second time, for the noise floor.")] = False,
    unsafe_exec: Annotated[bool, typer.Option("--unsafe-exec", help=UNSAFE_HELP)] = False,
    detach: Annotated[bool, typer.Option("--detach", help=DETACH_HELP)] = False,
    ray: Annotated[str | None, typer.Option(metavar="auto|ADDRESS", help=RAY_HELP)] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help=SHARD_HELP)] = None,
) -> None:
    """Run a study, or go on with it: what is finished is kept. Exit code 1: a candidate is worse."""
    from bitparity.generation.shards import SHARDS_FOLDER, parse_shard, shard_path
    from bitparity.study.resolve import load_study

    resolved = load_study(study, limit, control=control)
    part = None if shard is None else parse_shard(shard)
    place = out or (Path("artifacts") / resolved.name if part is None else shard_path(resolved, part))
    if detach:
        from bitparity.cli.detach import start

        same = [word for word in sys.argv[sys.argv.index("run") + 1 :] if word != "--detach"]
        raise typer.Exit(start(resolved, place, same) or 0)
    if part is not None:
        outcome = _run(resolved, place, unsafe_exec=unsafe_exec, ray=ray, shard=part)
        _say_failures(outcome)
        parts = f"{place.parent.parent} {place.parent}/*" if place.parent.name == SHARDS_FOLDER else "OUT SHARD ..."
        print(f"shard {part} is in {place}; when all are there: bitparity merge {parts}")
        raise typer.Exit(EXIT_OPEN if outcome.failures else 0)
    raise typer.Exit(_exit_code(*_run_and_report(resolved, place, unsafe_exec=unsafe_exec, ray=ray)))


@app.command()
def merge(
    out: Annotated[Path, typer.Argument(help="The run directory of the whole: made, or added to.")],
    shards: Annotated[list[Path], typer.Argument(help="Run directories of the same study, as run --shard left them.")],
    unsafe_exec: Annotated[bool, typer.Option("--unsafe-exec", help=UNSAFE_HELP)] = False,
) -> None:
    """Join the shards of a study, grade and report. What is missing is named; bitparity run --out OUT completes it."""
    from bitparity.cluster.merge import merge
    from bitparity.generation.prepare import Outcome
    from bitparity.grading.passes import grade_missing
    from bitparity.report.live import show_tasks
    from bitparity.store.run import WritableRun

    merged = merge(out, shards)
    with show_tasks() as events:
        grade_missing(out, events, unsafe_exec=unsafe_exec)
    results = _report(out)
    print(f"merged: {merged.taken} samples of {len(shards)} directories into {out}")
    for (variant, benchmark), (missing, asked) in merged.missing.items():
        _say(f"gap: {variant} on {benchmark}: {missing} of {asked} samples are missing")
    if merged.absent:
        _say(f"gap: nothing was given of shard {', '.join(merged.absent)}")
    raise typer.Exit(_exit_code(Outcome(WritableRun(out)), results))


@app.command()
def doctor(
    study: Annotated[Path, typer.Argument(help="The study file.")],
    out: Annotated[Path | None, typer.Option(help=OUT_HELP)] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Items of each benchmark, a fair subset.")] = None,
) -> None:
    """Look at this host before an hour is lost: device, memory, kernels, disks, hub, budgets. Exit code 3: errors."""
    from bitparity.doctor.examine import examine
    from bitparity.doctor.host import this_host
    from bitparity.study.resolve import load_study

    resolved = load_study(study, limit)
    failed = False
    for finding in examine(resolved, this_host(), out or Path("artifacts") / resolved.name):
        failed |= finding.level == "error"
        print(f"{finding.level:8} {finding.topic}: {finding.message}", flush=True)
        if finding.remedy:
            print(f"{'':8} -> {finding.remedy}", flush=True)
    raise typer.Exit(EXIT_OPEN if failed else 0)


@app.command()
def status(
    run: Annotated[Path, typer.Argument(help="A run directory, also another host's.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document; with --watch one a line.")] = False,
) -> None:
    """How far a run is, how fast, and what is left. Exit code 0: it runs, or is complete; 3: it stopped before."""
    from bitparity.progress import status as statuses
    from bitparity.report import live

    first = statuses.look(run)
    try:
        if as_json:
            for found in statuses.watch(run) if watch else [first]:
                print(json.dumps({"status": found.state, "said": found.said, **found.snapshot}), flush=True)
        elif watch:
            live.follow(statuses.watch(run), _console())
        else:
            live.show(first, _console())
    except KeyboardInterrupt:
        _say("no longer watching; the run itself was left alone")
    raise typer.Exit(0 if watch and first.state == "running" else first.exit_code)


@app.command()
def grade(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    unsafe_exec: Annotated[bool, typer.Option("--unsafe-exec", help=UNSAFE_HELP)] = False,
) -> None:
    """Grade all samples of a run again, and say which verdicts changed."""
    from bitparity.grading.passes import regrade
    from bitparity.report.live import show_tasks

    with show_tasks() as events:
        changes = regrade(run, events, unsafe_exec=unsafe_exec)
    for (variant, benchmark), keys in changes.items():
        names = ", ".join(f"{item}#{sample}" for item, sample in keys[:10])
        more = f" and {len(keys) - 10} more" if len(keys) > 10 else ""
        print(_clean(f"{variant} {benchmark}: {len(keys)} changed{': ' + names + more if keys else ''}"))
    _report(run)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    lang: Annotated[Literal["en", "zh"] | None, typer.Option(help="The language of the report.")] = None,
    fill: Annotated[Path | None, typer.Option(help="A Markdown document whose table to fill in place.")] = None,
    include_gated: Annotated[bool, typer.Option("--include-gated", help=GATED_HELP)] = False,
    without_answers: Annotated[bool, typer.Option("--without-answers", help=WITHOUT_HELP)] = False,
) -> None:
    """Make results.json, report.md and report.html again from the files of a run, and print the table."""
    if include_gated and without_answers:
        raise UserInputError("--include-gated puts texts in and --without-answers leaves them out; give one of them")
    withhold: Withhold = "everything" if without_answers else "nothing" if include_gated else "gated"
    if fill is None:
        _report(run, lang or "en", withhold)
        return
    from bitparity.report import filling

    filling.read(fill)  # a document that cannot be read is known before anything is made
    filled = filling.write(fill, _report(run, lang or "en", withhold), lang)
    print(f"filled: {fill}, {filled.cells} cells")
    for message in filled.messages:
        print(_clean(f"  {message}"))


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    form: Annotated[
        str, typer.Option("--format", help=f"One of: {', '.join(formats())}.", autocompletion=formats)
    ] = "",
    out: Annotated[Path | None, typer.Option(help="Where to write it; csv, model-card, summary: stdout.")] = None,
) -> None:
    """Results for other programs: tables, per-item results as lm-eval's, a model card's figures, a CI summary."""
    from bitparity.report.exports import export
    from bitparity.store.run import Run

    made = export(Run(run), form, out)
    if isinstance(made, str):
        sys.stdout.write(made)
    else:
        for path in made:
            print(f"wrote {path}")


@app.command()
def compare(
    baseline: Annotated[str, typer.Argument(help="RUN:VARIANT, lm-eval's samples (file or folder) or JSONL rows.")],
    candidates: Annotated[list[str], typer.Argument(help="The same kind of thing, one or more.")],
    margin: Annotated[float | None, typer.Option(help="The loss in points that does not matter.")] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write everything there.")] = None,
    filter_name: Annotated[str | None, typer.Option("--filter", help="Which filter of lm-eval's logs.")] = None,
    metric: Annotated[str | None, typer.Option(help="Which metric of lm-eval's logs.")] = None,
) -> None:
    """Compare per-item results from anywhere, paired by item. Exit code 1: a candidate is worse."""
    from bitparity.compare.compare import compare, exit_code, write
    from bitparity.compare.readers import read_all
    from bitparity.report.comparison import show

    first, *others = read_all([baseline, *candidates], filter_name, metric)
    outcome = compare(first, others, None if margin is None else margin / 100)
    show(outcome, _console())
    if json_file is not None:
        write(json_file, outcome)
    raise typer.Exit(exit_code(outcome))


@app.command()
def check(
    run: Annotated[Path, typer.Argument(help="A run directory.")],
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML there.")] = None,
    require: Annotated[Literal["overall", "every"], typer.Option(help="What must hold: all together, or each.")] = (
        "every"
    ),
) -> None:
    """The verdicts of a run as a CI gate, one line each. Exit code 1: worse; 3: incomplete, invalid, cannot tell."""
    from bitparity.report.gate import check_run, exit_code, write_junit

    lines = check_run(run, require)
    for line in lines:
        print(_clean(str(line)))
    if junit is not None:
        write_junit(junit, lines, run.resolve().name)
    raise typer.Exit(exit_code(lines))


@app.command()
def plan(
    study: Annotated[Path, typer.Argument(help="The study file.")],
    rate: Annotated[float | None, typer.Option(help="Output tokens per second, over all requests.")] = None,
    run: Annotated[Path | None, typer.Option(help="A run that measured rate and lengths.")] = None,
) -> None:
    """What a study will cost and what loss it could detect or rule out; loads no model."""
    from bitparity.doctor.plan import make_plan
    from bitparity.report.planning import show
    from bitparity.store.run import Run
    from bitparity.study.resolve import load_study

    show(make_plan(load_study(study), rate, None if run is None else Run(run)), _console())


@app.command()
def benchmarks() -> None:
    """List the benchmarks: items, form, metric, default samples and margin, data set."""
    from bitparity.report.listing import show_benchmarks

    show_benchmarks()


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="Run directory.")] = Path("artifacts/demo"),
) -> None:
    """Compare a real 135M model in BF16, FP8 and NVFP4 on this machine; no GPU, no account."""
    from bitparity.demo.study import demo_study
    from bitparity.report.live import show_tasks

    with show_tasks() as events:
        study = demo_study(events)
    outcome, results = _run_and_report(study, out)
    if outcome.failures or _incomplete(results):
        raise typer.Exit(EXIT_OPEN)


def _run(
    study: Study,
    out: Path,
    *,
    unsafe_exec: bool = False,
    ray: str | None = None,
    shard: Shard | None = None,
    meanwhile: Callable[[], None] | None = None,
) -> Outcome:
    """Run a study, shown on stderr."""
    from bitparity.report.live import show_run
    from bitparity.runner import run_study

    with show_run(study) as events:
        return run_study(study, out, events, unsafe_exec=unsafe_exec, ray=ray, shard=shard, meanwhile=meanwhile)


def _run_and_report(
    study: Study, out: Path, *, unsafe_exec: bool = False, ray: str | None = None
) -> tuple[Outcome, Results]:
    outcome = _run(study, out, unsafe_exec=unsafe_exec, ray=ray, meanwhile=_load_report)
    results = _report(out)
    _say_failures(outcome)
    return outcome, results


def _say_failures(outcome: Outcome) -> None:
    for name, reason in outcome.failures.items():
        _say(f"error: variant '{name}' is incomplete: {reason}. Run the same command again to go on")


def _load_report() -> None:
    """Everything that the report needs into memory, so that it is there at once when the run ends."""
    for module in ("report.markdown", "results.build", "report.terminal"):
        importlib.import_module(f"bitparity.{module}")
    from bitparity.report import html

    html.load()


def _report(path: Path, lang: Lang = "en", withhold: Withhold = "gated") -> Results:
    from bitparity.report import html, markdown, terminal
    from bitparity.results import build as results
    from bitparity.store.run import Run

    made = results.write(Run(path), with_texts=withhold != "everything")
    markdown.write(Run(path), made, lang)
    html.write(Run(path), made, lang, withhold)
    try:
        terminal.show(made, _console())
        print(f"report: {path / 'report.html'} and {path / 'report.md'}\nresults: {path / 'results.json'}", flush=True)
    except OSError as error:  # what was measured stands, and so does the exit code that says how it ended
        drop_stdout()
        _say(f"the table could not be written ({error.strerror}); it is in {path / 'report.md'}")
    return made


def _console() -> Console:
    from rich.console import Console

    return Console() if sys.stdout.isatty() else Console(width=PLAIN_WIDTH)


def _incomplete(results: Results) -> bool:
    return any(
        not entry.measured or any(score.unscored for score in entry.scores.values())
        for entry in results.benchmarks.values()
    )


def _exit_code(outcome: Outcome, results: Results) -> int:
    """0 fine, 1 a candidate is worse beyond its margin, 3 incomplete, invalid or inconclusive."""
    from bitparity.results import verdicts

    compared = [each for entry in results.benchmarks.values() for each in entry.comparisons.values()]
    found = [verdicts.outcome(each.verdict) for each in compared if not each.control]
    return verdicts.exit_code([*found, *(["open"] if outcome.failures or _incomplete(results) else [])])


def _say(line: str) -> None:
    print(_clean(line), file=sys.stderr, flush=True)


def _clean(line: str) -> str:
    """A line without control characters: names and ids come from studies and data sets."""
    from bitparity.report.plain import clean

    return clean(line)


def _stopped() -> NoReturn:
    """End at once: a test of a model's code that still runs must not hold up the end."""
    _say("stopped; what was finished is kept, the same command goes on")
    with suppress(OSError):
        sys.stdout.flush()
    os._exit(EXIT_STOPPED)


def main() -> None:
    """The entry point: errors become one line on stderr and the exit code of the design."""
    sys.stderr = Lenient(sys.stderr)
    for number in (signal.SIGTERM, signal.SIGHUP):  # a run that is to end does so as with Ctrl-C: in order
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        app()
    except BitparityError as error:
        _say(f"error: {' '.join(str(error).split())}")
        sys.exit(error.exit_code)
    except SystemExit as ended:
        if ended.code == EXIT_STOPPED:  # what typer makes of Ctrl-C
            _stopped()
        raise
    except KeyboardInterrupt:
        _stopped()
    except BrokenPipeError:
        drop_stdout()
        sys.exit(EXIT_PIPE)
    except Exception:  # a fault of bitparity itself: with its traceback, and never with the code for "worse"
        traceback.print_exc()
        sys.exit(EXIT_OPEN)
