"""Verdicts on all comparisons of a run or of `bitparity compare`, and the exit codes that they mean.

For each benchmark and candidate: the paired comparison, invalid where a guard forbids it, the p-value adjusted by Holm
over all valid comparisons, and each candidate's valid benchmarks pooled. The control (the baseline run a second time)
answers another question, how much reruns differ, so it is a family of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from bitparity.errors import EXIT_OPEN, EXIT_WORSE
from bitparity.results.schema import FinalVerdict
from bitparity.stats.arrays import PairedScores
from bitparity.stats.multiple import adjust_holm_by_key
from bitparity.stats.paired import Comparison, compare_pairs
from bitparity.stats.pooled import Pooled, adjusted, pool_candidates
from bitparity.stats.verdicts import WITHIN, within_margin_on_all

ComparisonKey = tuple[str, str]  # (benchmark, candidate)
Outcome = Literal["passed", "failed", "open"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison with its final verdict. `p_adjusted` is None where the guards `invalid_by` forbid a verdict."""

    comparison: Comparison
    p_adjusted: float | None
    invalid_by: tuple[str, ...]

    @property
    def verdict(self) -> FinalVerdict:
        """The verdict by the adjusted p-value; "invalid" where a guard forbids one."""
        return "invalid" if self.invalid_by else self.comparison.verdict

    def values(self) -> dict[str, object]:
        """Everything by name, for the models of documents. `invalid_by` is there only where the verdict is invalid."""
        values = asdict(self.comparison) | {"p_adjusted": self.p_adjusted}
        if self.invalid_by:
            values |= {"verdict": "invalid", "loss_shown": False, "invalid_by": self.invalid_by}
        return values


@dataclass(frozen=True, slots=True)
class JudgedPool:
    """A candidate's valid benchmarks pooled, with the verdict by the p-value adjusted over the candidates."""

    pooled: Pooled
    p_adjusted: float
    benchmarks: list[str]
    within_margin_on_all: bool

    def values(self) -> dict[str, object]:
        """Everything by name, for the models of documents."""
        return asdict(self.pooled) | {"benchmarks": self.benchmarks, "p_adjusted": self.p_adjusted}


def judge(
    pairs: Mapping[ComparisonKey, PairedScores],
    margins: Mapping[str, float],
    forbidden: Mapping[ComparisonKey, Sequence[str]],
    control: str | None = None,
) -> dict[ComparisonKey, Judged]:
    """Compare all pairs. `margins` are fractions by benchmark, `forbidden` the guards that make a verdict invalid."""
    found = {key: compare_pairs(each, margin=margins[key[0]]) for key, each in pairs.items()}
    # nothing is claimed of what a guard forbids, so it is no member of the family
    p_values = _holm({key: each.p_value for key, each in found.items() if not forbidden[key]}, control)
    return {
        key: Judged(
            adjusted(each, p_values[key]) if key in p_values else each, p_values.get(key), tuple(forbidden[key])
        )
        for key, each in found.items()
    }


def pool_judged(
    pairs: Mapping[ComparisonKey, PairedScores],
    margins: Mapping[str, float],
    judged: Mapping[ComparisonKey, Judged],
    control: str | None = None,
    least: int = 1,
) -> dict[str, JudgedPool]:
    """Each candidate's valid benchmarks pooled against the mean of their margins, where there are `least` or more."""
    used: dict[str, list[str]] = {}
    for bench, name in judged:
        if judged[bench, name].verdict != "invalid":
            used.setdefault(name, []).append(bench)
    found = pool_candidates(pairs, margins, {name: valid for name, valid in used.items() if len(valid) >= least})
    p_values = _holm({("overall", name): pooled.p_value for name, pooled in found.items()}, control)
    return {
        name: JudgedPool(
            adjusted(pooled, p_values["overall", name]),
            p_values["overall", name],
            used[name],
            within_margin_on_all(judged[bench, name].verdict for bench in used[name]),
        )
        for name, pooled in found.items()
    }


def _holm(p_values: Mapping[ComparisonKey, float], control: str | None) -> dict[ComparisonKey, float]:
    """The adjusted p-values: the candidates are one family, the control another."""
    of_control = {key: p for key, p in p_values.items() if key[1] == control}
    of_candidates = {key: p for key, p in p_values.items() if key[1] != control}
    return adjust_holm_by_key(of_candidates) | adjust_holm_by_key(of_control)


def outcome(verdict: FinalVerdict) -> Outcome:
    """The verdict for a gate: passed (no loss beyond the margin), failed (a loss beyond it) or open."""
    if verdict == "worse_beyond_margin":
        return "failed"
    return "passed" if verdict in WITHIN else "open"


def exit_code(outcomes: Iterable[str]) -> int:
    """0 where all passed, 1 where one failed, else 3."""
    found = set(outcomes)
    return EXIT_WORSE if "failed" in found else 0 if found <= {"passed"} else EXIT_OPEN
