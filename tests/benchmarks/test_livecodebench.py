"""LiveCodeBench: its items, and verdicts on programs, those that upstream misjudges among them."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support import SHARED_DATA, Cli, grading, write_jsonl, write_yaml

from bitparity.benchmarks.code import Judged, grade_of
from bitparity.benchmarks.livecodebench import KNOWN_BAD, SYSTEM, Case, LiveCodeBench, same_value, unpacked
from bitparity.benchmarks.registry import load_benchmark
from bitparity.errors import DataError
from bitparity.grading.rules import grade_sample
from bitparity.records import Completion, Item, Sample
from bitparity.schema import BenchmarkSpec
from bitparity.store.jsonl import checked_line, parsed_line
from bitparity.study.resolve import parse_study

ROWS = SHARED_DATA / "livecodebench"
EVERY = 6  # of the 139 published verdicts, so many are left out between two that are tested


def spec(data: Path | None, **settings: Any) -> BenchmarkSpec:
    entry = {"name": "livecodebench", "settings": settings, **({"data": str(data)} if data else {})}
    study = {"study": "s", "variants": {"a": {"model": "some/model"}}, "benchmarks": [entry]}
    return parse_study(json.dumps(study), "test", Path.cwd()).benchmarks[0]


def row(name: str, tests: list[tuple[str, str]], function: str | None = None, **given: str) -> dict[str, str]:
    kind = "functional" if function else "stdin"
    cases = [{"input": i, "output": o, "testtype": kind} for i, o in tests]
    return {
        "question_title": name,
        "question_content": f"Problem {name}.",
        "platform": "leetcode" if function else "atcoder",
        "question_id": name,
        "contest_id": "c",
        "contest_date": "2024-08-01T00:00:00",
        "starter_code": f"class Solution:\n    def {function}(self):\n" if function else "",
        "difficulty": "easy",
        "public_test_cases": json.dumps(cases[:1]),
        "private_test_cases": json.dumps(cases[1:]),
        "metadata": json.dumps({"func_name": function} if function else {}),
        **given,
    }


SUMS = [("1 2\n", "3\n"), ("10 20\n", "30\n")]
FUNCTION = [("1\n2", "3"), ("10\n20", "30")]


@pytest.fixture(scope="module")
def bench() -> Iterator[LiveCodeBench]:
    found = load_benchmark(spec(None, timeout=2))
    assert isinstance(found, LiveCodeBench)
    with grading(found) as ready:
        yield ready


# ---------------------------------------------------------------- items


def test_items_say_where_their_tests_are_and_do_not_hold_them(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [row("a", SUMS), row("b", FUNCTION, "add")])
    loaded = load_benchmark(spec(data))
    one, two = loaded.items()
    assert (one.id, one.subgroup, one.metadata["platform"]) == ("a", "easy", "atcoder")
    assert (one.metadata["function"], two.metadata["function"]) == (None, "add")
    assert "30" not in json.dumps([one.reference, one.metadata])
    assert isinstance(loaded, LiveCodeBench)
    assert loaded._tests(two) == [Case(*t) for t in FUNCTION]


def test_the_prompt_is_upstreams(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [row("a", SUMS), row("b", FUNCTION, "add")])
    plain, function = [item.prompts[0].messages or () for item in load_benchmark(spec(data)).items()]
    assert plain[0] == {"role": "system", "content": SYSTEM}
    assert plain[1]["content"] == (
        "### Question:\nProblem a.\n\n### Format: Read the inputs from stdin solve the problem and write the answer to "
        "stdout (do not directly test on the sample inputs). Enclose your code within delimiters as follows.\n"
        "```python\n# YOUR CODE HERE\n```\n\n### Answer: (use the provided format with backticks)\n\n"
    )
    assert "```python\nclass Solution:\n    def add(self):\n\n```\n\n" in function[1]["content"]


def test_a_window_has_both_ends_and_known_faults_are_left_out_and_counted(tmp_path: Path) -> None:
    days = ["2024-06-30", "2024-07-01", "2024-08-01", "2025-01-01", "2025-01-02"]
    rows = [row(f"q{n}", SUMS, contest_date=f"{day}T00:00:00") for n, day in enumerate(days)]
    rows += [row("abc337_e", SUMS), row("3111", FUNCTION, "f", question_title="find-the-peaks")]
    data = write_jsonl(tmp_path / "rows.jsonl", rows)
    window = {"start": "2024-07-01", "end": "2025-01-01"}
    loaded = load_benchmark(spec(data, **window))
    assert [item.id for item in loaded.items()] == ["q1", "q2", "q3"]
    found = loaded.provenance()
    assert found["known_bad_left_out"] == {"abc337_e": "interactive", "3111": KNOWN_BAD["find-the-peaks"]}
    assert (found["rows"], found["ids"], found["window"]) == (7, 3, ["2024-07-01", "2025-01-01"])
    kept = list(load_benchmark(spec(data, known_bad="keep", **window)).items())
    assert [item.metadata.get("known_bad") for item in kept[-2:]] == ["interactive", KNOWN_BAD["find-the-peaks"]]


def test_the_same_ids_have_the_same_hash_in_any_order(tmp_path: Path) -> None:
    hashes = []
    for names in ("ab", "ba", "ac"):
        loaded = load_benchmark(spec(write_jsonl(tmp_path / "rows.jsonl", [row(n, SUMS) for n in names])))
        list(loaded.items())
        hashes.append(loaded.provenance()["ids_sha256"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_release_is_the_first_files_and_each_must_be_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hub(source: Any, name: str) -> Path:
        asked.append((source.path, source.revision, name))
        return write_jsonl(
            tmp_path / name, [row(f"{name}-{n}", SUMS) for n in range(400 if name == "test.jsonl" else 1)]
        )

    asked: list[Any] = []
    monkeypatch.setattr("bitparity.benchmarks.livecodebench.hub_file", hub)
    assert len(list(load_benchmark(spec(None, release="v1")).items())) == 400
    with pytest.raises(DataError, match=r"test2.jsonl has 1 problems, not 111"):
        list(load_benchmark(spec(None, release="v2")).items())
    revision = "0fe84c3912ea0c4d4a78037083943e8f0c4dd505"
    assert set(asked) == {("livecodebench/code_generation_lite", revision, f"test{n}.jsonl") for n in ("", "2")}


@pytest.mark.parametrize(
    ("line", "said"),
    [("{", "broken JSON"), ("[]", "missing"), ('{"question_id": "x"}', "question_title is missing")],
)
def test_a_broken_file_is_named(tmp_path: Path, line: str, said: str) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(row("a", SUMS)) + f"\n{line}\n")
    with pytest.raises(DataError, match=rf"line 2: .*{said}"):
        list(load_benchmark(spec(tmp_path / "rows.jsonl")).items())


def test_data_that_changed_after_the_exam_is_our_fault_not_the_programs(bench: LiveCodeBench, tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "rows.jsonl", [row("a", SUMS)])
    loaded = load_benchmark(spec(data))
    (item,) = loaded.items()
    write_jsonl(data, [row("a", [("1 2\n", "4\n")])])
    sample = Sample("livecodebench", "a", 0, "```python\nprint(3)\n```", "stop", 5, 5, 1.0)
    grade = grade_sample(loaded, item, sample, loaded.spec.protocol)
    assert (grade.score, grade.status) == (None, "infrastructure_error")
    assert "has changed since the exam was made" in grade.details["error"]


def test_a_bomb_in_the_tests_is_our_fault_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import base64
    import zlib

    bomb = base64.b64encode(zlib.compress(b"\0" * (8 << 20), 9)).decode()
    data = write_jsonl(tmp_path / "rows.jsonl", [row("a", SUMS, private_test_cases=bomb)])
    monkeypatch.setattr("bitparity.benchmarks.livecodebench.MAX_TESTS_BYTES", 1 << 20)
    loaded = load_benchmark(spec(data))
    (item,) = loaded.items()
    sample = Sample("livecodebench", "a", 0, "```python\nprint(3)\n```", "stop", 5, 5, 1.0)
    grade = grade_sample(loaded, item, sample, loaded.spec.protocol)
    assert grade.status == "infrastructure_error"
    assert "over 1 MiB" in grade.details["error"]


# ---------------------------------------------------------------- programs that upstream wrongly rejects

RIGHT_PROGRAMS = {
    "lines": "import sys\nfor line in sys.stdin:\n    print(sum(map(int, line.split())))",
    "open(0)": "print(sum(map(int, open(0).read().split())))",
    "os.read(0)": "import os\nprint(sum(map(int, os.read(0, 1000).split())))",
    "stdin.buffer": "import sys\nprint(sum(map(int, sys.stdin.buffer.read().split())))",
    "stdout.buffer": "import sys\nsys.stdout.buffer.write(str(sum(map(int, input().split()))).encode())",
    "os.write(1)": "import os\nos.write(1, str(sum(map(int, input().split()))).encode())",
    "thread": (
        "import sys, threading\ndef main():\n    print(sum(map(int, sys.stdin.readline().split())))\n"
        "threading.stack_size(1 << 26)\nt = threading.Thread(target=main)\nt.start()\nt.join()"
    ),
    "global": (
        "total = 0\ndef add(n):\n    global total\n    total += n\n"
        "for n in input().split():\n    add(int(n))\nprint(total)"
    ),
    "deep recursion": (
        "import sys\nsys.setrecursionlimit(10**6)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\n"
        "a, b = map(int, input().split())\nprint(f(a * 1000) // 1000 + f(b * 1000) // 1000)"
    ),
    "deep recursion in C": (
        "from functools import lru_cache\n@lru_cache(None)\ndef f(n):\n    return 0 if n == 0 else 1 + f(n - 1)\n"
        "a, b = map(int, input().split())\nprint(f(a * 400) // 400 + f(b * 400) // 400)"
    ),
    "late main guard": (
        "def main():\n    print(sum(map(int, input().split())))\nif __name__ == '__main__':\n    main()\n"
        "def never_used():\n    pass"
    ),
    "future import": "from __future__ import annotations\nprint(sum(map(int, input().split())))",
    "exit": "import sys\nprint(sum(map(int, input().split())))\nsys.exit(0)",
    "prelude": "print(reduce(operator.add, map(int, input().split())))\nassert pow(2, 3, 5) == 3 and gcd(4, 6) == 2",
    "numpy": "import numpy as np\nprint(int(np.sum(np.array(input().split(), dtype=int))))",
    "class": "class Solution:\n    def go(self):\n        print(sum(map(int, input().split())))\nSolution().go()",
    "cin by comma": "print(*[sum(map(int, input().split()))], sep=',', end='')",
}


@pytest.mark.parametrize("name", RIGHT_PROGRAMS)
def test_right_programs_pass(bench: LiveCodeBench, name: str) -> None:
    assert bench.judge_program(RIGHT_PROGRAMS[name], [Case(*t) for t in SUMS]).verdict == "pass"


WRONG_PROGRAMS = {
    "wrong": ("print(3)", "wrong_answer", 2),
    "frames": (
        "import sys\nframe = sys._getframe()\nseen = []\nwhile frame:\n    seen += list(frame.f_locals.values())\n"
        "    frame = frame.f_back\nprint([v for v in map(str, seen) if v.strip() in ('3', '30')][0])",
        "runtime_error",
        1,
    ),
    "files": (
        "import glob\nfor path in glob.glob('/**/*', recursive=False) + glob.glob('*'):\n    pass\n"
        "print(open('expected').read())",
        "runtime_error",
        1,
    ),
    "marker": ("print('pass')\nprint('[\"pass\"]')", "wrong_answer", 1),
    "no output": ("import sys\nsys.exit(0)", "wrong_answer", 1),
    "patched comparison": (
        "import decimal\ndecimal.Decimal.__eq__ = lambda *a: True\nprint(7)",
        "runtime_error",  # the type cannot be patched
        1,
    ),
    "exception": ("raise ValueError('3')", "runtime_error", 1),
    "syntax": ("def f(:", "runtime_error", 1),
    "endless": ("while True:\n    pass", "time_limit", 1),
    "exit status": ("import os\nprint(3, flush=True)\nos._exit(3)", "runtime_error", 1),
    "second test": ("a, b = map(int, input().split())\nassert a < 5\nprint(a + b)", "runtime_error", 2),
}


@pytest.mark.parametrize("name", WRONG_PROGRAMS)
def test_wrong_programs_fail(bench: LiveCodeBench, name: str) -> None:
    code, verdict, failed = WRONG_PROGRAMS[name]
    judged = bench.judge_program(code, [Case(*t) for t in SUMS])
    assert (judged.verdict, judged.failed, judged.tests) == (verdict, failed, 2)


def function(body: str, head: str = "") -> str:
    return f"{head}\nclass Solution:\n    def add(self, a, b):\n        {body}\n"


RIGHT_FUNCTIONS = {
    "plain": function("return a + b"),
    "prints": function('print(\'["v", "99"]\'); return a + b'),
    "prelude": function("return reduce(operator.add, [a, b])"),
    "state of its own": "class Solution:\n    def __init__(self):\n        self.n = 0\n    def add(self, a, b):\n"
    "        self.n += a + b\n        return self.n",
    "global": "total = 0\ndef go(a, b):\n    global total\n    total = a + b\nclass Solution:\n"
    "    def add(self, a, b):\n        go(a, b)\n        return total",
    "main guard": function("return a + b") + "if __name__ == '__main__':\n    print(Solution().add(*input().split()))",
    "deep": function("return f(a * 500) // 500 + b", "def f(n):\n    return 0 if n == 0 else 1 + f(n - 1)"),
    "bare function": "def add(a, b):\n    return a + b",
    "numpy": "import numpy as np\nclass Solution:\n    def add(self, a, b):\n        return np.int64(a) + b",
}


@pytest.mark.parametrize("name", RIGHT_FUNCTIONS)
def test_right_functions_pass(bench: LiveCodeBench, name: str) -> None:
    assert bench.judge_function(RIGHT_FUNCTIONS[name], "add", [Case(*t) for t in FUNCTION]).verdict == "pass"


EQUAL = "class Same(int):\n    __eq__ = lambda s, o: True\n    __ne__ = lambda s, o: False\n    __hash__ = lambda s: 0"
ALL_FRAMES = (
    "import sys\n        frame = sys._getframe()\n        found = []\n        while frame:\n"
    "            found += list(frame.f_locals.values()) + list(frame.f_globals.values())\n"
    "            frame = frame.f_back\n"
    "        return [v for v in found if str(v) in ('3', '30')][0]"
)
FORGED = 'import os\nFORGED = b\'["v", "7"]\\n\''
WRONG_FUNCTIONS = {
    "frames": (function(ALL_FRAMES), "runtime_error"),
    "equal to everything": (function("return Same(7)", EQUAL), "wrong_answer"),
    "equal object": (function("return Same()", EQUAL.replace("(int)", "")), "wrong_answer"),
    "patched json": (function("return 7", "import json\njson.loads = lambda *a: 3"), "wrong_answer"),
    "patched codec": (function("return 7", "import codec\ncodec.dumps = lambda v: '3'"), "wrong_answer"),
    "exit": (function("import sys; sys.exit(0)"), "runtime_error"),
    "exit at import": ("import os\nos._exit(0)\n" + function("return a + b"), "runtime_error"),
    "marker": (function("import os; [os.write(f, b'pass') for f in (1, 2)]; return 7"), "wrong_answer"),
    "forged line": (
        function(
            "for f in range(3, 20):\n            try: os.write(f, FORGED)\n            except OSError: pass", FORGED
        ),
        "wrong_answer",
    ),
    "exception": (function("return a / 0"), "runtime_error"),
    "hang": (function("while True: pass"), "time_limit"),
    "caught hang": (
        function("\n        while True:\n            try:\n                pass\n            except: pass"),
        "time_limit",
    ),
    "missing": ("class Solution:\n    pass", "runtime_error"),
}


@pytest.mark.parametrize("name", WRONG_FUNCTIONS)
def test_wrong_functions_fail(bench: LiveCodeBench, name: str) -> None:
    code, verdict = WRONG_FUNCTIONS[name]
    judged = bench.judge_function(code, "add", [Case(*t) for t in FUNCTION])
    assert (judged.verdict, judged.failed) == (verdict, 1 if name != "patched codec" else 2)


HOSTILE = [
    *(
        '{"q": []}',
        '{"q": ["1", "0"]}',
        '{"q": ["x", "1"]}',
        '{"c": [1]}',
        '{"c": ["a", 0]}',
        '{"b": "zz"}',
        '{"b": 3}',
    ),
    *(
        '{"t": 3}',
        '{"d": [1]}',
        '{"d": [[1]]}',
        '{"s": 7}',
        '{"a": []}',
        '{"i": "x"}',
        '{"i": 5}',
        "{}",
        '{"d": 1, "t": 2}',
    ),
    *(
        "[" * 100_000,
        '{"t":[' * 5000,
        '{"d": [[{"t": []}, {"t": [[]]}]]}',
        "[NaN]",
        "Infinity",
        "",
        "nul",
        "[" * 300 + "]" * 300,
    ),
    *(f'{{"c": [1{"0" * 400}, 0]}}', "9" * 1_000_000, f'{{"i": "0x{"f" * 1_000_000}"}}', f'"{"x" * 1_000_000}"'),
    *('"\\ud800"', '{"s": [NaN, NaN]}', f'{{"q": ["{"9" * 100_000}", "3"]}}'),
    f'{{"s": [{", ".join(str(i * (2**61 - 1)) for i in range(1, 40_001))}]}}',
    f'{{"d": [{", ".join(f"[{i * (2**61 - 1)}, 0]" for i in range(1, 40_001))}]}}',
]


@pytest.mark.parametrize("packed", HOSTILE, ids=range(len(HOSTILE)))
def test_a_hostile_value_is_a_wrong_answer(packed: str) -> None:
    begun = time.process_time()
    assert not same_value(unpacked(packed), "3")
    assert not same_value(unpacked(packed), "[[1, 2], {}]")
    assert time.process_time() - begun < 1


LINES = {
    "fraction of nothing": '["v", "{\\"q\\": []}"]',
    "complex overflow": '["v", "{\\"c\\": [1' + "0" * 400 + ', 0]}"]',
    "types": '{"v": [1]}',
    "three": '["v", "3", "4"]',
    "number": '["v", 3]',
    "long number": "9" * 100_000,
    "nesting": "[" * 100_000,
    "surrogate": '["e", "\\ud800"]',
    "long kind": '["e", "' + "x" * 100_000 + '"]',
    "nothing": "",
}


@pytest.mark.parametrize("name", LINES)
def test_hostile_lines_on_the_channel_are_a_wrong_answer(bench: LiveCodeBench, name: str) -> None:
    forged = (LINES[name] + "\n").encode()
    code = f"import os\nos.write(3, {forged!r})\n" + function("return a + b")
    grade = grade_of(bench.judge_function(code, "add", [Case(*t) for t in FUNCTION]), "pass@1", code)
    assert (grade.score, grade.status) == (0.0, "answered"), grade
    assert len(json.dumps(grade.details, ensure_ascii=False).encode()) < 1000


def test_a_verdict_never_quotes_a_test(bench: LiveCodeBench) -> None:
    judged = bench.judge_program("a = input()\nraise ValueError(a)", [Case("secret 4711\n", "x")])
    assert judged == Judged("runtime_error", 1, 1, "ValueError")


# ---------------------------------------------------------------- agreement


def published() -> list[dict[str, Any]]:
    path = ROWS / "graded_o1-mini.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.mark.skipif(not published(), reason="the published verdicts are not here")
def test_published_verdicts_are_met(bench: LiveCodeBench) -> None:
    loaded = load_benchmark(spec(ROWS / "problems.jsonl", known_bad="keep"))
    items: dict[str, Item] = {item.id: item for item in loaded.items()}
    assert len(items) == 139
    loaded.open_grader(unsafe_exec=False)
    differing = [
        row["question_id"]
        for row in published()[::EVERY]
        if loaded.grade(items[row["question_id"]], Completion(row["output"])).score != float(row["graded"])
    ]
    loaded.close_grader()
    assert differing == []


@pytest.mark.skipif(not published(), reason="the published record is not here")
def test_a_record_as_published_is_read() -> None:
    (item,) = load_benchmark(spec(ROWS / "original_encoding_1873_A.jsonl")).items()
    loaded = load_benchmark(spec(ROWS / "original_encoding_1873_A.jsonl"))
    assert isinstance(loaded, LiveCodeBench)
    tests = loaded._tests(item)
    assert len(tests) >= 2
    assert tests[0].given.startswith("6\nabc\n")


def test_grades_stay_where_the_tests_are_gone(cli: Cli, tmp_path: Path) -> None:
    """Another version graded the run and its tests are gone: the old grades stay, and count nowhere."""
    data, study, out = tmp_path / "problems.jsonl", tmp_path / "study.yaml", tmp_path / "run"
    rows = [row(name, SUMS) for name in ("a", "b", "c")]
    write_jsonl(data, rows)
    answer = "```python\nprint(sum(map(int, input().split())))\n```"
    answers = [{"benchmark": "livecodebench", "item": name, "sample": 0, "text": answer} for name in ("a", "b", "c")]
    write_jsonl(tmp_path / "bf16.jsonl", answers)
    write_jsonl(tmp_path / "fp8.jsonl", answers)
    variants = {"bf16": {"model": "bf16.jsonl", "baseline": True}, "fp8": {"model": "fp8.jsonl"}}
    benchmarks = [{"name": "livecodebench", "data": data.name}]
    write_yaml(study, {"study": "s", "variants": variants, "engine": {"kind": "replay"}, "benchmarks": benchmarks})
    ran = cli("run", study, "--out", out)
    if "no sandbox" in ran.err:
        pytest.skip(ran.err)
    path = out / "grades" / "fp8" / "livecodebench.jsonl"
    header, *grades = path.read_bytes().splitlines()
    other = {**parsed_line(header, path, 0), "grader": "0" * 16}
    old = checked_line(other) + b"\n".join(grades) + b"\n"
    for gone in (data.unlink, lambda: write_jsonl(data, rows[:2])):
        path.write_bytes(old)
        gone()
        told = cli("report", out)
        assert told.code == 0
        assert "note: another version of the grader had graded livecodebench, which cannot be graded again" in told.err
        assert str(data) in told.err
        assert path.read_bytes() == old
        found = json.loads((out / "results.json").read_text())["benchmarks"]["livecodebench"]
        assert found["status"] == "not_run"
        assert "could not be graded again" in found["reason"]
    assert str(data) in cli("grade", out).err  # asked for, it is an error
    assert path.read_bytes() == old
    write_jsonl(data, rows)
    cli("report", out)
    found = json.loads((out / "results.json").read_text())["benchmarks"]["livecodebench"]
    assert found["scores"]["fp8"]["mean"] == 1.0
