"""What several tests share: the command line in this process, small data files, recorded answers."""

from __future__ import annotations

import json
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
import yaml

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import load_benchmark
from bitparity.cli import app as cli
from bitparity.errors import SandboxError
from bitparity.grading.fingerprint import grader_fingerprint
from bitparity.grading.process_pool import GradingPool
from bitparity.grading.rules import Job
from bitparity.records import Grade
from bitparity.stats.arrays import pair_scores
from bitparity.stats.paired import Comparison, compare_pairs
from bitparity.store.jsonl import checked_line, read_lines
from bitparity.store.run import Run

Bench = TypeVar("Bench", bound=Benchmark)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


class Cli:
    """Runs bitparity in this process as the shell would."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *args: object) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["bitparity", *map(str, args)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = self._capsys.readouterr()
        return Ended(int(ended.value.code or 0), out, err)


def grade_all(jobs: Sequence[Job], threads: int = 2, timeout_s: float = 20) -> list[Grade]:
    """The grades of jobs of one benchmark, in their order, by the pool that a run has."""
    grades: dict[int, Grade] = {}
    keep = lambda graded: grades.update({id(job): grade for job, grade in graded})  # noqa: E731
    with GradingPool(jobs[0].benchmark, threads, keep, timeout_s=timeout_s) as pool:
        for job in jobs:
            pool.put(job)
    return [grades[id(job)] for job in jobs]


def compare_scores(
    baseline: Any, candidate: Any, *, margin: float, groups: Sequence[str] | None = None, **more: int
) -> Comparison:
    """The comparison of scores that are given as arrays or lists."""
    return compare_pairs(pair_scores(baseline, candidate, groups), margin=margin, **more)


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """A JSONL file."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def math_rows(count: int) -> list[dict[str, Any]]:
    """Questions in the schema of MATH-500: item n asks for n + n."""
    return [
        {
            "problem": f"What is {n} + {n}?",
            "solution": f"It is ${2 * n}$.",
            "answer": str(2 * n),
            "subject": "Algebra" if n % 2 else "Prealgebra",
            "level": 1,
            "unique_id": f"test/sums/{n}.json",
        }
        for n in range(count)
    ]


def answers(count: int, wrong: Iterable[int] = ()) -> list[dict[str, Any]]:
    """Recorded completions for `math_rows`: right but for the numbers in `wrong`."""
    bad = set(wrong)
    return [
        {
            "item": f"test/sums/{n}.json",
            "text": f"We add. The answer is \\boxed{{{2 * n + (n in bad)}}}.",
            "finish": "stop",
            "tokens": 12,
            "prompt_tokens": 20,
            "seconds": 0.5,
        }
        for n in range(count)
    ]


def replay_study(folder: Path, count: int = 12, wrong: Mapping[str, Iterable[int]] | None = None) -> Path:
    """A study over recorded answers: `bf16` is the baseline; `wrong` says what each variant gets wrong."""
    wrong = wrong or {"bf16": [1], "fp8": [1, 2], "nvfp4": [2, 3, 4, 5, 6, 7]}
    data = write_jsonl(folder / "math.jsonl", math_rows(count))
    for name, numbers in wrong.items():
        write_jsonl(folder / f"{name}.jsonl", answers(count, numbers))
    study = {
        "study": "toy",
        "variants": {name: {"model": f"{name}.jsonl", "baseline": name == next(iter(wrong))} for name in wrong},
        "engine": {"kind": "replay"},
        "benchmarks": [{"name": "math500", "data": data.name}],
    }
    return write_yaml(folder / "study.yaml", study)


@contextmanager
def grading(benchmark: Bench) -> Iterator[Bench]:
    """A benchmark that runs code, ready to grade; the test is skipped where no sandbox works."""
    try:
        benchmark.open_grader(unsafe_exec=False)
    except SandboxError as error:
        pytest.skip(f"no sandbox here: {error}")
    yield benchmark
    benchmark.close_grader()


def write_yaml(path: Path, value: Any) -> Path:
    """A YAML file."""
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")
    return path


def stored(out: Path) -> dict[tuple[str, str, str, int], dict[str, Any]]:
    """Every sample but for its seconds; none may be stored twice."""
    found = {}
    for path in sorted((out / "samples").rglob("*.jsonl")):
        for row in read_lines(path):
            key = (path.parent.name, path.stem, row["item"], row["sample"])
            assert key not in found, f"{key} is stored twice"
            found[key] = {k: v for k, v in row.items() if k != "seconds"}
    return found


def stamp_grades(path: Path) -> None:
    """Make all stored grades of a run those of the present graders, whoever made them, as if graded just now."""
    run = Run(path)
    study = run.study()
    for spec in study.benchmarks:
        for file in (run.grades_path(name, spec.name) for name in study.variants):
            header, *rows = [json.loads(line) for line in file.read_text("utf-8").splitlines()]
            header["grader"] = grader_fingerprint(load_benchmark(spec))
            lines = [{k: v for k, v in row.items() if k != "crc32"} for row in (header, *rows)]
            file.write_bytes(b"".join(map(checked_line, lines)))


def install(site: Path, pyproject: str, files: Mapping[str, str]) -> None:
    """Put a package into the folder `site` as an installer does: its files, and its metadata with the entry points."""
    project = tomllib.loads(pyproject)["project"]
    metadata = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    facts = f"Metadata-Version: 2.4\nName: {project['name']}\nVersion: {project['version']}\n"
    (metadata / "METADATA").write_text(facts)
    groups = project["entry-points"].items()
    points = [f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in named.items()) for group, named in groups]
    (metadata / "entry_points.txt").write_text("\n".join(points))
    for name, text in files.items():
        (site / name).write_text(text)
