from __future__ import annotations

import io

import pytest
from rich.console import Console

from bitparity.benchmarks.registry import benchmark_class, benchmark_names
from bitparity.report.listing import show_benchmarks
from bitparity.study.files import profile_names


@pytest.fixture(scope="module")
def listing() -> str:
    out = io.StringIO()
    show_benchmarks(Console(file=out, width=160))
    return out.getvalue()


@pytest.mark.parametrize("name", benchmark_names())
def test_every_benchmark_with_what_it_is(name: str, listing: str) -> None:
    info = benchmark_class(name).info
    (row,) = [line for line in listing.splitlines() if line.startswith(f"│ {name} ")]
    assert f"{info.items:,}" in row
    assert info.metric in row
    assert all(form in row for form in info.forms)
    assert ("yes" in row.split()) == bool(info.source and info.source.gated)
    if info.source:
        assert info.source.path in listing
        assert info.source.revision in listing


def test_samples_and_margins_are_the_defaults(listing: str) -> None:
    (row,) = [line for line in listing.splitlines() if line.startswith("│ mmlu_pro ")]
    assert [cell.strip() for cell in row.split("│")[1:-1]] == [
        "mmlu_pro", "12,032", "chat, lm-eval", "exact_match", "1", "1", "no",
    ]  # fmt: skip


def test_profiles_and_lm_eval_are_named(listing: str) -> None:
    assert all(name in listing for name in profile_names())
    assert "lm_eval:<task>" in listing
