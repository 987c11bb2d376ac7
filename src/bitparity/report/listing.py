"""The list of benchmarks, read from the registry and the default profile."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from bitparity.benchmarks.contract import Source
from bitparity.benchmarks.registry import benchmark_class, benchmark_names
from bitparity.errors import StudyError
from bitparity.report.language import Lang, reason, text
from bitparity.study.files import profile_names
from bitparity.study.resolve import parse_study

TITLES = ("name", "items", "form", "metric", "samples", "margin", "gated")
NUMBERS = ("items", "samples", "margin")


def show_benchmarks(console: Console | None = None, lang: Lang = "en") -> None:
    """Print name, items, forms, metric, default samples and margin in points, gated or not, and the data set.

    The data set with its pinned commit stands in whole, on a line of its own, so that it can be copied.
    """
    table = Table(header_style="bold")
    for title in TITLES:
        table.add_column(
            text(f"listing.{title}", lang), justify="right" if title in NUMBERS else "left", no_wrap=title == "name"
        )
    sources = [Text(reason("data sets, at the pinned commits:", lang))]
    for name in benchmark_names():
        try:
            info = benchmark_class(name).info
            study = f"study: listing\nvariants: {{only: {{model: none/none}}}}\nbenchmarks: [{name}]"
            spec = parse_study(study, name, Path.cwd()).benchmarks[0]
        except StudyError as error:  # another package's benchmark that cannot be loaded
            sources.append(Text(f"  {name}: {reason(str(error), lang)}", overflow="fold"))
            continue
        gated = text("listing.yes" if info.source and info.source.gated else "listing.no", lang)
        forms = ", ".join(info.forms)
        table.add_row(name, f"{info.items:,}", forms, info.metric, str(spec.samples), f"{spec.margin:g}", gated)
        sources.append(Text(f"  {name}: {reason(_source(info.source), lang)}", overflow="fold"))
    notes = (
        "margin: points of loss that do not matter; samples and margin are those of the profile default, any can be "
        "set in a study",
        f"profiles: {', '.join(profile_names())}",
        "lm_eval:<task> runs any generate or log-likelihood task of lm-eval 0.4.13",
    )
    (console or Console()).print(Group(table, *sources, *(Text(reason(note, lang)) for note in notes)))


def _source(source: Source | None) -> str:
    if source is None:
        return "made by bitparity"
    config = f" {source.config}" if source.config else ""
    return f"{source.path}{config}, split {source.split}, commit {source.revision}"
