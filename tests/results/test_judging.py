"""Verdicts in their family: losses in spite of a guard, averages that hide no benchmark, Holm at the margin."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from bitparity.records import Grade, Sample
from bitparity.report.words import verdict_words
from bitparity.results.guards.suspects import BY_GUARD, counted_for_candidate
from bitparity.results.schema import Comparison
from bitparity.results.sheet import Sheet
from bitparity.results.verdicts import ComparisonKey, Judged, judge, outcome, pool_judged
from bitparity.stats.arrays import PairedScores, pair_scores

ITEMS = 500
NAMES = [f"q{n}" for n in range(ITEMS)]


def sheet(right: int, suspects: range = range(0), kind: str = "", unscored: range = range(0)) -> Sheet:
    """The first `right` answers are right; `suspects` are wrong and odd in this way."""
    samples, grades, scores = {}, {}, np.full((ITEMS, 1), np.nan)
    for n, name in enumerate(NAMES):
        odd = n in suspects
        usual = f"answer \\boxed{{{n}}}"
        odd_text = {"empty": " ", "identical": "!!!!", "unboxed": f"answer {n}"}.get(kind, usual)
        text = odd_text if odd else usual
        finish = "length" if odd and kind == "cut_off" else "stop"
        samples[name, 0] = Sample("b", name, 0, text, finish, 9, 9, 0.1)
        if n not in unscored:
            scores[n, 0] = float(n < right and not odd)
            status = "no_answer" if odd and kind == "no_answer" else "answered"
            grades[name, 0] = Grade(scores[n, 0], status)
    return Sheet(scores, samples, grades)


def single(baseline: Sheet, candidate: Sheet, guards: Sequence[str], margin: float = 0.02) -> Judged:
    """The comparison of these two, forbidden by guards."""
    key = ("b", "c")
    whole = baseline.whole() & candidate.whole()
    pairs = {key: pair_scores(baseline.scores[whole], candidate.scores[whole])}
    bound = counted_for_candidate(baseline, candidate, NAMES, guards)
    favourable = {} if bound is None else {key: pair_scores(*bound)}
    return judge(pairs, {"b": margin}, {key: guards}, None, favourable)[key]


def written(judged: Judged) -> Comparison:
    """The comparison as results.json has it."""
    return Comparison.model_validate({k: v for k, v in judged.values().items() if k in Comparison.model_fields})


CASES = [
    ("cut_off", "cut_off_difference"),
    ("cut_off", "cut_off"),
    ("no_answer", "no_answer_difference"),
    ("no_answer", "no_answer"),
    ("unboxed", "box_difference"),
    ("empty", "empty"),
    ("identical", "identical"),
]


@pytest.mark.parametrize(("kind", "guard"), CASES)
def test_a_loss_stands_in_spite_of_a_guard_where_the_doubted_answers_cannot_be_all_of_it(kind: str, guard: str) -> None:
    """60 of 400 right answers are doubted, and 90 more are wrong for no doubtful reason."""
    judged = single(sheet(400), sheet(310, range(60), kind), [guard])
    assert judged.verdict == "worse_beyond_margin"
    assert outcome(judged.verdict) == "failed"
    values = judged.values()
    assert values["doubted_by"] == (guard,)
    assert "invalid_by" not in values
    assert values["loss_shown"] is True
    # the figures stay those that were seen, the bound says what is certain
    assert values["difference"] == pytest.approx(-150 / ITEMS)
    assert judged.bound is not None
    assert judged.bound.difference == pytest.approx(-90 / ITEMS)


@pytest.mark.parametrize(("kind", "guard"), CASES[1:])
def test_a_loss_that_the_doubted_answers_may_be_is_invalid(kind: str, guard: str) -> None:
    judged = single(sheet(400), sheet(400, range(60), kind), [guard])
    assert judged.verdict == "invalid"
    assert judged.values()["invalid_by"] == (guard,)
    assert judged.p_adjusted is None


def test_answers_newly_cut_off_are_lost_at_this_budget_and_the_bound_says_what_else_is() -> None:
    """60 of 500 answers are newly cut off, and nothing else is wrong: 12 points at this budget, none at another."""
    judged = single(sheet(400), sheet(400, range(60), "cut_off"), ["cut_off_difference"])
    assert (judged.verdict, judged.values()["doubted_by"]) == ("worse_beyond_margin", ("cut_off_difference",))
    assert judged.bound is not None
    assert judged.bound.difference == 0.0
    said = "worse, beyond the margin, at this token budget (more of its answers are cut off)"
    assert verdict_words(written(judged)) == said
    # a guard that doubts more than the budget takes it away, and so does a claim of soundness
    assert single(sheet(400), sheet(400, range(60), "cut_off"), ["cut_off", "cut_off_difference"]).verdict == "invalid"
    assert single(sheet(400), sheet(400), ["cut_off_difference"]).verdict == "invalid"


def test_a_loss_at_the_budget_that_may_be_within_the_margin_is_open() -> None:
    judged = single(sheet(400), sheet(400, range(20), "cut_off"), ["cut_off_difference"], margin=0.05)
    assert judged.comparison.verdict == "inconclusive"
    assert (judged.verdict, judged.values()["loss_shown"]) == ("inconclusive", True)
    assert single(sheet(400), sheet(400, range(20), "cut_off"), ["cut_off_difference"], margin=0.2).verdict != "invalid"


def test_answers_without_a_score_count_for_the_candidate_on_either_side() -> None:
    lost = sheet(340, unscored=range(340, 350))
    judged = single(sheet(400, unscored=range(10)), lost, ["unscored"])
    assert judged.verdict == "worse_beyond_margin"
    assert judged.bound is not None
    assert judged.bound.difference == pytest.approx((330 + 20 - 390) / ITEMS - 10 / ITEMS + 10 / ITEMS)
    few = single(sheet(400), sheet(395, unscored=range(340, 350)), ["unscored"])
    assert few.verdict == "invalid"


def test_a_certain_loss_of_uncertain_size_is_no_more_than_that() -> None:
    """14 losses are certain and 60 doubted: a loss is shown; whether beyond 2 points nobody can say."""
    judged = single(sheet(400), sheet(386, range(60), "cut_off"), ["cut_off"])
    assert (judged.verdict, judged.values()["loss_shown"]) == ("inconclusive", True)


def test_answers_cut_off_in_both_are_doubted_only_where_the_budget_is() -> None:
    baseline, candidate = sheet(400, range(50), "cut_off"), sheet(330, range(100), "cut_off")
    difference, level = (
        counted_for_candidate(baseline, candidate, NAMES, [guard]) for guard in ("cut_off_difference", "cut_off")
    )
    assert difference is not None
    assert level is not None
    assert difference[1].sum() == 330 - 100 + 50
    assert level[1].sum() == 330


@pytest.mark.parametrize("guards", [["exam_differs"], ["cut_off", "same_weights"], ["guessing"], ["floor"]])
def test_no_loss_stands_against_a_guard_that_doubts_the_whole(guards: list[str]) -> None:
    assert single(sheet(400), sheet(100), guards).verdict == "invalid"


def test_the_guards_that_doubt_single_answers_exist() -> None:
    from bitparity.results.guards.facts import MESSAGES

    assert BY_GUARD.keys() <= MESSAGES.keys()


def binary(lost: int, gained: int, n: int = ITEMS) -> PairedScores:
    """`n` items of which so many are lost and gained."""
    base = np.r_[np.ones(lost), np.zeros(gained), np.ones(n - lost - gained)]
    return pair_scores(base, np.r_[np.zeros(lost), np.ones(gained), np.ones(n - lost - gained)])


def pools(members: dict[str, PairedScores], forbidden: Sequence[str] = ()) -> tuple[object, list[str], bool]:
    """The average of a candidate "c" over these benchmarks, margin 2 points; `forbidden` ones are invalid."""
    pairs: dict[ComparisonKey, PairedScores] = {(bench, "c"): each for bench, each in members.items()}
    margins = dict.fromkeys(members, 0.02)
    guards = {key: ["floor"] if key[0] in forbidden else [] for key in pairs}
    pool = pool_judged(pairs, margins, judge(pairs, margins, guards))["c"]
    return pool.values()["verdict"], pool.hidden, pool.within_margin_on_all


def test_the_average_hides_no_benchmark() -> None:
    fine = {f"b{n}": binary(5, 5) for n in range(6)}
    assert pools(fine) == ("equivalent", [], True)
    assert pools({**fine, "math500": binary(50, 10)}) == ("inconclusive", ["math500"], False)
    assert pools({**fine, "aime24": binary(5, 5)}, forbidden=["aime24"]) == ("inconclusive", ["aime24"], False)
    # a loss is shown, its size straddles the margin
    assert pools({**fine, "gpqa": binary(30, 8)}) == ("inconclusive", ["gpqa"], False)


def test_beyond_is_corrected_for_the_family_and_its_interval_is_not() -> None:
    pairs = {("b", "c"): binary(40, 10)}
    alone = judge(pairs, {"b": 0.02}, {("b", "c"): []})["b", "c"]
    assert alone.verdict == "worse_beyond_margin"
    more: dict[ComparisonKey, PairedScores] = {**pairs, **{(f"b{n}", "c"): binary(5, 5) for n in range(20)}}
    margins = dict.fromkeys([bench for bench, _ in more], 0.02)
    crowded = judge(more, margins, dict.fromkeys(more, ()))["b", "c"]
    assert (crowded.verdict, crowded.comparison.loss_shown) == ("inconclusive", True)
    assert crowded.comparison.ci95 == alone.comparison.ci95
    controls: dict[ComparisonKey, PairedScores] = {**pairs, **{(f"b{n}", "again"): binary(5, 5) for n in range(20)}}
    apart = judge(controls, margins, dict.fromkeys(controls, ()), "again")["b", "c"]
    assert apart.verdict == "worse_beyond_margin"


def test_false_claims_in_a_family_are_rare() -> None:
    """21 comparisons whose true loss is the margin, and without a loss: a part of perf/statistics_family.py."""
    rng = np.random.default_rng(7)
    beyond = loss = 0
    studies = 150
    for _ in range(studies):
        for truth in (0.02, 0.0):
            pairs: dict[ComparisonKey, PairedScores] = {}
            for n in range(21):
                base, u = rng.random(300) < 0.7, rng.random(300)
                turned = np.where(base, u < (0.1 + truth) / 2 / 0.7, u < (0.1 - truth) / 2 / 0.3)
                pairs[f"b{n}", "c"] = pair_scores(base.astype(float), (base ^ turned).astype(float))
            margins = dict.fromkeys([bench for bench, _ in pairs], 0.02)
            judged = judge(pairs, margins, dict.fromkeys(pairs, ())).values()
            if truth:
                beyond += any(each.verdict == "worse_beyond_margin" for each in judged)
            else:
                loss += any(each.comparison.loss_shown for each in judged)
    most = studies * 0.025 + 3 * (studies * 0.025 * 0.975) ** 0.5
    assert beyond <= most
    assert loss <= most
