"""Running the code of an answer and judging its output, for all benchmarks that run a model's code.

A program runs in the sandbox and only its outputs come out; what is expected never goes in. An answer is judged by
the first test that it does not pass.
"""

from __future__ import annotations

import base64
import binascii
import json
import pickletools
import zlib
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import ClassVar, NamedTuple

from bitparity.benchmarks.contract import Benchmark, Facts
from bitparity.benchmarks.fenced_code import last_code
from bitparity.benchmarks.inside import codec
from bitparity.errors import DataError
from bitparity.hardware.cores import usable_cores
from bitparity.records import Completion, Grade, Item, Status
from bitparity.sandbox.contract import Ended, Limits, Sandbox, Verdict
from bitparity.sandbox.gate import GATE
from bitparity.sandbox.levels import open_sandbox

CORES_A_RERUN = 4  # of this host for each undisturbed rerun: its caches and sibling hardware threads stay idle
MAX_TESTS_BYTES = 1 << 29  # of one problem's tests, unpacked; the largest published are far smaller
STATUS: dict[Verdict, Status] = {"no_code": "no_answer", "infrastructure_error": "infrastructure_error"}

# ---------------------------------------------------------------- tests


class Case(NamedTuple):
    """One test: what goes in, what is expected."""

    given: str
    expected: str


_TEXT_OPCODES = frozenset(
    {"PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "MEMOIZE", "BINPUT", "STOP"}
)


def decode_tests(text: str, limit: int | None = None) -> list[Case]:
    """A problem's tests: a JSON list, or base64 of zlib of a pickle of that JSON text.

    Nothing is executed: of the pickle only text is accepted. Raises DataError for anything else, and for
    more than `limit` bytes (MAX_TESTS_BYTES), found before they are unpacked.
    """
    document = text if text.lstrip().startswith("[") else _unpickled(_inflated(text, limit or MAX_TESTS_BYTES))
    try:
        rows = json.loads(document)
        if not isinstance(rows, list):
            raise TypeError
        return [Case(_text(row["input"]), _text(row["output"])) for row in rows]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DataError(f"the tests' data is not a list of inputs and outputs ({type(error).__name__})") from None


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _inflated(text: str, limit: int) -> bytes:
    inflate = zlib.decompressobj()
    try:
        # no further than the limit: a small download must not fill the memory
        data = inflate.decompress(base64.b64decode(text, validate=True), limit)
    except (binascii.Error, ValueError, zlib.error) as error:
        raise DataError(f"the tests' data cannot be unpacked: {error}") from None
    if inflate.unconsumed_tail or not inflate.eof:
        raise DataError(f"the tests' data is broken or unpacks to over {limit >> 20} MiB")
    return data


def _unpickled(data: bytes) -> str:
    """The one text of a pickle, read off its opcodes: nothing of it is executed."""
    texts: list[str] = []
    try:
        # a text takes some ten opcodes, so a longer program is none
        for count, (opcode, argument, _) in enumerate(pickletools.genops(data)):
            if count > 20 or opcode.name not in _TEXT_OPCODES:
                raise DataError(f"the tests' data holds the pickle opcode {opcode.name}; tests are plain text")
            texts += [argument] if isinstance(argument, str) else []
    except (ValueError, MemoryError) as error:
        raise DataError(f"the tests' data is no pickled text: {type(error).__name__}") from None
    if len(texts) != 1:
        raise DataError(f"the tests' data is no pickled text: {len(texts)} texts")
    return texts[0]


def same_output(produced: bytes, expected: str) -> bool:
    """LiveCodeBench's rule for standard output (`grade_stdio`, testing_util.py at commit 8610ffb2).

    Both texts stripped, the same number of lines, each line equal when stripped, or equal as decimal numbers
    word by word, without any tolerance.
    """
    both = (produced.decode("utf-8", "replace"), expected)
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in both)
    return len(ours) == len(theirs) and all(a == b or _same_numbers(a, b) for a, b in zip(ours, theirs, strict=True))


def _same_numbers(a: str, b: str) -> bool:
    try:
        return [Decimal(word) for word in a.split()] == [Decimal(word) for word in b.split()]
    except (InvalidOperation, ValueError):
        return False


def same_value(produced: object, expected: str) -> bool:
    """LiveCodeBench's rule for a function's value (`grade_call_based`): Python's `==` with the JSON value, where a
    tuple at the top counts as a list.
    """
    value, wanted = list(produced) if isinstance(produced, tuple) else produced, json.loads(expected)
    try:
        return bool(value == wanted)
    except RecursionError:  # deeper than the expected value, else that could not be read either
        return False


# ---------------------------------------------------------------- verdicts


@dataclass(frozen=True, slots=True)
class Judged:
    """The verdict on one answer. `failed` numbers the first test not passed, from 1; `reason` never quotes a test.

    `upstream` is the verdict of the benchmark's own tests where it is another.
    """

    verdict: Verdict
    tests: int
    failed: int | None = None
    reason: str = ""
    cpu_s: float = 0.0
    upstream: Verdict | None = None


def grade_of(judged: Judged, metric: str, code: str | None) -> Grade:
    """The grade: 1 for a pass, 0 for any fault of the program, none for a fault of ours."""
    details: Facts = {"verdict": judged.verdict, "tests": judged.tests}
    if judged.failed is not None:
        details["failed_test"] = judged.failed
    if judged.upstream is not None:
        details["upstream"] = judged.upstream
    if judged.verdict == "infrastructure_error":
        return Grade(None, "infrastructure_error", details={**details, "error": judged.reason})
    if judged.reason:
        details["reason"] = judged.reason
    score = float(judged.verdict == "pass")
    return Grade(score, STATUS.get(judged.verdict, "answered"), code, {metric: score}, details)


def verdict_of(ended: Ended) -> Verdict:
    """The failure of a program that gave no full answer; "pass" where it ended well."""
    if ended.end == "exit":
        return "pass"
    if ended.end == "runtime_error" and _last_line(ended).startswith("MemoryError"):
        return "memory_limit"
    return ended.end


def raised(kind: str) -> Verdict:
    """The verdict on code that raised an exception of this kind."""
    return "memory_limit" if kind == "MemoryError" else "runtime_error"


def _last_line(ended: Ended) -> str:
    return ended.stderr.rstrip().rpartition(b"\n")[2].decode("utf-8", "replace")


def exception_kind(ended: Ended) -> str:
    """The kind of exception that a traceback ends with; not its text, which could quote a test."""
    kind = _last_line(ended).partition(":")[0].strip()
    return kind if len(kind) < 80 and (kind.isidentifier() or "." in kind) else ""


def complaint(ended: Ended) -> str:
    """Why a program of the data set's own gave nothing."""
    return f"{ended.end}: {(ended.detail or _last_line(ended))[:200]}"


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
        return {**self.sandbox.facts(), "python_version": _python_version(self.sandbox)}

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

    def run(self, files: Mapping[str, bytes], argv: Sequence[str], stdin: bytes, limits: Limits) -> Ended:
        """Run one program; a time limit counts only after an undisturbed rerun."""
        return counted(lambda: self.sandbox.run(files, argv, stdin, limits))


def counted(run: Callable[[], Ended]) -> Ended:
    """The end of a program; where it was stopped for its time, that of a rerun beside nothing but a few such reruns."""
    ended = run()
    if ended.end != "time_limit":
        return ended
    with GATE.undisturbed(max(1, usable_cores() // CORES_A_RERUN)):
        return run()


def _python_version(sandbox: Sandbox) -> str:
    ended = sandbox.run({}, [sandbox.python, "-c", "import sys; print(sys.version.split()[0])"])
    return ended.stdout.decode("ascii", "replace").strip()


def unpacked(line: str) -> object:
    """A value that came out of the sandbox; opaque where it cannot be read."""
    try:
        return codec.loads(line)
    except ValueError:
        return codec.Opaque("unreadable")
