"""Doubts of a report: one entry a guard with all variants and benchmarks that it touches, the most serious first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from bitparity.report.language import Lang, guard_message, guard_title, listed, parted, text
from bitparity.results.schema import Guard, Level, Results


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
