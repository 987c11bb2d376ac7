"""`bitparity plan`: cost and power of a study, without a model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from support import Cli, Ended, math_rows, replay_study, write_jsonl, write_yaml

from bitparity.doctor.plan import BenchmarkPlan, make_plan, unanswerable
from bitparity.doctor.rates import Rate, given_rate
from bitparity.exam.flips import GREEDY, SAMPLED
from bitparity.progress.events import Events
from bitparity.report.planning import answer
from bitparity.runner import run_study
from bitparity.stats import power
from bitparity.store.environment import RunRecord
from bitparity.store.run import Run
from bitparity.study.resolve import load_study
from bitparity.study.template import write_study


def study(folder: Path, *benchmarks: Any, profile: str = "default") -> Path:
    variants = {"bf16": {"model": "org/a", "baseline": True}, "fp8": {"model": "org/b"}}
    return write_yaml(
        folder / "study.yaml",
        {"study": "x", "variants": variants, "profile": profile, "benchmarks": list(benchmarks)},
    )


def planned(folder: Path, *benchmarks: Any, profile: str = "default") -> list[BenchmarkPlan]:
    return list(make_plan(load_study(study(folder, *benchmarks, profile=profile))).benchmarks)


def said(ended: Ended) -> str:
    return " ".join(ended.out.split())


def test_thirty_items_and_one_sample_cannot_answer_and_it_says_what_would(tmp_path: Path, cli: Cli) -> None:
    ended = cli("plan", study(tmp_path, {"name": "aime24", "samples": 1}))
    assert ended.code == 0
    assert "aime24: CANNOT answer whether a loss is below 5 points: 30 items with 1 sample each" in said(ended)
    assert "detect no loss reliably, however large" in said(ended)
    assert f"{power.items_needed(0.05, GREEDY.total[1])} items, which it does not have" in said(ended)
    # 30 items leave a loss of 5 points without a trace too often: no number of samples answers
    assert "samples an item at a temperature above 0" not in said(ended)
    assert "BF16 against itself flips 4 to 9 %, FP8 8 to 16 %, NVFP4 12 to 19 %" in said(ended)


def test_following_the_advice_answers_the_question(tmp_path: Path) -> None:
    sampled = {"name": "gpqa_diamond", "temperature": 0.6, "margin": 5}
    (before,) = planned(tmp_path, sampled | {"samples": 2})
    assert not before.answers
    design = SAMPLED.design(before.size.items, before.size.groups, 2)
    assert design is not None
    samples = power.samples_needed(design, 0.05, 256)
    assert before.advice is not None
    assert before.advice.samples == samples
    assert f"{samples} samples an item" in answer(before)
    (after,) = planned(tmp_path, sampled | {"samples": samples})
    assert after.answers
    (one,) = planned(tmp_path, {"name": "mmlu_pro", "limit": 500})
    needed = power.items_needed(0.01, GREEDY.total[1])
    assert f"{needed:,} items (raise the limit)" in answer(one)
    assert planned(tmp_path, {"name": "mmlu_pro", "limit": needed})[0].answers
    assert not planned(tmp_path, {"name": "mmlu_pro", "limit": int(0.95 * needed)})[0].answers


def test_enough_items_can_answer(tmp_path: Path) -> None:
    (found,) = planned(tmp_path, "mmlu_pro")
    assert found.size.items == 12_032
    assert found.answers
    assert found.advice is None
    assert answer(found).startswith("mmlu_pro: can answer. 12,032 items with 1 sample each can rule out a loss of 0.79")
    assert found.detectable[1] == power.detectable_loss(12_032, 0.12)


def test_samples_shrink_the_noise_alone(tmp_path: Path) -> None:
    spec = {"name": "gpqa_diamond", "temperature": 0.7}
    one, four, many = (planned(tmp_path, spec | {"samples": k})[0] for k in (1, 4, 10_000))
    assert one.provable[1] > four.provable[1] > many.provable[1]  # type: ignore[operator]
    changed = power.Design(198, SAMPLED.total[1] - SAMPLED.noise[1], 0.0, 2)
    assert many.provable[1] == pytest.approx(changed.provable(), rel=1e-2)


def test_repeats_of_greedy_answers_count_as_one(tmp_path: Path, cli: Cli) -> None:
    one, four = (planned(tmp_path, {"name": "gpqa_diamond", "samples": k})[0] for k in (1, 4))
    assert (one.detectable, one.provable) == (four.detectable, four.provable)
    ended = cli("plan", study(tmp_path, {"name": "gpqa_diamond", "samples": 4}))
    assert "Repeats of greedy answers (gpqa_diamond) are nearly the same answers and count as one sample" in said(ended)


def test_items_that_share_a_problem_tell_less(tmp_path: Path, cli: Cli) -> None:
    (steps,) = planned(tmp_path, "scicode")
    assert (steps.size.items, len(steps.size.groups), sum(steps.size.groups)) == (288, 65, 288)
    assert steps.provable[1] > power.provable_margin(288, GREEDY.total[1])  # type: ignore[operator]
    assert "its 288 items share 65 problems" in said(cli("plan", study(tmp_path, "scicode")))


def test_items_come_from_the_file_the_limit_or_the_published_number(tmp_path: Path) -> None:
    data = write_jsonl(tmp_path / "math.jsonl", math_rows(25)).name
    rows = write_jsonl(tmp_path / "gsm.jsonl", [{"question": "?", "answer": "1"}] * 7).name
    found = planned(
        tmp_path,
        {"name": "math500", "data": data},
        {"name": "aime24", "limit": 12},
        {"name": "lm_eval:gsm8k", "data": rows},
        {"name": "lm_eval:arc_easy", "limit": 40},
        "lm_eval:hendrycks_math500",
        {"name": "lm_eval:mmlu_pro", "limit": 10},
        "lm_eval:hellaswag",
        "smoke",
    )
    assert [bench.size.items for bench in found[:7]] == [25, 12, 7, 40, 500, 140, None]
    assert found[6].output_tokens is None
    assert "its size is not" in answer(found[6])
    assert found[7].size.source == "made by bitparity"


def test_log_likelihoods_write_nothing_and_need_one_sample(tmp_path: Path) -> None:
    (found,) = planned(tmp_path, {"name": "gpqa_diamond", "form": "lm-eval", "samples": 5})
    assert (found.samples, found.output_tokens, found.budget) == (1, 0, 0)


def test_hours_follow_from_a_given_rate(tmp_path: Path, cli: Cli) -> None:
    path = study(tmp_path, {"name": "mmlu_pro", "limit": 7200}, profile="qwen3-thinking")
    plan = make_plan(load_study(path), given_rate(load_study(path), 1000))
    assert plan.benchmarks[0].output_each == 6000
    assert plan.hours(plan.benchmarks[0], "fp8") == pytest.approx(12)
    ended = cli("plan", path, "--rate", 1000)
    assert "Hours, all variants: 24.0 at 1,000 output tokens a second" in said(ended)
    assert "Assumed tokens of an answer: mmlu_pro 6000" in said(ended)


def test_without_a_rate_no_hours_are_made_up(tmp_path: Path, cli: Cli) -> None:
    assert "hours are not known: give --rate" in said(cli("plan", study(tmp_path, "aime24")))


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose answers have 12 tokens, 40 questions of the 60 that there are."""
    folder = tmp_path_factory.mktemp("plan")
    run_study(load_study(replay_study(folder, 60, {"bf16": [1], "fp8": [2]}), limit=40), folder / "run", Events())
    return folder


def test_a_run_gives_measured_lengths_and_the_size_of_the_whole(measured: Path, cli: Cli) -> None:
    plan = make_plan(load_study(measured / "study.yaml"), run=Run(measured / "run"))
    (found,) = plan.benchmarks
    assert (found.size.items, found.output_each, found.output_source) == (60, 12, "measured")
    ended = cli("plan", measured / "study.yaml", "--run", measured / "run")
    assert "recorded answers have none" in said(ended)
    assert "Assumed tokens" not in said(ended)


def test_a_run_gives_measured_rates(measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(measured / "run")
    environment = json.loads((run.path / "environment.json").read_text())
    environment["variants"]["bf16"]["generation"] = {"seconds": 10.0, "samples": 40, "output_tokens": 480}
    environment["variants"]["fp8"]["generation"] = {"seconds": 0.0, "samples": 0, "output_tokens": 0}
    real = run.study()
    engine = real.variants["bf16"].engine.model_copy(update={"kind": "transformers"})
    variants = {name: v.model_copy(update={"engine": engine}) for name, v in real.variants.items()}
    monkeypatch.setattr(run, "environment", lambda: RunRecord.model_validate(environment))
    monkeypatch.setattr(run, "study", lambda: real.model_copy(update={"variants": variants}))
    plan = make_plan(load_study(measured / "study.yaml"), run=run)
    assert plan.rates == dict.fromkeys(["bf16", "fp8"], Rate(48.0, 48.0, 48.0))
    assert "the slowest of its rates for fp8" in plan.rate_source
    assert plan.hours(plan.benchmarks[0], "bf16") == pytest.approx(60 * 12 / 48 / 3600)


def test_the_study_to_start_from_can_answer_what_it_asks(tmp_path: Path) -> None:
    write_study(tmp_path / "study.yaml")
    plan = make_plan(load_study(tmp_path / "study.yaml"))
    assert plan.benchmarks
    assert all(bench.answers for bench in plan.benchmarks)
    assert plan.together is not None
    assert plan.together[1] <= plan.together[2]


def test_the_plan_is_in_chinese_with_the_same_figures(tmp_path: Path, cli: Cli) -> None:
    file = study(tmp_path, "mmlu_pro", "math500", {"name": "aime24", "samples": 4}, "lm_eval:gsm8k")
    for more in ((), ("--rate", "900"), ("--rate", "900", "--hours", "3")):
        english, chinese = (said(cli("plan", file, *more, "--lang", lang)) for lang in ("en", "zh"))
        figures = r"\d[\d,.]*\d|\d"
        assert sorted(re.findall(figures, english)) == sorted(re.findall(figures, chinese))
        assert not re.search(r"\b(CANNOT|answers?|items|samples|hours|loss)\b", chinese)


def test_a_run_says_what_it_cannot_answer_before_it_begins(tmp_path: Path, cli: Cli) -> None:
    file = replay_study(tmp_path, 60, {"bf16": [1], "fp8": [2]})
    ended = cli("run", file, "--out", tmp_path / "run")
    line = "math500: this study CANNOT answer whether a loss is below 2 points"
    assert ended.err.startswith(line)
    assert ended.err.count(line) == 1
    again = cli("run", file, "--out", tmp_path / "run")
    assert line not in again.err


def test_nothing_is_said_of_what_can_be_answered_or_read_by_the_run_alone(tmp_path: Path) -> None:
    able, broken = tmp_path / "able", tmp_path / "broken"
    for folder in (able, broken):
        folder.mkdir()
    (broken / "rows.jsonl").write_text("{\n")
    assert not list(unanswerable(load_study(study(able, "mmlu_pro", "lm_eval:gsm8k"))))
    assert not list(unanswerable(load_study(study(broken, {"name": "math500", "data": str(broken / "rows.jsonl")}))))


def test_the_page_on_margins_has_the_figures_of_the_plan() -> None:
    page = (Path(__file__).parents[2] / "docs" / "choosing-a-margin.md").read_text()
    rows = re.findall(r"^\| ([\d,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", page, re.MULTILINE)
    assert len(rows) == 6
    for items, *told in rows:
        designs = [GREEDY.design(int(items.replace(",", "")), (), 1)]
        designs += [SAMPLED.design(int(items.replace(",", "")), (), samples) for samples in (1, 4, 16)]
        computed = [design and design.provable() for design in designs]
        assert told == [f"{100 * (value or 0):.1f}" for value in computed]


def test_no_model_library_is_imported(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "transformers", "vllm", "lm_eval", "datasets"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli("plan", study(tmp_path, "mmlu_pro", "aime24", "lm_eval:gsm8k", "smoke")).code == 0


def test_bad_input_ends_with_one_line(tmp_path: Path, measured: Path, cli: Cli) -> None:
    good = study(tmp_path, "aime24")
    broken = tmp_path / "broken.jsonl"
    broken.write_text("{\n")
    other = tmp_path / "other"
    other.mkdir()
    for args in (
        (tmp_path / "absent.yaml",),
        (good, "--rate", "0"),
        (good, "--rate", "nan"),
        (good, "--run", tmp_path / "absent"),
        (study(other, {"name": "math500", "data": str(broken)}),),
    ):
        ended = cli("plan", *args)
        assert (ended.code, ended.err.count("\n")) == (2, 1), args
