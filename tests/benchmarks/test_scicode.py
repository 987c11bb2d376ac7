"""SciCode: prompts built on the sample's own code, tests parted from their targets, rates, what is missing."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import SHARED_DATA, grading, write_jsonl

from bitparity.benchmarks import scicode_env
from bitparity.benchmarks.code import Judged, grade_of
from bitparity.benchmarks.inside import codec
from bitparity.benchmarks.inside import source as inside
from bitparity.benchmarks.registry import load_benchmark
from bitparity.benchmarks.scicode import SciCode, _shared_files
from bitparity.benchmarks.scicode_tests import split_test
from bitparity.errors import DataError, UnavailableError
from bitparity.exam.build import build_exam
from bitparity.records import Completion, Grade, Item
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study

DATA = SHARED_DATA / "scicode"
DEV, TARGETS = DATA / "problems_dev.jsonl", DATA / "dev_test_data.selfmade.h5"
ENVIRONMENT = Path(os.environ.get("BITPARITY_SCICODE_PYTHON", scicode_env.folder() / "env" / "bin" / "python"))
QUICK = ("10.1", "10.2", "19.1", "19.2", "29.2", "44.2", "51.2", "78.1", "78.2")  # steps whose tests take no time


def spec(data: Path | None, **settings: Any) -> BenchmarkSpec:
    entry = {"name": "scicode", "settings": settings, **({"data": str(data)} if data else {})}
    study = {"study": "s", "variants": {"a": {"model": "some/model"}}, "benchmarks": [entry]}
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def step(number: str, name: str, *tests: str) -> dict[str, Any]:
    return {
        "step_number": number,
        "step_description_prompt": f"Describe {number}.",
        "step_background": f"Background {number}.",
        "function_header": f"def {name}(x):\n    '''Doc {number}'''",
        "return_line": "    return y",
        "test_cases": list(tests) or [f"assert np.allclose({name}(1), target)"],
    }


def problem(number: str, steps: int = 3) -> dict[str, Any]:
    return {
        "problem_id": number,
        "problem_name": f"problem {number}",
        "required_dependencies": "import numpy as np",
        "sub_steps": [step(f"{number}.{n}", f"f{n}") for n in range(1, steps + 1)],
    }


@pytest.fixture
def targets(tmp_path: Path) -> Path:
    path = tmp_path / "targets.h5"
    path.write_bytes(b"x")
    return path


def fenced(code: str) -> Completion:
    return Completion(f"Sure:\n```python\n{code}\n```\n")


# ---------------------------------------------------------------- items and prompts


def test_steps_of_a_problem_come_one_after_another(tmp_path: Path, targets: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [problem("1", 2), problem("2", 3)])
    loaded = load_benchmark(spec(data, targets=str(targets)))
    items = list(loaded.items())
    assert [(i.id, i.group, i.after) for i in items] == [
        ("1.1", "1", None),
        ("1.2", "1", "1.1"),
        ("2.1", "2", None),
        ("2.2", "2", "2.1"),
        ("2.3", "2", "2.2"),
    ]
    found = loaded.provenance()
    assert (found["problems"], found["steps"], found["targets"]["official"]) == (2, 5, False)


@pytest.mark.parametrize("background", [False, True])
def test_a_prompt_holds_the_samples_own_code_before_it(tmp_path: Path, targets: Path, background: bool) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [problem("1", 3)])
    loaded = load_benchmark(spec(data, targets=str(targets), background=background))
    last = list(loaded.items())[-1]
    first = (
        "import math\n\nclass Helper:\n    def __init__(self): pass\n    def run(self): return 1\n\ndef f1(x): return x"
    )
    prompt = loaded.follow_up(last, [fenced(first), Completion("no code at all")])
    assert prompt.messages is not None
    text = prompt.messages[0]["content"]
    notes = ["\nBackground 1.1." if background else "", "\nBackground 1.3." if background else ""]
    assert f"Describe 1.1.{notes[0]}\n\n{first}\n\n------\n\nDescribe 1.2." in text
    assert f"Describe 1.3.{notes[1]}\n\ndef f3(x):\n    '''Doc 1.3'''\n\n    return y\n\nDEPENDENCIES:" in text
    assert ("Background: [Here, insert" in text) is not background


def test_given_steps_are_supplied_and_not_asked(tmp_path: Path, targets: Path) -> None:
    row = problem("76", 4)
    data = write_jsonl(tmp_path / "rows.jsonl", [row])
    with pytest.raises(UnavailableError, match=r"76.3.txt is not here"):
        list(load_benchmark(spec(data, targets=str(targets))).items())
    if not (DATA / "76.3.txt").exists():
        pytest.skip("the given steps are not here")
    loaded = load_benchmark(spec(data, targets=str(targets), given=str(DATA)))
    items = list(loaded.items())
    assert [(i.id, i.after) for i in items] == [("76.1", None), ("76.2", "76.1"), ("76.4", "76.2")]
    prompt = loaded.follow_up(items[2], [fenced("def f1(x): return 1"), fenced("def f2(x): return 2")])
    assert prompt.messages is not None
    assert "def generate_dna(N: int, PWM: dict) -> tuple:" in prompt.messages[0]["content"]


def test_a_changed_given_step_is_refused(tmp_path: Path) -> None:
    (tmp_path / "76.3.txt").write_text("def generate_dna(): pass")
    with pytest.raises(UnavailableError, match="not the given step"):
        scicode_env.given_step("76.3", [tmp_path])


@pytest.mark.skipif(not DEV.exists(), reason="SciCode's problems are not here")
@pytest.mark.parametrize(("name", "problems", "steps"), [("dev", 15, 50), ("all", 65, 288)])
def test_the_published_splits_have_their_sizes(name: str, problems: int, steps: int) -> None:
    items = list(load_benchmark(spec(DATA / f"problems_{name}.jsonl", targets=str(TARGETS))).items())
    assert len({item.group for item in items}) == problems
    assert len(items) == steps


def test_a_limit_keeps_what_a_step_is_built_on(tmp_path: Path, targets: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [problem(str(n), 4) for n in range(5)])
    for limit in (1, 2, 6, 11):
        limited = spec(data, targets=str(targets)).model_copy(update={"limit": limit})
        ids = [entry.item.id for entry in build_exam(limited, None).items]
        assert len(ids) == limit
        assert all(entry.item.after in (None, *ids) for entry in build_exam(limited, None).items)


# ---------------------------------------------------------------- what is missing


def test_missing_targets_are_named_never_zeros(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hub(*_: object) -> Path:
        raise DataError("the hub cannot be reached")

    monkeypatch.setattr(scicode_env, "hub_file", hub)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UnavailableError, match="expected values are missing"):
        scicode_env.targets(None)
    scicode_env.folder().mkdir(parents=True)
    (scicode_env.folder() / "test_data.h5").write_bytes(b"not the official file")
    with pytest.raises(UnavailableError, match="not the official file"):
        scicode_env.described(scicode_env.targets(None))


def test_a_missing_or_wrong_interpreter_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UnavailableError, match="scicode_env"):
        scicode_env.interpreter(None)
    python = tmp_path / "python"
    told = {"python": "3.12.0", "numpy": "2.1.0", "scipy": "1.14.0", "sympy": "1.13.3", "h5py": "3.12.1"}
    python.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    python.chmod(0o755)
    with pytest.raises(UnavailableError, match=r"numpy 2.1.0 and scipy 1.14.0"):
        scicode_env.check_interpreter(python)


def test_a_run_without_targets_is_not_run_with_the_reason(
    cli: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from support import replay_study

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    study = replay_study(tmp_path)
    data = write_jsonl(tmp_path / "scicode.jsonl", [problem("1")])
    study.write_text(study.read_text() + f"- name: scicode\n  data: {data}\n")
    cli("run", study, "--out", tmp_path / "run")
    made = json.loads((tmp_path / "run" / "results.json").read_text())["benchmarks"]
    assert made["scicode"]["status"] == "not_run"
    assert "scicode_env" in made["scicode"]["reason"]
    assert made["math500"]["status"] == "measured"


# ---------------------------------------------------------------- tests in two halves


@pytest.mark.parametrize(
    ("test", "inside", "checks"),
    [
        ("x = 1\nassert np.allclose(f(x), target)", "x = 1\n__emit__(0, f(x))", ["np.allclose(__v[0], target)"]),
        ("a, b = target\nassert np.allclose(f(1), a) and g(2) == b", "__emit__(0, f(1), g(2))",
         ["np.allclose(__v[0], a) and __v[1] == b"]),
        ("assert (f(1) > 0.5) == target", "__emit__(0, f(1))", ["(__v[0] > 0.5) == target"]),
        ("assert np.allclose(f(1), target, atol=1)", "__emit__(0, f(1))", ["np.allclose(__v[0], target, atol=1)"]),
        ("def t():\n    assert f(1) == 2\nt()", "def t():\n    __emit__(0, f(1))\nt()", ["__v[0] == 2"]),
        ("assert f(2) == None", "__emit__(0, f(2))", ["__v[0] == None"]),
    ],
)  # fmt: skip
def test_targets_and_comparisons_stay_outside(test: str, inside: str, checks: list[str]) -> None:
    halves = split_test(test, "import numpy as np")
    assert halves.inside == inside
    assert halves.checks == checks
    assert halves.target is ("target" in test)


@pytest.mark.parametrize("test", ["assert f(target)", "y = f(target)\nassert y", "assert target.go(f"])
def test_a_test_that_hands_its_target_over_is_refused(test: str) -> None:
    with pytest.raises(DataError):
        split_test(test, "import numpy as np")


@pytest.mark.skipif(not DEV.exists(), reason="SciCode's problems are not here")
def test_every_published_test_can_be_parted() -> None:
    count = 0
    for name in ("dev", "all"):
        for line in (DATA / f"problems_{name}.jsonl").read_text().splitlines():
            row = json.loads(line)
            for one in row["sub_steps"]:
                for test in one["test_cases"]:
                    halves = split_test(test, row["required_dependencies"])
                    names = {n.id for n in ast.walk(ast.parse(halves.inside)) if isinstance(n, ast.Name)}
                    assert "target" not in names
                    assert halves.checks
                    count += 1
    assert count == 915 + 167


# ---------------------------------------------------------------- rates


def test_a_problem_counts_where_every_step_of_it_is_right(tmp_path: Path, targets: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [problem("1", 2), problem("2", 2)])
    loaded = load_benchmark(spec(data, targets=str(targets)))
    items = list(loaded.items())

    def rate(*scores: float | None) -> dict[str, float]:
        keys = [(item.id, 0) for item in items]
        return loaded.rates(items, {k: Grade(s, "answered") for k, s in zip(keys, scores, strict=True)})

    assert rate(1, 1, 1, 0) == {"main_problem": 0.5}
    assert rate(1, 1, 1, None) == {"main_problem": 1.0}  # the second problem is not scored
    assert loaded.rates(items[:3], {(i.id, 0): Grade(1.0, "answered") for i in items[:3]}) == {"main_problem": 1.0}
    assert loaded.rates(items[:1], {}) == {}


# ---------------------------------------------------------------- comparing values with targets

H5PY = """
import json, numpy
class Dataset:
    def __init__(self, value): self.value = value
    def __getitem__(self, _): return self.value if isinstance(self.value, bool) else numpy.array(self.value)
class Group(dict): pass
class File:
    def __init__(self, path, mode): self.path = path
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def __getitem__(self, name): return Group({f"v{n}": Dataset(v) for n, v in enumerate(json.load(open(self.path)))})
"""


@pytest.fixture
def compared(tmp_path: Path) -> Any:
    """The verdict of the program that compares values with targets, with the values of another file format."""
    for path, content in {**_shared_files(), "h5py.py": H5PY.encode()}.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_bytes(content)

    def verdict(check: str, values: list[Any], target: list[Any] | None) -> Any:
        (tmp_path / "targets").write_text(json.dumps(target))
        test = {"outside": "", "checks": [check], "target": target is not None}
        packed = [[0, 0, codec.dumps(values)]]
        asked = {"targets": str(tmp_path / "targets"), "step": "1.1", "tests": [test], "values": packed}
        asked["dependencies"] = "import numpy as np\nfrom scicode.compare.cmp import cmp_tuple_or_list, are_dicts_close"
        run = subprocess.run(
            [sys.executable, "-c", inside("scicode_check.py").decode()],
            input=json.dumps(asked).encode(),
            capture_output=True,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
        )
        assert run.returncode == 0, run.stderr
        return json.loads(run.stdout)

    return verdict


CLOSE, TUPLE = "np.allclose(__v[0], target)", "cmp_tuple_or_list(__v[0], target)"
NAN, SHAPELESS = float("nan"), np.zeros((0, 3))


@pytest.mark.parametrize(
    ("check", "values", "target", "ours", "upstream"),
    [
        (CLOSE, [3.0], [3.0], True, True),
        (CLOSE, [[3.0, 3.0]], [3.0], True, True),  # broadcasting that compares something is upstream's to judge
        (CLOSE, [np.array([1.0, 2.0])], [[1.0, 2.0]], True, True),
        (CLOSE, [4.0], [3.0], False, False),
        (CLOSE, [[]], [3.0], False, True),
        (CLOSE, [()], [3.0], False, True),
        (CLOSE, [np.array([])], [3.0], False, True),
        (CLOSE, [SHAPELESS], [[1.0, 2.0, 3.0]], False, True),
        (CLOSE, [SHAPELESS], [[[1.0, 2.0, 3.0]]], False, True),
        (CLOSE, [[]], [[1.0, 2.0]], False, False),  # shapes that do not fit raise
        (CLOSE, [[]], [[]], True, True),  # nothing is expected
        (CLOSE, [3.0], [[]], False, True),  # the other way round
        (CLOSE, [None], [3.0], False, False),
        (CLOSE, [{}], [3.0], False, False),
        (CLOSE, [NAN], [3.0], False, False),
        ("np.allclose(__v[0], target, equal_nan=True)", [NAN], [3.0], False, False),
        (TUPLE, [[1.0, 2.0]], [1.0, 2.0], True, True),
        (TUPLE, [[[], 2.0]], [1.0, 2.0], False, True),
        (TUPLE, [[]], [1.0, 2.0], False, False),
        ("np.isclose(__v[0], target).all()", [[]], [3.0], False, True),
        ("np.sum(np.abs(__v[0] - target)) < 1e-6", [np.array([])], [3.0], False, True),
        ("np.allclose(__v[0], __v[1]) == target", [[], []], [True], False, True),
        ("(__v[0] < __v[1]) == target", [NAN, 1.0], [False], False, True),
        ("(__v[0] < __v[1]) == target", [2.0, 1.0], [False], True, True),
        ("np.allclose(__v[0], 3.0)", [[]], None, False, True),
        ("np.allclose(__v[0], 3.0)", [3.0], None, True, True),
        ("__v[0] == None", [None], None, True, True),
    ],
)
def test_a_comparison_of_nothing_does_not_hold(
    compared: Any, check: str, values: list[Any], target: list[Any] | None, ours: bool, upstream: bool
) -> None:
    failed, reason, failed_upstream = compared(check, values, target)
    assert (failed == 0, failed_upstream == 0) == (ours, upstream)
    assert ours == upstream or reason == "compares nothing"


def test_upstreams_verdict_stands_beside_ours_and_in_the_rates() -> None:
    loaded = load_benchmark(spec(DEV, split="validation")) if DEV.exists() else None
    judged = Judged("wrong_answer", 3, 1, "compares nothing", upstream="pass")
    grade = grade_of(judged, "sub_step", "pass")
    assert (grade.score, grade.details["upstream"]) == (0.0, "pass")
    assert "upstream" not in grade_of(Judged("wrong_answer", 3, 1), "sub_step", "pass").details
    if loaded is None:
        pytest.skip("SciCode's problems are not here")
    rates = loaded.rates([], {("a", 0): grade, ("b", 0): Grade(1.0, "answered"), ("c", 0): Grade(0.0, "answered")})
    assert rates == {"sub_step_upstream": pytest.approx(2 / 3)}


# ---------------------------------------------------------------- running the tests


@pytest.fixture(scope="module")
def bench() -> Iterator[SciCode]:
    if not DEV.exists():
        pytest.skip("SciCode's problems are not here")
    if not ENVIRONMENT.is_file():
        pytest.skip(f"SciCode's interpreter is not set up ({scicode_env.SETUP})")
    found = load_benchmark(
        spec(DEV, split="validation", targets=str(TARGETS), interpreter=str(ENVIRONMENT), timeout=60)
    )
    assert isinstance(found, SciCode)
    with grading(found) as ready:
        yield ready


@pytest.fixture(scope="module")
def truth() -> dict[str, str]:
    rows = map(json.loads, DEV.read_text().splitlines())
    return {one["step_number"]: one["ground_truth_code"] for row in rows for one in row["sub_steps"]}


def before(items: dict[str, Item], item: Item, truth: dict[str, str]) -> tuple[Completion, ...]:
    found: list[Completion] = []
    while item.after is not None:
        found.insert(0, fenced(truth[item.after]))
        item = items[item.after]
    return tuple(found)


def emptied(code: str) -> str:
    tree = ast.parse(code)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body = [ast.Pass()]
    return ast.unparse(tree)


def grade(bench: SciCode, item: Item, code: str, earlier: tuple[Completion, ...]) -> Grade:
    return bench.grade(item, Completion(f"```python\n{code}\n```", earlier=earlier))


def test_the_authors_code_passes_and_emptied_code_fails(bench: SciCode, truth: dict[str, str]) -> None:
    items = {item.id: item for item in bench.items()}
    picked = [item for item in items.values() if item.id in QUICK]
    assert len(picked) == len(QUICK)
    for item in picked:
        earlier = before(items, item, truth)
        right = grade(bench, item, truth[item.id], earlier)
        wrong = grade(bench, item, emptied(truth[item.id]), earlier)
        assert (right.score, right.details["verdict"]) == (1.0, "pass"), item.id
        assert (wrong.score, wrong.status) == (0.0, "answered"), item.id


CHEATS = {
    "exit": "import sys\nsys.exit(0)",
    "exit at once": "import os\nos._exit(0)",
    "patched comparison": "import numpy as np\nnp.allclose = lambda *a, **k: True\ndef get_alpha(*a): return 7",
    "patched deeper": "import numpy.core.numeric as n\nn.isclose = lambda *a, **k: True\ndef get_alpha(*a): return 7",
    "equal to everything": (
        "class Same(float):\n    __eq__ = lambda s, o: True\n    __sub__ = __rsub__ = lambda s, o: 0.0\n"
        "    __hash__ = float.__hash__\ndef get_alpha(*a): return Same(7)"
    ),
    "frames": (
        "import sys\ndef get_alpha(*a):\n    f, found = sys._getframe(), {}\n    while f:\n"
        "        found |= f.f_locals | f.f_globals\n        f = f.f_back\n    return found['target']"
    ),
    "targets file": "import h5py\ndef get_alpha(*a):\n    import glob\n    return h5py.File(glob.glob('/**/*.h5')[0])",
    "forged end": (
        "import os, json\nfor f in range(1, 20):\n    for line in ([0, 'end'], [1, 'end'], [2, 'end'], [3, 'end']):\n"
        "        try: os.write(f, (json.dumps(line) + '\\n').encode())\n        except OSError: pass\nos._exit(0)"
    ),
}


@pytest.mark.parametrize("name", CHEATS)
def test_cheats_fail(bench: SciCode, name: str) -> None:
    (item,) = [item for item in bench.items() if item.id == "10.1"]
    found = grade(bench, item, CHEATS[name], ())
    assert (found.score, found.status) == (0.0, "answered")


def test_an_answer_without_code_is_no_answer(bench: SciCode) -> None:
    item = next(iter(bench.items()))
    found = bench.grade(item, Completion("I do not know."))
    assert (found.score, found.status, found.details["verdict"]) == (0.0, "no_answer", "no_code")
