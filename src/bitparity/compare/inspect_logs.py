"""Logs of Inspect (inspect_ai 0.3, log format 2 and before): `.eval` and `.json`, read by the library itself.

Fields: `EvalLog` and `EvalSample` of inspect_ai/log/_log.py, words for scores of inspect_ai/scorer/_metric.py (package
0.3.285). A sample with an error, an invalidated one and one that is not in the log have no score, also where Inspect
itself counts them as 0 (`score_on_error`). A sample that ran into a limit keeps its score and counts as cut off.
"""

from __future__ import annotations

import re
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bitparity.compare import records
from bitparity.compare.records import Given, ItemResult, Results, Source
from bitparity.errors import DataError, MissingDependencyError
from bitparity.inputs.input_files import open_regular

if TYPE_CHECKING:
    from inspect_ai.log import EvalLog, EvalSample

_HEAD = re.compile(rb'\s*\{\s*"version":\s*\d+,\s*"status":')  # what every JSON log begins with
_WORDS = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
_NO_ANSWER = "N"
_CUT_OFF = (["max_tokens"], ["model_length"])
_UNREAD = {"events", "store", "timelines"}  # most of a log, and nothing that decides a score


def finds(given: Given) -> bool:
    """True for a log, and for a folder that holds one."""
    return bool(_files(given.path))


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path] if _is_log(path) else []
    return [file for file in sorted(path.rglob("*")) if file.suffix in (".eval", ".json") and _is_log(file)]


def _is_log(path: Path) -> bool:
    if path.suffix == ".json" and path.is_file():
        with suppress(OSError), open_regular(path) as file:
            return _HEAD.match(file.read(200)) is not None
    return path.suffix == ".eval" and path.is_file()


def read(given: Given) -> Source:
    """Raises DataError where a log is broken or of an unknown version, or where models or tasks are mixed."""
    logs = ((file, _read_log(file)) for file in _files(given.path))
    read = ((log.eval.task, log.eval.model, partial(_results, file, log, given)) for file, log in logs)
    return records.gathered(given, "inspect", "logs", "task", read)


def _read_log(file: Path) -> EvalLog:
    try:
        from inspect_ai.log import read_eval_log
    except ModuleNotFoundError:
        raise MissingDependencyError("inspect-ai", "inspect", f"{file} is a log of Inspect; reading it") from None
    try:
        return read_eval_log(str(file), resolve_attachments="core", exclude_fields=_UNREAD)
    except Exception as error:  # of any kind: another program reads a file that may hold anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise DataError(f"{file} cannot be read as a log of Inspect ({reason:.200}); was it written whole?") from None


def _results(file: Path, log: EvalLog, given: Given) -> Results:
    samples = log.samples or []
    values = {(str(each.id), each.epoch): _values(each) for each in samples}
    names = list(dict.fromkeys(name for each in values.values() for name in each))
    if not names:
        raise DataError(f"{file}: no sample has a score (the run ended with status '{log.status}'); run it again")
    metric = given.choose("metric", names, file)
    items: dict[str, ItemResult] = {}
    for one in samples:
        item = items.setdefault(str(one.id), _item(one))
        if one.epoch - 1 in item.scores:
            raise DataError(f"{file}: sample {one.id} stands twice in epoch {one.epoch}; the logs of two runs in one?")
        _add(item, one, values[str(one.id), one.epoch].get(metric), log.invalidated, f"{file}: sample {one.id}")
    for name in map(str, log.eval.dataset.sample_ids or ()):
        item = items.setdefault(name, ItemResult(name, {}))
        for epoch in range(log.eval.config.epochs or 1):
            if epoch not in item.scores:
                item.add(epoch, None, fault=f"not in the log, which ended with status '{log.status}'")
    settings = records.sampling(log.plan.config.model_dump(), log.eval.model_generate_config.model_dump())
    return Results(log.eval.task, items, metric, settings=settings)


def _values(sample: EvalSample) -> dict[str, Any]:
    """The sample's scores by scorer; of a scorer that gives several, by `scorer/key`."""
    found: dict[str, Any] = {}
    for name, score in (sample.scores or {}).items():
        parts = score.value if isinstance(score.value, dict) else None
        found |= {name: score.value} if parts is None else {f"{name}/{key}": value for key, value in parts.items()}
    return found


def _item(sample: EvalSample) -> ItemResult:
    asked = sample.input if isinstance(sample.input, str) else _told(sample.input)
    prompt = records.until_answer(_told(sample.messages))
    checks = {"question": records.digest([asked, sample.choices]), "target": records.digest(sample.target)}
    checks |= {"prompt": records.digest(prompt)} if prompt else {}
    chance = 1 / len(sample.choices) if sample.choices else None
    return ItemResult(str(sample.id), {}, checks, chance=chance, question=asked if isinstance(asked, str) else None)


def _told(messages: list[Any]) -> list[dict[str, str]]:
    """Role and text alone: a message also has a random id."""
    return [{"role": message.role, "content": message.text} for message in messages]


def _add(item: ItemResult, sample: EvalSample, value: Any, invalidated: bool, where: str) -> None:
    fault = sample.error.message or "an error" if sample.error else None
    if invalidated or sample.invalidation:
        fault = "invalidated"
    ends = [choice.stop_reason for choice in sample.output.choices]  # none where the request failed
    cut_off = ends[:1] in _CUT_OFF or sample.limit is not None
    answered = value != _NO_ANSWER
    score = None if fault else records.unit_score(_number(value), where)
    item.add(sample.epoch - 1, score, sample.output.completion, cut_off=cut_off, answered=answered, fault=fault)


def _number(value: Any) -> Any:
    """Inspect's words for scores as numbers; another text stays, to be refused: Inspect itself would count it as 0."""
    if not isinstance(value, str):
        return value
    known = _WORDS.get(value, _WORDS.get(value.lower()))
    try:
        return float(value) if known is None else known
    except ValueError:
        return value
