"""`bitparity check`: a run as a gate, and its JUnit XML."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support import Cli, replay_study, stamp_grades

from bitparity.errors import RunError
from bitparity.progress.events import Events
from bitparity.report import gate
from bitparity.report.gate import Line, exit_code, junit
from bitparity.results.build import build, write
from bitparity.results.schema import Results
from bitparity.runner import run_study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study


def run(folder: Path, count: int, wrong: dict[str, Any]) -> Path:
    folder.mkdir(exist_ok=True)
    run_study(load_study(replay_study(folder, count, wrong)), folder / "run", Events())
    return folder / "run"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`same` is as good as the baseline, `worse` clearly not, `unclear` cannot be told."""
    wrong = {"bf16": range(20), "same": range(20), "worse": range(100), "unclear": range(26)}
    return run(tmp_path_factory.mktemp("gate"), 200, wrong)


def test_one_line_a_candidate_and_the_worst_decides(finished: Path, cli: Cli) -> None:
    ended = cli("check", finished)
    assert ended.code == 1
    lines = gate_lines(ended.out)
    assert [line.split(":")[0].split() for line in lines] == [
        ["passed", "same", "math500"],
        ["failed", "worse", "math500"],
        ["open", "unclear", "math500"],
    ]
    assert "worse, beyond the margin (−40.0 points" in lines[1]
    assert "margin 2 points" in lines[1]


def test_what_cannot_be_told_may_be_allowed_and_nothing_else(finished: Path, cli: Cli) -> None:
    ended = cli("check", finished, "--allow", "inconclusive")
    assert ended.code == 1
    assert [line.split()[0] for line in gate_lines(ended.out)] == ["passed", "failed", "allowed"]
    document = built(finished)
    del document["variants"]["worse"]
    results = Results.model_validate(document)
    lines = gate.allow_inconclusive(gate.judge(results))
    assert exit_code(gate.judge(results)) == 3
    assert exit_code(lines) == 0
    assert json.loads(gate.badge(lines))["message"] == "cannot tell, allowed, 1 of 2"
    (case,) = ElementTree.fromstring(junit(lines, "run")).iter("skipped")
    assert "lower, not counted as shown" in (case.get("message") or "")
    entry = document["benchmarks"]["math500"]
    for change, kind in (({"loss_shown": True}, "worse_size_unclear"), ({"verdict": "invalid"}, "invalid")):
        other = copy.deepcopy(document)
        other["benchmarks"]["math500"]["comparisons"]["unclear"] |= change
        line = gate.allow_inconclusive(judge(other))[-1]
        assert (line.outcome, line.kind) == ("open", kind)
    entry["scores"]["unclear"]["unscored"] = 1
    line = gate.allow_inconclusive(judge(document))[-1]
    assert (line.outcome, line.kind) == ("open", "incomplete")


def test_an_average_that_hides_something_is_never_allowed(finished: Path) -> None:
    document = built(finished)
    for name in ("worse", "unclear"):
        del document["variants"][name]
    document["overall"]["same"] |= {"verdict": "inconclusive"}
    assert [each.outcome for each in gate.allow_inconclusive(judge(document, "overall"))] == ["allowed"]
    document["benchmarks"]["gpqa_diamond"] = {"status": "not_run", "reason": "gated", "margin": 0.05}
    assert [each.kind for each in gate.allow_inconclusive(judge(document, "overall"))] == ["incomplete"]
    del document["benchmarks"]["gpqa_diamond"]
    document["overall"]["same"] |= {"hidden": ["math500"]}
    assert [each.kind for each in gate.allow_inconclusive(judge(document, "overall"))] == ["worse_size_unclear"]


def test_one_benchmark_can_be_checked_alone(finished: Path, cli: Cli) -> None:
    document = built(finished)
    document["benchmarks"]["aime24"] = document["benchmarks"]["math500"]
    lines = gate.judge(Results.model_validate(document), only=["aime24"])
    assert {line.benchmark for line in lines} == {"aime24"}
    ended = cli("check", finished, "--benchmark", "gpqa_diamond")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "there is: math500" in ended.err
    assert cli("check", finished, "--benchmark", "math500", "--require", "overall").code == 2


def test_the_lines_are_in_chinese_where_asked(finished: Path, cli: Cli) -> None:
    english, chinese = (cli("check", finished, "--lang", lang).out for lang in ("en", "zh"))
    figures = r"[+−]\d+\.\d+"
    assert re.findall(figures, english) == re.findall(figures, chinese)
    assert [line.split()[0] for line in chinese.splitlines()[:3]] == ["通过", "未通过", "未定"]
    said = gate.summary(gate.judge(build(Run(finished)), lang="zh"))
    assert not re.search("outcome|candidate|verdict|failed|open", said)
    assert "| 通过 | same | math500 |" in said
    assert "变差，且超出界值（−40.0 个百分点" in chinese
    document = built(finished)
    document["benchmarks"]["gpqa_diamond"] = {"status": "not_run", "reason": "gated", "margin": 0.05}
    for line in gate.judge(Results.model_validate(document), "overall", lang="zh"):
        assert not re.search(r"[a-z]{3,} (of|the|over|on) ", line.words)


def test_a_margin_is_refused_with_its_reason(finished: Path, cli: Cli) -> None:
    ended = cli("check", finished, "--margin", "5")
    assert (ended.code, ended.out, ended.err.count("\n")) == (2, "", 1)
    assert "belongs to the study" in ended.err


def gate_lines(out: str) -> list[str]:
    """The lines of the gate, before the decisions."""
    return out.partition("\n\n")[0].splitlines()


def test_exit_codes_are_those_of_the_design(finished: Path) -> None:
    lines = {line.candidate: line for line in gate.judge(build(Run(finished)))}
    assert exit_code([lines["same"]]) == 0
    assert exit_code([lines["same"], lines["unclear"]]) == 3
    assert exit_code([lines["same"], lines["worse"], lines["unclear"]]) == 1


def test_overall_looks_at_the_pooled_verdict(finished: Path, cli: Cli) -> None:
    ended = cli("check", finished, "--require", "overall")
    assert ended.code == 1
    assert ended.out.splitlines()[0].startswith("passed  same overall: equivalent")


def test_a_stored_result_is_not_believed(tmp_path: Path, cli: Cli) -> None:
    path = run(tmp_path / "stale", 200, {"bf16": range(20), "fp8": range(20)})
    write(Run(path))
    assert cli("check", path).code == 0
    grades = path / "grades" / "fp8" / "math500.jsonl"
    rows = [json.loads(line) for line in grades.read_text().splitlines()]
    for row in rows[1:]:
        row["score"], row["metrics"] = 0.0, dict.fromkeys(row["metrics"], 0.0)
    grades.write_text("".join(json.dumps(row) + "\n" for row in rows))
    stamp_grades(path)
    assert cli("check", path).code == 1


def test_a_run_that_is_not_whole_does_not_pass(tmp_path: Path, cli: Cli) -> None:
    path = run(tmp_path / "cut", 200, {"bf16": range(20), "fp8": range(20)})
    for kind in ("samples", "grades"):
        file = path / kind / "fp8" / "math500.jsonl"
        file.write_text("".join(line + "\n" for line in file.read_text().splitlines()[:-2]))
    for require in ("every", "overall"):
        ended = cli("check", path, "--require", require)
        assert ended.code == 3
        assert "incomplete: 2 samples have no score; so far equivalent" in ended.out


def built(finished: Path) -> dict[str, Any]:
    return write(Run(finished)).document()


def judge(document: dict[str, Any], require: gate.Require = "every") -> list[Line]:
    return gate.judge(Results.model_validate(document), require)


def test_what_was_not_run_is_skipped_and_keeps_the_gate_shut(finished: Path) -> None:
    results = built(finished)
    for name in ("worse", "unclear"):
        del results["variants"][name]
    results["benchmarks"]["gpqa_diamond"] = {"status": "not_run", "reason": "gated", "margin": 0.05}
    lines = judge(results)
    assert [line.outcome for line in lines] == ["passed", "skipped"]
    assert exit_code(lines) == 3
    (line,) = judge(results, "overall")
    assert (line.outcome, line.kind) == ("open", "incomplete")
    assert "gpqa_diamond not run" in line.words


def test_an_invalid_benchmark_says_its_guard_and_is_named_where_it_is_left_out(finished: Path) -> None:
    results = built(finished)
    for name in ("worse", "unclear"):
        del results["variants"][name]
    bad = copy.deepcopy(results["benchmarks"]["math500"])
    bad["comparisons"]["same"] |= {"verdict": "invalid", "invalid_by": ["floor"]}
    bad["guards"] = [{"name": "floor", "variant": None, "level": "error", "value": 0, "message": "all zeros"}]
    results["benchmarks"]["aime24"] = bad
    first, second = judge(results)
    assert (first.outcome, second.outcome, second.kind) == ("passed", "open", "invalid")
    assert second.words.endswith("; floor")
    assert second.detail == "floor: all zeros"
    assert exit_code([first, second]) == 3
    (line,) = judge(results, "overall")
    assert (line.outcome, line.kind) == ("open", "invalid")
    assert "over 1 of 2 benchmarks (math500)" in line.words
    assert "left out as invalid or without scores: aime24" in line.words
    results["overall"] = {}
    assert judge(results, "overall")[0].outcome == "open"


def test_a_margin_in_proportion_goes_from_the_study_to_the_verdict(tmp_path: Path, cli: Cli) -> None:
    """2 of 180 right answers lost are within 5 % of the score, 40 are not."""
    folder = tmp_path / "recovery"
    folder.mkdir()
    study = replay_study(folder, 200, {"bf16": range(20), "close": range(22), "worse": range(60)})
    study.write_text(study.read_text().replace("- name: math500", "- margin: {recovery: 0.9}\n  name: math500"))
    run_study(load_study(study), folder / "run", Events())
    found = built(folder / "run")["benchmarks"]["math500"]
    assert (found["margin"], found["margin_recovery"]) == (pytest.approx(0.09), 0.9)
    verdicts = {name: each["verdict"] for name, each in found["comparisons"].items()}
    assert verdicts == {"close": "equivalent", "worse": "worse_beyond_margin"}
    ended = cli("compare", f"{folder / 'run'}:bf16", f"{folder / 'run'}:close", f"{folder / 'run'}:worse")
    assert ended.code == 1
    assert "margin of math500: 9 points (the baseline's study)" in " ".join(ended.out.split())
    assert "shown for one of 50 %" in " ".join(cli("plan", study).out.split())


def test_no_average_passes_what_one_benchmark_fails(finished: Path) -> None:
    results = built(finished)
    for name in ("worse", "unclear"):
        del results["variants"][name]
    bad = copy.deepcopy(results["benchmarks"]["math500"])
    bad["comparisons"]["same"] |= {"verdict": "worse_beyond_margin", "loss_shown": True, "doubted_by": ["cut_off"]}
    results["benchmarks"]["aime24"] = bad
    (line,) = judge(results, "overall")
    assert (line.outcome, line.kind) == ("failed", "worse_beyond_margin")
    assert line.words.startswith("worse, beyond the margin on aime24; all together: equivalent")
    results["overall"] = {}
    assert judge(results, "overall")[0].outcome == "failed"


def test_a_candidate_without_answers_is_open(finished: Path) -> None:
    results = built(finished)
    results["benchmarks"]["math500"]["comparisons"] = {}
    assert {(line.outcome, line.kind) for line in judge(results)} == {("open", "incomplete")}


def test_junit_counts_and_orders_what_its_schema_asks_for(finished: Path, tmp_path: Path, cli: Cli) -> None:
    path = tmp_path / "junit.xml"
    assert cli("check", finished, "--junit", path).code == 1
    root = ElementTree.parse(path).getroot()
    assert (root.tag, root.attrib) == ("testsuites", {})
    (suite,) = root
    assert {key: suite.get(key) for key in ("tests", "failures", "errors", "skipped")} == {
        "tests": "3",
        "failures": "1",
        "errors": "1",
        "skipped": "0",
    }
    assert {"id", "package", "name", "timestamp", "hostname", "time"} <= suite.attrib.keys()
    tags = [child.tag for child in suite]
    assert tags == ["properties", "testcase", "testcase", "testcase", "system-out", "system-err"]
    cases = suite.findall("testcase")
    assert all(case.get("name") and case.get("classname") and case.get("time") for case in cases)
    (failure,) = suite.iter("failure")
    assert failure.get("type") == "worse_beyond_margin"
    assert "−40.0 points" in (failure.get("message") or "")
    (error,) = suite.iter("error")
    assert error.get("type") == "inconclusive"


def test_junit_holds_any_text() -> None:
    text = junit([Line("a<b", "x&y", "skipped", "not_run", 'bad \x00\x1b "text" \ud800')], "s\x07")
    (case,) = ElementTree.fromstring(text).iter("testcase")
    assert case.get("classname") == "a<b"
    assert "bad" in (case[0].get("message") or "")


def test_a_run_with_one_variant_has_nothing_to_check(tmp_path: Path, cli: Cli) -> None:
    path = run(tmp_path / "one", 12, {"bf16": [1]})
    with pytest.raises(RunError, match="one variant only"):
        gate.judge(build(Run(path)))
    assert cli("check", path).code == 2


def test_bad_input_ends_with_one_line(finished: Path, tmp_path: Path, cli: Cli) -> None:
    for args in ((tmp_path,), (tmp_path / "absent",), (finished, "--junit", tmp_path / "absent" / "x.xml")):
        ended = cli("check", *args)
        assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert cli("check", finished, "--require", "some").code == 2
