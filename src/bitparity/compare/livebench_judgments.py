"""Judgments of LiveBench: model_judgment/ground_truth_judgment.jsonl of each task, all models in one file.

Rows: livebench/gen_ground_truth_judgment.py (LiveBench/LiveBench at 0289a4569a8a384b83201e9bfcb2b590c7b50ce6).
A score of -1 is none (livebench/show_livebench_result.py at 0b729d248d5e6d8f055e1b478cc9c3be74ed7dcd leaves it out). An
answer of $ERROR$ in model_answer/MODEL.jsonl is a failed request, which LiveBench grades 0: it has no score here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bitparity.benchmarks.dataset import read_jsonl
from bitparity.compare.records import Given, ItemResult, Results, Source, unit_score
from bitparity.errors import DataError

Row = dict[str, Any]
FILE = "ground_truth_judgment.jsonl"
_FIELDS = ("question_id", "task", "model")
_FAILED, _NO_SCORE = "$ERROR$", -1


def finds(given: Given) -> bool:
    """True for a file of judgments, and for a folder that holds one."""
    if given.path.is_dir():
        return next(given.path.rglob(FILE), None) is not None
    return {"question_id", "turn", "task"} <= given.first_row().keys()


def read(given: Given) -> Source:
    """Raises DataError where a row is broken, a question is judged twice, or several models leave a choice open."""
    files = sorted(given.path.rglob(FILE)) if given.path.is_dir() else [given.path]
    rows = {file: [_checked(row, f"{file}, line {n}") for n, row in enumerate(read_jsonl(file), 1)] for file in files}
    model = given.chosen(row["model"] for each in rows.values() for row in each)
    found: dict[str, dict[str, ItemResult]] = {}
    for file, judged in rows.items():
        answers = _answers(file, model)
        for row in judged:
            if row["model"] == model:
                items = found.setdefault(row["task"], {})
                _add(items, row, answers.pop(row["question_id"], None), f"{file}: question {row['question_id']}")
        for question in answers:
            item = found.setdefault(file.parent.parent.name, {}).setdefault(question, ItemResult(question, {}))
            item.add(0, None, fault="an answer without a judgment")
    return Source(model, given.text, "livebench", {task: Results(task, items) for task, items in found.items()})


def _checked(row: Row, where: str) -> Row:
    wrong = [name for name in _FIELDS if not isinstance(row.get(name), str)]
    if wrong or "score" not in row:
        raise DataError(f"{where}: no {' or '.join(wrong) or 'score'}, so it is no judgment of LiveBench")
    return row


def _answers(file: Path, model: str) -> dict[str, str]:
    """The model's answers by question, from the folder beside that of the judgments; empty where it is not there."""
    path = file.parent.parent / "model_answer" / f"{model}.jsonl"
    rows = read_jsonl(path) if path.is_file() else []
    try:
        return {str(row["question_id"]): str(row["choices"][0]["turns"][-1]) for row in rows}
    except (KeyError, IndexError, TypeError):
        raise DataError(
            f"{path} holds a row without question_id or choices; were these answers written whole?"
        ) from None


def _add(items: dict[str, ItemResult], row: Row, text: str | None, where: str) -> None:
    if row["question_id"] in items:
        raise DataError(
            f"{where} is judged twice for '{row['model']}'; let LiveBench end, which keeps the last of them"
        )
    item = items.setdefault(row["question_id"], ItemResult(row["question_id"], {}, subgroup=row.get("subtask")))
    failed = "the request failed" if text == _FAILED else None
    score = None if failed or row["score"] == _NO_SCORE else unit_score(row["score"], f"{where}: the score")
    item.add(0, score, None if failed else text, fault=failed)
