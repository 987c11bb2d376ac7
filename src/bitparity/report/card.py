"""Card of a study: what was asked of what, where and when, what it cost, and the command that makes it again."""

from __future__ import annotations

from collections.abc import Iterator

from bitparity.report.language import Lang, text
from bitparity.results.schema import Results

GLOSSARY = ("exam", "margin", "control", "invalid")  # keys of the words that a reader needs


def card(results: Results, lang: Lang = "en") -> list[tuple[str, str]]:
    """Titles with what is known: model, device, engine, date, questions and answers, tokens, hours, command."""
    return [(text(f"card.{key}", lang), said) for key, said in _facts(results, lang) if said]


def glossary(lang: Lang = "en") -> list[tuple[str, str]]:
    """The words that a reader needs, each with its meaning."""
    return [(text(f"glossary.{key}", lang), text(f"glossary.{key}.meaning", lang)) for key in GLOSSARY]


def _facts(results: Results, lang: Lang) -> Iterator[tuple[str, str]]:
    comma, engines = text("comma", lang), [v.engine or {} for v in results.variants.values()]
    yield "model", results.variants[results.baseline].model
    yield "device", comma.join(_different(str(e.get("device_name") or "") for e in engines))
    yield "engine", comma.join(_different(f"{e.get('engine', '')} {e.get('version') or ''}".strip() for e in engines))
    yield "date", results.study.date or ""
    items = sum(entry.items for entry in results.measured.values())
    answers = sum(variant.generation.samples or 0 for variant in results.variants.values() if variant.generation)
    count = {"items": f"{items:,}", "benchmarks": len(results.measured), "variants": len(results.variants)}
    yield "asked", text("card.items", lang, **count)
    tokens = sum(s.output_tokens or 0 for entry in results.measured.values() for s in entry.scores.values())
    written = {"answers": f"{answers:,}", "tokens": f"{tokens:,}"}
    yield "written", text("card.tokens", lang, **written) if answers and tokens else ""
    timed = [v.generation.seconds for v in results.variants.values() if v.tokens_per_second and v.generation]
    yield "hours", f"{sum(timed) / 3600:.2f}" if timed else ""
    version = results.study.version
    yield "again", f"bitparity run study.yaml --out again  # bitparity {version}" if version else ""


def _different(said: Iterator[str]) -> list[str]:
    """Those that differ, in their order."""
    return [each for each in dict.fromkeys(said) if each]
