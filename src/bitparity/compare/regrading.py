"""Completions of lm-eval's logs graded once more, by a grader of bitparity, beside the scores that the logs have."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.registry import benchmark_names, known_benchmark, load_benchmark
from bitparity.compare.records import ItemResult, Results, Source
from bitparity.errors import BitparityError, DataError, UserInputError
from bitparity.grading.process_pool import GradingPool
from bitparity.grading.rules import Job
from bitparity.records import Grade, Item
from bitparity.schema import BenchmarkSpec
from bitparity.study.resolve import parse_study


def regraded(sources: Sequence[Source], name: str) -> list[Source]:
    """The sources, each log of this benchmark with a further view of its answers: the scores of our grader.

    Raises UserInputError where there is no such benchmark or it runs code, DataError where no log fits it.
    """
    if name not in benchmark_names():
        raise UserInputError(f"--regrade {name}: no such benchmark; there is: {', '.join(benchmark_names())}")
    made = [_regraded(source, name) for source in sources]
    if all(found is source for found, source in zip(made, sources, strict=True)):
        raise DataError(
            f"--regrade {name}: no log of lm-eval here is of it, with its texts and the rows of its data set; a task "
            "belongs to it whose name contains its name as whole words (hendrycks_math500)"
        )
    return made


def offered(source: Source) -> list[str]:
    """The benchmarks whose grader could grade a log's answers too."""
    found = set[str]()
    for bench, name in _known(source).items():
        with suppress(BitparityError):  # what would be refused is not offered
            _questions(bench, source.benchmarks[bench], name)
            found.add(name)
    return sorted(found)


def _regraded(source: Source, name: str) -> Source:
    own = [bench for bench, known in _known(source).items() if known == name]
    views = {f"{bench} (bitparity)": _view(bench, source.benchmarks[bench], name) for bench in own}
    return replace(source, benchmarks={**source.benchmarks, **views}) if views else source


def _known(source: Source) -> dict[str, str]:
    """The benchmark of bitparity to which each log of lm-eval with written answers and the data set's rows belongs.

    Without those of another filter, whose answers are the same.
    """
    found = {}
    for bench, results in source.benchmarks.items() if source.kind == "lm-eval" else ():
        written = results.view_of is None and all(
            item.row is not None and item.samples for item in results.items.values()
        )
        if written and (name := known_benchmark(results.benchmark)) is not None:
            found[bench] = name
    return found


def _view(bench: str, results: Results, name: str) -> Results:
    benchmark, spec, items = _questions(bench, results, name)
    grades = _grades(benchmark, spec, items, results)
    graded = {
        key: replace(item, scores={n: g.score for n, g in found.items()}, grades=found)
        for (key, item), found in zip(results.items.items(), grades, strict=True)
    }
    return replace(results, items=graded, metric=f"bitparity's {benchmark.info.metric}", view_of=bench)


def _questions(bench: str, results: Results, name: str) -> tuple[Benchmark, BenchmarkSpec, list[Item]]:
    """The benchmark, and its items made of the log's own rows, in the order of the log."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "rows.jsonl"
        rows = (json.dumps(item.row) + "\n" for item in results.items.values())
        data.write_text("".join(rows), encoding="utf-8")
        spec = _spec(name, data)
        benchmark = load_benchmark(spec)
        if benchmark.runs_code:
            raise UserInputError(f"--regrade {name}: it runs the answers as programs, which only a run's sandbox may")
        try:
            items = list(benchmark.items())
        except DataError as error:
            reason = str(error).removeprefix(f"{data}, ")
            raise DataError(f"--regrade {name}: {bench}'s log has other rows than its data set ({reason})") from None
    _check_same(bench, items, list(results.items.values()))
    return benchmark, spec, items


def _spec(name: str, data: Path) -> BenchmarkSpec:
    """The benchmark's defaults, on these rows."""
    study = {"study": "regrade", "variants": {"any": {"model": "any/model"}}, "engine": {"kind": "replay"}}
    benchmarks = [{"name": name, "data": str(data)}]
    return parse_study(json.dumps({**study, "benchmarks": benchmarks}), "--regrade", data.parent).benchmarks[0]


def _check_same(bench: str, items: Sequence[Item], told: Sequence[ItemResult]) -> None:
    """Refuse a grader whose key is another one than the log's, as where options stand in another order."""
    if len(items) != len(told):
        raise DataError(f"--regrade: {bench} has {len(told)} items, of which our data rules take {len(items)}")
    for item, theirs in zip(items, told, strict=True):
        if str(item.reference).strip() != str(theirs.reference).strip():
            raise DataError(
                f"--regrade: the reference of {bench}'s item {theirs.name} is {str(theirs.reference)[:60]!r} in the "
                f"log and {str(item.reference)[:60]!r} for our grader: asked in another form?"
            )


def _grades(bench: Benchmark, spec: BenchmarkSpec, items: Sequence[Item], results: Results) -> list[dict[int, Grade]]:
    """The grades of each item by the number of the sample."""
    graded: list[tuple[Job, Grade]] = []
    told = list(results.items.values())
    with GradingPool(bench, os.cpu_count() or 1, graded.extend) as pool:
        for item, theirs in zip(items, told, strict=True):
            for sample in theirs.samples.values():
                pool.put(Job(bench, item, sample, spec.protocol))
    # grades come in any order, and two items may have equal samples: so by the sample itself
    found = {id(job.sample): grade for job, grade in graded}
    return [{number: found[id(sample)] for number, sample in theirs.samples.items()} for theirs in told]
