"""Rows of the tables that stand in more than one report: graders, programs, guards, speed and memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bitparity.report.language import Lang, text
from bitparity.report.words import percent
from bitparity.results.schema import Results, VariantEntry


class GraderRow(NamedTuple):
    """The means of one grader, by variant (None where it scored nothing); `primary`: its score is the benchmark's."""

    benchmark: str
    metric: str
    primary: bool
    means: Sequence[float | None]


def grader_rows(results: Results) -> Iterator[GraderRow]:
    """The rows of every measured benchmark that has more than one grader, the primary one first."""
    for bench, entry in results.measured.items():
        scores = [entry.scores[variant].metrics for variant in results.variants]
        metrics = sorted({metric for said in scores for metric in said}, key=lambda m: (m != entry.metric, m))
        if len(metrics) > 1:
            for metric in metrics:
                yield GraderRow(bench, metric, metric == entry.metric, [said.get(metric) for said in scores])


def program_rows(results: Results, lang: Lang = "en") -> Iterator[tuple[str, str, str, str, str]]:
    """For benchmarks that run code: benchmark, variant, sandbox, how programs ended, rates over several items."""
    for bench, entry in results.measured.items():
        for name in results.variants if entry.verdicts else ():
            ends = [f"{verdict.replace('_', ' ')} {count}" for verdict, count in entry.verdicts[name].items()]
            rates = [f"{key.replace('_', ' ')} {percent(rate, lang)}" for key, rate in entry.rates[name].items()]
            sandbox = (entry.execution[name] or {}).get("level", "")
            yield bench, name, str(sandbox), "; ".join(ends), "; ".join(rates)


def speed_rows(results: Results, lang: Lang = "en") -> Iterator[tuple[str, str, str, str, str]]:
    """Each variant's output tokens a second and GB of weights, both also as times the baseline's.

    None where nothing is known of speed or memory.
    """
    base = results.variants[results.baseline]
    if not any(rate(variant) or weights_gb(variant) for variant in results.variants.values()):
        return
    for name, variant in results.variants.items():
        fast, size = rate(variant), weights_gb(variant)
        unknown = text("speed.recorded" if _recorded(variant) else "speed.unknown", lang)
        yield (
            name,
            unknown if fast is None else f"{fast:,.0f}",
            _times(fast, rate(base)) or text("dash", lang),
            text("speed.unknown", lang) if size is None else f"{size:.2f}",
            _times(size, weights_gb(base)) or text("dash", lang),
        )


def gain(candidate: str, results: Results, lang: Lang = "en") -> str:
    """A candidate's speed and size against the baseline, in words; empty where neither is known."""
    base, variant = results.variants[results.baseline], results.variants[candidate]
    times = {"gain.rate": _times(rate(variant), rate(base))}
    times["gain.weights"] = _times(weights_gb(variant), weights_gb(base))
    return text("pause", lang).join(text(key, lang, times=value) for key, value in times.items() if value)


def rate(variant: VariantEntry) -> float | None:
    """Output tokens a second over all of a variant's generation; None where none was timed, as with recordings."""
    timed = variant.generation
    # a replay reads recorded answers from disk: its seconds say nothing of a model
    if timed is None or _recorded(variant) or not timed.seconds or not timed.output_tokens:
        return None
    return timed.output_tokens / timed.seconds


def weights_gb(variant: VariantEntry) -> float | None:
    """The size of a checkpoint's weight files in GB (10^9 bytes); None where it is not known."""
    weights = (variant.identity or {}).get("weights")
    size = weights.get("bytes") if isinstance(weights, dict) else None
    return size / 1e9 if isinstance(size, int) and size > 0 else None


def _recorded(variant: VariantEntry) -> bool:
    return (variant.engine or {}).get("engine") == "replay"


def _times(value: float | None, base: float | None) -> str:
    return "" if value is None or base is None else f"{value / base:.2f}"
