"""Results by item as lm-eval's `--log_samples` writes them: VARIANT/samples_BENCHMARK_DATE.jsonl, one line an item.

The date is that of the variant's last session, spelt as lm-eval spells it. `bitparity compare` and scripts made for
lm-eval 0.4.13 read them. The score of an item is the mean over its samples, null where one has none. Hashes are
lm-eval's own for its tasks; for other benchmarks they are made in the same way of what bitparity asked, so such files
pair with each other and not with lm-eval's. A gated data set gives ids, scores and hashes only; hidden tests of code
benchmarks are never written.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bitparity.benchmarks.registry import benchmark_class
from bitparity.exam.frozen import Exam, ExamItem, frozen_exams
from bitparity.records import Grade, Prompt, Sample
from bitparity.report.gated import is_gated
from bitparity.results.sheet import Sheet, read_sheets
from bitparity.schema import LM_EVAL_PREFIX
from bitparity.store.environment import RunRecord
from bitparity.store.jsonl import file_stem, write_atomically
from bitparity.store.run import Run

FILTER = "bitparity"
INVALID = "[invalid]"  # lm-eval's word for an answer that could not be read


def make(run: Run, out: Path | None) -> list[Path]:
    """Write the files of all variants and benchmarks that have begun."""
    folder = out or run.path / "export" / "lm-eval"
    study, record = run.study(), run.environment()
    written = []
    for spec, exam in frozen_exams(run, study):
        for name, sheet in read_sheets(run, study, exam, spec).items():
            if sheet.samples:
                task = file_stem(spec.name.removeprefix(LM_EVAL_PREFIX))
                path = folder / name / f"samples_{task}{_date(record, name)}.jsonl"
                write_atomically(path, (json.dumps(row, allow_nan=False) + "\n" for row in rows(exam, sheet)))
                written.append(path)
    return written


def _date(record: RunRecord, variant: str) -> str:
    """When a variant last ran, as lm-eval has it in a file's name; empty where that is not known."""
    sessions = record.variant(variant).sessions
    return f"_{max(sessions).removesuffix('Z').replace(':', '-')}" if sessions else ""


def rows(exam: Exam, sheet: Sheet) -> Iterator[dict[str, object]]:
    """One row an item, in the exam's order."""
    gated = is_gated(exam.benchmark, exam.provenance)
    open_reference = not gated and not benchmark_class(exam.benchmark).runs_code
    for number, (entry, scores) in enumerate(zip(exam.items, sheet.scores.tolist(), strict=True)):
        keys = [(entry.item.id, k) for k in range(len(scores))]
        samples = [sheet.samples[key] for key in keys if key in sheet.samples]
        grades = [sheet.grades[key] for key in keys if key in sheet.grades]
        yield {
            "doc_id": number,
            "doc": {"id": entry.item.id} if gated else {"id": entry.item.id, "prompt": _prompt(entry)},
            "target": entry.item.reference if open_reference else None,
            "arguments": {} if gated else _arguments(entry, exam),
            "resps": [] if gated else _responses(samples),
            "filtered_resps": [] if gated else [_answers(grades)],
            "filter": FILTER,
            "metrics": [exam.metric],
            **_hashes(entry),
            exam.metric: None if any(map(math.isnan, scores)) else sum(scores) / len(scores),
            "other_metrics": _others(grades, exam.metric),
            "status": [grade.status for grade in grades],
        }


def _prompt(entry: ExamItem) -> str:
    """The first prompt as the model got it; the messages as JSON where no chat template of ours rendered them."""
    return entry.texts[0] if entry.texts else _written(entry.item.prompts[0])


def _written(prompt: Prompt) -> str:
    return prompt.text if prompt.text is not None else json.dumps(prompt.messages, ensure_ascii=False)


def _arguments(entry: ExamItem, exam: Exam) -> dict[str, object]:
    scored = [(prompt, rest) for prompt in entry.item.prompts for rest in prompt.continuations]
    if scored:
        pairs: list[tuple[str, Any]] = [(_written(prompt), rest) for prompt, rest in scored]
    else:
        sampling = asdict(exam.sampling)
        settings = {"until": sampling.pop("stop"), "max_gen_toks": sampling.pop("max_tokens"), **sampling}
        pairs = [(_prompt(entry), settings)]
    return {f"gen_args_{n}": {"arg_0": one, "arg_1": other} for n, (one, other) in enumerate(pairs)}


def _responses(samples: list[Sample]) -> list[Any]:
    """One list a request, which holds its repeats."""
    if samples and samples[0].logprobs is not None:
        return [[list(pair)] for pair in samples[0].logprobs]
    return [[sample.text for sample in samples]]


def _answers(grades: list[Grade]) -> str | list[str]:
    invalid = {"no_answer": INVALID}
    found = [
        invalid.get(grade.status, f"[{grade.status}]") if grade.extracted is None else grade.extracted
        for grade in grades
    ]
    return found[0] if len(found) == 1 else found


def _hashes(entry: ExamItem) -> dict[str, str]:
    """Of document, prompt and reference. The reference's is salted with the document's: letters could be guessed."""
    item = entry.item
    document = item.metadata.get("doc_hash") or _hash(json.dumps([item.id, [asdict(p) for p in item.prompts]]))
    target = item.metadata.get("target_hash") or _hash(document + json.dumps(item.reference, sort_keys=True))
    return {"doc_hash": document, "prompt_hash": _hash(_prompt(entry)), "target_hash": target}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _others(grades: list[Grade], primary: str) -> dict[str, float]:
    names = sorted({name for grade in grades for name in grade.metrics} - {primary})
    values = {name: [grade.metrics[name] for grade in grades if name in grade.metrics] for name in names}
    return {name: sum(found) / len(found) for name, found in values.items()}
