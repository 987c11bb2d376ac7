"""Figures and verdicts in words: the one place where fractions become points that people read.

The words themselves are in `language`; every function takes the language, English unless told otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bitparity.report.language import Lang, text


def verdict_words(comparison: Mapping[str, Any], lang: Lang = "en") -> str:
    """A verdict as people read it; a loss that is shown but whose size straddles the margin says so."""
    verdict = comparison["verdict"]
    unclear = verdict == "inconclusive" and comparison["loss_shown"]
    return text("worse_size_unclear" if unclear else verdict, lang)


def percent(value: float | None, digits: int = 1, lang: Lang = "en") -> str:
    """A fraction as a percentage; a dash where there is none."""
    return text("dash", lang) if value is None else text("percent", lang, value=f"{100 * value:.{digits}f}")


def points(value: float | None) -> str:
    """A difference in points with its sign."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def interval(bounds: Sequence[float] | None, signed: bool = True, lang: Lang = "en") -> str:
    """An interval in points, or in per cent where it is not signed."""
    if bounds is None:
        return text("dash", lang)
    low, high = (points(bound) if signed else f"{100 * bound:.1f}" for bound in bounds)
    return text("range", lang, low=low, high=high)


def score(found: Mapping[str, Any], lang: Lang = "en") -> str:
    """One variant's score with its interval; N/A where there is none."""
    if found["mean"] is None:
        return text("not_available", lang)
    shown = percent(found["mean"], lang=lang)
    return text("score_and_interval", lang, score=shown, interval=interval(found["ci95"], signed=False, lang=lang))


def margin(value: float, lang: Lang = "en") -> str:
    """A margin in points."""
    return text("one_point" if value == 0.01 else "points", lang, value=f"{100 * value:g}")


def sentence(candidate: str, results: Mapping[str, Any], lang: Lang = "en") -> str:
    """What is known of one candidate, in one plain sentence over all its benchmarks.

    Losses come first, each with its figures. What can be said alike of several benchmarks is said once, of all of them.
    """
    compared = {
        bench: (entry["comparisons"][candidate], entry["margin"])
        for bench, entry in results["benchmarks"].items()
        if candidate in entry.get("comparisons", {})
    }
    groups: dict[tuple[int, object], list[str]] = {}
    for bench, (comparison, allowed) in compared.items():
        groups.setdefault(_alike(bench, comparison, allowed), []).append(bench)
    said = []
    for (rank, _), names in sorted(groups.items(), key=lambda group: group[0][0]):
        if len(names) == 1:
            said.append(clause(*compared[names[0]], lang, names[0]))
        else:
            said.append(_clause_of_several(rank, names, compared[names[0]][1], len(compared), lang))
    whole = text("separator", lang).join(said) or text("nothing_compared", lang)
    return text("full_stop", lang, said=text("colon", lang, name=candidate, said=whole))


_BEYOND, _UNCLEAR, _WITHIN, _OPEN, _NO_LOSS, _INVALID = range(6)  # the order in which a sentence says them


def _alike(bench: str, comparison: Mapping[str, Any], allowed: float) -> tuple[int, object]:
    """What a benchmark's clause is grouped by: its rank, and what else must be the same."""
    verdict = comparison["verdict"]
    if verdict == "invalid":
        return _INVALID, None
    if comparison["loss_shown"]:
        return {"worse_beyond_margin": _BEYOND, "worse_within_margin": _WITHIN}.get(verdict, _UNCLEAR), bench
    if verdict in ("equivalent", "non_inferior"):
        return _NO_LOSS, allowed
    return _OPEN, None


def _clause_of_several(rank: int, names: Sequence[str], allowed: float, of: int, lang: Lang) -> str:
    """What is known alike of several benchmarks; `of` is how many were compared."""
    if len(names) == of:
        where = text("on_all", lang, count=of)
    else:
        where = text("on", lang, bench=text("comma", lang).join(names[:-1]) + text("and", lang) + names[-1])
    if rank == _NO_LOSS:
        return text("clause.no_loss", lang, where=where, margin=margin(allowed, lang))
    return text("clause.invalid" if rank == _INVALID else "clause.inconclusive_several", lang, where=where)


def candidates(results: Mapping[str, Any]) -> list[str]:
    """The variants that are compared with the baseline; the control is none of them."""
    return [name for name, v in results["variants"].items() if not v["baseline"] and not v.get("control")]


def noise(results: Mapping[str, Any], lang: Lang = "en") -> str:
    """What is known of the noise floor: how many answers flip when the baseline runs a second time."""
    control = next((name for name, v in results["variants"].items() if v.get("control")), None)
    if control is None:
        return text("noise.unknown", lang)
    said = []
    for bench, entry in results["benchmarks"].items():
        c = entry.get("comparisons", {}).get(control)
        if c is not None:
            shown = {"difference": points(c["difference"]), "interval": interval(c["ci95"], lang=lang)}
            flips = c["lost"] + c["gained"]
            said.append(text("noise.bench", lang, bench=bench, flips=flips, items=c["items"], **shown))
    whole = text("separator", lang).join(said) or text("nothing_compared", lang)
    return text("noise", lang, control=control, said=whole)


def clause(comparison: Mapping[str, Any], allowed: float, lang: Lang = "en", bench: str | None = None) -> str:
    """What is known of one candidate on one benchmark, which is named where it is given; `allowed` is the margin."""
    verdict = comparison["verdict"]
    where = "" if bench is None else text("on", lang, bench=bench)
    limit = margin(allowed, lang)
    if verdict == "invalid":
        return text("clause.invalid", lang, where=where)
    if comparison["loss_shown"]:
        low, high = comparison["ci95"]
        lost, least, most = (f"{100 * value:.1f}" for value in (-comparison["difference"], -high, -low))
        key = "inconclusive_loss" if verdict == "inconclusive" else verdict
        return text(f"clause.{key}", lang, where=where, lost=lost, least=least, most=most, margin=limit)
    if verdict in ("equivalent", "non_inferior"):
        return text("clause.no_loss" if where else "clause.no_loss_here", lang, where=where, margin=limit)
    shown = {"difference": points(comparison["difference"]), "interval": interval(comparison["ci95"], lang=lang)}
    return text("clause.inconclusive", lang, where=where, margin=limit, **shown)


def p_value(value: float | None) -> str:
    """A p-value as people write it."""
    if value is None:
        return "–"
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def engine(facts: Mapping[str, Any] | None, lang: Lang = "en") -> str:
    """What ran, in one line: engine and version, device, number types, quantization, kernels."""
    if not facts:
        return text("not_run", lang)
    said = [f"{facts['engine']} {facts['version']}"]
    if device := facts.get("device_name") or facts.get("device"):
        said.append(str(device))
    if dtype := facts.get("dtype"):
        said.append(str(dtype))
    quantization = facts.get("quantization")
    if "quantization" in facts and not quantization:
        said.append(text("not_quantized", lang))
    for part in ("weights", "activations"):
        if quantization and quantization.get(part):
            shown = quantization[part]
            said.append(text(part, lang, shown="; ".join(shown) if isinstance(shown, list) else shown))
    if kernels := facts.get("linear_kernels"):
        said.append(text("kernels", lang, shown=", ".join(f"{name} x {count}" for name, count in kernels.items())))
    if facts.get("trust_remote_code"):
        said.append(text("remote_code", lang))
    return text("comma", lang).join(said)
