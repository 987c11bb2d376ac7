from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from made_results import results
from support import Cli, replay_study, write_jsonl, write_yaml

from bitparity.report.markdown import escaped, render


@pytest.mark.parametrize("text", ["a | b", "<script>", "[x](y)", "line\nbreak", "**bold**", "`code`", "a_b_"])
def test_text_from_outside_stays_text_inside_its_cell(text: str) -> None:
    cell = escaped(text)
    assert "\n" not in cell
    for mark in "|<[*`_":
        assert cell.count(mark) == cell.count("\\" + mark)


def test_a_benchmark_that_was_not_run_shows_na_with_its_reason() -> None:
    found = {
        "study": {"name": "s", "fingerprint": "f", "profile": "default", "limit": {}},
        "variants": {"a": {"baseline": True, "model": "m", "engine": None}},
        "benchmarks": {"gpqa_diamond": {"status": "not_run", "reason": "gated", "margin": 0.05}},
        "overall": {},
    }
    assert "| gpqa\\_diamond | – | N/A | gated |" in render(results(found))


def test_two_benchmarks_are_pooled_in_the_report(cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path, wrong={"bf16": [], "fp8": [1, 2]})

    document = yaml.safe_load(study.read_text())
    document["benchmarks"].append({"name": "aime24", "data": "aime.jsonl"})
    write_yaml(study, document)
    rows = [{"ID": f"i{n}", "Problem": f"{n}?", "Solution": "", "Answer": n} for n in range(6)]
    write_jsonl(tmp_path / "aime.jsonl", rows)
    for name in ("bf16", "fp8"):
        with (tmp_path / f"{name}.jsonl").open("a") as file:
            for row in rows:
                file.write(f'{{"item": "{row["ID"]}", "text": "\\\\boxed{{{row["Answer"]}}}"}}\n')
    cli("run", study, "--out", tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text()
    assert "### All benchmarks together" in text
