"""Code execution in the Markdown report: one row for each benchmark that runs code and variant."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bitparity.report.language import Lang, text
from bitparity.report.words import percent


def markdown(
    measured: Mapping[str, Any],
    variants: Iterable[str],
    lang: Lang,
    table: Callable[[Iterable[str], Iterable[Iterable[str]]], str],
    cell: Callable[[object], str],
) -> str:
    """The report's section: a row for each benchmark that runs code and variant."""
    rows = []
    for bench, entry in measured.items():
        for name in variants if "verdicts" in entry else ():
            rates = [
                f"{key.replace('_', ' ')} {percent(value, lang=lang)}" for key, value in entry["rates"][name].items()
            ]
            counts = [f"{verdict.replace('_', ' ')} {count}" for verdict, count in entry["verdicts"][name].items()]
            level = (entry["execution"][name] or {}).get("level", "")
            rows.append([cell(bench), cell(name), cell(level), cell("; ".join(counts)), cell("; ".join(rates))])
    if not rows:
        return ""
    keys = ("benchmark", "variant", "sandbox", "program_verdicts", "rates")
    return f"## {text('code_execution', lang)}\n\n" + table([text(key, lang) for key in keys], rows)
