"""Scores of each candidate as `.eval_results/*.yaml`, which the Hugging Face Hub shows on model pages and leaderboards.

One file for each candidate, VARIANT/.eval_results/bitparity.yaml, built and read back by the Hub's own library. As in
the model card only figures that stand for the whole benchmark are in it, in per cent.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bitparity.errors import MissingDependencyError, StoreError
from bitparity.report.exports.model_card import HUB_ID, PAGE, dataset, described, public_name, unfit
from bitparity.report.language import hundredths, interval, margin
from bitparity.report.words import difference, verdict_words
from bitparity.results.build import build
from bitparity.results.schema import Benchmark, Results
from bitparity.store.environment import RunRecord
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

HEAD = (
    "# For the folder .eval_results of the model's repository. A task_id is the one in the data set's eval.yaml on\n"
    "# the Hub: here its configuration; look there whether it has another name.\n"
)


def make(run: Run, out: Path | None) -> list[Path]:
    """Write the files. Raises MissingDependencyError without the Hub's library, of version 1.4 or newer."""
    try:
        from huggingface_hub import eval_result_entries_to_yaml, parse_eval_result_entries
    except ImportError:
        raise MissingDependencyError("huggingface_hub>=1.4", "hub", "the export as eval-results") from None
    folder, results, record = out or run.path / "export" / "eval-results", build(run), run.environment()
    written = []
    for name in described(results):
        left_out, found = entries(name, results, record)
        rows = eval_result_entries_to_yaml(found)
        body = yaml.safe_dump(rows, sort_keys=False, allow_unicode=True, width=1000) if rows else ""
        if parse_eval_result_entries(yaml.safe_load(body) or []) != found:
            raise StoreError(f"the Hub's library reads something else than it was given of {name}; update it")
        path = folder / name / ".eval_results" / "bitparity.yaml"
        write_atomically(path, [HEAD, *(f"# {line}\n" for line in left_out), body])
        written.append(path)
    return written


def entries(name: str, results: Results, record: RunRecord) -> tuple[list[str], list[Any]]:
    """Why benchmarks are left out, and the entries (`huggingface_hub.EvalResultEntry`) of the others."""
    left_out, found = [], []
    for bench, entry in results.benchmarks.items():
        if reason := unfit(name, entry):
            left_out.append(f"{bench} is left out: {reason}")
        elif "/" not in dataset(bench, entry.data)["type"]:
            left_out.append(f"{bench} is left out: its data set is not on the Hub")
        else:
            found.append(_entry(bench, name, results, record))
    return left_out, found


def _entry(bench: str, name: str, results: Results, record: RunRecord) -> Any:
    from huggingface_hub import EvalResultEntry

    entry, place = results.benchmarks[bench], dataset(bench, results.benchmarks[bench].data)
    model = results.variants[name].model
    on_hub = HUB_ID.fullmatch(model) is not None
    return EvalResultEntry(
        dataset_id=place["type"],
        task_id=place.get("config", "default"),
        value=round(100 * (entry.scores[name].mean or 0.0), 2),
        dataset_revision=place.get("revision"),
        date=max(record.variant(name).sessions, default=None),
        source_url=f"https://huggingface.co/{model}/blob/main/{PAGE}" if on_hub else None,
        source_name="bitparity" if on_hub else None,
        notes=_notes(name, entry, results),
    )


def _notes(name: str, entry: Benchmark, results: Results) -> str:
    said = f"{entry.metric}, 95 % interval {interval(entry.scores[name].ci95, written=hundredths)}"
    if (comparison := entry.comparisons.get(name)) is None:
        return said
    return (
        f"{said}; against {public_name(results.baseline, results)}: {difference(comparison)} points, "
        f"margin {margin(entry.margin)}: {verdict_words(comparison)}"
    )
