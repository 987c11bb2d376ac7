"""What reading questions and answers costs: all of MMLU-Pro's rows and published logs of answers to them.

    python perf/grading.py MMLU_PRO_TEST.jsonl[.gz] LOG.jsonl.gz ...

A log has `question_id` and `output` a line, as in MMLU-Pro's eval_results. Prints JSON lines with processor seconds,
ours beside the least that the work takes in the same process: rows beside the bare parsing of the file, answers
beside one search for lm-eval's pattern.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bitparity.benchmarks.contract import Benchmark
from bitparity.benchmarks.mmlu_pro import LM_EVAL_ANSWER
from bitparity.benchmarks.registry import load_benchmark
from bitparity.records import Completion, Item
from bitparity.study.resolve import parse_study


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", type=Path)
    parser.add_argument("logs", type=Path, nargs="*")
    args = parser.parse_args()
    asked = [{"name": "mmlu_pro", "data": str(args.rows)}]
    study = {"study": "s", "variants": {"a": {"model": "some/model"}}, "benchmarks": asked}
    bench = load_benchmark(parse_study(json.dumps(study), "perf", Path.cwd()).benchmarks[0])
    items, ours = timed(lambda: {item.id: item for item in bench.items()})
    rows, least = timed(lambda: parsed(args.rows))
    show("rows", len(rows), ours, least)
    for log in args.logs:
        answers = [(items[str(row["question_id"])], row["output"]) for row in parsed(log)]
        show(log.name, len(answers), *grading(bench, answers))


def grading(bench: Benchmark, answers: list[tuple[Item, str]]) -> tuple[float, float]:
    """(seconds of all verdicts, of one search in each answer)."""
    _, ours = timed(lambda: [bench.grade(item, Completion(text)) for item, text in answers])
    _, least = timed(lambda: [LM_EVAL_ANSWER.search(text) for _, text in answers])
    return ours, least


def parsed(path: Path) -> list[dict[str, Any]]:
    raw = path.read_bytes()
    text = (gzip.decompress(raw) if path.suffix == ".gz" else raw).decode()
    return [json.loads(line) for line in text.split("\n") if line]


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What it gives, and its processor seconds."""
    begun = time.process_time()
    return work(), time.process_time() - begun


def show(what: str, count: int, ours: float, least: float) -> None:
    line = {"what": what, "count": count, "cpu_s": round(ours, 2), "least_s": round(least, 2)}
    print(json.dumps({**line, "ratio": round(ours / least, 1)}), flush=True)


if __name__ == "__main__":
    main()
