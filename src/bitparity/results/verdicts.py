"""Verdicts on all comparisons of a run or of `bitparity compare`, and the exit codes that they mean.

For each benchmark and candidate: the paired comparison, invalid where a guard forbids it (unless a loss stands in spite
of the guard), corrected by Holm over all valid comparisons, and each candidate's valid benchmarks pooled. The control
(the baseline run a second time) answers another question, how much reruns differ, so it is a family of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from bitparity.errors import EXIT_OPEN, EXIT_WORSE
from bitparity.results.schema import FinalVerdict
from bitparity.stats.arrays import PairedScores
from bitparity.stats.paired import Comparison, compare_pairs, upper_bound
from bitparity.stats.pooled import Pooled, average_upper_bound, in_family, pool_candidates
from bitparity.stats.verdicts import WITHIN, within_margin_on_all

ComparisonKey = tuple[str, str]  # (benchmark, candidate)
# The budget is part of the protocol: what a candidate loses by running into it more often is lost. Whether accuracy
# or only brevity is lost is another question, which the guard asks.
AT_THE_BUDGET = frozenset({"cut_off_difference"})
Outcome = Literal["passed", "failed", "open"]


@dataclass(frozen=True, slots=True)
class Judged:
    """A comparison with its final verdict. `p_adjusted` is None where the guards `forbidden_by` forbid a verdict.

    `loss` is the loss that stands in spite of them, with `p_adjusted`: a guard takes a claim of soundness away and
    never a loss. It is that of `bound`, the comparison with every answer that these guards doubt counted for the
    candidate, or, where only the token budget is in question, that of the comparison itself.
    """

    comparison: Comparison
    p_adjusted: float | None
    forbidden_by: tuple[str, ...] = ()
    loss: Comparison | None = None
    bound: Comparison | None = None

    @property
    def verdict(self) -> FinalVerdict:
        """The verdict in its family; "invalid" where a guard forbids one and no loss is certain in spite of it."""
        if self.loss is not None:
            # how large a loss is that doubted answers may have enlarged, its bound cannot tell
            return "worse_beyond_margin" if self.loss.verdict == "worse_beyond_margin" else "inconclusive"
        return "invalid" if self.forbidden_by else self.comparison.verdict

    @property
    def hides(self) -> bool:
        """True if the average over benchmarks must not say "no loss": invalid, or a loss that may exceed the margin."""
        loss = self.comparison.loss_shown or self.loss is not None
        return self.verdict == "invalid" or (loss and self.verdict not in WITHIN)

    def values(self) -> dict[str, object]:
        """Everything by name, for the models of documents. What the guards change is there only where one forbids."""
        values = asdict(self.comparison) | {"p_adjusted": self.p_adjusted}
        if self.loss is not None:
            bound = self.bound or self.loss
            told = {"doubted_by": self.forbidden_by, "bound_ci95": bound.ci95}
            values |= {"verdict": self.verdict, "loss_shown": True, **told}
        elif self.forbidden_by:
            values |= {"verdict": "invalid", "loss_shown": False, "invalid_by": self.forbidden_by}
        return values


@dataclass(frozen=True, slots=True)
class JudgedPool:
    """A candidate's valid benchmarks pooled, with the verdict by the p-value adjusted over the candidates.

    `hidden` are the benchmarks that the average must not hide (`Judged.hides`): while there is one, it is not within.
    """

    pooled: Pooled
    p_adjusted: float
    benchmarks: list[str]
    within_margin_on_all: bool
    hidden: list[str]

    def values(self) -> dict[str, object]:
        """Everything by name, for the models of documents."""
        values = asdict(self.pooled) | {"benchmarks": self.benchmarks, "p_adjusted": self.p_adjusted}
        if self.hidden:
            values["hidden"] = self.hidden
            if self.pooled.verdict in WITHIN:
                values["verdict"] = "inconclusive"
        return values


def judge(
    pairs: Mapping[ComparisonKey, PairedScores],
    margins: Mapping[str, float],
    forbidden: Mapping[ComparisonKey, Sequence[str]],
    control: str | None = None,
    favourable: Mapping[ComparisonKey, PairedScores] | None = None,
    recoveries: Mapping[str, float] | None = None,
) -> dict[ComparisonKey, Judged]:
    """Compare all pairs. `margins` are fractions by benchmark, `forbidden` the guards that make a verdict invalid.

    `favourable` are forbidden pairs with every answer that the guards doubt counted for the candidate. `recoveries`, by
    benchmark, are the shares of the baseline's score that must be kept, where the margin is given so.
    """

    def compared(key: ComparisonKey, each: PairedScores) -> Comparison:
        return compare_pairs(each, margin=margins[key[0]], recovery=kept.get(key[0]))

    kept = recoveries or {}
    found = {key: compared(key, each) for key, each in pairs.items()}
    doubted = {key: each for key, each in (favourable or {}).items() if key in found}
    bounds = {key: compared(key, each) for key, each in doubted.items()}
    # nothing is claimed of what a guard forbids unless a loss stands in spite of it, so it is no member of the family
    claims = {key: each for key, each in found.items() if not forbidden[key]}
    at_budget = {key for key in found if forbidden[key] and AT_THE_BUDGET.issuperset(forbidden[key])}
    losses = {key: found[key] for key in at_budget} | {k: v for k, v in bounds.items() if k not in at_budget}
    claims |= {key: each for key, each in losses.items() if each.loss_shown}
    tested = {key: each if key in at_budget else doubted.get(key, each) for key, each in pairs.items()}

    def upper(key: ComparisonKey, alpha: float) -> float:
        return upper_bound(tested[key], alpha, kept.get(key[0]))

    family = in_family(claims, upper, lambda key: key[1] == control)
    judged = {}
    for key, each in found.items():
        claim, p_adjusted = family.get(key, (each, None))
        guards = tuple(forbidden[key])
        if guards and key in family and claim.loss_shown:
            judged[key] = Judged(each, p_adjusted, guards, claim, bounds.get(key))
        else:
            judged[key] = Judged(each, None, guards) if guards else Judged(claim, p_adjusted)
    return judged


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
        if not judged[bench, name].forbidden_by:
            used.setdefault(name, []).append(bench)
    found = pool_candidates(pairs, margins, {name: valid for name, valid in used.items() if len(valid) >= least})
    strata = {name: [pairs[bench, name] for bench in used[name]] for name in found}
    family = in_family(
        found, lambda name, alpha: average_upper_bound(strata[name], alpha), lambda name: name == control
    )
    pools = {}
    for name in found:
        of = {bench: each for (bench, other), each in judged.items() if other == name}
        hidden = [bench for bench, each in of.items() if each.hides]
        on_all = within_margin_on_all(each.verdict for each in of.values())
        pools[name] = JudgedPool(*family[name], used[name], on_all, hidden)
    return pools


def outcome(verdict: FinalVerdict) -> Outcome:
    """The verdict for a gate: passed (no loss beyond the margin), failed (a loss beyond it) or open."""
    if verdict == "worse_beyond_margin":
        return "failed"
    return "passed" if verdict in WITHIN else "open"


def exit_code(outcomes: Iterable[str]) -> int:
    """0 where all passed, 1 where one failed, else 3."""
    found = set(outcomes)
    return EXIT_WORSE if "failed" in found else 0 if found <= {"passed"} else EXIT_OPEN
