"""Results for other programs: CSV, Parquet, a model card's figures, per-item results as lm-eval writes them.

Everything is made from the files of the run when it is asked for, never from a results.json that may be old. Figures
are unrounded fractions. Questions, answers and completions of gated data sets are in no export.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from bitparity.errors import MissingDependencyError, RunError
from bitparity.report import markdown
from bitparity.report.export_samples import write_samples
from bitparity.report.model_card import model_cards
from bitparity.results import build as results
from bitparity.store.jsonl import write_atomically
from bitparity.store.run import Run

# the columns of CSV and Parquet, with their types: one row a benchmark and variant
COLUMNS: Mapping[str, type] = {
    **dict.fromkeys(("study", "fingerprint", "benchmark", "status", "reason", "metric"), str),
    **dict.fromkeys(("items", "available", "samples"), int),
    "margin": float,
    **dict.fromkeys(("variant", "role", "model", "revision"), str),
    **dict.fromkeys(("score", "score_low", "score_high", "no_answer", "cut_off"), float),
    **dict.fromkeys(("unscored", "output_tokens"), int),
    "seconds": float,
    "metrics": str,
    **dict.fromkeys(("difference", "difference_low", "difference_high", "p_value", "p_adjusted", "recovery"), float),
    **dict.fromkeys(("lost", "gained"), int),
    **dict.fromkeys(("test", "verdict", "invalid_by"), str),
}


def export(run: Run, form: str, out: Path | None = None) -> str | list[Path]:
    """Make one export.

    The text formats give their text where `out` is None; all others write to `out`, by default below the run's
    folder `export/`, and give the files. Raises RunError where the run cannot be read or the place not be written.
    """
    if form == "lm-eval":
        return write_samples(run, out or run.path / "export" / "lm-eval")
    found = results.build(run)
    if form == "parquet":
        path = out or run.path / "export" / "results.parquet"
        write_parquet(path, found)
        return [path]
    makers: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
        "csv": to_csv,
        "model-card": model_cards,
        "summary": markdown.summary,
    }
    text = makers[form](found)
    if out is None:
        return text
    write_atomically(out, [text])
    return [out]


def rows(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row a benchmark and variant; None where there is no figure."""
    for bench, entry in found["benchmarks"].items():
        for name, variant in found["variants"].items():
            row = {
                "study": found["study"]["name"],
                "fingerprint": found["study"]["fingerprint"],
                "benchmark": bench,
                "variant": name,
                "role": "baseline" if variant["baseline"] else "control" if variant.get("control") else "candidate",
                **{key: entry.get(key) for key in ("status", "reason", "metric", "items", "available", "samples")},
                "margin": entry["margin"],
                **{key: variant.get(key) for key in ("model", "revision")},
                **_score(entry.get("scores", {}).get(name)),
                **_comparison(entry.get("comparisons", {}).get(name)),
            }
            yield {column: row.get(column) for column in COLUMNS}


def _score(score: Mapping[str, Any] | None) -> dict[str, Any]:
    if score is None:
        return {}
    low, high = score["ci95"] or (None, None)
    kept = {key: score[key] for key in ("no_answer", "cut_off", "unscored", "output_tokens", "seconds")}
    metrics = json.dumps(score["metrics"], sort_keys=True)
    return {**kept, "score": score["mean"], "score_low": low, "score_high": high, "metrics": metrics}


def _comparison(comparison: Mapping[str, Any] | None) -> dict[str, Any]:
    if comparison is None:
        return {}
    keys = ("difference", "p_value", "p_adjusted", "recovery", "lost", "gained", "test", "verdict")
    low, high = comparison["ci95"]
    failed = ", ".join(comparison.get("invalid_by", [])) or None
    kept = {key: comparison[key] for key in keys}
    return {**kept, "difference_low": low, "difference_high": high, "invalid_by": failed}


def to_csv(found: Mapping[str, Any]) -> str:
    """The rows as CSV (RFC 4180, but for plain newlines) with a header; an empty field where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(found))
    return text.getvalue()


def write_parquet(path: Path, found: Mapping[str, Any]) -> None:
    """Write the rows as Parquet. Raises MissingDependencyError without pyarrow."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise MissingDependencyError("pyarrow", "hub", "the export as Parquet") from None
    kinds = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    schema = pyarrow.schema([(column, kinds[kind]) for column, kind in COLUMNS.items()])
    table = pyarrow.Table.from_pylist(list(rows(found)), schema=schema)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        pyarrow.parquet.write_table(table, part)
        part.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise RunError(f"{path} cannot be written ({error.strerror}); give another place with --out") from None
