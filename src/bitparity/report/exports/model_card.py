"""Model card of each candidate: `model-index` metadata as the Hugging Face Hub reads it, and a table for people.

One part for each candidate, the front matter and a section of its README.md. Only figures that stand for the whole
benchmark are in the metadata; what is left out, and why, stands in comments. The section has the decision, every
comparison with its verdict, and a link to report.html, which is to lie beside the card.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from bitparity.benchmarks.registry import benchmark_class
from bitparity.report.headline import Headline, headlines
from bitparity.report.language import hundredths, interval, margin
from bitparity.report.markdown import markdown_template
from bitparity.report.words import difference, score_beside, unmeasured, verdict_words
from bitparity.results.build import build
from bitparity.results.schema import Benchmark, Results
from bitparity.schema import LM_EVAL_PREFIX
from bitparity.store.run import Run

PAGE = "report.html"
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def make(run: Run, out: Path | None) -> str:
    """The cards of a run."""
    return model_cards(build(run))


def model_cards(results: Results) -> str:
    """A card for each candidate, or for the only variant."""
    blocks = {block.name: block for block in headlines(results)}
    return "\n".join(_card(name, results, blocks.get(name)) for name in described(results))


def described(results: Results) -> list[str]:
    """The variants that have a card."""
    return results.candidates or list(results.variants)[:1]


def public_name(name: str, results: Results) -> str:
    """The variant's model where that is an id of the Hub, and no path of this host; else the variant's name."""
    model = results.variants[name].model
    return model if HUB_ID.fullmatch(model) else name


def _card(name: str, results: Results, block: Headline | None) -> str:
    model = results.variants[name].model
    left_out, entries = [], []
    for bench, entry in results.benchmarks.items():
        if reason := unfit(name, entry):
            left_out.append(f"{bench} is left out: {reason}")
        else:
            entries.append(_entry(bench, name, entry))
    index = {"model-index": [{"name": model.rstrip("/").rsplit("/", 1)[-1], "results": entries}]} if entries else {}
    body = yaml.safe_dump(index, sort_keys=False, allow_unicode=True, width=1000)
    shown: dict[str, object] = {
        "name": _line(name),
        "model": _line(model),
        "left_out": left_out,
        "body": body,
        "block": block,
    }
    shown |= {"baseline": public_name(results.baseline, results), "rows": list(_rows(name, results))}
    return markdown_template(__package__, "model_card.md.j2").render(**shown, PAGE=PAGE)


def _rows(name: str, results: Results) -> Iterator[tuple[str, ...]]:
    """The lines of the table: benchmark, score, difference, margin, verdict."""
    for bench, entry in results.measured.items():
        if (found := entry.comparisons.get(name)) is not None:
            yield bench, score_beside(name, entry), difference(found), margin(entry.margin), _verdict(name, entry)


def _verdict(name: str, entry: Benchmark) -> str:
    comparison = entry.comparisons[name]
    said = verdict_words(comparison)
    if failed := comparison.invalid_by or comparison.doubted_by:
        said += f" ({', '.join(failed)})"
    return said if entry.items == entry.available else f"{said}; {entry.items:,} of {entry.available:,} items"


def _line(said: object) -> str:
    return " ".join(str(said).split())


def unfit(name: str, entry: Benchmark) -> str | None:
    """The reason why a score is not the benchmark's; None where it is."""
    if not entry.measured:
        return _line(unmeasured(entry))
    comparison = entry.comparisons.get(name)
    if comparison is not None and (stop := comparison.stopped) is not None:
        return f"it stopped after {stop.items:,} of {stop.of:,} items, whose score is not the benchmark's"
    if entry.scores[name].mean is None or entry.scores[name].unscored:
        return f"samples without a score: {entry.scores[name].unscored}"
    if entry.items < entry.available:
        return f"only {entry.items} of {entry.available} items were asked"
    failed = (comparison.invalid_by or comparison.doubted_by) if comparison else ()
    failed = failed or tuple(guard.name for guard in entry.guards if guard.forbids(name))
    return f"a guard calls it invalid ({', '.join(dict.fromkeys(failed))})" if failed else None


def _entry(bench: str, name: str, entry: Benchmark) -> dict[str, object]:
    score, comparison = entry.scores[name], entry.comparisons.get(name)
    shown = f"{entry.metric}, 95 % interval {interval(score.ci95, written=hundredths)}"
    if comparison is not None:
        shown += f"; against the baseline: {verdict_words(comparison)}"
    # the Hub knows pass@1 for programs' tests; all other primary metrics are accuracies
    metric = "pass@1" if "pass" in entry.metric else "accuracy"
    return {
        "task": {"type": "text-generation"},
        "dataset": dataset(bench, entry.data),
        "metrics": [{"type": metric, "value": round(100 * (score.mean or 0.0), 1), "name": shown}],
    }


def dataset(bench: str, data: Mapping[str, Any]) -> dict[str, str]:
    """The data set's name, its id on the Hub, configuration, split and commit, as far as they are known."""
    if bench.startswith(LM_EVAL_PREFIX):
        task: Mapping[str, Any] = next(iter((data.get("tasks") or {}).values()), {})
        name, place = bench.removeprefix(LM_EVAL_PREFIX), {"type": task.get("dataset") or bench}
        place |= {"config": task.get("config"), "split": task.get("split")}
    else:
        info = benchmark_class(bench).info
        name, place, source = info.title, {"type": bench}, info.source
        if source is not None:
            place = {"type": source.path, "config": source.config, "split": source.split}
            place["revision"] = data.get("revision")
    return {"name": name, **{key: value for key, value in place.items() if value is not None}}
