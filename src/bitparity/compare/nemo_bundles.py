"""Bundles of NeMo Evaluator 0.3: `eval-*.json` with `results.jsonl` and `trajectories.jsonl` beside it.

Written by src/nemo_evaluator/engine/artifacts.py from the rows of engine/eval_loop.py (NVIDIA-NeMo/Evaluator at
716aee99277ecc387dedda3daaca25f87e13d319 and the package 0.3.0). NeMo grades 0 where the endpoint, the sandbox, a solver
or the judge failed; such a row (`error_category`, an error of the judge) has no score here.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from bitparity.compare import records
from bitparity.compare.records import Given, ItemResult, Results, Source
from bitparity.errors import DataError
from bitparity.inputs.input_files import read_regular

_VERSION = "0.3."
_WHAT = "result of NeMo Evaluator 0.3"
_REWARD = "reward"


class _Benchmark(BaseModel):
    name: str
    repeats: int = Field(1, ge=1, le=10_000)


class _Bundle(BaseModel):
    sdk_version: str
    config: dict[str, Any]
    benchmark: _Benchmark
    n_results: int


class _Result(BaseModel):
    problem_idx: int
    repeat: int = 0
    reward: Any
    scorer_rewards: dict[str, Any] | None = None
    prompt: Any = None
    model_response: Any = None
    expected_answer: Any = None
    extracted_answer: Any = None
    scoring_details: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None


class _Model(BaseModel):
    finish_reason: str | None = None


class _Trajectory(BaseModel):
    problem_idx: int
    repeat: int = 0
    model: _Model | None = None


def finds(given: Given) -> bool:
    """True for a bundle, and for a folder that holds one or whose folders do."""
    return bool(_bundles(given.path))


def _bundles(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted([*path.glob("eval-*.json"), *path.glob("*/eval-*.json")])
    return [path] if path.name.startswith("eval-") and path.suffix == ".json" else []


def read(given: Given) -> Source:
    """Raises DataError where a bundle is broken, of another version, or not that of the rows beside it."""
    found = ((file, _bundle(file)) for file in _bundles(given.path))
    read = (
        (each.benchmark.name, str(each.config.get("model") or file.parent.name), partial(_results, file, each, given))
        for file, each in found
    )
    return records.gathered(given, "nemo-evaluator", "bundles", "benchmark", read)


def _bundle(file: Path) -> _Bundle:
    try:
        value = json.loads(read_regular(file))
    except (OSError, ValueError, RecursionError):
        raise DataError(f"{file} cannot be read as JSON; was it written whole?") from None
    bundle = records.parsed(_Bundle, value, str(file), "bundle of NeMo Evaluator")
    if not bundle.sdk_version.startswith(_VERSION):
        version = f"{bundle.sdk_version:.20}"
        raise DataError(f"{file} was written by NeMo Evaluator {version}; only the bundles of {_VERSION}x are read")
    return bundle


def _results(file: Path, bundle: _Bundle, given: Given) -> Results:
    path = file.parent / "results.jsonl"
    rows = records.parsed_rows(_Result, path, _WHAT)
    if len(rows) != bundle.n_results:
        raise DataError(
            f"{path} holds {len(rows)} results and {file.name} tells of {bundle.n_results}: another or an "
            "unfinished run; give the folder of one finished run"
        )
    extra = dict.fromkeys(key for row in rows for key in row.scorer_rewards or ())
    metric = given.choose("metric", [_REWARD, *extra] if given.asks("metric") else [_REWARD], file)
    path_of_steps = file.parent / "trajectories.jsonl"  # may not have been kept
    steps = records.parsed_rows(_Trajectory, path_of_steps, _WHAT) if path_of_steps.is_file() else []
    ended = {(step.problem_idx, step.repeat): step.model.finish_reason for step in steps if step.model}
    items: dict[str, ItemResult] = {}
    for number, row in enumerate(rows, 1):
        where = f"{path}, line {number}"
        item = items.setdefault(str(row.problem_idx), _item(row))
        if row.repeat in item.scores:
            raise DataError(f"{where}: repeat {row.repeat} of problem {row.problem_idx} stands twice; keep one run's")
        _add(item, row, metric, ended.get((row.problem_idx, row.repeat)) == "length", where)
    for item in items.values():
        for repeat in range(bundle.benchmark.repeats):
            if repeat not in item.scores:
                item.add(repeat, None, fault="not in the results")
    return Results(bundle.benchmark.name, items, metric, settings=records.sampling(bundle.config))


def _item(row: _Result) -> ItemResult:
    category = (row.metadata or {}).get("category")
    return ItemResult(
        str(row.problem_idx),
        {},
        {"prompt": records.digest(row.prompt), "target": records.digest(row.expected_answer)},
        subgroup=category if isinstance(category, str) else None,
        question=row.prompt if isinstance(row.prompt, str) else None,
    )


def _add(item: ItemResult, row: _Result, metric: str, cut_off: bool, where: str) -> None:
    value = row.reward if metric == _REWARD else (row.scorer_rewards or {}).get(metric)
    item.add(
        row.repeat,
        records.unit_score(value, f"{where}: {metric}"),
        row.model_response if isinstance(row.model_response, str) else None,
        cut_off=cut_off,
        answered=row.extracted_answer != "",
        fault=_fault(row.scoring_details or {}, metric),
    )


def _fault(details: Mapping[str, Any], metric: str) -> str | None:
    """Why a row has no score: it is none where NeMo itself failed, though NeMo writes 0."""
    if details.get("error_category"):
        return f"{details['error_category']}: {details.get('error')}"
    if details.get("needs_judge"):
        return "the judge has not judged it"
    told = details.get("judge") if metric == _REWARD else details.get(metric)
    return str(told["error"]) if isinstance(told, dict) and told.get("error") else None
