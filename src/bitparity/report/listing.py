"""The list of benchmarks, read from the registry and the default profile."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from bitparity.benchmarks import Source, benchmark_class, benchmark_names
from bitparity.study import BenchmarkSpec, parse_study


def show_benchmarks() -> None:
    """Print name, items, forms, metric, default samples and margin, and the data set of each benchmark."""
    table = Table(header_style="bold")
    for title in ("name", "items", "forms", "metric", "samples", "margin", "data set"):
        table.add_column(title, justify="right" if title in ("items", "samples", "margin") else "left")
    for name in benchmark_names():
        info, spec = benchmark_class(name).info, _default_spec(name)
        table.add_row(
            name,
            f"{info.items:,}",
            ", ".join(info.forms),
            info.metric,
            str(spec.samples),
            f"{spec.margin:g}",
            _source(info.source),
        )
    console = Console()
    console.print(table)
    console.print("lm_eval:<task> runs any generate or log-likelihood task of lm-eval 0.4.13.", highlight=False)


def _default_spec(name: str) -> BenchmarkSpec:
    text = f"study: listing\nvariants: {{only: {{model: none/none}}}}\nbenchmarks: [{name}]"
    return parse_study(text, name, Path.cwd()).benchmarks[0]


def _source(source: Source | None) -> str:
    if source is None:
        return "made by bitparity"
    return f"{source.path} ({source.split}, {source.revision[:8]}){', gated' if source.gated else ''}"
