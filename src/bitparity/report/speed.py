"""What the smaller format gives back: output tokens a second and the size of the weights, beside the loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from bitparity.report.language import Lang, text


def rate(variant: Mapping[str, Any]) -> float | None:
    """Output tokens a second over all of a variant's generation; None where none was timed, as with recordings."""
    timed, engine = variant.get("generation"), variant.get("engine") or {}
    if not timed or engine.get("engine") == "replay" or not timed["seconds"] or not timed["output_tokens"]:
        return None
    return float(timed["output_tokens"] / timed["seconds"])


def weights_gb(variant: Mapping[str, Any]) -> float | None:
    """The size of a checkpoint's weight files in GB (10^9 bytes); None where it is not known."""
    weights = (variant.get("identity") or {}).get("weights")
    size = weights.get("bytes") if isinstance(weights, Mapping) else None
    return size / 1e9 if isinstance(size, int) and size > 0 else None


class SpeedRow(NamedTuple):
    """A variant's figures in words: output tokens a second and GB of weights, each also as times the baseline's."""

    variant: str
    rate: str
    times: str
    weights: str
    weights_times: str


def speed_rows(results: Mapping[str, Any], lang: Lang = "en") -> Iterator[SpeedRow]:
    """One row a variant."""
    base = _baseline(results)
    for name, variant in results["variants"].items():
        recorded = (variant.get("engine") or {}).get("engine") == "replay"
        unknown = text("speed.recorded" if recorded else "speed.unknown", lang)
        fast, size = rate(variant), weights_gb(variant)
        yield SpeedRow(
            name,
            unknown if fast is None else f"{fast:,.0f}",
            _times(fast, rate(base)) or text("dash", lang),
            text("speed.unknown", lang) if size is None else f"{size:.2f}",
            _times(size, weights_gb(base)) or text("dash", lang),
        )


def speed_known(results: Mapping[str, Any]) -> bool:
    """Whether there is anything to say of speed or memory."""
    return any(rate(v) is not None or weights_gb(v) is not None for v in results["variants"].values())


def gain(candidate: str, results: Mapping[str, Any], lang: Lang = "en") -> str:
    """What a candidate gives back against the baseline, in words; empty where nothing is known."""
    base, variant = _baseline(results), results["variants"][candidate]
    times = {"gain.rate": _times(rate(variant), rate(base))}
    times["gain.weights"] = _times(weights_gb(variant), weights_gb(base))
    return text("pause", lang).join(text(key, lang, times=value) for key, value in times.items() if value)


def _baseline(results: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = next(variant for variant in results["variants"].values() if variant["baseline"])
    return found


def _times(value: float | None, base: float | None) -> str:
    return "" if value is None or base is None else f"{value / base:.2f}"
