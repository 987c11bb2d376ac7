"""Reviews of EvalScope 1.x: reviews/MODEL/BENCHMARK_SUBSET.jsonl in its output folder.

Rows are `ReviewResult` of evalscope/api/evaluator/cache.py, scores `SampleScore` of evalscope/api/metric/scorer.py
(modelscope/evalscope at d776d660609019bddd904255213f1b3c0283825d and the package 1.14.1). A score whose status is not
usable (`ScoreStatus`, evalscope/constants.py) is no score, and an answer in predictions/ without a review has none.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import yaml

from bitparity.benchmarks.dataset import read_jsonl
from bitparity.compare.records import Given, ItemResult, Results, Source, digest, sampling, unit_score, until_answer
from bitparity.errors import DataError
from bitparity.safe_io.input_files import LARGEST_STUDY, read_regular

Row = dict[str, Any]
_USABLE = ("success", "fallback", "degraded")
_CUT_OFF = ("max_tokens", "model_length", "length")


def finds(given: Given) -> bool:
    """True for an output folder, and for a file of reviews."""
    return (given.path / "reviews").is_dir() or "sample_score" in given.first_row()


def read(given: Given) -> Source:
    """Raises DataError where a file is broken or of another version, and where a choice is open."""
    if given.path.is_dir():
        files = sorted((given.path / "reviews").rglob("*.jsonl"))
        model = given.chosen((str(file.parent.relative_to(given.path / "reviews")) for file in files), "model")
        root, files = given.path, [file for file in files if file.parent == given.path / "reviews" / model]
    else:
        root, files, model = given.path.absolute().parents[2], [given.path], given.path.absolute().parent.name
    config = _config(root)
    found: dict[str, Results] = {}
    for file in files:
        benchmark, subset = _names(file, root / "reports" / model)
        part = _read(file, root / "predictions" / model / file.name, subset, config, given)
        whole = found.setdefault(benchmark, Results(benchmark, {}, part.metric, settings=part.settings))
        if whole.metric != part.metric:
            raise DataError(
                f"{file} is scored by {part.metric} and another subset by {whole.metric}; choose with --metric"
            )
        found[benchmark] = Results(benchmark, {**whole.items, **part.items}, part.metric, settings=part.settings)
    given.choice.check_used(given.path)
    return Source(model, given.text, "evalscope", found)


def _config(root: Path) -> Row:
    """The configuration of the task; empty where it is not beside the reviews. Raises DataError."""
    found: Row = {}
    for file in sorted((root / "configs").glob("task_config*.yaml")):
        try:
            found = yaml.safe_load(read_regular(file, LARGEST_STUDY)) or {}
        except (OSError, ValueError, yaml.YAMLError, RecursionError):
            raise DataError(f"{file} cannot be read; it must be the configuration that EvalScope wrote") from None
        version = str(found.get("evalscope_version", "1"))
        if version.partition(".")[0] != "1":
            raise DataError(
                f"{file} was written by EvalScope {version:.20}; only the reviews of its versions 1.x are read"
            )
    return found


def _names(file: Path, reports: Path) -> tuple[str, str | None]:
    """Benchmark and subset: the file's name has both, and the reports are named after the benchmarks."""
    known = [report.stem for report in reports.glob("*.json") if file.stem.startswith(f"{report.stem}_")]
    name = max(known, key=len, default=file.stem)
    return name, file.stem.removeprefix(name).removeprefix("_") or None


def _read(file: Path, predictions: Path, subset: str | None, config: Row, given: Given) -> Results:
    rows, answers = _by_index(file), _by_index(predictions) if predictions.is_file() else {}
    scores = {index: _score(row, file) for index, row in rows.items()}
    names = list(dict.fromkeys(name for score in scores.values() for name in score["value"]))
    mains = {score.get("main_score_name") for score in scores.values() if score["value"]}
    primary = [name for name in names if mains == {name}]
    metric = given.choice("metric", names if given.choice.asked("metric") or not primary else primary, file)
    told_repeats = config.get("repeats")
    repeats = max(told_repeats, 1) if isinstance(told_repeats, int) else 1
    items: dict[str, ItemResult] = {}
    made: Counter[str] = Counter()
    for index in sorted(rows.keys() | answers.keys()):
        told = rows.get(index, {}).get("sample_score", {})
        group = told.get("group_id")
        name = f"{subset or ''}/{index // repeats if group is None else group}"
        number = made[name] if told.get("generation_index") is None else int(told["generation_index"])
        made[name] += 1
        item = items.setdefault(name, ItemResult(name, {}, {}, subgroup=subset))
        if number in item.scores:
            raise DataError(f"{file}: sample {number} of item {name} stands twice; keep the reviews of one run")
        if index in rows:
            item.checks = _checks(rows[index])
            _add(item, number, scores[index], metric, answers.get(index), f"{file}, index {index}")
        else:
            item.add(number, None, fault="an answer without a review")
    return Results(file.stem, items, metric, settings=sampling(config.get("generation_config")))


def _by_index(file: Path) -> dict[int, Row]:
    found: dict[int, Row] = {}
    for row in read_jsonl(file):
        index = row.get("index")
        if not isinstance(index, int):
            raise DataError(f"{file}: a row has no integer 'index', so it was not written by EvalScope 1.x")
        if index in found:
            raise DataError(f"{file}: index {index} stands twice; keep the rows of one run")
        found[index] = row
    return found


def _score(row: Row, file: Path) -> Row:
    told = row.get("sample_score")
    score = told.get("score") if isinstance(told, dict) else None
    if not isinstance(score, dict) or not isinstance(score.get("value"), dict):
        raise DataError(f"{file}: index {row['index']} has no sample_score.score.value; only EvalScope 1.x is read")
    return score


def _checks(row: Row) -> dict[str, str]:
    """What was asked and the reference. Rows of earlier 1.x have the input alone."""
    asked = until_answer(row.get("messages") or ()) or row.get("input")
    return {"prompt": digest(asked), "target": digest(row.get("target"))}


def _add(item: ItemResult, number: int, score: Row, metric: str, answer: Row | None, where: str) -> None:
    status = score.get("status", "success")
    output = (answer or {}).get("model_output") or {}
    fault = None if status in _USABLE else f"status {status}"
    if output.get("error"):
        fault = "the model gave an error"
    reasons = [choice.get("stop_reason") for choice in output.get("choices") or () if isinstance(choice, dict)]
    item.add(
        number,
        unit_score(score["value"].get(metric), f"{where}: {metric}"),
        text if isinstance(text := score.get("prediction"), str) else None,
        cut_off=bool(reasons) and reasons[0] in _CUT_OFF,
        answered=score.get("extracted_prediction") != "",
        fault=fault,
    )
