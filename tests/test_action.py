"""The GitHub Action: the script of its gate, run in a shell as the runner would."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import pytest
import yaml
from support import replay_study, write_jsonl

from bitparity.progress.events import Events
from bitparity.runner import run_study
from bitparity.study.resolve import load_study

ROOT = Path(__file__).resolve().parents[1]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
GATE = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "gate")
WRONG = {"passed": range(20), "failed": range(100), "open": range(26)}
UNCLEAR = "neither shown nor ruled out"
CODES = {"passed": 0, "failed": 1, "open": 3}


class Job(NamedTuple):
    """What a step left: its exit code, its log, its outputs, the job's summary, its files."""

    code: int
    log: str
    outputs: dict[str, str]
    summary: str
    files: Path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run for each outcome, named after it, over recorded answers."""
    folder = tmp_path_factory.mktemp("runs")
    for name, wrong in (*WRONG.items(), (UNCLEAR, range(24))):
        (folder / f"of-{name}").mkdir()
        study = replay_study(folder / f"of-{name}", 200, {"bf16": range(20), "fp8": wrong})
        run_study(load_study(study), folder / name, Events())
    return folder


def gate(place: Path, temporary: Path, **given: str) -> Job:
    """Run the gate's script with the inputs `given` (a hyphen is an underscore) and the defaults of the others."""
    bin_ = temporary / "bitparity" / "bin"
    bin_.mkdir(parents=True, exist_ok=True)
    program = "import sys; sys.argv[0] = 'bitparity'; from bitparity.cli.app import main; main()"
    (bin_ / "bitparity").write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{program}" "$@"\n')
    (bin_ / "bitparity").chmod(0o755)
    inputs = {name: about["default"] for name, about in ACTION["inputs"].items()} | given

    def value(expression: str) -> str:
        names = re.findall(r"inputs\.([\w-]+)", expression)
        assert names
        return next((inputs[name] for name in names if inputs[name]), "")

    files = {name: temporary / name for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
    for path in files.values():
        path.touch()
    (temporary / "step.sh").write_text(GATE["run"])
    own = {name: value(expression) for name, expression in GATE["env"].items()}
    paths = {name: str(path) for name, path in files.items()} | {"RUNNER_TEMP": str(temporary)}
    environment = {**os.environ, **own, **paths, "PYTHONPATH": str(ROOT / "src")}
    shell = ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(temporary / "step.sh")]
    ended = subprocess.run(shell, cwd=place, env=environment, capture_output=True, text=True, timeout=300)
    outputs = dict(line.split("=", 1) for line in files["GITHUB_OUTPUT"].read_text().splitlines())
    log, summary = ended.stdout + ended.stderr, files["GITHUB_STEP_SUMMARY"].read_text()
    return Job(ended.returncode, log, outputs, summary, temporary / "bitparity-gate")


@pytest.mark.parametrize("outcome", WRONG)
@pytest.mark.parametrize("given", ["run", "artifact"])
def test_a_run_is_gated(outcome: str, given: str, runs: Path, tmp_path: Path) -> None:
    job = gate(runs, tmp_path, **{given: outcome})
    assert (job.code, job.outputs["outcome"]) == (CODES[outcome], outcome), job.log
    headline = {"passed": "passed", "failed": "worse", "open": "cannot tell"}[outcome]
    assert f"## bitparity: {headline}, 1 of 1" in job.summary
    assert re.search(rf"^\| {outcome} \| fp8 \| math500 \| .*margin 2 points", job.summary, re.MULTILINE)
    assert "## toy: what do fewer bits cost?" in job.summary
    assert json.loads((job.files / "badge.json").read_text()) == {
        "schemaVersion": 1,
        "label": "bitparity",
        "message": f"{headline}, 1 of 1",
        "color": {"passed": "brightgreen", "failed": "red", "open": "yellow"}[outcome],
    }
    suite = ElementTree.parse(job.files / "junit.xml").getroot()[0]
    counts = {"passed": ("0", "0"), "failed": ("1", "0"), "open": ("0", "1")}[outcome]
    assert (suite.get("failures"), suite.get("errors")) == counts


def test_cannot_tell_passes_where_it_is_allowed(runs: Path, tmp_path: Path) -> None:
    job = gate(runs, tmp_path / "asked", run=UNCLEAR)
    assert (job.code, job.outputs["outcome"]) == (3, "open"), job.log
    job = gate(runs, tmp_path / "allowed", run=UNCLEAR, allow="inconclusive")
    assert (job.code, job.outputs["outcome"]) == (0, "passed"), job.log
    assert json.loads((job.files / "badge.json").read_text())["message"] == "cannot tell, allowed, 1 of 1"
    assert re.search(r"^\| allowed \| fp8 \| math500 \| .*margin 2 points", job.summary, re.MULTILINE)


@pytest.mark.parametrize("outcome", ["failed", "open"])
def test_a_shown_loss_is_never_allowed(outcome: str, runs: Path, tmp_path: Path) -> None:
    job = gate(runs, tmp_path, run=outcome, allow="inconclusive")
    assert (job.code, job.outputs["outcome"]) == (CODES[outcome], outcome), job.log


def test_benchmarks_are_chosen_one_a_line(runs: Path, tmp_path: Path) -> None:
    job = gate(runs, tmp_path, run="passed", benchmark="\n  math500  \n")
    assert (job.code, job.outputs["outcome"]) == (0, "passed"), job.log
    job = gate(runs, tmp_path / "other", run="passed", benchmark="math500\nmmlu pro\n")
    assert (job.code, job.outputs["outcome"]) == (2, "error")
    assert re.search("^::error .*no benchmark 'mmlu pro'", job.log, re.MULTILINE)


def test_only_cannot_tell_may_be_allowed(runs: Path, tmp_path: Path) -> None:
    job = gate(runs, tmp_path, run="failed", allow="everything")
    assert (job.code, job.outputs["outcome"]) == (2, "error")
    assert re.search("^::error .*everything", job.log, re.MULTILINE)


@pytest.mark.parametrize("outcome", WRONG)
def test_two_sets_of_results_are_compared(outcome: str, tmp_path: Path) -> None:
    for name, wrong in (("base", range(20)), ("--cand", WRONG[outcome])):
        rows = [{"item": str(n), "score": int(n not in wrong), "benchmark": "math"} for n in range(200)]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    job = gate(tmp_path, tmp_path, baseline="base.jsonl", candidates="\n--cand.jsonl\n\n", margin="2")
    assert (job.code, job.outputs["outcome"]) == (CODES[outcome], outcome), job.log
    assert re.search(rf"^\| {outcome} \| .*cand.* \| math \| .*margin 2 points", job.summary, re.MULTILINE)
    (case,) = ElementTree.parse(job.files / "junit.xml").getroot().iter("testcase")
    assert [tag.tag for tag in case] == {"passed": [], "failed": ["failure"], "open": ["error"]}[outcome]


def test_bad_input_is_one_annotation_and_no_gate(tmp_path: Path) -> None:
    job = gate(tmp_path, tmp_path, run="50%nowhere")
    assert (job.code, job.outputs["outcome"], job.summary) == (2, "error", "")
    (said,) = [line for line in job.log.splitlines() if line.startswith("::error")]
    assert "50%25nowhere" in said


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"run": "r", "margin": "2"},
        {"baseline": "b"},
        {"candidates": "c"},
        {"run": "r", "baseline": "b", "candidates": "c"},
        {"baseline": "b", "candidates": "c", "allow": "inconclusive"},
        {"baseline": "b", "candidates": "c", "benchmark": "math500"},
    ],
)
def test_inputs_that_do_not_fit_together_are_refused(given: dict[str, str], tmp_path: Path) -> None:
    job = gate(tmp_path, tmp_path, **given)
    assert (job.code, job.outputs) == (2, {"outcome": "error"})
    assert "::error title=bitparity::give a run" in job.log


def test_what_a_run_prints_is_no_command_to_the_runner(runs: Path, tmp_path: Path) -> None:
    log = gate(runs, tmp_path, run="failed").log.splitlines()
    (start,) = [n for n, line in enumerate(log) if line.startswith("::stop-commands::")]
    end = log.index(f"::{log[start].removeprefix('::stop-commands::')}::")
    assert next(n for n, line in enumerate(log) if line.startswith("failed ")) in range(start, end)


@pytest.mark.parametrize("name", ["gate-checkpoint", "compare-lm-eval"])
def test_an_example_gives_inputs_that_the_action_has(name: str) -> None:
    document = yaml.safe_load((ROOT / "examples" / "github-actions" / f"{name}.yml").read_text())
    steps = [step for job in document["jobs"].values() for step in job["steps"]]
    (ours,) = [step for step in steps if "/bitparity@" in step.get("uses", "")]
    assert set(ours["with"]) <= set(ACTION["inputs"])


def test_the_example_leaves_the_verdict_to_the_gate(tmp_path: Path) -> None:
    document = yaml.safe_load((ROOT / "examples" / "github-actions" / "gate-checkpoint.yml").read_text())
    (script,) = [step["run"] for step in document["jobs"]["run"]["steps"] if "run" in step]
    for code, expected in ((0, 0), (1, 0), (3, 0), (2, 1), (130, 1)):
        (tmp_path / "bitparity").write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / "bitparity").chmod(0o755)
        path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
        ended = subprocess.run(["bash", "-ec", script], env={**os.environ, "PATH": path})
        assert ended.returncode == expected, code
