"""Rows of the tables that stand in more than one report: graders, programs, speed and memory, the study's card."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from bitparity.report.language import TEXTS, Lang, duration, listed, parted, percent, text
from bitparity.results.schema import Results, VariantEntry

GLOSSARY = ("exam", "margin", "control", "invalid")  # keys of the words that a reader needs


class GraderRow(NamedTuple):
    """The means of one grader, by variant (None where it scored nothing); `primary`: its score is the benchmark's."""

    benchmark: str
    metric: str
    primary: bool
    means: Sequence[float | None]


class Disagreement(NamedTuple):
    """Two filters or graders that disagree on the same answers of a benchmark: sentences on it, and what each finds.

    `rows` have a variant's name and a cell for each of `metrics`.
    """

    said: Sequence[str]
    benchmark: str
    metrics: Sequence[str]
    rows: Sequence[tuple[str, Sequence[str]]]


Disagreements = Sequence[Disagreement]


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
            ends = []
            for verdict, count in entry.verdicts[name].items():
                key = f"program.{verdict}" if f"program.{verdict}" in TEXTS else "program.other"
                ends.append(text(key, lang, name=verdict.replace("_", " "), count=count))
            rates = [f"{key.replace('_', ' ')} {percent(rate, lang)}" for key, rate in entry.rates[name].items()]
            sandbox = (entry.execution[name] or {}).get("level", "")
            yield bench, name, str(sandbox), parted(ends, lang), parted(rates, lang)


def speed_rows(results: Results, lang: Lang = "en") -> Iterator[tuple[str, str, str, str, str]]:
    """Each variant's output tokens a second and GB of weights, both also as times the baseline's.

    None where nothing is known of speed or memory.
    """
    base = results.variants[results.baseline]
    if not any(variant.tokens_per_second or variant.weights_gb for variant in results.variants.values()):
        return
    for name, variant in results.variants.items():
        fast, size = variant.tokens_per_second, variant.weights_gb
        unknown = text("speed.recorded" if variant.recorded else "speed.unknown", lang)
        yield (
            name,
            unknown if fast is None else f"{fast:,.0f}",
            _times(fast, base.tokens_per_second) or text("dash", lang),
            text("speed.unknown", lang) if size is None else f"{size:.2f}",
            _times(size, base.weights_gb) or text("dash", lang),
        )


def gain(candidate: str, results: Results, lang: Lang = "en") -> str:
    """A candidate's speed and memory against the baseline's, in words; empty where neither is known."""
    base, own = results.variants[results.baseline], results.variants[candidate]
    said = []
    if fast := _times(own.tokens_per_second, base.tokens_per_second):
        places = (own.engine or {}).get("max_num_seqs")
        at_once = text("gain.places", lang, places=places) if isinstance(places, int) else ""
        rates = {"own": own.tokens_per_second, "base": base.tokens_per_second}
        said.append(text("gain.rate", lang, times=fast, places=at_once, **rates))
    if small := _times(own.weights_gb, base.weights_gb):
        said.append(text("gain.weights", lang, times=small, own=own.weights_gb, base=base.weights_gb))
    if room := _times(_cache_tokens(own), _cache_tokens(base)):
        said.append(text("gain.cache", lang, times=room))
    return text("full_stop", lang, said=text("pause", lang).join(said)) if said else ""


def _cache_tokens(variant: VariantEntry) -> float | None:
    found = (variant.engine or {}).get("kv_cache_tokens")
    return found if isinstance(found, int) and found > 0 else None


def _times(value: float | None, base: float | None) -> str:
    return "" if value is None or base is None else f"{value / base:.2f}"


def card(results: Results, lang: Lang = "en") -> list[tuple[str, str]]:
    """Titles with what is known: model, device, engine, date, questions and answers, tokens, hours, command."""
    return [(text(f"card.{key}", lang), said) for key, said in _facts(results, lang) if said]


def glossary(lang: Lang = "en") -> list[tuple[str, str]]:
    """The words that a reader needs, each with its meaning."""
    return [(text(f"glossary.{key}", lang), text(f"glossary.{key}.meaning", lang)) for key in GLOSSARY]


def _facts(results: Results, lang: Lang) -> Iterator[tuple[str, str]]:
    engines = [variant.engine or {} for variant in results.variants.values()]
    compared = results.study.command  # of results that lie in files: which model gave them is not known
    yield "results" if compared else "model", results.variants[results.baseline].model
    yield "device", _different((str(e.get("device_name") or "") for e in engines), lang)
    yield "engine", _different((f"{e.get('engine', '')} {e.get('version') or ''}".strip() for e in engines), lang)
    yield "date", results.study.date or ""
    items, benchmarks = sum(entry.items for entry in results.measured.values()), len(results.measured)
    yield "asked", text("card.items", lang, items=items, benchmarks=benchmarks, variants=len(results.variants))
    answers = sum(variant.generation.samples or 0 for variant in results.variants.values() if variant.generation)
    tokens = sum(s.output_tokens or 0 for entry in results.measured.values() for s in entry.scores.values())
    yield "written", text("card.tokens", lang, answers=answers, tokens=tokens) if answers and tokens else ""
    timed = [v.generation.seconds for v in results.variants.values() if v.tokens_per_second and v.generation]
    yield "hours", duration(sum(timed) / 3600, lang) if timed else ""
    command, version = compared or "bitparity run study.yaml --out again", results.study.version
    yield "again", f"{command}  # bitparity {version}" if version else ""


def _different(said: Iterable[str], lang: Lang) -> str:
    """Those that differ, in their order."""
    return listed(filter(None, dict.fromkeys(said)), lang)
