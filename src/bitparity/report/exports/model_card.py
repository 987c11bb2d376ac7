"""Figures of a checkpoint for its model card: `model-index` metadata as the Hugging Face Hub reads it.

One YAML block for each candidate, to be put into the front matter of its README.md. Only figures that stand for the
whole benchmark are in it; what is left out, and why, stands in comments.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bitparity.benchmarks.registry import benchmark_class
from bitparity.report.words import candidates, interval, verdict_words
from bitparity.results.build import build
from bitparity.results.guards.facts import forbids
from bitparity.schema import LM_EVAL_PREFIX
from bitparity.store.run import Run


def make(run: Run, out: Path | None) -> str:
    """The blocks of a run."""
    return model_cards(build(run).document())


def model_cards(results: Mapping[str, Any]) -> str:
    """A block for each candidate, or for the only variant."""
    names = candidates(results) or list(results["variants"])[:1]
    return "\n".join(_card(name, results) for name in names)


def _card(name: str, results: Mapping[str, Any]) -> str:
    variant = results["variants"][name]
    left_out, entries = [], []
    for bench, entry in results["benchmarks"].items():
        if reason := _unfit(name, entry):
            left_out.append(f"# {bench} is left out: {reason}")
        else:
            entries.append(_entry(bench, name, entry))
    head = [f"# {_line(name)}: the model card of {_line(variant['model'])}"]
    index = {"model-index": [{"name": str(variant["model"]).rstrip("/").rsplit("/", 1)[-1], "results": entries}]}
    body = yaml.safe_dump(index, sort_keys=False, allow_unicode=True, width=1000) if entries else ""
    return "\n".join([*head, *left_out, body])


def _line(said: object) -> str:
    return " ".join(str(said).split())


def _unfit(name: str, entry: Mapping[str, Any]) -> str | None:
    """Why a score is not the benchmark's; None where it is."""
    if entry["status"] == "not_run":
        return f"not run ({_line(entry['reason'])})"
    if entry["scores"][name]["mean"] is None or entry["scores"][name]["unscored"]:
        return f"samples without a score: {entry['scores'][name]['unscored']}"
    if entry["items"] < entry["available"]:
        return f"only {entry['items']} of {entry['available']} items were asked"
    failed = entry["comparisons"].get(name, {}).get("invalid_by") or [
        guard["name"] for guard in entry["guards"] if forbids(guard, name)
    ]
    return f"a guard calls it invalid ({', '.join(dict.fromkeys(failed))})" if failed else None


def _entry(bench: str, name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    score, comparison = entry["scores"][name], entry["comparisons"].get(name)
    shown = f"{entry['metric']}, 95 % interval {interval(score['ci95'], signed=False)}"
    if comparison is not None:
        shown += f"; against the baseline: {verdict_words(comparison)}"
    metric = {"type": _metric_type(entry["metric"]), "value": round(100 * score["mean"], 1), "name": shown}
    return {
        "task": {"type": "text-generation"},
        "dataset": _dataset(bench, entry.get("data") or {}),
        "metrics": [metric],
    }


def _metric_type(metric: str) -> str:
    """A metric's name on the Hub: that of a program's tests, else accuracy, which all other primary metrics are."""
    return "pass@1" if "pass" in metric else "accuracy"


def _dataset(bench: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The data set's name, its id on the Hub, configuration, split and commit, as far as they are known."""
    if bench.startswith(LM_EVAL_PREFIX):
        task: Mapping[str, Any] = next(iter((data.get("tasks") or {}).values()), {})
        found = {"type": task.get("dataset") or bench, "config": task.get("config"), "split": task.get("split")}
        return {"name": bench.removeprefix(LM_EVAL_PREFIX), **_known(found)}
    info = benchmark_class(bench).info
    source = info.source
    if source is None:
        return {"name": info.title, "type": bench}
    place = {"type": source.path, "config": source.config, "split": source.split, "revision": data.get("revision")}
    return {"name": info.title, **_known(place)}


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
