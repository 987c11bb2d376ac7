"""Bundles of NeMo Evaluator 0.3: `eval-*.json` with `results.jsonl` and `trajectories.jsonl` beside it.

Written by src/nemo_evaluator/engine/artifacts.py from the rows of engine/eval_loop.py (NVIDIA-NeMo/Evaluator at
716aee99277ecc387dedda3daaca25f87e13d319 and the package 0.3.0). NeMo grades 0 where the endpoint, the sandbox, a solver
or the judge failed; such a row (`error_category`, an error of the judge) has no score here.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bitparity.benchmarks.dataset import read_jsonl
from bitparity.compare.records import Given, ItemResult, Results, Source, digest, sampling, unit_score
from bitparity.errors import DataError
from bitparity.safe_io.input_files import read_regular

Row = dict[str, Any]
_VERSION = "0.3."
_REWARD = "reward"


def finds(given: Given) -> bool:
    """True for a bundle, and for a folder that holds one or whose folders do."""
    return bool(_bundles(given.path))


def _bundles(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted([*path.glob("eval-*.json"), *path.glob("*/eval-*.json")])
    return [path] if path.name.startswith("eval-") and path.suffix == ".json" else []


def read(given: Given) -> Source:
    """Raises DataError where a bundle is broken, of another version, or not that of the rows beside it."""
    found: dict[str, Results] = {}
    models = set()
    for file in _bundles(given.path):
        bundle = _bundle(file)
        name = str(bundle["benchmark"]["name"])
        if name in found:
            raise DataError(f"{given.path} holds two bundles of benchmark '{name}'; give the file of the one you mean")
        found[name] = _results(file, bundle, name, given)
        models.add(str(bundle["config"].get("model") or file.parent.name))
    if len(models) > 1:
        raise DataError(
            f"{given.path} holds bundles of {len(models)} models ({', '.join(sorted(models))}); give a file"
        )
    given.choice.check_used(given.path)
    return Source(models.pop(), given.text, "nemo-evaluator", found)


def _bundle(file: Path) -> Row:
    try:
        bundle = json.loads(read_regular(file))
        whole = isinstance(bundle["benchmark"]["name"], str) and isinstance(bundle["config"], dict)
        version = str(bundle["sdk_version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        whole, version = False, ""
    if not whole:
        raise DataError(f"{file} is no bundle of NeMo Evaluator: it lacks benchmark, config or sdk_version")
    if not version.startswith(_VERSION):
        raise DataError(f"{file} was written by NeMo Evaluator {version:.20}; only the bundles of {_VERSION}x are read")
    return dict(bundle)


def _results(file: Path, bundle: Row, name: str, given: Given) -> Results:
    path = file.parent / "results.jsonl"
    rows = read_jsonl(path)
    if len(rows) != bundle.get("n_results"):
        raise DataError(
            f"{path} holds {len(rows)} results and {file.name} tells of {bundle.get('n_results')}: another or an "
            "unfinished run; give the folder of one finished run"
        )
    extra = dict.fromkeys(key for row in rows for key in row.get("scorer_rewards") or ())
    metric = given.choice("metric", [_REWARD, *extra] if given.choice.asked("metric") else [_REWARD], file)
    ended = _ended(file.parent / "trajectories.jsonl")
    items: dict[str, ItemResult] = {}
    for number, row in enumerate(rows, 1):
        where = f"{path}, line {number}"
        key = _key(row, where)
        item = items.setdefault(str(key[0]), _item(row, key[0]))
        if key[1] in item.scores:
            raise DataError(f"{where}: repeat {key[1]} of problem {key[0]} stands twice; keep the results of one run")
        _add(item, key[1], row, metric, ended.get(key) == "length", where)
    for item in items.values():
        for repeat in range(bundle["benchmark"].get("repeats") or 1):
            if repeat not in item.scores:
                item.add(repeat, None, fault="not in the results")
    return Results(name, items, metric, settings=sampling(bundle["config"]))


def _key(row: Row, where: str) -> tuple[int, int]:
    problem, repeat = row.get("problem_idx"), row.get("repeat", 0)
    if not isinstance(problem, int) or not isinstance(repeat, int) or _REWARD not in row:
        raise DataError(f"{where}: no problem_idx, repeat or reward, so it is no result of NeMo Evaluator {_VERSION}x")
    return problem, repeat


def _ended(path: Path) -> dict[tuple[int, int], str]:
    """How each answer ended, by problem and repeat; empty where the trajectories are not kept."""
    rows = read_jsonl(path) if path.is_file() else []
    return {(row.get("problem_idx", -1), row.get("repeat", 0)): _model(row).get("finish_reason", "") for row in rows}


def _model(row: Row) -> Row:
    return row["model"] if isinstance(row.get("model"), dict) else {}


def _item(row: Row, problem: int) -> ItemResult:
    prompt, category = row.get("prompt"), (row.get("metadata") or {}).get("category")
    checks = {"prompt": digest(prompt), "target": digest(row.get("expected_answer"))}
    subgroup = category if isinstance(category, str) else None
    return ItemResult(str(problem), {}, checks, None, subgroup, question=prompt if isinstance(prompt, str) else None)


def _add(item: ItemResult, repeat: int, row: Row, metric: str, cut_off: bool, where: str) -> None:
    value = row[_REWARD] if metric == _REWARD else (row.get("scorer_rewards") or {}).get(metric)
    text = row.get("model_response")
    item.add(
        repeat,
        unit_score(value, f"{where}: {metric}"),
        text if isinstance(text, str) else None,
        cut_off=cut_off,
        answered=row.get("extracted_answer") != "",
        fault=_fault(row.get("scoring_details") or {}, metric),
    )


def _fault(details: Row, metric: str) -> str | None:
    """Why a row has no score: it is none where NeMo itself failed, though NeMo writes 0."""
    if details.get("error_category"):
        return f"{details['error_category']}: {details.get('error')}"
    if details.get("needs_judge"):
        return "the judge has not judged it"
    told = details.get("judge") if metric == _REWARD else details.get(metric)
    return str(told["error"]) if isinstance(told, dict) and told.get("error") else None
