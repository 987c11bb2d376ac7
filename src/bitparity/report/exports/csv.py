"""Results as one flat table in CSV: a row for each benchmark and variant."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitparity.results.build import build
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


def make(run: Run, out: Path | None) -> str:
    """The rows as CSV (RFC 4180, but for plain newlines) with a header; an empty field where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(build(run).document()))
    return text.getvalue()


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
