"""Contract of the sandbox: limits of a program, how it ended, and the method that runs it.

A sandbox tells how a program *ended*; the caller, outside, judges whether its answer is right.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self

Fault = Literal["runtime_error", "time_limit", "memory_limit", "output_limit", "infrastructure_error"]
"""Reasons why a program failed; `infrastructure_error` is never its own fault and never scored."""

End = Literal["exit"] | Fault
Verdict = Literal["pass", "wrong_answer", "no_code"] | Fault
"""The verdict of a test of model-written code."""

Files = Mapping[str, bytes]
"""The files of a program: content by path in its working directory."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of one program. Time limits cover its whole process tree.

    Attributes:
        cpu_s: CPU seconds, the interpreter's start included; this decides `time_limit`, so a busy host costs no score.
        wall_s: seconds by the clock, the backstop for a program that sleeps or waits.
        memory_mb: MiB of all processes and of the files they wrote, together.
        output_bytes: bytes of standard output, and as many of standard error.
        file_mb: MiB of the writable file system, which lives in memory and ends with the program.
        processes: processes and threads at one time.
    """

    cpu_s: float = 6.0
    wall_s: float = 30.0
    memory_mb: int = 1024
    output_bytes: int = 1 << 20
    file_mb: int = 64
    processes: int = 64


DEFAULT = Limits()


@dataclass(frozen=True, slots=True)
class Ended:
    """The end of one program, without a judgement about its answer.

    Attributes:
        end: `exit` is exit status 0; `runtime_error` any other status, or a signal of its own.
        status: exit status, negative for a signal; absent where the program never started.
        stdout: its standard output, up to the limit.
        stderr: the last part of its standard error.
        cpu_s: CPU seconds of all its processes.
        wall_s: seconds by the clock.
        detail: for `infrastructure_error`: the fault and the remedy.
    """

    end: End
    status: int | None
    stdout: bytes
    stderr: bytes
    cpu_s: float
    wall_s: float
    detail: str = ""


class Sandbox(ABC):
    """Runs programs that are hostile by assumption. A context manager; `close` frees what it holds.

    Attributes:
        level: how programs are confined: `bubblewrap`, `container`, `landlock` or `unsafe`; stands in the results.
        python: the interpreter for programs, as seen inside.
    """

    level: str
    python: str

    @abstractmethod
    def run(self, files: Files, argv: Sequence[str], stdin: bytes = b"", limits: Limits = DEFAULT) -> Ended:
        """One program in a fresh sandbox; `files` appear in its working directory. Never raises for the program."""

    @abstractmethod
    def self_test(self) -> None:
        """Tries to break out; raises SandboxError where that works, or where nothing runs at all."""

    def facts(self) -> dict[str, str]:
        """Level and interpreter, for the results."""
        return {"level": self.level, "python": self.python}

    def close(self) -> None:
        """Frees what the sandbox holds. No program may be running."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
