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
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field

from bitparity.benchmarks import scicode_env as env
from bitparity.benchmarks.code import CodeBenchmark, Judged, code_blocks, counted, grade_of, last_code, verdict_of
from bitparity.benchmarks.contract import Info, Settings, Source
from bitparity.benchmarks.dataset import Row, content_hash, hub_rows, read_jsonl
from bitparity.benchmarks.inside import source as inside
from bitparity.benchmarks.scicode_tests import Halves, split_test
from bitparity.errors import DataError
from bitparity.records import Completion, Grade, Item, Prompt
from bitparity.sandbox.contract import Ended, Limits
from bitparity.sandbox.levels import open_sandbox
from bitparity.sandbox.warm import WarmWorker

GIVEN = ("13.6", "62.1", "76.3")
SIZES = {"test": (65, 288), "validation": (15, 50)}  # problems, scored steps
PRELOAD = ("numpy", "scipy", "scipy.linalg", "scipy.integrate", "scipy.optimize", "scipy.sparse.linalg", "sympy")
MEMORY_MB = 8192

WITHOUT_BACKGROUND = """\
PROBLEM DESCRIPTION:
You will be provided with the main description of the problem, previous steps, and the next step. Your task will be to \
generate the disciplinary knowledge necessary for solving the next step and then develop a Python solution focused on \
this step.

PREVIOUS STEPS DESCRIPTION:
{problem_steps_str}

NEXT STEP - PROBLEM DESCRIPTION AND FUNCTION HEADER:
This part will describe the next step in the problem-solving process. First, provide the necessary scientific \
background knowledge as a comment at the beginning of your response, starting with 'Background: '. Then, a function \
header will be provided, and your task is to develop the Python code for this next step based on the provided \
description and function header.

{next_step_str}

DEPENDENCIES:
Use only the following dependencies in your solution. Do not include these dependencies at the beginning of your code.
{dependencies}

RESPONSE GUIDELINES:
1. Start with the scientific background required for the next step, formatted as a comment.
2. Then write the complete and executable Python program for the next step in a single block.
3. Your response should focus exclusively on implementing the solution for the next step, adhering closely to the \
specified function header and the context provided by the initial steps.
4. DO NOT include previous function code, example usage or test code in your response.
5. Ensure your response is in the format of ```python``` and includes the necessary background as a comment at the top.

Example:
```python
# Background: [Here, insert the necessary scientific knowledge required for the next step.]

[Insert the Python code here based on the provided function header and dependencies.]
```
"""
WITH_BACKGROUND = """\
PROBLEM DESCRIPTION:
You will be provided with problem steps along with background knowledge necessary for solving the problem. Your task \
will be to develop a Python solution focused on the next step of the problem-solving process.

PROBLEM STEPS AND FUNCTION CODE:
Here, you'll find the Python code for the initial steps of the problem-solving process. This code is integral to \
building the solution.

{problem_steps_str}

NEXT STEP - PROBLEM STEP AND FUNCTION HEADER:
This part will describe the next step in the problem-solving process. A function header will be provided, and your \
task is to develop the Python code for this next step based on the provided description and function header.

{next_step_str}

DEPENDENCIES:
Use only the following dependencies in your solution. Do not include these dependencies at the beginning of your code.

{dependencies}

RESPONSE GUIDELINES:
Now, based on the instructions and information provided above, write the complete and executable Python program for \
the next step in a single block.
Your response should focus exclusively on implementing the solution for the next step, adhering closely to the \
specified function header and the context provided by the initial steps.
Your response should NOT include the dependencies and functions of all previous steps. If your next step function \
calls functions from previous steps, please make sure it uses the headers provided without modification.
DO NOT generate EXAMPLE USAGE OR TEST CODE in your response. Please make sure your response python code in format of \
```python```."""


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
    )
    settings_type: ClassVar = SciCodeSettings
    settings: SciCodeSettings

    def __init__(self, spec: Any) -> None:
        super().__init__(spec)
        self._provenance: dict[str, Any] = {}
        self._stack = ExitStack()
        self._workers: tuple[WarmWorker, WarmWorker] | None = None

    # ------------------------------------------------------------ items

    def items(self) -> Iterable[Item]:
        """The scored steps, problem by problem. Raises DataError, UnavailableError where a given step is absent."""
        rows, place = self._rows()
        steps = 0
        for row in rows:
            problem = _problem(row)
            before: str | None = None
            scored = sum(step["number"] not in GIVEN for step in problem["steps"])
            for number, step in enumerate(problem["steps"]):
                if step["number"] in GIVEN:
                    problem["given"][step["number"]] = self._given(step["number"])
                    continue
                steps += 1
                reference = {"problem": problem["id"], "step": number}
                about = {"name": problem["name"], "steps": scored, **_part(problem, number)}
                prompt = self._prompt(about, [""] * number)
                yield Item(step["number"], (prompt,), reference, problem["id"], None, about, before)
                before = step["number"]
        fields = ("problem_id", "required_dependencies", "sub_steps")
        found = {"problems": len(rows), "steps": steps, "sha256": content_hash(rows, fields)}
        self._provenance = {**place, **found, "targets": env.described(self._targets())}

    def provenance(self) -> dict[str, Any]:
        """What `items` read, and the targets' size, hash and whether they are the official ones."""
        return self._provenance

    def _rows(self) -> tuple[list[Row], dict[str, Any]]:
        if self.spec.data is not None:
            rows = read_jsonl(Path(self.spec.data))
            return _checked(rows, self.spec.data), {"path": self.spec.data}
        source = Source(self.settings.hub, self.settings.split, "main")
        rows = _checked(hub_rows(source), f"data set {source.path}")
        scored = sum(step["step_number"] not in GIVEN for row in rows for step in row["sub_steps"])
        if (len(rows), scored) != SIZES[self.settings.split]:
            raise DataError(
                f"data set {source.path} ({source.split}) has {len(rows)} problems and {scored} scored steps, not "
                "{} and {}; it has changed: give the rows with 'data:'".format(*SIZES[self.settings.split])
            )
        return rows, {"hub": source.path, "split": source.split, "revision": source.revision}

    def _given(self, number: str) -> str:
        beside = None if self.spec.data is None else Path(self.spec.data).parent
        return env.given_step(number, [self.settings.given, beside])

    # ------------------------------------------------------------ prompts

    def follow_up(self, item: Item, earlier: Sequence[Completion]) -> Prompt:
        """The step's prompt with the sample's own code of the steps before it."""
        return self._prompt(item.metadata, self._before(item.metadata, earlier))

    def _before(self, about: Mapping[str, Any], earlier: Sequence[Completion]) -> list[str]:
        """The code of each step before this one: the sample's own, or the given one."""
        own = iter(earlier)
        return [
            step["given"] if step["given"] is not None else _code(next(own).text, step["header"]) or ""
            for step in about["before"]
        ]

    def _prompt(self, about: Mapping[str, Any], before: Sequence[str]) -> Prompt:
        parts: list[str] = []
        for step, code in zip(about["before"], before, strict=True):
            parts += [self._described(step), code, "------"]
        next_step = f"{self._described(about)}\n\n{about['header']}\n\n{about['return_line']}"
        template = WITH_BACKGROUND if self.settings.background else WITHOUT_BACKGROUND
        text = template.format(
            problem_steps_str="\n\n".join(parts[:-1]), next_step_str=next_step, dependencies=about["dependencies"]
        )
        return Prompt(messages=({"role": "user", "content": text},))

    def _described(self, step: Mapping[str, Any]) -> str:
        return f"{step['prompt']}\n{step['background']}" if self.settings.background else str(step["prompt"])

    # ------------------------------------------------------------ grading

    def open_grader(self, unsafe_exec: bool) -> dict[str, Any]:
        """Find interpreter, targets and sandboxes; UnavailableError says what is missing and how to get it."""
        python, targets = env.interpreter(self.settings.interpreter), self._targets()
        versions = env.check_interpreter(python)
        described = env.described(targets)
        boxes = [open_sandbox(python=str(python), readable=r, unsafe=unsafe_exec) for r in ([], [targets])]
        warm = [WarmWorker(box, PRELOAD) for box in boxes]
        for box, worker in zip(boxes, warm, strict=True):
            self._stack.callback(box.close)
            self._stack.callback(worker.close)
        self._workers = warm[0], warm[1]
        return {**boxes[0].facts(), "packages": versions, "targets": described}

    def close_grader(self) -> None:
        """Close the sandboxes."""
        self._stack.close()
        self._workers = None

    def _targets(self) -> Path:
        beside = None if self.spec.data is None else Path(self.spec.data).parent / env.TARGETS_FILE
        given = self.settings.targets or (beside if beside and beside.is_file() else None)
        return env.targets(given)

    def code(self, completion: Completion) -> str | None:
        """Not used: what the code is depends on the step's header."""
        return last_code(completion.text)

    def grade(self, item: Item, completion: Completion) -> Grade:
        """The verdict on one step, on the sample's own earlier code."""
        code = _code(completion.text, item.metadata["header"])
        if code is None or not code.strip():
            return grade_of(Judged("no_code", 0, reason="no complete code block"), self.metric, None)
        return grade_of(self.try_code(item, code, completion), self.metric, code)

    def try_code(self, item: Item, code: str, completion: Completion) -> Judged:
        """Compute the tests' values beside the code, then compare them with the targets elsewhere."""
        about = item.metadata
        halves = _halves(tuple(about["tests"]), about["dependencies"])
        before = self._before(about, completion.earlier)
        program = "\n".join([about["dependencies"], *before, code]) + "\n"
        asked = {"program": program, "tests": [half.inside for half in halves]}
        ended = self._compute(asked)
        verdict = verdict_of(ended)
        if verdict == "infrastructure_error":
            return Judged(verdict, len(halves), None, ended.detail)
        values, finished, error = _values(ended.stdout, len(halves))
        failed, reason = self._compare(item.id, about["dependencies"], halves[:finished], values)
        if failed:
            return Judged("wrong_answer", len(halves), failed, reason, ended.cpu_s)
        if finished == len(halves):
            return Judged("pass", len(halves), cpu_s=ended.cpu_s)
        if error:
            verdict = "memory_limit" if error == "MemoryError" else "runtime_error"
        return Judged("runtime_error" if verdict == "pass" else verdict, len(halves), finished + 1, error, ended.cpu_s)

    def _compute(self, asked: Mapping[str, Any]) -> Ended:
        seconds = self.settings.timeout
        limits = Limits(cpu_s=seconds, wall_s=3 * seconds, memory_mb=MEMORY_MB, output_bytes=256 << 20, file_mb=256)
        script, stdin = inside("scicode_main.py").decode(), json.dumps(asked).encode()
        return counted(lambda: self._warm[0].run(_shared_files(), script, stdin, limits))

    def _compare(
        self, step: str, dependencies: str, halves: Sequence[Halves], values: Sequence[Any]
    ) -> tuple[int, str]:
        """Number of the first test that does not hold (0: all do) and why. Raises DataError where none can be said."""
        if not halves:
            return 0, ""
        tests = [{"outside": half.outside, "checks": half.checks, "target": half.target} for half in halves]
        targets = str(self._targets().resolve())
        asked = {"targets": targets, "step": step, "dependencies": dependencies, "tests": tests, "values": values}
        limits = Limits(cpu_s=600, wall_s=1800, memory_mb=MEMORY_MB)
        script, stdin = inside("scicode_check.py").decode(), json.dumps(asked).encode()
        ended = self._warm[1].run(_shared_files(), script, stdin, limits)
        try:
            failed, reason = json.loads(ended.stdout)
        except (ValueError, TypeError):
            why = ended.detail or ended.stderr.decode("utf-8", "replace").rstrip().rpartition("\n")[2]
            raise DataError(f"step {step} could not be compared with its targets ({ended.end}: {why[:200]})") from None
        return int(failed), str(reason)

    @property
    def _warm(self) -> tuple[WarmWorker, WarmWorker]:
        if self._workers is None:
            raise DataError("SciCode's grader is not open")
        return self._workers

    def rates(self, items: Sequence[Item], grades: Mapping[tuple[str, int], Grade]) -> dict[str, float]:
        """`main_problem`: the share of (problem, sample) with every step right, of those with every step scored."""
        problems: dict[str, list[Item]] = {}
        for item in items:
            problems.setdefault(item.group or item.id, []).append(item)
        whole = []
        for steps in problems.values():
            for sample in {k for _, k in grades} if len(steps) == steps[0].metadata["steps"] else ():
                scores = [grade.score if (grade := grades.get((s.id, sample))) else None for s in steps]
                if None not in scores:
                    whole.append(all(score == 1.0 for score in scores))
        return {"main_problem": sum(whole) / len(whole)} if whole else {}


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
        match _line(raw):
            case ["e", str(error)]:
                return values, finished, error
            case [int(test), "end"] if test == finished < tests:
                finished += 1
            case [int(test), int(check), str(packed)]:
                values.append([test, check, packed])
            case _:
                break
    return values, finished, ""


def _line(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except ValueError:
        return None


def _code(text: str, header: str) -> str | None:
    """The last complete block that defines what the header names, else the last complete block."""
    name = re.search(r"^\s*(?:def|class)\s+(\w+)", header, re.MULTILINE)
    blocks = code_blocks(text)
    if name is not None:
        defines = re.compile(rf"^\s*(?:def|class)\s+{name[1]}\b", re.MULTILINE)
        named = [block.text for block in blocks if defines.search(block.text)]
        if named:
            return named[-1]
    return last_code(text)


def _checked(rows: list[Row], origin: str) -> list[Row]:
    texts = ("step_number", "step_description_prompt", "function_header")
    for number, row in enumerate(rows, 1):
        where = f"{origin}, problem {number}"
        steps = row.get("sub_steps")
        if not isinstance(row.get("problem_id"), str) or not isinstance(row.get("required_dependencies"), str):
            raise DataError(f"{where}: problem_id or required_dependencies is missing; is this SciCode's data?")
        if not isinstance(steps, list) or not steps:
            raise DataError(f"{where}: sub_steps is no list of steps")
        for step in steps:
            asked = isinstance(step, dict) and step.get("step_number") not in GIVEN
            lacking = not isinstance(step, dict) or not all(isinstance(step.get(name), str) for name in texts)
            if lacking or (asked and not step.get("test_cases")):
                raise DataError(f"{where}: a step lacks {', '.join(texts)} or test_cases")
    return rows


def _problem(row: Row) -> dict[str, Any]:
    steps = [
        {
            "number": step["step_number"],
            "prompt": step["step_description_prompt"],
            "background": step.get("step_background") or "",
            "header": step["function_header"],
            "return_line": step.get("return_line"),
            "tests": list(step.get("test_cases") or []),
        }
        for step in row["sub_steps"]
    ]
    name = str(row.get("problem_name") or row["problem_id"])
    return {
        "id": row["problem_id"],
        "name": name,
        "dependencies": row["required_dependencies"],
        "steps": steps,
        "given": {},
    }


def _part(problem: Mapping[str, Any], number: int) -> dict[str, Any]:
    """What one step's prompt and tests need."""
    step = problem["steps"][number]
    before = [
        {
            **{key: s[key] for key in ("number", "prompt", "background", "header")},
            "given": problem["given"].get(s["number"]),
        }
        for s in problem["steps"][:number]
    ]
    own = {key: step[key] for key in ("prompt", "background", "header", "return_line", "tests")}
    return {**own, "dependencies": problem["dependencies"], "before": before}


BENCHMARK = SciCode
