"""List of all benchmarks: the files of this folder, other packages' entry points, and any task of lm-eval.

A file of this folder that assigns `BENCHMARK` is a benchmark, under the file's name. Another package offers one with
an entry point of the group `bitparity.benchmarks`. A benchmark is imported only when it is asked for.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import re
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path

from bitparity.benchmarks.contract import Benchmark, Info
from bitparity.errors import BitparityError, StudyError
from bitparity.plugins import load_offered, nearest, package_names
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec

GROUP = "bitparity.benchmarks"
_ASSIGNMENT = re.compile(r"^BENCHMARK = ", re.MULTILINE)


@functools.cache
def built_in() -> dict[str, str]:
    """The modules of bitparity's own benchmarks by name. The files are read, not imported: that would take long."""
    files = sorted(Path(__file__).parent.glob("*.py"))
    return {f.stem: f"{__package__}.{f.stem}" for f in files if _ASSIGNMENT.search(f.read_text(encoding="utf-8"))}


@functools.cache
def entry_points_by_name() -> dict[str, list[EntryPoint]]:
    """The entry points of other packages by name; two packages may have taken the same one."""
    offered = entry_points(group=GROUP)
    return {name: list(offered.select(name=name)) for name in offered.names}


def benchmark_names() -> list[str]:
    """The names of all benchmarks but lm-eval's tasks, bitparity's own first."""
    return [*built_in(), *(name for name in sorted(entry_points_by_name()) if not _is_reserved(name))]


def _is_reserved(name: str) -> bool:
    return name in built_in() or name.startswith(LM_EVAL_PREFIX)


def check_name(name: str) -> None:
    """Raises StudyError where there is no benchmark of this name, or where a package has taken one of bitparity's."""
    points = entry_points_by_name().get(name, [])
    if points and _is_reserved(name):
        raise StudyError(
            f"benchmark '{name}' is bitparity's own, but package {package_names(points)} has an entry point of that "
            f"name too; uninstall the package, or rename its entry point in the group {GROUP}"
        )
    if name == LM_EVAL_PREFIX:
        raise StudyError(f"benchmark '{name}' names no task; write lm_eval:<task>, like lm_eval:gsm8k")
    if not points and not _is_reserved(name):
        known = benchmark_names()
        raise StudyError(
            f"benchmark '{name}' does not exist{nearest(name, known)} (known: {', '.join(known)}; any lm-eval task as "
            "lm_eval:<task>)"
        )


def benchmark_class(name: str) -> type[Benchmark]:
    """The class of a benchmark; any name that starts with `lm_eval:` is a task of lm-eval.

    Raises StudyError for a name that does not exist or a package whose benchmark cannot be loaded.
    """
    if name.startswith(LM_EVAL_PREFIX):
        from bitparity.benchmarks.lm_eval_task import LmEvalTask

        return LmEvalTask
    if name in built_in():
        found: type[Benchmark] = importlib.import_module(built_in()[name]).BENCHMARK
        return found
    check_name(name)
    offered: type[Benchmark] = load_offered(entry_points_by_name()[name], Benchmark, f"benchmark '{name}'")
    if not isinstance(getattr(offered, "info", None), Info):
        raise StudyError(f"benchmark '{name}' has no `info`; give the class {offered.__qualname__} one, of type Info")
    return offered


def load_benchmark(spec: BenchmarkSpec) -> Benchmark:
    """The benchmark of a study's entry."""
    return benchmark_class(spec.name)(spec)


def infos() -> dict[str, Info]:
    """The `Info` of every benchmark by name. One that cannot be loaded is left out: nobody asked for it."""
    found: dict[str, Info] = {}
    for name in benchmark_names():
        with contextlib.suppress(BitparityError):
            found[name] = benchmark_class(name).info
    return found


def known_benchmark(task: str) -> str | None:
    """The benchmark of bitparity that a task's name contains as whole words: `hendrycks_math500` is math500."""
    words = "_" + "".join(c if c.isalnum() else "_" for c in task.casefold()) + "_"
    found = [name for name in built_in() if f"_{name}_" in words]
    return max(found, key=len, default=None)


def group_of(task: str) -> str | None:
    """The benchmark that a task of lm-eval is one part of: `mmlu_pro_law` belongs to mmlu_pro."""
    known = known_benchmark(task)
    is_part = known is not None and task.startswith(f"{known}_") and benchmark_class(known).info.subtasks > 1
    return known if is_part else None
