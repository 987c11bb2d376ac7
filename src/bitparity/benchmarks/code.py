"""Running the code of an answer and judging its output, for all benchmarks that run a model's code.

A program runs in the sandbox and only its outputs come out; what is expected never goes in. An answer is judged by
the first test that it does not pass.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from bitparity.benchmarks.contract import Benchmark, Facts
from bitparity.benchmarks.fenced_code import last_code
from bitparity.benchmarks.inside import source as inside
from bitparity.hardware.cores import usable_cores
from bitparity.records import Completion, Grade, Item, Status
from bitparity.sandbox.contract import Ended, Limits, Sandbox, Verdict
from bitparity.sandbox.gate import GATE
from bitparity.sandbox.levels import open_sandbox

CORES_A_RERUN = 4  # of this host for each undisturbed rerun: its caches and sibling hardware threads stay idle
STATUS: dict[Verdict, Status] = {"no_code": "no_answer", "infrastructure_error": "infrastructure_error"}


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one answer. `failed` numbers the first test not passed, from 1; `reason` never quotes a test.

    `upstream` is the verdict of the benchmark's own tests where it is another.
    """

    verdict: Verdict
    tests: int
    failed: int | None = None
    reason: str = ""
    upstream: Verdict | None = None


def grade_of(judged: Judged, metric: str, code: str | None) -> Grade:
    """The grade: 1 for a pass, 0 for any fault of the program, none for a fault of ours."""
    told = {"failed_test": judged.failed, "upstream": judged.upstream}
    details: Facts = {"verdict": judged.verdict, "tests": judged.tests}
    details |= {name: value for name, value in told.items() if value is not None}
    if judged.verdict == "infrastructure_error":
        return Grade(None, "infrastructure_error", details={**details, "error": judged.reason})
    details |= {"reason": judged.reason} if judged.reason else {}
    score = float(judged.verdict == "pass")
    return Grade(score, STATUS.get(judged.verdict, "answered"), code, {metric: score}, details)


def verdict_of(ended: Ended) -> Verdict:
    """The failure of a program that gave no full answer; "pass" where it ended well."""
    if ended.end == "runtime_error" and last_line(ended).startswith("MemoryError"):
        return "memory_limit"
    return "pass" if ended.end == "exit" else ended.end


def raised(kind: str) -> Verdict:
    """The verdict on code that raised an exception of this kind."""
    return "memory_limit" if kind == "MemoryError" else "runtime_error"


def last_line(ended: Ended) -> str:
    """The last line of a program's standard error."""
    return ended.stderr.rstrip().rpartition(b"\n")[2].decode("utf-8", "replace")


def complaint(ended: Ended) -> str:
    """Why a program of the data set's own gave nothing."""
    return f"{ended.end}: {(ended.detail or last_line(ended))[:200]}"


def reply(value: object) -> tuple[str, str] | None:
    """One call's line of a program of `inside`: ("v", packed value) or ("e", exception kind); None for another."""
    match value:
        case ["v", str(text)]:
            return "v", text
        case ["e", str(text)]:
            return "e", known_kind(text)
    return None


def known_kind(text: str) -> str:
    """The kind of an exception that a program names; it could name anything, at any length."""
    return text if len(text) < 80 and text.isidentifier() else "Exception"


def spoken(line: bytes | str) -> object:
    """The JSON value that a program's channel holds; None for anything else. The program itself may write there."""
    try:
        return json.loads(line)
    except (ValueError, RecursionError, MemoryError):
        return None


class CodeBenchmark(Benchmark):
    """A benchmark whose answers are run. The sandbox is opened before the first grade and shared by all threads."""

    runs_code: ClassVar[bool] = True

    _sandbox: Sandbox | None = None

    def open_grader(self, unsafe_exec: bool) -> Facts:
        """Open the sandbox, with the checks that need it; what is recorded of it. Raises SandboxError or DataError."""
        self._sandbox = open_sandbox(unsafe=unsafe_exec)
        told = self.sandbox.run({}, [self.sandbox.python, "-c", "import sys; print(sys.version.split()[0])"]).stdout
        return {**self.sandbox.facts(), "python_version": told.decode("ascii", "replace").strip()}

    def close_grader(self) -> None:
        """Close the sandbox."""
        if self._sandbox is not None:
            self._sandbox.close()
            self._sandbox = None

    @property
    def sandbox(self) -> Sandbox:
        """The sandbox; programs find the packages of this environment in it."""
        assert self._sandbox is not None, "open_grader comes before grade"
        return self._sandbox

    def grade(self, item: Item, completion: Completion) -> Grade:
        """The verdict on one completion."""
        code = self.code(item, completion)
        if code is None or not code.strip():
            return grade_of(Judged("no_code", 0, reason="no complete code block"), self.metric, None)
        return grade_of(self.try_code(item, code, completion), self.metric, code)

    def code(self, item: Item, completion: Completion) -> str | None:
        """The code of an answer; None where it has no complete block."""
        return last_code(completion.text, self.asked_name(item))

    def asked_name(self, item: Item) -> str | None:
        """The function or class that the item asks for; None for a program."""
        return None

    @abstractmethod
    def try_code(self, item: Item, code: str, completion: Completion) -> Judged:
        """Run the code against the item's tests."""

    def run(self, programs: Sequence[str], code: bytes | None, stdin: bytes, limits: Limits, *arguments: str) -> Ended:
        """Run the first of some programs of `inside`, with the others and `solution.py` beside it.

        A time limit counts only after an undisturbed rerun.
        """
        files = {name: inside(name) for name in programs} | ({} if code is None else {"solution.py": code})
        argv = [self.sandbox.python, "-B", programs[0], *arguments]
        return counted(lambda: self.sandbox.run(files, argv, stdin, limits))


def counted(run: Callable[[], Ended]) -> Ended:
    """The end of a program; where it was stopped for its time, that of a rerun beside nothing but a few such reruns."""
    if (ended := run()).end != "time_limit":
        return ended
    with GATE.undisturbed(max(1, usable_cores() // CORES_A_RERUN)):
        return run()
