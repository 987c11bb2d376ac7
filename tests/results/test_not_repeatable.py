"""The guard on answers that batch invariance should have made the same."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bitparity.records import Sample
from bitparity.results.guards.conditions import not_repeatable


def facts(texts: list[str], *, temperature: float = 0.0, invariant: bool = True) -> Any:
    def sheet(answers: list[str]) -> Any:
        rows = [Sample("b", f"q{n}", 0, text, "stop", 1, 1, 0.0) for n, text in enumerate(answers)]
        return SimpleNamespace(samples={(row.item, 0): row for row in rows})

    return SimpleNamespace(
        study=SimpleNamespace(baseline="bf16", control="again"),
        exam=SimpleNamespace(sampling=SimpleNamespace(temperature=temperature)),
        sheets={"bf16": sheet(["one", "two", "three"]), "again": sheet(texts)},
        spot_check=None,
        latest=lambda: [(name, {"batch_invariant": invariant}) for name in ("bf16", "again")],
    )


@pytest.mark.parametrize(
    ("texts", "settings", "differing"),
    [
        (["one", "two", "three"], {}, None),
        (["one", "TWO", "three"], {}, 1 / 3),
        (["one", "TWO", "three"], {"temperature": 0.6}, None),  # other seeds: the texts need not be the same
        (["one", "TWO", "three"], {"invariant": False}, None),
    ],
)
def test_only_greedy_invariant_answers_must_be_the_same(
    texts: list[str], settings: dict[str, Any], differing: float | None
) -> None:
    found = list(not_repeatable(facts(texts, **settings)))
    assert [(guard.variant, guard.level, guard.value) for guard in found] == (
        [] if differing is None else [("again", "error", pytest.approx(differing))]
    )
