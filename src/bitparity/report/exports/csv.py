"""Results as one flat table in CSV: a row for each benchmark and variant."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from bitparity.inputs.packaged import packaged_toml
from bitparity.results.build import build
from bitparity.results.decision import decisions
from bitparity.results.schema import Comparison, Decision, Results, Score
from bitparity.store.document import Part
from bitparity.store.run import Run

Figure = str | int | float | None

COLUMNS: Mapping[str, str] = packaged_toml(__package__, "columns.toml")  # each with the type of its values


def make(run: Run, out: Path | None) -> str:
    """The rows as CSV (RFC 4180, but for plain newlines) with a header; an empty field where there is no figure."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows(build(run)))
    return text.getvalue()


def rows(results: Results) -> Iterator[dict[str, Figure]]:
    """One row a benchmark and variant; None where there is no figure."""
    decided = decisions(results)
    for bench, entry in results.benchmarks.items():
        for name, variant in results.variants.items():
            row: dict[str, Figure] = {"benchmark": bench, "variant": name, "role": variant.role}
            row |= {"study": results.study.name, "fingerprint": results.study.fingerprint}
            row |= _comparison(entry.comparisons.get(name))
            # after the comparison, whose items are those compared, not those asked
            row |= _fields(entry) | _fields(variant) | _score(entry.scores.get(name))
            row |= _decision(bench, decided.get(name)) | _distance(bench, name, results)
            yield {column: row.get(column) for column in COLUMNS}


def _fields(part: Part) -> dict[str, Figure]:
    """The fields of a part of results.json that are columns, where they were given."""
    return {key: getattr(part, key) for key in COLUMNS if key in part.model_fields_set}


def _score(score: Score | None) -> dict[str, Figure]:
    if score is None:
        return {}
    low, high = score.ci95 or (None, None)
    metrics = json.dumps(score.metrics, sort_keys=True)  # sorted: equal figures give equal files
    return {**_fields(score), "score": score.mean, "score_low": low, "score_high": high, "metrics": metrics}


def _decision(bench: str, decision: Decision | None) -> dict[str, Figure]:
    if decision is None:
        return {}
    found = next((each for each in decision.findings if each.benchmark == bench), None)
    standing, up_to = ("fine", None) if found is None else (found.standing, found.up_to)
    return {"decision": decision.decision, "standing": standing, "up_to": up_to}


def _distance(bench: str, name: str, results: Results) -> dict[str, Figure]:
    """The distance on a benchmark; the baseline's is the noise floor, its second reading of its own answers."""
    if (distance := results.distance) is None:
        return {}
    read = distance.noise_floor if results.variants[name].baseline else distance.variants.get(name)
    if read is None or (found := read.benchmarks.get(bench)) is None:
        return {}
    low, high = found.divergence.ci95 or (None, None)
    more = {"likeliest_differs": found.differs.value, "perplexity_ratio": found.perplexity_ratio.value}
    return {"kl": found.divergence.value, "kl_low": low, "kl_high": high, **more}


def _comparison(comparison: Comparison | None) -> dict[str, Figure]:
    if comparison is None:
        return {}
    low, high = comparison.ci95
    failed = ", ".join(comparison.invalid_by) or None
    return {**_fields(comparison), "difference_low": low, "difference_high": high, "invalid_by": failed}
