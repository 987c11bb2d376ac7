"""What can be shown in so many hours: the choice against its objective, and against studies of exactly that plan."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from support import Cli, write_yaml

from bitparity.doctor.budget import TARGET, choose, with_looks
from bitparity.doctor.plan import Plan, make_plan
from bitparity.doctor.rates import given_rate
from bitparity.errors import UserInputError
from bitparity.study.resolve import load_study


def study_file(folder: Path) -> Path:
    variants = {name: {"model": f"a/{name}", "baseline": name == "bf16"} for name in ("bf16", "fp8")}
    benchmarks = [{"name": "mmlu_pro", "margin": 2}, {"name": "math500", "margin": 6}, {"name": "aime24", "margin": 5}]
    document = {"study": "s", "variants": variants, "engine": {"kind": "vllm"}, "benchmarks": benchmarks}
    return write_yaml(folder / "study.yaml", document)


def plan_of(folder: Path) -> Plan:
    study = load_study(study_file(folder))
    return make_plan(study, given_rate(study, 1000.0))


def test_it_fits_and_the_worst_off_question_gets_better_with_time(tmp_path: Path) -> None:
    plan, worst = plan_of(tmp_path), 0.0
    for hours in (1.0, 2.0, 4.0):
        budget = choose(plan, hours)
        assert budget.used <= hours
        chances = [option.chance for option in budget.chosen if option.chance >= TARGET]
        if len(chances) == 2:
            assert min(chances) >= worst
            worst = min(chances)
    assert worst > 0.9


def test_no_other_number_of_items_within_the_hours_is_better_for_the_worst_off(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    budget = choose(plan, 2.0)
    answered = [option for option in budget.chosen if option.chance >= TARGET]
    assert {option.bench.name for option in answered} == {"mmlu_pro", "math500"}
    worst = min(answered, key=lambda option: option.chance)
    others = budget.used - worst.hours
    from bitparity.doctor.budget import _options

    better = [o for o in _options(plan, worst.bench) if o.chance > worst.chance + 0.02 and o.hours + others <= 2.0]
    assert not better


def test_what_cannot_be_answered_is_named(tmp_path: Path) -> None:
    budget = choose(plan_of(tmp_path), 2.0)
    assert budget.left_out["aime24"] is None


def test_hours_need_a_rate(tmp_path: Path) -> None:
    plan = plan_of(tmp_path)
    with pytest.raises(UserInputError, match="above 0"):
        choose(plan, 0)


def test_the_promise_is_kept_by_studies_of_that_plan() -> None:
    chance, asked = with_looks(0.9, 2000)
    rng, times = np.random.default_rng(1), np.arange(1, 11) / 10
    drift = 1.2816 + 1.6449
    paths = rng.normal(drift / 10, np.sqrt(0.1), (20_000, 10)).cumsum(axis=1) / np.sqrt(times)
    upper = [3.291, 2.940, 2.721, 2.548, 2.401, 2.271, 2.154, 2.045, 1.944, 1.848]
    crossed = paths >= upper
    assert chance == pytest.approx(crossed.any(axis=1).mean(), abs=0.01)
    ends = np.where(crossed.any(axis=1), times[crossed.argmax(axis=1)], 1.0)
    assert asked == pytest.approx(ends.mean(), abs=0.01)


def test_the_command_says_and_writes_it(cli: Cli, tmp_path: Path) -> None:
    given, out = study_file(tmp_path), tmp_path / "cut.yaml"
    ended = cli("plan", given, "--rate", 1000, "--hours", 2, "--write", out)
    said = " ".join(ended.out.split())
    assert ended.code == 0
    assert "aime24: 2 hours CANNOT answer" in said
    assert "rules out a loss of 2 points with" in said
    written = yaml.safe_load(out.read_text())
    names = [entry["name"] for entry in written["benchmarks"]]
    assert {"mmlu_pro", "math500"} <= set(names)
    assert load_study(out).benchmarks[0].limit == written["benchmarks"][0]["limit"]
    assert cli("plan", given, "--rate", 1000, "--hours", 2, "--write", out).code == 2
    assert cli("plan", given, "--write", tmp_path / "x.yaml").code == 2
