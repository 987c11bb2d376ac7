"""The fingerprint of a grader: its own code, its helpers, the rules, the sandbox and the limits, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import bitparity

PRINT = """
import json, sys
from bitparity.benchmarks.registry import benchmark_class
from bitparity.grading.fingerprint import grader_fingerprint
from bitparity.study.resolve import parse_study
from pathlib import Path
from own_benchmark.task import Own

def entry(text):
    study = "{study: s, variants: {a: {model: some/model}}, benchmarks: [%s]}" % text
    return parse_study(study, "test", Path.cwd()).benchmarks[0]

found = {name: grader_fingerprint(benchmark_class(name)(entry(name))) for name in ("smoke", "mmlu_pro", "humaneval")}
code = "{name: livecodebench, settings: {timeout: %d}}"
found |= {f"livecodebench {n}": grader_fingerprint(benchmark_class("livecodebench")(entry(code % n))) for n in (6, 7)}
found["own"] = grader_fingerprint(Own(entry("smoke")))
print(json.dumps(found))
"""
TASK = '''
"""A benchmark of another package."""
from bitparity.benchmarks.letters import final_letter
from bitparity.benchmarks.smoke import BENCHMARK as Smoke
from .helpers import right

class Own(Smoke):
    """Its docstring."""
'''

Edit = Callable[[str], str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that can be changed, and a package with a benchmark of its own."""
    folder = tmp_path_factory.mktemp("code")
    shutil.copytree(Path(bitparity.__file__).parent, folder / "bitparity", ignore=shutil.ignore_patterns("*.pyc"))
    own = folder / "own_benchmark"
    own.mkdir()
    for name, text in {"__init__": "", "task": TASK, "helpers": "right = 1\n", "unused": "x = 1\n"}.items():
        (own / f"{name}.py").write_text(text)
    return folder


def fingerprints(folder: Path) -> dict[str, str]:
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", PRINT]
    ended = subprocess.run(command, check=True, capture_output=True, text=True, env=environment, cwd=folder)
    found: dict[str, str] = json.loads(ended.stdout)
    return found


@pytest.fixture(scope="module")
def before(folder: Path) -> dict[str, str]:
    return fingerprints(folder)


def changed(folder: Path, before: dict[str, str], file: str, edit: Edit) -> set[str]:
    """The benchmarks whose fingerprint another text of a file changes."""
    path = folder / file
    text = path.read_text(encoding="utf-8")
    assert edit(text) != text
    path.write_text(edit(text), encoding="utf-8")
    try:
        after = fingerprints(folder)
    finally:
        path.write_text(text, encoding="utf-8")
    return {name.partition(" ")[0] for name in before if after[name] != before[name]}


def more(text: str) -> str:
    return text + "\nMORE = 1\n"


def documented(text: str) -> str:
    return text.replace('"""', '"""Another word. ', 1) + "\n# a comment\n"


ALL = {"smoke", "mmlu_pro", "humaneval", "livecodebench", "own"}


@pytest.mark.parametrize(
    ("file", "edit", "names"),
    [
        ("bitparity/benchmarks/smoke.py", documented, set()),
        ("bitparity/benchmarks/smoke.py", more, {"smoke", "own"}),
        ("bitparity/benchmarks/mmlu_pro.py", more, {"mmlu_pro"}),
        ("bitparity/benchmarks/answers.py", more, {"mmlu_pro", "own"}),
        ("bitparity/benchmarks/units.csv", lambda text: text.replace("0.0254", "0.0255"), {"mmlu_pro", "own"}),
        ("bitparity/benchmarks/letters.toml", lambda text: text.replace("oops", "hoppla"), {"mmlu_pro", "own"}),
        ("bitparity/benchmarks/answers.toml", lambda text: text.replace("remains", "stays"), {"mmlu_pro", "own"}),
        ("bitparity/benchmarks/smoke.toml", lambda text: text.replace("river", "brook"), {"smoke", "own"}),
        ("bitparity/benchmarks/mathematics.toml", lambda text: text.replace("lim", "sup"), set()),
        ("bitparity/benchmarks/code.py", more, {"humaneval", "livecodebench"}),
        ("bitparity/benchmarks/inside/stdin_main.py", more, {"humaneval", "livecodebench"}),
        ("bitparity/benchmarks/contract.py", more, ALL),
        ("bitparity/grading/rules.py", more, ALL),
        ("bitparity/grading/reasoning.py", more, ALL),
        ("bitparity/grading/rules.py", documented, set()),
        ("bitparity/sandbox/rlimits.py", more, {"humaneval", "livecodebench"}),
        ("bitparity/sandbox/contract.py", lambda text: text.replace("1024", "1025", 1), {"humaneval", "livecodebench"}),
        ("bitparity/sandbox/seccomp.py", documented, set()),
        (
            "bitparity/sandbox/seccomp_calls.csv",
            lambda text: text.replace("ptrace", "trace"),
            {"humaneval", "livecodebench"},
        ),
        ("bitparity/records.py", more, set()),
        ("own_benchmark/task.py", more, {"own"}),
        ("own_benchmark/helpers.py", more, {"own"}),
        ("own_benchmark/unused.py", more, set()),
    ],
)
def test_what_a_change_of_code_changes(
    folder: Path, before: dict[str, str], file: str, edit: Edit, names: set[str]
) -> None:
    assert changed(folder, before, file, edit) == names


def test_a_limit_of_the_study_counts(before: dict[str, str]) -> None:
    assert before["livecodebench 6"] != before["livecodebench 7"]
    assert len({*before.values()}) == len(before)
