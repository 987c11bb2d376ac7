"""Tables that several reports share: rows on graders, programs, speed and memory, the study's card, the doubts.

A doubt is one entry a guard with all variants and benchmarks that it touches, the most serious first.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bitparity.report.language import TEXTS, Lang, duration, guard_message, guard_title, listed, parted, percent, text
from bitparity.results.schema import Guard, Level, Results, VariantEntry

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
    dash, unmeasured = text("dash", lang), text("speed.unknown", lang)
    for name, variant in results.variants.items():
        fast, size = variant.tokens_per_second, variant.weights_gb
        unknown = text("speed.recorded", lang) if variant.recorded else unmeasured
        speed = (unknown if fast is None else f"{fast:,.0f}", _times(fast, base.tokens_per_second) or dash)
        yield name, *speed, unmeasured if size is None else f"{size:.2f}", _times(size, base.weights_gb) or dash


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


@dataclass(frozen=True, slots=True)
class Doubt:
    """The finding of one guard at one level. `where` names benchmarks and variants; `effect` what it could change.

    `message` is its gravest message, `others` are the rest, each after the place where it holds.
    """

    name: str
    level: Level
    title: str
    where: str
    effect: str
    message: str
    others: Sequence[str]


Spoken = tuple[str, Guard]  # the benchmark, and what was said on it


def doubts(results: Results, lang: Lang = "en") -> list[Doubt]:
    """All of them: errors by how many comparisons each makes invalid, then warnings by how much they could move."""
    groups: dict[tuple[Level, str], list[Spoken]] = {}
    for bench, entry in results.measured.items():
        for guard in entry.guards:
            groups.setdefault((guard.level, guard.name), []).append((bench, guard))
    ranked = sorted(groups.values(), key=lambda group: _gravity(group, results), reverse=True)
    return [_doubt(group, results, lang) for group in ranked]


def doubt_count(results: Results, lang: Lang = "en") -> str:
    """The number of guards that spoke, by level."""
    found = doubts(results, lang)
    errors = sum(each.level == "error" for each in found)
    return text("counts", lang, errors=errors, warnings=len(found) - errors)


def _invalid(group: Sequence[Spoken], results: Results) -> int:
    """The comparisons of candidates that this guard makes invalid."""
    name = group[0][1].name
    entries = {bench: results.benchmarks[bench] for bench, _ in group}
    return sum(name in c.invalid_by for entry in entries.values() for c in entry.comparisons.values() if not c.control)


def _gravity(group: Sequence[Spoken], results: Results) -> tuple[bool, int, float, int]:
    moved = [max(map(abs, ends)) for _, guard in group for ends in guard.if_right.values()]
    return group[0][1].level == "error", _invalid(group, results), max(moved, default=0.0), len(group)


def _doubt(group: Sequence[Spoken], results: Results, lang: Lang) -> Doubt:
    (_, gravest), *others = sorted(group, key=lambda each: -_size(each[1]))
    name, level, message = gravest.name, gravest.level, guard_message(gravest.name, gravest.message, lang)
    elsewhere = [
        text("colon", lang, name=_place(bench, guard, lang), said=guard_message(name, guard.message, lang))
        for bench, guard in others
        if guard.message != gravest.message
    ]
    where, effect = _where(group, results, lang), _effect(group, results, lang)
    return Doubt(name, level, guard_title(name, lang), where, effect, message, elsewhere)


def _size(guard: Guard) -> float:
    return abs(guard.value) if isinstance(guard.value, int | float) else 0.0


def _place(bench: str, guard: Guard, lang: Lang) -> str:
    return text("pause", lang).join(filter(None, [bench, guard.variant]))


def _where(group: Sequence[Spoken], results: Results, lang: Lang) -> str:
    """Benchmarks with the variants on each; those with the same variants together."""
    by_bench: dict[str, list[str]] = {}
    for bench, guard in group:
        by_bench.setdefault(bench, []).extend([guard.variant] if guard.variant else [])
    by_variants: dict[tuple[str, ...], list[str]] = {}
    for bench, variants in by_bench.items():
        by_variants.setdefault(tuple(variants), []).append(bench)
    said = []
    for who_all, benches in by_variants.items():
        every = not who_all or len(who_all) == len(results.variants)
        who = text("every_variant", lang) if every else listed(who_all, lang)
        said.append(text("colon", lang, name=listed(benches, lang), said=who))
    return parted(said, lang)


def _effect(group: Sequence[Spoken], results: Results, lang: Lang) -> str:
    """The possible effect: comparisons made invalid, or the intervals if the doubted answers were right."""
    if invalid := _invalid(group, results):
        return text("effect.invalid", lang, count=invalid)
    ends = {(bench, name): bounds for bench, guard in group for name, bounds in guard.if_right.items()}
    said = [
        text("effect.range", lang, bench=bench, name=name, interval=bounds) for (bench, name), bounds in ends.items()
    ]
    share = max((g.value for _, g in group if isinstance(g.value, float)), default=0.0)
    return text("effect.if_right", lang, share=share, said=said) if said else ""
