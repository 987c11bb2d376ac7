"""Sample logs of lm-eval 0.4.13: `samples_<task>_<date>.jsonl`, written by its `--log_samples`.

One row a document and filter, with the metrics' values and three hashes (evaluator.py): `doc_hash` of the document,
`prompt_hash` of the prompt as the model got it, `target_hash` of the reference. Items are paired by the document's
hash, never by its position; the other two must agree. A `results_*.json` beside the logs tells which tasks form a
group and which metrics are better when lower.
"""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bitparity.benchmarks.dataset import read_jsonl
from bitparity.benchmarks.lm_eval_math import box_content, equivalent, last_box
from bitparity.compare.records import Given, ItemResult, Results, Source, text_hash, unit_score
from bitparity.errors import DataError
from bitparity.grading.reasoning import UNNAMED_TAG, split_reasoning
from bitparity.grading.rules import unscored, unusable
from bitparity.inputs.input_files import LARGEST_DOCUMENT, read_regular, unpacked
from bitparity.records import Grade, Sample, Status

Row = dict[str, Any]
INVALID = "[invalid]"  # what lm-eval's regex filters give where nothing matches
_FILE = re.compile(r"(?:^|_)samples_(?P<task>.+?)(?:_\d{4}-\d\d-\d\dT[\d.-]+)?\.jsonl(?:\.gz)?$")
_HASHES = ("doc_hash", "prompt_hash", "target_hash")


def finds(given: Given) -> bool:
    """True for a folder, and for a file whose rows are lm-eval's."""
    row = given.first_row()
    return given.path.is_dir() or ("doc_id" in row and ("filter" in row or "filtered_resps" in row))


def read(given: Given) -> Source:
    """Raises DataError where a file is broken, holds a document twice, or leaves a choice open."""
    path = given.path
    files = sample_files(path) if path.is_dir() else [path]
    about = list(_summaries(files[0].parent)) if path.is_dir() else []
    found: dict[str, Results] = {}
    origin: dict[str, Path] = {}
    for file in files:
        match = _FILE.search(file.name)
        task = match["task"] if match else re.sub(r"\.jsonl?(\.gz)?$", "", file.name)
        if task in found:
            raise DataError(
                f"{path} holds two logs of task '{task}' ({origin[task].name} and {file.name}); "
                "give the file of the one you mean, or keep each run in a folder of its own"
            )
        origin[task] = file
        first, *others = _read_log(file, task, given)
        found[task] = first
        found |= {f"{task} ({str(view.metric).partition(',')[2]})": view for view in others}
        _check_direction(file, first, about)
    given.check_used()
    name = path.name if path.is_dir() else re.sub(r"\.jsonl(\.gz)?$", "", path.name)
    return Source(name or str(path.resolve()), given.text, "lm-eval", found, _groups(found, about))


def sample_files(folder: Path) -> list[Path]:
    """The sample logs below a folder, which must lie side by side. Raises DataError where there are none."""
    files = sorted(path for path in folder.rglob("*samples_*.jsonl*") if _FILE.search(path.name))
    if not files:
        raise DataError(
            f"{folder} holds neither a run (study.yaml) nor logs of lm-eval (samples_*.jsonl, which it writes with "
            "--log_samples), Inspect, EvalScope, NeMo Evaluator or LiveBench; give a file or the folder that holds them"
        )
    folders = sorted({str(path.parent) for path in files})
    if len(folders) > 1:
        raise DataError(f"{folder} holds the logs of {len(folders)} models ({', '.join(folders[:3])}); give one folder")
    return files


def _read_log(file: Path, task: str, given: Given) -> list[Results]:
    """The results by the filter that was chosen; where none was, behind them those by each other filter."""
    rows = read_jsonl(file)
    for number, row in enumerate(rows, 1):
        _check_row(row, f"{file}, line {number}")
    _check_targets(rows, file)
    filters = list(dict.fromkeys(row["filter"] for row in rows))
    primary = given.choose("filter", filters, file)
    others = [] if given.asks("filter") else [name for name in filters if name != primary]
    return [_filtered(file, task, given, rows, name, primary) for name in (primary, *others)]


def _filtered(file: Path, task: str, given: Given, rows: Sequence[Row], filter_name: str, primary: str) -> Results:
    kept = [(number, row) for number, row in enumerate(rows, 1) if row["filter"] == filter_name]
    metric = given.choose("metric", list(dict.fromkeys(name for _, row in kept for name in row["metrics"])), file)
    items: dict[str, ItemResult] = {}
    seen: dict[Any, int] = {}
    repeated = Counter[str]()
    for number, row in sorted(kept, key=lambda pair: (str(pair[1]["doc_id"]).zfill(12), pair[0])):
        first = seen.setdefault(row["doc_id"], number)
        if first != number:
            raise DataError(
                f"{file}: document {row['doc_id']} stands twice, in lines {first} and {number}: "
                "the logs of two runs in one file? Keep one"
            )
        if metric not in row:
            raise DataError(f"{file}, line {number}: no value of metric '{metric}'; the other lines have one")
        document = row["doc_hash"]
        items[f"{document}#{repeated[document]}"] = _item(row, metric, f"{file}, line {number}: {metric}")
        repeated[document] += 1
    view = None if filter_name == primary else task
    _, settings = _request(kept[0][1])
    return Results(task, items, f"{metric},{filter_name}", settings=settings, view_of=view)


def _check_row(row: Row, where: str) -> None:
    if missing := [name for name in ("doc_id", "filter", "metrics", *_HASHES) if name not in row]:
        raise DataError(
            f"{where}: no field {', '.join(missing)}, so it is no sample of lm-eval 0.4.13; without lm-eval's hashes "
            "nothing proves that both answered the same. Run lm-eval again with --log_samples"
        )
    if not isinstance(row["metrics"], list) or not all(isinstance(name, str) for name in row["metrics"]):
        raise DataError(f"{where}: metrics must be a list of names; is this a sample log of lm-eval?")
    if not all(isinstance(row[name], str) for name in ("filter", *_HASHES)):
        raise DataError(f"{where}: filter and hashes must be texts; is this a sample log of lm-eval?")


def _check_targets(rows: Sequence[Row], file: Path) -> None:
    """Raise DataError where some targets are not those of their hashes.

    Another version may hash in another way, but then all of them; JSON changes targets that are no texts.
    """
    texts = [(number, row) for number, row in enumerate(rows, 1) if isinstance(row.get("target"), str)]
    wrong = [number for number, row in texts if text_hash(row["target"]) != row["target_hash"]]
    if 0 < len(wrong) < len(texts):
        raise DataError(
            f"{file}, line {wrong[0]}: the target is not the one that target_hash was made of, as it is in other lines:"
            " the file was edited. Give the log as lm-eval wrote it"
        )


def _item(row: Row, metric: str, where: str) -> ItemResult:
    item = ItemResult(
        name=str(row["doc_id"]),
        scores={0: unit_score(row[metric], where)},
        checks={"prompt": row["prompt_hash"], "target": row["target_hash"]},
        chance=_chance(row),
        question=_request(row)[0],
        reference=None if row.get("target") is None else str(row["target"]),
        row=row["doc"] if isinstance(row.get("doc"), dict) else None,
    )
    if (reason := _unusable(row)) is not None:
        item.scores = {0: None}
        item.grades = {0: unscored(reason)}
    text = _text(row.get("resps"))
    if text is not None:  # how a text ended is not told: it counts as ended by itself
        item.samples = {0: Sample("", item.name, 0, text, "stop", None, None, 0.0)}
        answer = _text(row.get("filtered_resps"))  # the one that the filter found; None where it gives no text
        found = None if answer is None else "" if answer.strip() == INVALID else answer.strip()
        status: Status = "no_answer" if found == "" else "answered"
        item.grades = {0: Grade(item.scores[0], status, extracted=found or None, details=_details(text, row))}
    return item


def _unusable(row: Row) -> str | None:
    """The reason why the log-likelihoods of a row choose no option; None where they do, or for a text."""
    pairs = [each[0] if isinstance(each, list) and len(each) == 1 else each for each in row.get("resps") or ()]
    if len(pairs) < 2 or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        return None
    try:
        return unusable([float(value) for value, _ in pairs])
    except (TypeError, ValueError):
        return None  # another form of response


def _details(text: str, row: Row) -> dict[str, object]:
    """Details of a text for the guards: `boxed`, true where its last LaTeX box holds the reference answer, if any.

    And the opening tag of a reasoning that never ends: lm-eval then scores what stands inside it.
    """
    found: dict[str, object] = {}
    if "\\boxed" in text:
        boxed = last_box(text)
        content = box_content(boxed) if boxed else None
        found["boxed"] = content is not None and equivalent(content, str(row.get("target")))
    parts = split_reasoning(text, "none")
    return found | ({UNNAMED_TAG: parts.unnamed.start} if parts.unnamed and not parts.ended else {})


def _text(value: Any) -> str | None:
    """The only text in a list of lists; None where there is none, as for log-likelihoods."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, str) else None


def _chance(row: Row) -> float | None:
    """The score of guessing: among several requests of a document (log-likelihoods of its choices), or its options."""
    arguments, doc = row.get("arguments"), row.get("doc")
    if isinstance(arguments, list | dict) and len(arguments) > 1:
        return 1 / len(arguments)
    options = doc.get("options") if isinstance(doc, dict) else None
    return 1 / len(options) if isinstance(options, list) and len(options) > 1 else None


def _request(row: Row) -> tuple[str | None, dict[str, Any] | None]:
    """A row's first prompt as a text, which a chat's is in JSON, and its settings; None for log-likelihoods."""
    arguments = row.get("arguments")
    first = arguments.get("gen_args_0") if isinstance(arguments, dict) else None
    prompt, settings = (first.get("arg_0"), first.get("arg_1")) if isinstance(first, dict) else (None, None)
    prompt = prompt[0] if isinstance(prompt, list) and prompt else prompt
    return prompt if isinstance(prompt, str) else None, settings if isinstance(settings, dict) else None


def _summaries(folder: Path) -> Iterator[dict[str, Any]]:
    """The `results_*.json` beside the logs that can be read."""
    for path in sorted(folder.glob("*results*.json*")):
        try:
            value = json.loads(unpacked(read_regular(path), LARGEST_DOCUMENT))
        except (OSError, ValueError, EOFError, zlib.error, RecursionError):
            continue  # only a help: the logs say everything else
        if isinstance(value, dict):
            yield value


def _check_direction(file: Path, results: Results, about: Iterable[Mapping[str, Any]]) -> None:
    metric = (results.metric or "").partition(",")[0]
    for summary in about:
        if ((summary.get("higher_is_better") or {}).get(results.benchmark) or {}).get(metric) is False:
            raise DataError(f"{file}: metric '{metric}' is better when lower; choose another with --metric")


def _groups(tasks: Container[str], about: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """task -> group, for the groups that lm-eval gives a score of their own and whose members are all tasks."""
    found: dict[str, str] = {}
    for summary in about:
        members, scored = summary.get("group_subtasks") or {}, summary.get("groups") or {}
        for group, names in members.items():
            if group in scored and names and not any(members.get(name) for name in names):
                found |= {name: group for name in names if name in tasks}
    return found
