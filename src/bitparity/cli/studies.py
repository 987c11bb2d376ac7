"""Commands that write, check and run a study."""

from __future__ import annotations

import importlib
import json
import re
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bitparity.cli import options
from bitparity.cli.language import language, told
from bitparity.cli.options import Limit, Out, StudyFile, UnsafeExec
from bitparity.cli.output import console, make_report, print_error, report_run, say, show_report
from bitparity.errors import EXIT_OPEN, UserInputError

if TYPE_CHECKING:
    from bitparity.generation.hours import Hours
    from bitparity.generation.prepare import Outcome
    from bitparity.generation.shards import Shard
    from bitparity.progress.events import Event
    from bitparity.results.schema import Results
    from bitparity.schema import Study

SHARDS_FOLDER = "shards"


def init(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("study.yaml")) -> None:
    """Write a commented study file to start from."""
    from bitparity.study.template import write_study

    write_study(path)
    say(f"wrote {path}; edit its variants, then: bitparity run {path}")


def run(
    study: StudyFile,
    out: Out = None,
    limit: Limit = None,
    control: Annotated[bool, typer.Option(help="Run the baseline a second time, for the noise floor.")] = False,
    stop_early: Annotated[bool, typer.Option("--stop-early", help=options.STOP_EARLY_HELP)] = False,
    unsafe_exec: UnsafeExec = False,
    detach: Annotated[bool, typer.Option("--detach", help=options.DETACH_HELP)] = False,
    ray: Annotated[str | None, typer.Option(metavar="auto|ADDRESS", help=options.RAY_HELP)] = None,
    shard: Annotated[str | None, typer.Option(metavar="I/N", help=options.SHARD_HELP)] = None,
    hours: Annotated[float | None, typer.Option(help=options.HOURS_HELP)] = None,
) -> None:
    """Run a study, or go on with it: what is finished is kept.

    Ends with the report. Exit code 1: a candidate is worse beyond its margin; 3: incomplete, invalid or inconclusive.
    """
    from bitparity.study.resolve import load_study

    resolved = load_study(study, limit, control=control, stop_early=stop_early)
    part = None if shard is None else parse_shard(shard)
    folder = "." if part is None else f"{SHARDS_FOLDER}/{part.index}-of-{part.of}"
    place = out or Path("artifacts") / resolved.name / folder
    limited = None if hours is None else _hours(resolved, hours)
    if detach:
        from bitparity.cli.detach import start

        words = sys.argv[sys.argv.index("run") + 1 :]
        same = [*(word for word in words if word != "--detach"), "--lang", language()]
        raise typer.Exit(start(resolved, place, same) or 0)
    outcome, results = _run(resolved, place, unsafe_exec=unsafe_exec, ray=ray, shard=part, hours=limited)
    if results is not None:
        show_report(place, results)
    _print_failures(outcome)
    if results is not None:
        raise typer.Exit(_exit_code(outcome, results))
    parts = f"{place.parent.parent} {place.parent}/*" if place.parent.name == SHARDS_FOLDER else "OUT SHARD [SHARD]..."
    say(f"shard {part} is in {place}; when all are there: bitparity merge {parts}")
    raise typer.Exit(EXIT_OPEN if outcome.failures else 0)


def parse_shard(text: str) -> Shard:
    """The shard that "I/N" names. Raises UserInputError."""
    from bitparity.generation.shards import Shard

    found = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    if found is None or not 1 <= int(found[1]) <= int(found[2]):
        raise UserInputError(f"--shard '{text}' is no part of a whole; write 1/8 to 8/8 for eight shards")
    return Shard(int(found[1]), int(found[2]))


def _hours(study: Study, hours: float) -> Hours:
    """The time of a run, once it is said what can be shown in it; nothing is loaded."""
    from bitparity.doctor import budget, plan
    from bitparity.generation.hours import Hours
    from bitparity.report.planning import show_forecast

    whole = plan.make_plan(study)
    forecast = budget.as_it_stands(whole, hours)
    made = Hours(hours, budget.expected(whole))
    if forecast is None:
        print_error(f"what {hours:g} hours can show is not known beforehand: {whole.rate_source}")
    else:
        show_forecast(forecast, console(), language())
    return made


def merge(
    out: Annotated[Path, typer.Argument(help="The run directory of the whole: made, or added to.")],
    shards: Annotated[list[Path], typer.Argument(help="Run directories of the same study, as run --shard left them.")],
    unsafe_exec: UnsafeExec = False,
) -> None:
    """Join the shards of a study, grade and report.

    What is missing is named; bitparity run --out OUT completes it.
    """
    from bitparity.cluster.merge import merge
    from bitparity.generation.prepare import Outcome
    from bitparity.grading.passes import grade_run
    from bitparity.report.live import show_tasks
    from bitparity.store.run import WritableRun

    merged = merge(out, shards)
    with show_tasks(language()) as events:
        grade_run(out, events, unsafe_exec=unsafe_exec)
    results = report_run(out)
    say(f"merged: {merged.taken} samples of {len(shards)} directories into {out}")
    for (variant, benchmark), (missing, asked) in merged.missing.items():
        print_error(f"gap: {variant} on {benchmark}: {missing} of {asked} samples are missing")
    if merged.absent:
        print_error(f"gap: nothing was given of shard {', '.join(merged.absent)}")
    raise typer.Exit(_exit_code(Outcome(WritableRun(out)), results))


def doctor(
    study: StudyFile,
    out: Out = None,
    limit: Limit = None,
    fix: Annotated[
        bool, typer.Option("--fix", help="Print only the lines for a shell that move all caches to the widest disk.")
    ] = False,
) -> None:
    """Check this host and a study before any hour is spent.

    Device, memory, kernels, disks, access to the hub, token budgets; nothing is loaded. Exit code 3: errors.
    """
    from bitparity.doctor import disks, examine, host
    from bitparity.report.language import reason, text
    from bitparity.study.resolve import load_study

    resolved = load_study(study, limit)
    if fix:
        nothing = told("# nothing to move: every cache has its variable, or no disk can be written")
        print("\n".join(disks.exports(host.Host())) or nothing)
        return
    failed, lang = False, language()
    for finding in examine.examine(resolved, host.Host(), out or Path("artifacts") / resolved.name):
        failed |= finding.level == "error"
        said = finding.in_chinese(partial(reason, lang=lang)) if lang == "zh" else finding
        print(f"{text(said.level, lang):8} {text('colon', lang, name=said.topic, said=said.message)}", flush=True)
        if said.remedy:
            print(f"{'':8} -> {said.remedy}", flush=True)
    raise typer.Exit(EXIT_OPEN if failed else 0)


def status(
    run: Annotated[Path, typer.Argument(help="A run directory, also another host's.")],
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again until the run ends.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document; with --watch one a line.")] = False,
) -> None:
    """Show how far a run is, how fast, and what is left.

    Exit code 0: it runs, or is complete; 3: it stopped before.
    """
    from bitparity.progress import status as statuses
    from bitparity.report import live

    first = statuses.look(run)
    try:
        if as_json:
            for found in statuses.watch(run) if watch else [first]:
                print(json.dumps({"status": found.state, "said": found.said, **found.snapshot}), flush=True)
        elif watch:
            live.follow(statuses.watch(run), console(), language())
        else:
            live.show(first, console(), language())
    except KeyboardInterrupt:
        print_error("no longer watching; the run itself was left alone")
    raise typer.Exit(0 if watch and first.state == "running" else first.exit_code)


def plan(
    study: StudyFile,
    rate: Annotated[
        float | None, typer.Option(help="Output tokens a second that the device makes, all requests together.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="A run that measured rate and lengths.")] = None,
    measure: Annotated[
        float | None, typer.Option(help="Load each variant and measure its rate for so many seconds.")
    ] = None,
    hours: Annotated[float | None, typer.Option(help="Choose what shows most in so many hours.")] = None,
    write: Annotated[Path | None, typer.Option(help="Write that choice as a study file.")] = None,
) -> None:
    """Show what a study costs and what loss it could show.

    Items, tokens, hours, and for each benchmark the loss that it could detect or rule out. A model is loaded with
    --measure only.
    """
    from bitparity.doctor.plan import make_plan
    from bitparity.doctor.rates import given_rate
    from bitparity.report.planning import show
    from bitparity.store.run import Run
    from bitparity.study.resolve import load_study

    resolved = load_study(study)
    if rate is not None and measure is not None:
        raise UserInputError("--rate and --measure exclude each other: give one of them")
    rates = None if rate is None else given_rate(resolved, rate)
    if measure is not None:
        from bitparity.doctor.measure import measured_rates

        rates = measured_rates(resolved, measure)
    made = make_plan(resolved, rates, None if run is None else Run(run))
    if hours is None:
        if write is not None:
            raise UserInputError("--write needs --hours: what is written is the choice for so many hours")
        show(made, console(), language())
        return
    from bitparity.doctor.budget import choose, write_cut
    from bitparity.report.planning import show_budget

    budget = choose(made, hours)
    show_budget(budget, console(), language())
    if write is not None:
        write_cut(study, budget, write)
        say(f"wrote {write}; run it with: bitparity run {write}")


def benchmarks() -> None:
    """List the benchmarks.

    Items, form, metric, default samples and margin, data set.
    """
    from bitparity.report.listing import show_benchmarks

    show_benchmarks(lang=language())


def demo(out: Annotated[Path, typer.Option(help="Run directory.")] = Path("artifacts/demo")) -> None:
    """Compare a real 135M model in BF16, FP8 and NVFP4, here.

    No GPU and no account are needed; the model is downloaded once (93 MB), and a run takes some minutes.
    """
    from bitparity.demo.study import demo_study
    from bitparity.report.live import show_tasks

    with show_tasks(language()) as events:
        study = demo_study(events)
    outcome, results = _run(study, out)
    assert results is not None
    show_report(out, results)
    _print_failures(outcome)
    if outcome.failures or not results.complete:
        raise typer.Exit(EXIT_OPEN)


def _run(
    study: Study,
    out: Path,
    *,
    unsafe_exec: bool = False,
    ray: str | None = None,
    shard: Shard | None = None,
    hours: Hours | None = None,
) -> tuple[Outcome, Results | None]:
    """Run a study, shown on stderr, and make its report; a shard is reported once it is merged."""
    from bitparity.report.live import show_run
    from bitparity.runner import Report, run_study

    made: list[Results] = []
    report = None if shard is not None else Report(_load_report, lambda: made.append(make_report(out)))
    with show_run(study, partial(_print_unanswerable, study), reported=report is not None, lang=language()) as events:
        ended = run_study(study, out, events, unsafe_exec=unsafe_exec, ray=ray, shard=shard, report=report, hours=hours)
    return ended, made[0] if made else None


def _print_unanswerable(study: Study, event: Event) -> None:
    """Say at the start of a new run which questions the study cannot answer, before an hour is spent on them."""
    from bitparity.doctor.plan import unanswerable
    from bitparity.progress.events import RunStarted
    from bitparity.report.planning import short_answer

    if isinstance(event, RunStarted) and not (event.path / "exam").exists():
        for bench in unanswerable(study):
            print_error(short_answer(bench, language()))


def _print_failures(outcome: Outcome) -> None:
    for name, why in outcome.failures.items():
        print_error(f"error: variant '{name}' is incomplete: {why}. Run the same command again to go on")


def _load_report() -> None:
    """Everything that the report needs into memory, so that it is there at once when the run ends."""
    for module in ("report.markdown", "results.build", "report.terminal"):
        importlib.import_module(f"bitparity.{module}")
    from bitparity.report import html

    html.load()


def _exit_code(outcome: Outcome, results: Results) -> int:
    """0 fine, 1 a candidate is worse beyond its margin, 3 incomplete, invalid or inconclusive."""
    from bitparity.results import verdicts

    compared = [each for entry in results.benchmarks.values() for each in entry.comparisons.values()]
    found = [verdicts.outcome(each.verdict) for each in compared if not each.control]
    return verdicts.exit_code([*found, "open" if outcome.failures or not results.complete else "passed"])
