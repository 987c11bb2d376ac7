from __future__ import annotations

from pathlib import Path

from made_results import results
from support import Cli, replay_study

from bitparity.report.tables import GraderRow, grader_rows


def test_the_primary_grader_comes_first() -> None:
    found = {
        "variants": {"a": {}, "b": {}},
        "benchmarks": {
            "two": {
                "status": "measured",
                "metric": "z",
                "scores": {"a": {"metrics": {"k": 0.5, "z": 1.0}}, "b": {"metrics": {"z": 0.25}}},
            },
            "one": {"status": "measured", "metric": "z", "scores": {"a": {"metrics": {"z": 1.0}}, "b": {}}},
            "none": {"status": "not_run", "reason": "gated"},
        },
    }
    assert list(grader_rows(results(found))) == [
        GraderRow("two", "z", True, [1.0, 0.25]),
        GraderRow("two", "k", False, [0.5, None]),
    ]


def test_report_and_terminal_show_the_other_graders(cli: Cli, tmp_path: Path) -> None:
    ended = cli("run", replay_study(tmp_path), "--out", tmp_path / "run")
    text = (tmp_path / "run" / "report.md").read_text()
    assert "### Every grader on the same completions" in text
    assert "| math500 | **math\\_verify** | 91.7 % | 83.3 % | 50.0 % |" in text
    assert "| math500 | lm\\_eval\\_exact\\_match | 0.0 % | 0.0 % | 0.0 % |" in text
    assert "math500 (lm_eval_exact_match): bf16 0.0 %, fp8 0.0 %, nvfp4 0.0 %" in ended.out
