"""Per-item results from anywhere: the list of the readers.

`read("artifacts/toy:fp8")`, `read("out/samples_gsm8k_2026-01-31.jsonl")`, `read("logs/2026-01-31_task.eval")`

A new reader is a file beside this one, with `finds` and `read`, and its name in `READERS`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from bitparity.compare import (
    evalscope_reviews,
    inspect_logs,
    jsonl_rows,
    livebench_judgments,
    lm_eval_logs,
    nemo_bundles,
    runs,
)
from bitparity.compare.records import Given, Source
from bitparity.errors import DataError, UserInputError


class Reader(Protocol):
    """Module of a reader."""

    def finds(self, given: Given) -> bool:
        """True if the argument is of this kind."""

    def read(self, given: Given) -> Source:
        """The results that the argument names. Raises UserInputError, DataError or RunError for unreadable ones."""


# in the order in which they are asked: a folder that is none of the others' is taken for lm-eval's
_FOLDERS: tuple[Reader, ...] = (runs, inspect_logs, evalscope_reviews, nemo_bundles, livebench_judgments, lm_eval_logs)
READERS = (*_FOLDERS, jsonl_rows)
SEVERAL = (runs, evalscope_reviews, livebench_judgments)  # whose arguments may hold several variants or models
FILTERED = ("lm-eval",)
MEASURED = (*FILTERED, "inspect", "evalscope", "nemo-evaluator")


def read_all(given: Sequence[str], filter_name: str | None = None, metric: str | None = None) -> list[Source]:
    """`read` for several arguments. Raises UserInputError too where a filter or metric has nothing to choose from."""
    sources = [read(each, filter_name, metric) for each in given]
    for key, value, logs in (("filter", filter_name, FILTERED), ("metric", metric, MEASURED)):
        if value and all(source.kind not in logs for source in sources):
            raise UserInputError(f"--{key} chooses among the scores of {', '.join(logs)}; none was given, leave it out")
    return sources


def read(given: str, filter_name: str | None = None, metric: str | None = None) -> Source:
    """The results that a command-line argument names; `filter_name` and `metric` choose among several scores.

    Raises UserInputError (DataError, RunError) with one line where they cannot be read.
    """
    path, part = _split(given)
    asked = Given(given, path, part, filter_name, metric)
    for reader in READERS:
        if reader.finds(asked):
            if part is not None and reader not in SEVERAL:
                raise UserInputError(
                    f"{path} is no run directory (study.yaml) and holds one model's results: no '{part}'"
                )
            return reader.read(asked)
    found = ", ".join(list(asked.first_row())[:8]) or "none"
    raise DataError(
        f"{path} is of no known kind: no log of lm-eval, Inspect, EvalScope, NeMo Evaluator or LiveBench, and no rows "
        f"with the fields item and score (fields of its first line: {found}); convert it to one "
        '{"item": ..., "score": ...} a line'
    )


def _split(given: str) -> tuple[Path, str | None]:
    """The path and, for PATH:PART, the part. Raises DataError where nothing is there."""
    path = Path(given).expanduser()
    if path.exists():
        return path, None
    place, colon, part = given.rpartition(":")
    if colon and place and Path(place).expanduser().exists():
        return Path(place).expanduser(), part
    raise DataError(f"{given} does not exist; give a run directory (RUN:VARIANT), another tool's logs or JSONL rows")
