"""`bitparity grade` after a grader changed: everything is graded anew from the samples, and what changed is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support import Cli, replay_study

from bitparity.benchmarks.math500 import Math500
from bitparity.records import Completion, Grade, Item


@pytest.fixture(autouse=True)
def in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Graders run here, where a test can change them."""
    monkeypatch.setattr(Math500, "slow_grader", False)


def lines(run: Path, variant: str) -> list[str]:
    return (run / "grades" / variant / "math500.jsonl").read_text().splitlines()


def test_a_changed_grader_shows_item_by_item(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = tmp_path / "run"
    cli("run", replay_study(tmp_path), "--out", run)
    samples = {path: path.read_bytes() for path in (run / "samples").rglob("*.jsonl")}
    before = lines(run, "fp8")
    same = cli("grade", run)
    assert "fp8 math500: 0 changed" in same.out
    assert lines(run, "fp8") == before

    honest = Math500.grade

    def kinder(self: Math500, item: Item, completion: Completion) -> Grade:
        if item.id == "test/sums/2.json":
            return Grade(1.0, "answered", "4", {"math_verify": 1.0, "lm_eval_exact_match": 0.0})
        return honest(self, item, completion)

    monkeypatch.setattr(Math500, "grade", kinder)
    changed = cli("grade", run)
    assert "bf16 math500: 1 changed: test/sums/2.json#0" in changed.out
    assert "fp8 math500: 1 changed: test/sums/2.json#0" in changed.out
    scores = json.loads((run / "results.json").read_text())["benchmarks"]["math500"]["scores"]
    assert scores["fp8"]["mean"] == pytest.approx(11 / 12)  # item 1 is still wrong, item 2 now right
    assert {path: path.read_bytes() for path in samples} == samples  # raw completions are never touched

    monkeypatch.setattr(Math500, "grade", honest)
    cli("grade", run)
    assert lines(run, "fp8") == before
