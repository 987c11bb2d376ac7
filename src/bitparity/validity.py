"""The guards: signs that a figure measures something else than the loss of precision.

Each guard has a threshold, a level ("error" makes the verdicts of its variant invalid, "warning" only
shows) and a message with cause and remedy. `variant` None concerns all variants.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from bitparity.benchmarks import load_benchmark
from bitparity.exam import Exam
from bitparity.study import LM_EVAL_PREFIX, BenchmarkSpec, Study

if TYPE_CHECKING:
    from bitparity.report.results import Sheet

# Thresholds, as fractions.
CUT_OFF_ERROR = 0.10  # above this share of cut-off answers a score says more about the budget than the model
CUT_OFF_WARNING = 0.02
CUT_OFF_GAP = 0.02  # a difference of cut-off shares between variants that can pass for a loss
NO_ANSWER_ERROR = 0.20
NO_ANSWER_WARNING = 0.05
GRADER_GAP = 0.05  # two graders of one benchmark that differ by more disagree about what is right
GUESSING_SIGMAS = 2.0  # standard errors above guessing under which a score is not told from guessing
FLOOR, CEILING = 0.01, 0.99

Guard = dict[str, Any]  # {"name", "variant", "level", "value", "message"}


@dataclass(frozen=True, slots=True)
class Facts:
    """What the guards of one benchmark look at."""

    study: Study
    spec: BenchmarkSpec
    exam: Exam
    sheets: Mapping[str, Sheet]
    environment: Mapping[str, Any]


def check(facts: Facts) -> list[Guard]:
    """All guards that speak, errors first."""
    found = [guard for rule in _RULES for guard in rule(facts)]
    return sorted(found, key=lambda guard: guard["level"] != "error")


def _guard(name: str, variant: str | None, level: str, value: float | str | None, message: str) -> Guard:
    return {"name": name, "variant": variant, "level": level, "value": value, "message": message}


def _started(facts: Facts) -> Iterator[tuple[str, Sheet]]:
    return ((name, sheet) for name, sheet in facts.sheets.items() if sheet.samples)


def _unscored(facts: Facts) -> Iterator[Guard]:
    for name, sheet in facts.sheets.items():
        if sheet.unscored:
            share = sheet.unscored / sheet.expected
            yield _guard(
                "unscored",
                name,
                "error" if share > 0.01 else "warning",
                share,
                f"{sheet.unscored} of {sheet.expected} samples have no score ({sheet.missing} were never answered); "
                "they are left out of the comparison. Run the same command again to complete them",
            )


def _cut_off(facts: Facts) -> Iterator[Guard]:
    for name, sheet in _started(facts):
        share = sheet.cut_off() or 0.0
        if share > CUT_OFF_WARNING:
            yield _guard(
                "cut_off",
                name,
                "error" if share > CUT_OFF_ERROR else "warning",
                share,
                f"{100 * share:.1f} % of the answers ended at the budget of {facts.exam.sampling.max_tokens} tokens "
                "and may be wrong for that reason alone; raise max_tokens, or look for loops",
            )


def _cut_off_gap(facts: Facts) -> Iterator[Guard]:
    shares = {name: sheet.cut_off() or 0.0 for name, sheet in _started(facts)}
    baseline = shares.get(facts.study.baseline)
    for name, share in shares.items():
        if baseline is not None and abs(share - baseline) > CUT_OFF_GAP:
            yield _guard(
                "cut_off_difference",
                name,
                "warning",
                share - baseline,
                f"cut off {100 * share:.1f} % against {100 * baseline:.1f} % of the baseline: part of the "
                "difference may be answers that ran into the token budget; raise max_tokens",
            )


def _no_answer(facts: Facts) -> Iterator[Guard]:
    for name, sheet in _started(facts):
        share = sheet.status("no_answer") or 0.0
        if share > NO_ANSWER_WARNING:
            yield _guard(
                "no_answer",
                name,
                "error" if share > NO_ANSWER_ERROR else "warning",
                share,
                f"no answer could be read from {100 * share:.1f} % of the completions, which count as wrong; "
                "look at them in the samples file: the prompt or the answer format may not fit the model",
            )


def _guessing(facts: Facts) -> Iterator[Guard]:
    chance = _chance(facts)
    baseline = facts.sheets[facts.study.baseline]
    if not chance or not baseline.graded:
        return
    mean = float(_scored_mean(baseline))
    error = (chance * (1 - chance) / baseline.graded) ** 0.5
    if mean <= chance + GUESSING_SIGMAS * error:
        yield _guard(
            "guessing",
            facts.study.baseline,
            "error",
            mean,
            f"the baseline's {100 * mean:.1f} % is not above the {100 * chance:.1f} % of guessing, so no loss can "
            "be seen; the model cannot do this benchmark, or its answers are not read",
        )


def _chance(facts: Facts) -> float | None:
    if facts.spec.name.startswith(LM_EVAL_PREFIX):
        return None
    return load_benchmark(facts.spec).chance([entry.item for entry in facts.exam.items])


def _scored_mean(sheet: Sheet) -> float:
    import numpy as np

    return float(np.nanmean(sheet.scores))


def _floor_or_ceiling(facts: Facts) -> Iterator[Guard]:
    means = [_scored_mean(sheet) for sheet in facts.sheets.values() if sheet.graded]
    if not means:
        return
    if max(means) <= FLOOR:
        yield _guard(
            "floor",
            None,
            "error",
            max(means),
            f"no variant is above {100 * FLOOR:.0f} %: the benchmark is too hard for this model, or its answers "
            "are not read, and cannot tell the variants apart",
        )
    elif min(means) >= CEILING:
        yield _guard(
            "ceiling",
            None,
            "warning",
            min(means),
            f"all variants reach {100 * CEILING:.0f} %: the benchmark is too easy to show a loss",
        )


def _graders(facts: Facts) -> Iterator[Guard]:
    for name, sheet in _started(facts):
        metrics = sorted({metric for grade in sheet.grades.values() for metric in grade.metrics})
        for one, other in combinations(metrics, 2):
            if facts.exam.metric not in (one, other):
                continue
            gap = (sheet.metric(one) or 0.0) - (sheet.metric(other) or 0.0)
            if abs(gap) > GRADER_GAP:
                differing = [k for k, g in sheet.grades.items() if g.metrics.get(one) != g.metrics.get(other)]
                examples = ", ".join(item for item, _ in differing[:3])
                yield _guard(
                    "graders_disagree",
                    name,
                    "warning",
                    gap,
                    f"{one} and {other} differ by {100 * abs(gap):.1f} points on the same completions "
                    f"({len(differing)} of them; for example {examples}): read a few before you trust either",
                )


def _notes(facts: Facts) -> Iterator[Guard]:
    for note in facts.exam.notes:
        yield _guard("prompt", None, "warning", None, note)


def _limit(facts: Facts) -> Iterator[Guard]:
    asked, available = len(facts.exam.items), facts.exam.available
    if asked < available:
        yield _guard(
            "limit",
            None,
            "warning",
            asked / available,
            f"{asked} of {available} items: a fair subset, but not the benchmark's published figure",
        )


def _same_weights(facts: Facts) -> Iterator[Guard]:
    hashes: dict[str, str] = {}
    for name, stored in facts.environment.get("variants", {}).items():
        weights = (stored.get("identity") or {}).get("weights", {})
        if value := weights.get("sha256") or weights.get("sampled_sha256"):
            hashes[name] = value
    for one, other in combinations(hashes, 2):
        if hashes[one] == hashes[other] and not _differs_by_engine(facts.study, one, other):
            yield _guard(
                "same_weights",
                other,
                "error",
                hashes[one],
                f"variants '{one}' and '{other}' have the same weights and the same engine settings: "
                "they are one model, so the comparison says nothing about precision",
            )


def _differs_by_engine(study: Study, one: str, other: str) -> bool:
    return study.variants[one].engine != study.variants[other].engine


def _sampling_noise(facts: Facts) -> Iterator[Guard]:
    items = len(facts.exam.items)
    if facts.exam.sampling.temperature > 0 and facts.spec.samples == 1 and items < 500:
        yield _guard(
            "one_sample",
            None,
            "warning",
            facts.exam.sampling.temperature,
            f"one sample an item at temperature {facts.exam.sampling.temperature} on {items} items: chance alone "
            "flips many answers; ask for more samples",
        )


_RULES = (
    _unscored,
    _cut_off,
    _cut_off_gap,
    _no_answer,
    _guessing,
    _floor_or_ceiling,
    _graders,
    _notes,
    _limit,
    _same_weights,
    _sampling_noise,
)
