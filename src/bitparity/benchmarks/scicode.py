"""SciCode: research problems solved step by step (Tian et al. 2024, arXiv 2407.13168).

Data set: SciCode1/SciCode (its staging name was Zilinghan/scicode; the fields are the same), split test with 65
problems and 288 scored steps, split validation with 15 and 50. An item is a step; its prompt holds the same sample's
own code of the steps before it. Three steps (13.6, 62.1, 76.3) are given by the authors and not asked. Items of a
problem are one group. Metric: `sub_step`, the share of steps whose tests all pass; `main_problem`, the share of
problems with all steps right, is among the rates.

Prompts: eval/data/background_comment_template.txt (without background) and multistep_template.txt (with it) at commit
181303295f14f5303d421e757bb0c7036cda88ec, filled in as eval/scripts/gencode.py does. Where upstream keeps only the
function named by the header, the whole code of an answer is kept: helper functions, whole classes, its imports.

Tests run in an interpreter of their own, numpy 1.26 and scipy below 1.14 (`scicode_env`), and are parted: values are
computed beside the model's code, and compared with the targets elsewhere (`scicode_tests.py`).
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, Field, ValidationError

from bitparity.benchmarks import scicode_env as env
from bitparity.benchmarks.code import CodeBenchmark, Judged, complaint, counted, known_kind, raised, spoken, verdict_of
from bitparity.benchmarks.contract import Facts, Info, Settings, Source
from bitparity.benchmarks.dataset import Row, content_hash, hub_rows, read_jsonl
from bitparity.benchmarks.fenced_code import last_code
from bitparity.benchmarks.inside import source as inside
from bitparity.benchmarks.prompts import packaged_prompt
from bitparity.benchmarks.scicode_tests import Halves, split_test
from bitparity.errors import DataError
from bitparity.records import Completion, Grade, Item, Prompt
from bitparity.sandbox.contract import Ended, Limits, Verdict
from bitparity.sandbox.levels import open_sandbox
from bitparity.sandbox.warm import WarmWorker
from bitparity.schema import BenchmarkSpec

SIZES = {"test": (65, 288), "validation": (15, 50)}  # problems, scored steps
# steps, problems of the test split that have so many
STEPS = ((1, 5), (2, 6), (3, 23), (4, 10), (5, 6), (6, 5), (7, 1), (8, 2), (9, 3), (12, 2), (14, 2))
PRELOAD = ("numpy", "scipy", "scipy.linalg", "scipy.integrate", "scipy.optimize", "scipy.sparse.linalg", "sympy")
MEMORY_MB = 8192
MAX_VALUES = 100_000  # emitted by one step's tests, which emit a few each; only hostile code emits more


class SciCodeSettings(Settings):
    """`background`: the scientists' notes stand in the prompt. `timeout` is in CPU seconds a step's tests.

    `hub` is the data set's name there. `targets` is the HDF5 file of expected values, `given` a folder with the given
    steps (13.6.txt, 62.1.txt, 76.3.txt), `interpreter` the Python of the tests; where one is absent, what
    lies beside the study's own data file (`test_data.h5`, `13.6.txt`) or what
    `python -m bitparity.benchmarks.scicode_env` put in place is taken.
    """

    split: Literal["test", "validation"]
    background: bool
    hub: Literal["SciCode1/SciCode", "Zilinghan/scicode"]
    timeout: float = Field(gt=0, le=3600)
    targets: Path | None = None
    given: Path | None = None
    interpreter: Path | None = None


class SubStep(BaseModel):
    """One step of a problem, a row of the data set's field sub_steps."""

    step_number: str
    step_description_prompt: str
    step_background: str | None = None
    function_header: str
    return_line: str | None = None
    test_cases: list[str] | None = None


class Problem(BaseModel):
    """One row of the data set."""

    problem_id: str
    problem_name: str | None = None
    required_dependencies: str
    sub_steps: Annotated[list[SubStep], Field(min_length=1)]

    @property
    def scored(self) -> int:
        """The number of steps that are asked."""
        return sum(step.step_number not in env.GIVEN_STEPS for step in self.sub_steps)


class SciCode(CodeBenchmark):
    """SciCode."""

    source = Source("SciCode1/SciCode", "test", "main")
    info = Info(
        title="SciCode",
        items=SIZES["test"][1],
        forms=("chat",),
        metric="sub_step",
        source=source,
        label_words="sub step steps substep subproblem 子问题 子步骤 子任务",
        setup=env.SETUP,
        groups=STEPS,
    )
    settings_type: ClassVar = SciCodeSettings
    settings: SciCodeSettings

    def __init__(self, spec: BenchmarkSpec) -> None:
        super().__init__(spec)
        self._stack = ExitStack()
        self._workers: list[WarmWorker] = []  # one beside the code, one beside the targets, while the grader is open

    # ------------------------------------------------------------ items

    def items(self) -> Iterable[Item]:
        """The scored steps, problem by problem. Raises DataError, UnavailableError where a given step is absent."""
        problems, place = self._problems()
        for problem in problems:
            yield from self._steps(problem)
        self._provenance = {**place, "targets": env.described(self._targets())}

    def _steps(self, problem: Problem) -> Iterator[Item]:
        """The items of one problem, each after the one before it.

        `steps` is the number of the problem's items; a step in `before` has `given`, the authors' code for it, or None
        where the sample's own counts.
        """
        before: list[Facts] = []
        after: str | None = None
        for number, step in enumerate(problem.sub_steps):
            shown = {"prompt": step.step_description_prompt, "background": step.step_background or ""}
            given = None
            if step.step_number in env.GIVEN_STEPS:
                given = env.given_step(step.step_number, [self.settings.given, self._beside])
            else:
                about = {
                    "name": problem.problem_name or problem.problem_id,
                    "steps": problem.scored,
                    **shown,
                    "header": step.function_header,
                    "return_line": step.return_line,
                    "tests": step.test_cases,
                    "dependencies": problem.required_dependencies,
                    "before": list(before),
                }
                prompt = self._prompt(about, [""] * number)
                reference = {"problem": problem.problem_id, "step": number}
                yield Item(step.step_number, (prompt,), reference, problem.problem_id, None, about, after)
                after = step.step_number
            before.append({"number": step.step_number, **shown, "header": step.function_header, "given": given})

    def _problems(self) -> tuple[list[Problem], Facts]:
        """The checked problems, and where they came from. Raises DataError."""
        if self.spec.data is not None:
            rows, origin = read_jsonl(Path(self.spec.data)), self.spec.data
            place: Facts = {"path": origin}
        else:
            source = Source(self.settings.hub, self.settings.split, "main")
            rows, origin = hub_rows(source), f"data set {source.path} ({source.split})"
            place = {"hub": source.path, "split": source.split, "revision": source.revision}
        problems = [_checked(row, f"{origin}, problem {number}") for number, row in enumerate(rows, 1)]
        steps = sum(problem.scored for problem in problems)
        expected = SIZES[self.settings.split]
        if self.spec.data is None and (len(rows), steps) != expected:
            raise DataError(
                f"{origin} has {len(rows)} problems and {steps} scored steps, not {expected[0]} and {expected[1]}; it "
                "has changed: give the rows with 'data:'"
            )
        sha256 = content_hash(rows, ("problem_id", "required_dependencies", "sub_steps"))
        return problems, {**place, "problems": len(rows), "steps": steps, "sha256": sha256}

    @property
    def _beside(self) -> Path | None:
        """The folder of the study's own data file."""
        return None if self.spec.data is None else Path(self.spec.data).parent

    # ------------------------------------------------------------ prompts

    def follow_up(self, item: Item, earlier: Sequence[Completion]) -> Prompt:
        """The step's prompt with the sample's own code of the steps before it."""
        return self._prompt(item.metadata, _code_before(item.metadata, earlier))

    def _prompt(self, about: Mapping[str, Any], before: Sequence[str]) -> Prompt:
        kind, parts = ("with", ("prompt", "background")) if self.settings.background else ("without", ("prompt",))
        *told, asked = ("\n".join(step[part] for part in parts) for step in [*about["before"], about])
        steps = (f"{step}\n\n{code}" for step, code in zip(told, before, strict=True))
        text = packaged_prompt(f"scicode_{kind}_background.txt").format(
            problem_steps_str="\n\n------\n\n".join(steps),
            next_step_str=f"{asked}\n\n{about['header']}\n\n{about['return_line']}",
            dependencies=about["dependencies"],
        )
        return self.prompt_of(text)

    # ------------------------------------------------------------ grading

    def open_grader(self, unsafe_exec: bool) -> Facts:
        """Find interpreter, targets and sandboxes; UnavailableError says what is missing and how to get it."""
        python, targets = env.interpreter(self.settings.interpreter), self._targets()
        versions = env.check_interpreter(python)
        described = env.described(targets)
        boxes = [open_sandbox(python=str(python), readable=r, unsafe=unsafe_exec) for r in ([], [targets])]
        for box in boxes:
            self._stack.callback(box.close)
            self._workers.append(self._stack.enter_context(WarmWorker(box, PRELOAD)))
        return {**boxes[0].facts(), "packages": versions, "targets": described}

    def close_grader(self) -> None:
        """Close the sandboxes."""
        self._stack.close()
        self._workers.clear()

    def _targets(self) -> Path:
        beside = self._beside and self._beside / env.TARGETS_FILE
        return env.targets(self.settings.targets or (beside if beside and beside.is_file() else None))

    def asked_name(self, item: Item) -> str | None:
        """The function or class of the step's header."""
        return _name(item.metadata["header"])

    def try_code(self, item: Item, code: str, completion: Completion) -> Judged:
        """Compute the tests' values beside the code, then compare them with the targets elsewhere."""
        about = item.metadata
        halves = _halves(tuple(about["tests"]), about["dependencies"])
        program = "\n".join([about["dependencies"], *_code_before(about, completion.earlier), code]) + "\n"
        asked = {"program": program, "tests": [half.inside for half in halves]}
        ended = self._run(self._workers[0], "scicode_main.py", asked, output_bytes=256 << 20, file_mb=256)
        verdict = verdict_of(ended)
        if verdict == "infrastructure_error":
            return Judged(verdict, len(halves), None, ended.detail)
        values, finished, error = _values(ended.stdout, len(halves))
        failed, reason, upstream = self._compare(item.id, about["dependencies"], halves[:finished], values)
        whole = finished == len(halves)
        if failed:
            other: Verdict | None = "pass" if whole and not upstream else None
            return Judged("wrong_answer", len(halves), failed, reason, other)
        if whole:
            return Judged("pass", len(halves))
        if error or verdict == "pass":
            verdict = raised(error)
        return Judged(verdict, len(halves), finished + 1, error)

    def _run(self, worker: WarmWorker, script: str, asked: Mapping[str, object], **limits: int) -> Ended:
        """One program of `inside` on what it is asked; twice where it was stopped for its time."""
        seconds = self.settings.timeout
        bounds = Limits(cpu_s=seconds, wall_s=3 * seconds, memory_mb=MEMORY_MB, **limits)
        source, stdin = inside(script).decode(), json.dumps(asked).encode()
        return counted(lambda: worker.run(_shared_files(), source, stdin, bounds))

    def _compare(
        self, step: str, dependencies: str, halves: Sequence[Halves], values: Sequence[Any]
    ) -> tuple[int, str, int]:
        """Number of the first test that does not hold (0: all do), why, and the number by upstream's comparison.

        Raises DataError where none can be said.
        """
        if not halves:
            return 0, "", 0
        tests = [{name: value for name, value in half._asdict().items() if name != "inside"} for half in halves]
        targets = str(self._targets().resolve())
        asked = {"targets": targets, "step": step, "dependencies": dependencies, "tests": tests, "values": values}
        ended = self._run(self._workers[1], "scicode_check.py", asked)
        match spoken(ended.stdout):
            case [int(failed), str(reason), int(upstream)]:
                return failed, reason, upstream
        if ended.end in ("time_limit", "memory_limit") or (ended.status or 0) < 0:  # values too large to compare
            return 1, ended.end, 1
        raise DataError(f"step {step} could not be compared with its targets ({complaint(ended)})")

    def rates(self, items: Sequence[Item], grades: Mapping[tuple[str, int], Grade]) -> dict[str, float]:
        """`main_problem`: the share of (problem, sample) with every step right, of those with every step scored.

        `sub_step_upstream`, where it differs from the metric, is the share of steps right by upstream's comparison.
        """
        problems: dict[str, list[Item]] = {}
        for item in items:
            problems.setdefault(item.group or item.id, []).append(item)
        whole = []
        for steps in problems.values():
            # a limit may have cut a problem off: of a part of its steps nobody can say that all are right
            for sample in {k for _, k in grades} if len(steps) == steps[0].metadata["steps"] else ():
                scores = [grade.score if (grade := grades.get((s.id, sample))) else None for s in steps]
                if None not in scores:
                    whole.append(all(score == 1.0 for score in scores))
        rates = {"main_problem": sum(whole) / len(whole)} if whole else {}
        steps_right = [(g.score, "upstream" in g.details) for g in grades.values() if g.score is not None]
        if any(differs for _, differs in steps_right):
            # upstream's comparison is the laxer one, so only a step that is wrong here can have another verdict there
            rates["sub_step_upstream"] = sum(max(score, differs) for score, differs in steps_right) / len(steps_right)
        return rates


def _shared_files() -> dict[str, bytes]:
    """The packages that tests import, and the codec."""
    names = {"scicode/__init__.py": b"", "scicode/compare/__init__.py": b""}
    return {**names, "scicode/compare/cmp.py": inside("scicode_cmp.py"), "codec.py": inside("codec.py")}


@functools.lru_cache(maxsize=512)
def _halves(tests: tuple[str, ...], dependencies: str) -> list[Halves]:
    return [split_test(test, dependencies) for test in tests]


def _values(stdout: bytes, tests: int) -> tuple[list[Any], int, str]:
    """(emitted values, number of tests that ran to their end, kind of the exception that ended the rest)."""
    values: list[Any] = []
    finished = 0
    for raw in stdout.split(b"\n")[:-1]:
        match spoken(raw):
            case ["e", str(error)]:
                return values, finished, known_kind(error)
            # in their order, and each once: the model's code may write here itself
            case [int(test), "end"] if test == finished < tests:
                finished += 1
            case [int(test), int(check), str(packed)] if len(values) < MAX_VALUES:
                values.append([test, check, packed])
            case _:
                break
    return values, finished, ""


def _name(header: str) -> str | None:
    found = re.search(r"^\s*(?:def|class)\s+(\w+)", header, re.MULTILINE)
    return found and found[1]


def _code_before(about: Mapping[str, Any], earlier: Sequence[Completion]) -> list[str]:
    """The code of each step before this one: the sample's own, or the given one."""
    own = iter(earlier)
    return [
        step["given"] if step["given"] is not None else last_code(next(own).text, _name(step["header"])) or ""
        for step in about["before"]
    ]


def _checked(row: Row, where: str) -> Problem:
    try:
        problem = Problem.model_validate(row)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise DataError(f"{where}: {field}: {first['msg']}; is this SciCode's data?") from None
    for step in problem.sub_steps:
        if step.step_number not in env.GIVEN_STEPS and not step.test_cases:
            raise DataError(f"{where}: step {step.step_number} has no test_cases; is this SciCode's data?")
    return problem


BENCHMARK = SciCode
