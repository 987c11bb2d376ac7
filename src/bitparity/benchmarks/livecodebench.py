"""LiveCodeBench, code generation: contest problems with their dates (Jain et al. 2024, arXiv 2403.07974).

Data set: livecodebench/code_generation_lite, the raw files test.jsonl to test6.jsonl (4.5 GB; its loading script no
longer works with datasets 4). Release vN is the first N files: 400, 511, 612, 713, 880 and 1,055 problems. One
problem's tests may fill hundreds of megabytes, so an item only says where its line stands, and it is read again when
an answer is graded.

Prompt: upstream's generic chat prompt, lcb_runner/prompts/code_generation.py at commit
4fa15949edfc48871be612fc83dcb7961b012ad3. Metric: pass@1, the mean over samples of "all public and private tests pass".
Comparison: upstream's rules. A program that reads standard input is a real process with real pipes; a
function is called with JSON values. The time limit counts CPU seconds of each test.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
import json
import pickletools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple, cast

from pydantic import Field

from bitparity.benchmarks.code import CodeBenchmark, Judged, last_line, raised, reply, spoken, verdict_of
from bitparity.benchmarks.contract import Facts, Info, Settings, Source
from bitparity.benchmarks.dataset import hub_file
from bitparity.benchmarks.fenced_code import upstream_code
from bitparity.benchmarks.inside import codec
from bitparity.benchmarks.prompts import packaged_prompt
from bitparity.errors import DataError
from bitparity.inputs.input_files import open_regular
from bitparity.inputs.packaged import packaged_toml
from bitparity.records import Completion, Item, Prompt
from bitparity.sandbox.contract import Ended, Limits, Verdict

# file, problems in it; release vN is the first N
FILES = (("test.jsonl", 400), *((f"test{n}.jsonl", rows) for n, rows in enumerate((111, 101, 101, 167, 175), 2)))
PROBLEMS = sum(rows for _, rows in FILES)
FIELDS = (
    *("question_title", "question_content", "platform", "question_id", "contest_id", "contest_date"),
    *("starter_code", "difficulty", "public_test_cases", "private_test_cases", "metadata"),
)

KNOWN_BAD: dict[str, str] = packaged_toml(__package__, "livecodebench_errata.toml")
SYSTEM = packaged_prompt("livecodebench_system.txt")
MEMORY_MB = 4096  # upstream sets no limit; contests give 256 to 1,024 MB to compiled programs
MAX_TESTS_BYTES = 1 << 29  # of one problem's tests, unpacked; the largest published are far smaller


class LiveCodeBenchSettings(Settings):
    """`start` and `end` bound the contest dates, both included, as upstream's --start_date and --end_date do.

    `known_bad: keep` asks the problems with known faults too, as published figures do. `extraction: upstream` takes
    the code as upstream's `extract_code` does. `timeout` is in CPU seconds a test.
    """

    release: Literal["v1", "v2", "v3", "v4", "v5", "v6"]
    start: datetime.date | None = None
    end: datetime.date | None = None
    known_bad: Literal["leave_out", "keep"]
    extraction: Literal["last_block", "upstream"]
    timeout: float = Field(gt=0, le=3600)


class LiveCodeBench(CodeBenchmark):
    """LiveCodeBench."""

    source = Source(
        "livecodebench/code_generation_lite", "test", "0fe84c3912ea0c4d4a78037083943e8f0c4dd505", bytes=4_490_000_000
    )
    info = Info("LiveCodeBench", PROBLEMS, ("chat",), "pass@1", source, aliases=("LCB",), question_tokens=380)
    settings_type: ClassVar = LiveCodeBenchSettings
    settings: LiveCodeBenchSettings

    def items(self) -> Iterable[Item]:
        """The problems of the release and window, difficulty as subgroup. Raises DataError."""
        files: list[dict[str, str | int]] = []
        left_out: dict[str, str] = {}
        taken: list[str] = []
        release = FILES[: int(self.settings.release[1:])]
        # one at a time: a file of the release is downloaded when it is read
        places = ((hub_file(self.source, name), rows) for name, rows in release)
        for place, expected in places if self.spec.data is None else [(Path(self.spec.data), None)]:
            digest, count = hashlib.sha256(), 0
            for row, offset, raw in problems(place, digest):
                count += 1
                reason = KNOWN_BAD.get(row["question_id"]) or KNOWN_BAD.get(row["question_title"])
                if not self._in_window(row["contest_date"], place):
                    continue
                if reason and self.settings.known_bad == "leave_out":
                    left_out[row["question_id"]] = reason
                    continue
                taken.append(row["question_id"])
                yield _item(row, {"file": place.name, "offset": offset, "length": len(raw)}, raw, reason)
            if expected is not None and count != expected:
                raise DataError(f"{place} has {count} problems, not {expected}: it is not whole; download it again")
            files.append({"file": place.name, "rows": count, "sha256": digest.hexdigest()})
        hub = {"hub": self.source.path, "revision": self.source.revision, "release": self.settings.release}
        self._provenance = {
            **(hub if self.spec.data is None else {"path": self.spec.data}),
            "window": [str(day) if day else None for day in (self.settings.start, self.settings.end)],
            "files": files,
            "rows": sum(int(file["rows"]) for file in files),
            "ids": len(taken),
            "ids_sha256": hashlib.sha256("\n".join(sorted(taken)).encode()).hexdigest(),
            "known_bad_left_out": dict(sorted(left_out.items())),
        }

    def _in_window(self, contest_date: str, place: Path) -> bool:
        try:
            date = datetime.datetime.fromisoformat(contest_date)
        except ValueError:
            raise DataError(f"{place}: contest_date {contest_date!r} is no date") from None
        bounds = (self.settings.start, self.settings.end)
        start, end = (datetime.datetime.combine(day, datetime.time()) if day else date for day in bounds)
        return start <= date <= end

    def check_tests(self, items: Sequence[Item]) -> None:
        """Read the tests of the last problem of each file. Raises DataError where they are not there any more."""
        by_offset = sorted(items, key=lambda item: item.metadata["offset"])
        for item in {item.metadata["file"]: item for item in by_offset}.values():
            self._tests(item)

    def code(self, item: Item, completion: Completion) -> str | None:
        """The last complete code block, or what upstream takes."""
        if self.settings.extraction == "upstream":
            return upstream_code(completion.text)
        return super().code(item, completion)

    def asked_name(self, item: Item) -> str | None:
        """The function that the tests call; None where they give standard input."""
        return cast(str | None, item.metadata["function"])

    def try_code(self, item: Item, code: str, completion: Completion) -> Judged:
        """Public tests first, then private ones, as upstream; the first one not passed decides."""
        tests = self._tests(item)
        if (function := self.asked_name(item)) is not None:
            return self.judge_function(code, function, tests)
        return self.judge_program(code, tests)

    def _tests(self, item: Item) -> list[Case]:
        where = item.metadata
        place = Path(self.spec.data) if self.spec.data is not None else hub_file(self.source, where["file"])
        try:
            with open_regular(place) as file:
                file.seek(where["offset"])
                raw = file.read(where["length"])
        except OSError as error:
            raise DataError(f"{place} cannot be read: {error.strerror}") from None
        if hashlib.sha256(raw).hexdigest() != where["sha256"]:
            raise DataError(f"{place} has changed since the exam was made: problem {item.id} is not where it was")
        row = json.loads(raw)
        tests = decode_tests(row["public_test_cases"]) + decode_tests(row["private_test_cases"])
        if not tests:
            raise DataError(f"problem {item.id} has no tests in {place}")
        return tests

    def judge_program(self, code: str, tests: Sequence[Case]) -> Judged:
        """A program that reads standard input: one process a test."""
        for number, test in enumerate(tests, 1):
            ended = self._run(("stdin_main.py", "prelude.py"), code, test.given, 1, test.expected)
            verdict = verdict_of(ended)
            if verdict == "infrastructure_error":
                return Judged(verdict, len(tests), number, ended.detail)
            if verdict == "pass" and not same_output(ended.stdout, test.expected):
                verdict = "wrong_answer"
            if verdict != "pass":
                reason = exception_kind(ended) if verdict == "runtime_error" else ""
                return Judged(verdict, len(tests), number, reason)
        return Judged("pass", len(tests))

    def judge_function(self, code: str, function: str, tests: Sequence[Case]) -> Judged:
        """A function: one process calls it with the inputs of all tests, the values are compared here."""
        try:
            given = [[json.loads(line) for line in test.given.split("\n")] for test in tests]
        except ValueError:
            raise DataError("a test's input is not one JSON value a line") from None
        asked = json.dumps({"function": function, "limit": self.settings.timeout, "inputs": given})
        programs, expected = ("functional_main.py", "prelude.py", "codec.py"), "".join(t.expected for t in tests)
        ended = self._run(programs, code, asked, len(tests) + 1, expected)
        if ended.end == "infrastructure_error":
            return Judged("infrastructure_error", len(tests), None, ended.detail)
        lines = ended.stdout.decode("ascii", "replace").split("\n")[:-1]
        for number, test in enumerate(tests, 1):
            kind, value = (reply(spoken(lines[number - 1])) if number <= len(lines) else None) or (None, "")
            if kind == "v" and same_value(unpacked(value), test.expected):
                continue
            verdict = _function_fault(kind, value, ended)
            return Judged(verdict, len(tests), number, value if kind == "e" else "")
        return Judged("pass", len(tests))

    def _run(self, programs: Sequence[str], code: str, stdin: str, tests: int, expected: str) -> Ended:
        """One process for so many tests, with room for the output that they expect."""
        seconds, room = self.settings.timeout * tests, (4 << 20) + 4 * len(expected)
        # on a busy host a program gets its CPU seconds late
        limits = Limits(cpu_s=seconds, wall_s=5 * seconds + 10, memory_mb=MEMORY_MB, output_bytes=room)
        solution, given = (text.encode("utf-8", "surrogatepass") for text in (code, stdin))
        return self.run(programs, solution, given, limits)


def _function_fault(kind: str | None, value: str, ended: Ended) -> Verdict:
    """Why a call did not give what was expected."""
    if kind is not None:
        return "wrong_answer" if kind == "v" else raised(value)
    if ended.status in (-27, -14):  # SIGPROF, SIGALRM: one call's own limit
        return "time_limit"
    verdict = verdict_of(ended)
    return "runtime_error" if verdict == "pass" else verdict


def problems(place: Path, digest: hashlib._Hash) -> Iterator[tuple[dict[str, str], int, bytes]]:
    """The problems of a raw file one by one, checked: row, offset of its line in bytes, and the line.

    `digest` takes up the file's bytes. Raises DataError.
    """
    offset = 0
    try:
        with open_regular(place) as file:
            for number, raw in enumerate(file, 1):
                digest.update(raw)
                yield _row(raw, f"{place}, line {number}"), offset, raw
                offset += len(raw)
    except OSError as error:
        raise DataError(f"data file {place} cannot be read: {error.strerror}") from None


def _row(raw: bytes, where: str) -> dict[str, str]:
    try:
        row = json.loads(raw)
    except ValueError:
        raise DataError(f"{where}: broken JSON; each line must hold one problem") from None
    missing = [name for name in FIELDS if not isinstance(row, dict) or not isinstance(row.get(name), str)]
    if missing:
        raise DataError(f"{where}: field {missing[0]} is missing or no text")
    return {name: row[name] for name in FIELDS}


def _item(row: dict[str, str], place: Facts, raw: bytes, known_bad: str | None) -> Item:
    """The item of a problem, with upstream's chat prompt."""
    try:
        function = json.loads(row["metadata"]).get("func_name")
    except (ValueError, AttributeError):
        raise DataError(f"{place['file']}: metadata of question {row['question_id']} is no JSON object") from None
    template = packaged_prompt(f"livecodebench_{'starter' if row['starter_code'] else 'stdin'}.txt")
    asked = template.format(question=row["question_content"], starter=row["starter_code"])
    prompt = Prompt(messages=({"role": "system", "content": SYSTEM}, {"role": "user", "content": asked}))
    about: Facts = {"platform": row["platform"], "contest_date": row["contest_date"], "function": function}
    about |= {"known_bad": known_bad} if known_bad else {}
    about |= {**place, "sha256": hashlib.sha256(raw).hexdigest()}
    return Item(row["question_id"], (prompt,), None, None, row["difficulty"], about)


class Case(NamedTuple):
    """One test: what goes in, what is expected."""

    given: str
    expected: str


_TEXT_OPCODES = {"PROTO", "FRAME", "SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "MEMOIZE", "BINPUT", "STOP"}


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
    texts = (produced.decode("utf-8", "replace"), expected)
    ours, theirs = ([line.strip() for line in text.strip().split("\n")] for text in texts)
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


def exception_kind(ended: Ended) -> str:
    """The kind of exception that a traceback ends with; not its text, which could quote a test."""
    kind = last_line(ended).partition(":")[0].strip()
    return kind if len(kind) < 80 and (kind.isidentifier() or "." in kind) else ""


def unpacked(line: str) -> object:
    """A value that came out of the sandbox; opaque where it cannot be read."""
    try:
        return codec.loads(line)
    except ValueError:
        return codec.Opaque("unreadable")


BENCHMARK = LiveCodeBench
