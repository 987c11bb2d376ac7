"""Verdicts and figures in words: fractions become points and per cent here and nowhere else.

The words themselves are in `language`; every function takes the language, English unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from bitparity.compare import schema as compare
from bitparity.report.language import Lang, guard_title, reason, text
from bitparity.results.schema import Benchmark, Comparison, Overall, Part, Results, Score
from bitparity.results.verdicts import AT_THE_BUDGET

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
        names = text("comma", lang).join(comparison.hidden)
        return text("not_hidden", lang, verdict=said, names=names)
    if isinstance(comparison, Comparison) and (stop := comparison.stopped) is not None:
        said = text("verdict_stopped", lang, verdict=said, items=f"{stop.items:,}", of=f"{stop.of:,}")
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


def percent(value: float | None, lang: Lang = "en") -> str:
    """A fraction as a percentage; a dash where there is none."""
    return text("dash", lang) if value is None else text("percent", lang, value=f"{100 * value:.1f}")


def points(value: float | None) -> str:
    """A difference in points with its sign."""
    # a true minus sign: a hyphen may break the line after it
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def interval(bounds: Sequence[float] | None, signed: bool = True, lang: Lang = "en") -> str:
    """An interval in points, or in per cent where it is not signed."""
    if bounds is None:
        return text("dash", lang)
    low, high = (points(bound) if signed else f"{100 * bound:.1f}" for bound in bounds)
    return text("range", lang, low=low, high=high)


def with_interval(value: float, bounds: Sequence[float] | None, written: Callable[[float], str], lang: Lang) -> str:
    """A figure with its interval, where it has one, as `written` writes each."""
    if bounds is None:
        return written(value)
    low, high = map(written, bounds)
    return text("score_and_interval", lang, score=written(value), interval=text("range", lang, low=low, high=high))


def score(found: Score, lang: Lang = "en") -> str:
    """One variant's score with its interval; N/A where there is none."""
    return mean_score(found.mean, found.ci95, lang)


def score_beside(variant: str, entry: Benchmark, lang: Lang = "en") -> str:
    """One variant's score on a benchmark; after a stop beside the baseline's on the same questions."""
    comparison = entry.comparisons.get(variant)
    if comparison is None or (stop := comparison.stopped) is None:
        return score(entry.scores[variant], lang)
    shown = {"score": percent(stop.candidate, lang), "baseline": percent(stop.baseline, lang)}
    return text("score_stopped", lang, items=f"{stop.items:,}", of=f"{stop.of:,}", **shown)


def mean_score(value: float | None, bounds: Sequence[float] | None, lang: Lang = "en") -> str:
    """A mean score with its interval, all fractions; N/A where there is none."""
    if value is None:
        return text("not_available", lang)
    shown = interval(bounds, signed=False, lang=lang)
    return text("score_and_interval", lang, score=percent(value, lang), interval=shown)


def difference(comparison: Judged, lang: Lang = "en") -> str:
    """A difference in points with its interval."""
    return with_interval(comparison.difference, comparison.ci95, points, lang)


def margin(value: float, lang: Lang = "en") -> str:
    """A margin in points."""
    return text("one_point" if value == 0.01 else "points", lang, value=f"{round(100 * value, 2):g}")


def loss(value: float, lang: Lang = "en") -> str:
    """A loss in points, without a sign."""
    return text("points", lang, value=f"{100 * value:.1f}")


def duration(hours: float, lang: Lang = "en") -> str:
    """A time, below an hour in minutes."""
    if hours >= 1:
        return text("time.hours", lang, hours=f"{hours:.1f}")
    return text("time.minutes", lang, minutes=f"{60 * hours:.0f}") if hours >= 1 / 60 else text("time.soon", lang)


def guards(names: Iterable[str], lang: Lang = "en") -> str:
    """Guards by their titles, each once."""
    return text("comma", lang).join(guard_title(name, lang) for name in dict.fromkeys(names))


def p_value(value: float | None) -> str:
    """A p-value as people write it."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


# a comparison's figures by the key of their column's title
_FIGURES: Mapping[str, Callable[[Any, Lang], str]] = {
    "benchmarks": lambda c, lang: text("of", lang, count=len(c.benchmarks), of=c.of or len(c.benchmarks)),
    "items": lambda c, lang: f"{c.items:,}",
    "baseline": lambda c, lang: percent(c.baseline, lang),
    "candidate": lambda c, lang: percent(c.candidate, lang),
    "difference": lambda c, lang: points(c.difference),
    "difference_points": lambda c, lang: points(c.difference),
    "interval": lambda c, lang: interval(c.ci95, lang=lang),
    "lost_gained": lambda c, lang: f"{c.lost} / {c.gained}",
    "p": lambda c, lang: p_value(c.p_value),
    "p_holm": lambda c, lang: p_value(c.p_adjusted),
    "recovery": lambda c, lang: percent(c.recovery, lang),
}


def figures(comparison: Part, keys: str, lang: Lang = "en") -> list[str]:
    """The figures of a comparison for columns, whose keys are those of their titles in `language`, parted by blanks."""
    return [_FIGURES[key](comparison, lang) for key in keys.split()]


def _clause_key(comparison: Judged) -> str:
    if (found := tone(comparison)) == "loss":
        return "inconclusive_loss" if comparison.verdict == "inconclusive" else comparison.verdict
    return {"fine": "no_loss", "open": "inconclusive", "invalid": "invalid"}[found]


def clause(comparison: Judged, allowed: float, lang: Lang = "en") -> str:
    """The result of one candidate on one benchmark, which is not named; `allowed` is the margin, a fraction."""
    key = _clause_key(comparison)
    stop = comparison.stopped if isinstance(comparison, Comparison) else None
    if stop and key == "no_loss":
        key = "no_loss_stopped"
    low, high = comparison.ci95
    lost, least, most = (f"{100 * value:.1f}" for value in (-comparison.difference, -high, -low))
    figures = {"lost": lost, "least": least, "most": most, "margin": margin(allowed, lang)}
    figures |= {"difference": points(comparison.difference), "interval": interval(comparison.ci95, lang=lang)}
    said = text(f"clause.{key}", lang, **figures)
    return text("stopped_after", lang, items=f"{stop.items:,}", of=f"{stop.of:,}", said=said) if stop else said


def noise(results: Results | compare.Outcome, lang: Lang = "en") -> str:
    """The noise floor in a sentence: how many answers flip when the baseline runs a second time, or if any differs."""
    if results.control is None:
        return _spot_check(results, lang) or text("noise.unknown", lang)
    said = []
    for bench, entry in results.benchmarks.items():
        if (c := entry.comparisons.get(results.control)) is not None:
            shown = {"difference": points(c.difference), "interval": interval(c.ci95, lang=lang)}
            flips = f"{c.lost + c.gained:,}"
            said.append(text("noise.bench", lang, bench=bench, flips=flips, items=f"{c.items:,}", **shown))
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
    figures = {
        "control": next(iter(checks.values())).variant,
        "same": answered - sum(differing.values()),
        "answered": answered,
        "asked": sum(check.asked for check in checks.values()),
        "where": text("comma", lang).join(f"{bench} {count}" for bench, count in differing.items()),
    }
    return text("spot_check.differs" if differing else "spot_check.same", lang, **figures)


def short_noise(results: Results, lang: Lang = "en") -> str:
    """The noise floor in few words: the least and the most that flips on one benchmark."""
    found = [entry.comparisons.get(results.control or "") for entry in results.benchmarks.values()]
    flips = [(c.lost + c.gained) / c.items for c in found if c is not None]
    if not flips:
        return _spot_check(results, lang)
    return text("noise.short", lang, least=percent(min(flips), lang), most=percent(max(flips), lang))


def _reference(results: Results | compare.Outcome, lang: Lang) -> str:
    """The runs of the baseline that the differences are from, in sentences; empty where that is no choice."""
    benches: dict[int, list[str]] = {}
    for bench, entry in results.benchmarks.items():
        counts = {len(c.reference) for c in entry.comparisons.values() if c.reference}
        if counts:
            benches.setdefault(min(counts), []).append(bench)
    listed = {runs: text("comma", lang).join(names) for runs, names in benches.items()}
    said = [text(f"reference.{runs}", lang, benches=listed[runs]) for runs in sorted(listed, reverse=True)]
    return "".join(said)


def unmeasured(entry: Benchmark, lang: Lang = "en") -> str:
    """Why a benchmark has no score: not run, or answered and not graded, with the reason."""
    return text("fill.not_graded" if entry.answered else "fill.not_run", lang, reason=reason(entry.reason, lang))


def engine(facts: Mapping[str, Any] | None, lang: Lang = "en") -> str:
    """The facts of an engine in one line: engine and version, device, number types, quantization, kernels."""
    if not facts:
        return text("not_run", lang)
    said = [f"{facts.get('engine', '')} {facts.get('version') or ''}".strip()]
    said += [str(fact) for fact in (facts.get("device_name") or facts.get("device"), facts.get("dtype")) if fact]
    quantization = facts.get("quantization") or {}
    if "quantization" in facts and not quantization:
        said.append(text("not_quantized", lang))
    for part in ("weights", "activations"):
        if shown := quantization.get(part):
            said.append(text(part, lang, shown="; ".join(shown) if isinstance(shown, list) else _counted(shown)))
    if kernels := facts.get("linear_kernels"):
        said.append(text("kernels", lang, shown=_counted(kernels)))
    if facts.get("trust_remote_code"):
        said.append(text("remote_code", lang))
    return text("comma", lang).join(said)


def _counted(found: object) -> str:
    """Names with how often each was seen; anything else as it is."""
    return ", ".join(f"{name} x {n}" for name, n in found.items()) if isinstance(found, Mapping) else str(found)
