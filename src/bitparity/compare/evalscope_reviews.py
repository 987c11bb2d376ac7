"""Reviews of EvalScope 1.x: reviews/MODEL/BENCHMARK_SUBSET.jsonl in its output folder.

Rows are `ReviewResult` of evalscope/api/evaluator/cache.py, scores `SampleScore` of evalscope/api/metric/scorer.py
(modelscope/evalscope at d776d660609019bddd904255213f1b3c0283825d and the package 1.14.1). A score whose status is not
usable (`ScoreStatus`, evalscope/constants.py) is no score, and an answer in predictions/ without a review has none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel

from bitparity.compare import records
from bitparity.compare.records import Given, ItemResult, Results, Source
from bitparity.errors import DataError
from bitparity.inputs.input_files import LARGEST_STUDY, read_regular

_WHAT = "review of EvalScope 1.x"
_USABLE = ("success", "fallback", "degraded")
_CUT_OFF = ("max_tokens", "model_length", "length")


class _Score(BaseModel):
    value: dict[str, Any]
    status: str = "success"
    prediction: str | None = None
    extracted_prediction: Any = None
    main_score_name: str | None = None


class _SampleScore(BaseModel):
    score: _Score
    group_id: str | int | None = None
    generation_index: int | None = None


class _Review(BaseModel):
    index: int
    sample_score: _SampleScore
    target: Any = None
    messages: list[Any] = []
    input: Any = None


class _Ending(BaseModel):
    stop_reason: str | None = None


class _Output(BaseModel):
    choices: list[_Ending] = []
    error: str | None = None


class _Prediction(BaseModel):
    index: int
    model_output: _Output | None = None


def finds(given: Given) -> bool:
    """True for an output folder, and for a file of reviews."""
    return (given.path / "reviews").is_dir() or "sample_score" in given.first_row()


def read(given: Given) -> Source:
    """Raises DataError where a file is broken or of another version, and where a choice is open."""
    if given.path.is_dir():
        files = sorted((given.path / "reviews").rglob("*.jsonl"))
        model = given.chosen(str(file.parent.relative_to(given.path / "reviews")) for file in files)
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
    given.check_used()
    return Source(model, given.text, "evalscope", found)


def _config(root: Path) -> dict[str, Any]:
    """The configuration of the task; empty where it is not beside the reviews. Raises DataError."""
    found: dict[str, Any] = {}
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


def _read(file: Path, predictions: Path, subset: str | None, config: Mapping[str, Any], given: Given) -> Results:
    reviews, answers = _by_index(file, _Review), _by_index(predictions, _Prediction) if predictions.is_file() else {}
    scores = [review.sample_score.score for review in reviews.values()]
    names = list(dict.fromkeys(name for score in scores for name in score.value))
    mains = {score.main_score_name for score in scores if score.value}
    primary = [name for name in names if mains == {name}]
    metric = given.choose("metric", names if given.asks("metric") or not primary else primary, file)
    told = config.get("repeats")
    repeats = max(told, 1) if isinstance(told, int) else 1
    items: dict[str, ItemResult] = {}
    made: Counter[str] = Counter()
    for index in sorted(reviews.keys() | answers.keys()):
        review = reviews.get(index)
        group = None if review is None else review.sample_score.group_id
        name = f"{subset or ''}/{index // repeats if group is None else group}"
        planned = None if review is None else review.sample_score.generation_index
        number = made[name] if planned is None else planned
        made[name] += 1
        item = items.setdefault(name, ItemResult(name, {}, {}, subgroup=subset))
        if number in item.scores:
            raise DataError(f"{file}: sample {number} of item {name} stands twice; keep the reviews of one run")
        if review is None:
            item.add(number, None, fault="an answer without a review")
        else:
            asked = records.until_answer(review.messages) or review.input  # rows of earlier 1.x have the input alone
            item.checks = {"prompt": records.digest(asked), "target": records.digest(review.target)}
            _add(item, number, review.sample_score.score, metric, answers.get(index), f"{file}, index {index}")
    return Results(file.stem, items, metric, settings=records.sampling(config.get("generation_config")))


_Row = TypeVar("_Row", _Review, _Prediction)


def _by_index(file: Path, model: type[_Row]) -> dict[int, _Row]:
    found: dict[int, _Row] = {}
    for row in records.parsed_rows(model, file, _WHAT):
        if row.index in found:
            raise DataError(f"{file}: index {row.index} stands twice; keep the rows of one run")
        found[row.index] = row
    return found


def _add(item: ItemResult, number: int, score: _Score, metric: str, answer: _Prediction | None, where: str) -> None:
    output = (answer.model_output if answer else None) or _Output()
    fault = None if score.status in _USABLE else f"status {score.status}"
    item.add(
        number,
        records.unit_score(score.value.get(metric), f"{where}: {metric}"),
        score.prediction,
        cut_off=bool(output.choices) and output.choices[0].stop_reason in _CUT_OFF,
        answered=score.extracted_prediction != "",
        fault="the model gave an error" if output.error else fault,
    )
