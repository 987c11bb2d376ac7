"""Verdicts, scores and conditions in words; the words themselves, and how figures are written, are in `language`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bitparity.compare import schema as compare
from bitparity.report.language import Lang, beside, hundredths, interval, percent, points, text
from bitparity.results.schema import Benchmark, Comparison, Overall, Results, Score
from bitparity.results.verdicts import AT_THE_BUDGET
from bitparity.store.document import Part

Tone = Literal["loss", "fine", "open", "invalid"]


# a difference from the baseline with its verdict: of a run or of `compare`, on one benchmark or on several
Judged = Comparison | Overall | compare.Comparison | compare.Overall


def verdict_words(comparison: Judged, lang: Lang = "en") -> str:
    """A verdict as people read it; a loss that is shown but whose size straddles the margin says so.

    The control has no verdict: its difference is the noise floor.
    """
    if getattr(comparison, "control", False):
        return text("noise_floor", lang)
    said = text(_verdict_key(comparison), lang)
    if isinstance(comparison, Overall) and comparison.hidden and not comparison.loss_shown:
        return text("not_hidden", lang, verdict=said, names=comparison.hidden)
    if isinstance(comparison, Comparison) and comparison.stopped is not None:
        said = text("verdict_stopped", lang, verdict=said, stop=comparison.stopped)
    doubted_by, bound = getattr(comparison, "doubted_by", ()), getattr(comparison, "bound_ci95", None)
    if not doubted_by:
        return said
    certain = not AT_THE_BUDGET.issuperset(doubted_by) or (bound is not None and bound[1] < 0)
    return text("doubted" if certain else "doubted_at_budget", lang, verdict=said)


def _verdict_key(comparison: Judged) -> str:
    """An interval without zero is never called "cannot tell": the headline says what is missing."""
    if comparison.verdict != "inconclusive":
        return comparison.verdict
    if comparison.loss_shown:
        return "worse_size_unclear"
    low, high = comparison.ci95
    return "lower_not_shown" if high < 0 else "higher_not_shown" if low > 0 else "inconclusive"


def tone(comparison: Judged) -> Tone:
    """The gravity of a verdict, for colours: a loss is shown, no loss beyond the margin, open, or invalid."""
    if comparison.verdict == "invalid":
        return "invalid"
    if comparison.loss_shown:
        return "loss"
    return "fine" if comparison.verdict in ("equivalent", "non_inferior") else "open"


def score(found: Score, lang: Lang = "en") -> str:
    """One variant's score with its interval; N/A where there is none."""
    return mean_score(found.mean, found.ci95, lang)


def score_beside(variant: str, entry: Benchmark, lang: Lang = "en") -> str:
    """One variant's score on a benchmark; after a stop beside the baseline's on the same questions."""
    comparison = entry.comparisons.get(variant)
    if comparison is None or comparison.stopped is None:
        return score(entry.scores[variant], lang)
    return text("score_stopped", lang, stop=comparison.stopped)


def mean_score(value: float | None, bounds: Sequence[float] | None, lang: Lang = "en") -> str:
    """A mean score with its interval, all fractions; N/A where there is none."""
    if value is None:
        return text("not_available", lang)
    return beside(percent(value, lang), interval(bounds, lang, hundredths), lang)


def difference(comparison: Judged, lang: Lang = "en") -> str:
    """A difference in points with its interval."""
    return beside(points(comparison.difference), interval(comparison.ci95, lang), lang)


def figures(comparison: Part, keys: str, lang: Lang = "en") -> list[str]:
    """The figures of a comparison for columns, whose keys are those of their titles in `language`, parted by blanks."""
    used = getattr(comparison, "benchmarks", ())
    of = getattr(comparison, "of", None) or len(used)
    return [text(f"figure.{key}", lang, c=comparison, count=len(used), of=of) for key in keys.split()]


def clause(comparison: Judged, allowed: float, lang: Lang = "en") -> str:
    """The result of one candidate on one benchmark, which is not named; `allowed` is the margin, a fraction."""
    stop = comparison.stopped if isinstance(comparison, Comparison) else None
    key: str = comparison.verdict
    if (found := tone(comparison)) == "loss":
        key = "inconclusive_loss" if key == "inconclusive" else key
    elif found == "fine":
        key = "no_loss_stopped" if stop else "no_loss"
    elif found == "open":
        key = "inconclusive"
    said = text(f"clause.{key}", lang, c=comparison, margin=allowed)
    return text("stopped_after", lang, stop=stop, said=said) if stop else said


def noise(results: Results | compare.Outcome, lang: Lang = "en") -> str:
    """The noise floor in a sentence: how many answers flip when the baseline runs a second time, or if any differs."""
    if results.control is None:
        return _spot_check(results, lang) or text("noise.unknown", lang)
    found = {bench: entry.comparisons.get(results.control) for bench, entry in results.benchmarks.items()}
    said = [
        text("noise.bench", lang, bench=bench, flips=c.lost + c.gained, c=c)
        for bench, c in found.items()
        if c is not None
    ]
    whole = text("separator", lang).join(said) or text("nothing_compared", lang)
    return text("noise", lang, control=results.control, said=whole) + _reference(results, lang)


def _spot_check(results: Results | compare.Outcome, lang: Lang) -> str:
    """The outcome of a spot check in sentences; empty where there is none."""
    entries = results.benchmarks.items() if isinstance(results, Results) else ()
    checks = {bench: entry.spot_check for bench, entry in entries if entry.spot_check is not None}
    if not checks:
        return ""
    differing = {bench: len(check.differing) for bench, check in checks.items() if check.differing}
    answered = sum(check.answered for check in checks.values())
    return text(
        "spot_check.differs" if differing else "spot_check.same",
        lang,
        control=next(iter(checks.values())).variant,
        same=answered - sum(differing.values()),
        answered=answered,
        asked=sum(check.asked for check in checks.values()),
        where=[f"{bench} {count}" for bench, count in differing.items()],
    )


def short_noise(results: Results, lang: Lang = "en") -> str:
    """The noise floor in few words: the least and the most that flips on one benchmark."""
    found = [entry.comparisons.get(results.control or "") for entry in results.benchmarks.values()]
    flips = [(c.lost + c.gained) / c.items for c in found if c is not None]
    return text("noise.short", lang, least=min(flips), most=max(flips)) if flips else _spot_check(results, lang)


def _reference(results: Results | compare.Outcome, lang: Lang) -> str:
    """The runs of the baseline that the differences are from, in sentences; empty where that is no choice."""
    benches: dict[int, list[str]] = {}
    for bench, entry in results.benchmarks.items():
        counts = {len(c.reference) for c in entry.comparisons.values() if c.reference}
        if counts:
            benches.setdefault(min(counts), []).append(bench)
    return "".join(text(f"reference.{runs}", lang, benches=benches[runs]) for runs in sorted(benches, reverse=True))


def unmeasured(entry: Benchmark, lang: Lang = "en") -> str:
    """Why a benchmark has no score: not run, or answered and not graded, with the reason."""
    return text("fill.not_graded" if entry.answered else "fill.not_run", lang, reason=entry.reason)


def engine(facts: Mapping[str, Any] | None, lang: Lang = "en") -> str:
    """The facts of an engine in one line: engine and version, device, number types, quantization, kernels."""
    if not facts:
        return text("not_run", lang)
    said = [f"{facts.get('engine', '')} {facts.get('version') or ''}".strip()]
    said += [str(fact) for fact in (facts.get("device_name") or facts.get("device"), facts.get("dtype")) if fact]
    quantization = facts.get("quantization") or {}
    if "quantization" in facts and not quantization:
        said.append(text("not_quantized", lang))
    shown = {key: quantization.get(key) for key in ("weights", "activations")} | {
        "kernels": facts.get("linear_kernels")
    }
    said += [text(key, lang, shown=_counted(found)) for key, found in shown.items() if found]
    if facts.get("trust_remote_code"):
        said.append(text("remote_code", lang))
    return text("comma", lang).join(said)


def _counted(found: object) -> str:
    """Names with how often each was seen, or a list of what was seen; anything else as it is."""
    if isinstance(found, Mapping):
        return ", ".join(f"{name} x {n}" for name, n in found.items())
    return "; ".join(found) if isinstance(found, list) else str(found)
