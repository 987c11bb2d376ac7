"""Decision on each candidate, from its verdicts by the rule that docs/reading-the-report.md prints.

Pure: the same results give the same decision. It says "deploy" only where `check` passes, and "do not deploy" only
where a loss beyond the margin is shown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

from bitparity.results import schema
from bitparity.stats import power
from bitparity.stats.verdicts import WITHIN, is_worse, untraced_loss

REACH = 2.0  # times the margin: a wider interval without a loss is no answer, but a call for more items
TOO_HARD = frozenset({"floor", "guessing"})  # guards that say: this model cannot do the benchmark in any precision
ALPHA = 0.05
LEAST_ROOM = 0.1  # of the margin: a loss nearer to it would take a hundred times the items
MOST_SAMPLES = 256  # more samples an item are no advice
# the gravest first: the order in which a headline names benchmarks
_GRAVITY: tuple[schema.Standing, ...] = (
    *("beyond", "loss", "loss_likely", "invalid", "incomplete", "not_run", "not_graded"),
    *("open", "too_hard", "loss_within", "fine"),
)
SEEN: frozenset[schema.Standing] = frozenset(get_args(schema.LossSeen))
_UNDECIDED: frozenset[schema.Standing] = frozenset(get_args(schema.Undecided))
_BOUNDED: frozenset[schema.Standing] = frozenset({"loss", "loss_likely", "open"})


@dataclass(frozen=True, slots=True)
class Evidence:
    """One benchmark of a candidate as the rule sees it. `margin` is a fraction.

    `comparison` is None where there is none; `run` is False where nobody has answered, `graded` where the
    answers lack grades of this version. `unscored` counts samples of candidate and baseline without a score. `seconds`
    is the time that one more sample of both takes, None where no speed was measured. `in_proportion`: the margin is a
    share of the baseline's score.
    """

    benchmark: str
    margin: float
    comparison: schema.Comparison | None
    run: bool = True
    graded: bool = True
    unscored: int = 0
    samples: int = 1
    available: int | None = None
    seconds: float | None = None
    in_proportion: bool = False


def decisions(results: schema.Results) -> dict[str, schema.Decision]:
    """The decision on each candidate of a run."""
    on_distance = results.distance.guards if results.distance is not None else []
    # by these the checkpoint is broken, or is the baseline itself
    blocking = [each for each in on_distance if each.level == "error" or each.name == "distance_at_floor"]
    found = {}
    for name in results.candidates:
        evidence = [_seen(name, bench, entry, results) for bench, entry in results.benchmarks.items()]
        blocked_by = [each.name for each in blocking if each.variant == name]
        found[name] = decide(evidence, results.overall.get(name), blocked_by)
    return found


def decide(
    evidence: Sequence[Evidence], pooled: schema.Overall | None, blocked_by: Sequence[str] = ()
) -> schema.Decision:
    """The decision on one candidate from all benchmarks of its study.

    `pooled` are its valid benchmarks together. `blocked_by` names guards by which the checkpoint is not what it should
    be, so that no score speaks for it.
    """
    found = sorted(map(_finding, evidence), key=lambda each: _GRAVITY.index(each.standing))
    standings = {each.standing for each in found}
    # where a loss is seen, it is what has to be accepted, however much else is open
    loss = bool(standings & SEEN) or (pooled is not None and pooled.loss_shown)
    wide = not loss and any(each.wide for each in found)
    return schema.Decision(
        decision=_choice(standings, pooled, blocked=bool(blocked_by) or wide),
        valid=sum(each.standing in _BOUNDED | {"beyond", "loss_within", "fine"} for each in found),
        of=len(found),
        findings=[each for each in found if each.standing != "fine"],
        fine=[each.benchmark for each in found if each.standing == "fine"],
        blocked_by=tuple(blocked_by),
    )


def _choice(standings: set[schema.Standing], pooled: schema.Overall | None, *, blocked: bool) -> schema.Choice:
    """The rule itself, from the gravest case to the plainest."""
    if "beyond" in standings or (pooled is not None and pooled.verdict == "worse_beyond_margin"):
        return "do_not_deploy"
    if blocked or standings & _UNDECIDED or standings <= {"too_hard"}:
        return "not_decided"
    plain = standings <= {"fine", "loss_within"} and (pooled is None or pooled.verdict in WITHIN)
    return "deploy" if plain else "deploy_if"


def _finding(each: Evidence) -> schema.Finding:
    standing, c = _standing(each), each.comparison
    up_to = max(-c.ci95[0], 0.0) if c is not None and standing in _BOUNDED else None
    return schema.Finding(
        benchmark=each.benchmark,
        standing=standing,
        why=_why(standing, c, each) if c is not None else None,
        guards=() if c is None else c.invalid_by or c.doubted_by,
        unscored=each.unscored,
        up_to=up_to,
        wide=up_to is not None and up_to > REACH * each.margin,
        needs=_needs(each, c) if c is not None and standing == "open" else None,
    )


def _standing(each: Evidence) -> schema.Standing:
    c = each.comparison
    if c is None:
        return "not_run" if not each.run else "incomplete" if each.graded else "not_graded"
    if c.verdict == "worse_beyond_margin":
        return "beyond"
    if c.verdict == "invalid" and not {*c.invalid_by} <= TOO_HARD:
        return "invalid"
    if each.unscored:
        return "incomplete"
    if c.verdict == "invalid":
        return "too_hard"
    if c.verdict in WITHIN:
        return "loss_within" if c.loss_shown else "fine"
    return "loss" if c.loss_shown else "loss_likely" if c.ci95[1] < 0 else "open"


def _why(standing: schema.Standing, c: schema.Comparison, each: Evidence) -> schema.Why | None:
    """The reason why a verdict is open although the interval may seem to settle it."""
    deciding = c.repeated_ci95 or c.ci95
    if standing == "loss_likely":
        if deciding[1] >= 0:
            return "looks"
        return "correction" if is_worse(deciding, c.p_value) else "test"
    if standing != "open":
        return None
    if deciding[0] <= -each.margin:
        return "looks" if c.ci95[0] > -each.margin else "reach"
    return "few" if each.margin < untraced_loss(c.items) or not each.in_proportion else "proportion"


def _needs(each: Evidence, c: schema.Comparison) -> schema.Needs | None:
    """The items, or samples an item, with which the margin would be proved, at the difference and flips seen here.

    A standard error falls with the root of the items; with more samples an item only its part falls that is noise of
    decoding, which the interval of a rerun measures. None where the loss seen is the margin or more: no number of
    items would prove it then.
    """
    provable = 0.0 if c.flips == 0 and c.difference == 0 else c.provable_margin  # 0 where nothing differs
    room, reach = each.margin + min(c.difference, 0.0), c.difference - c.ci95[0]
    if provable is None or room < LEAST_ROOM * each.margin or not each.margin < 1:
        return None
    # of the variance, with which a loss as it was seen leaves its interval within the margin
    share = (room / reach) ** 2 if reach > room else 1.0
    least = math.log(ALPHA) / math.log1p(-each.margin)  # see `untraced_loss`
    exact = c.test == "mcnemar_exact" and c.flips
    by_design = power.items_needed(each.margin, exact) if exact else c.items * (provable / each.margin) ** 2
    needed = math.ceil(max(c.items / share, by_design, least))
    items = max(needed, c.items + 1)
    beyond = each.available is not None and items > each.available
    samples = _samples(each, c, provable, share) if beyond else None
    more = items * each.samples if samples is None else c.items * samples
    seconds = each.seconds and each.seconds * (more - c.items * each.samples)
    return schema.Needs(items=items, samples=samples, available=each.available, hours=seconds and seconds / 3600)


def _samples(each: Evidence, c: schema.Comparison, provable: float, share: float) -> int | None:
    """The samples an item that would do; None where none would, or where items have one greedy answer.

    `provable` is the margin that equally good variants would prove with 80 % power, `share` the part of the variance
    with which the loss seen leaves its interval within the margin.
    """
    if c.rerun_ci95 is None or not provable or each.margin < untraced_loss(c.items):
        return None
    noise = ((c.rerun_ci95[1] - c.rerun_ci95[0]) / (c.ci95[1] - c.ci95[0])) ** 2  # its part of the variance
    room = min(share, (each.margin / provable) ** 2) - (1 - noise)
    needed = math.ceil(each.samples * noise / room) if room > 0 else MOST_SAMPLES + 1
    return needed if each.samples < needed <= MOST_SAMPLES else None


def _seen(name: str, bench: str, entry: schema.Benchmark, results: schema.Results) -> Evidence:
    pair = [each for each in (results.baseline, name) if each in entry.scores]
    each_takes = [_seconds(results.variants[variant], entry, variant) for variant in pair]
    known = [seconds for seconds in each_takes if seconds is not None]
    return Evidence(
        benchmark=bench,
        margin=entry.margin,
        comparison=entry.comparisons.get(name),
        run=entry.answered,
        graded=entry.measured,
        unscored=sum(entry.scores[variant].unscored for variant in pair),
        samples=entry.samples or 1,
        available=entry.available or None,
        seconds=sum(known) if known and len(known) == len(each_takes) else None,
        in_proportion=entry.margin_recovery is not None,
    )


def _seconds(variant: schema.VariantEntry, entry: schema.Benchmark, name: str) -> float | None:
    """The time of one more sample at the rate of the whole run."""
    tokens, rate = entry.scores[name].output_tokens, variant.tokens_per_second
    compared = entry.comparisons.get(name)
    items = compared.stopped.items if compared is not None and compared.stopped else entry.items
    return None if tokens is None or rate is None or not items else tokens / (items * entry.samples) / rate
