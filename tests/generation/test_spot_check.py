"""The spot check: with batch invariance the control gives some of the answers of the baseline, which must be equal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import Cli, answers, replay_study, write_jsonl, write_yaml

from bitparity.doctor.plan import make_plan
from bitparity.doctor.rates import given_rate
from bitparity.exam.build import digest
from bitparity.exam.frozen import Exam, ExamItem, frozen_exams
from bitparity.exam.requests import Examinee
from bitparity.exam.spot_check import answers_of_items, drawn_for
from bitparity.generation.blocks import Blocks
from bitparity.records import Item, Prompt, Sampling
from bitparity.schema import Study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study, parse_study

COUNT = 150


def recorded(folder: Path, spoilt: int = 0, **engine: object) -> Path:
    """A study of 150 recorded answers; the control's recording has them too, but `spoilt` of those drawn."""
    path = replay_study(folder, COUNT, {"bf16": [1], "fp8": [1, 2]})
    document = yaml.safe_load(path.read_text()) | {"engine": {"kind": "replay", "batch_invariant": True, **engine}}
    document["variants"]["again"] = {"model": "again.jsonl", "control": True}
    rows = answers(COUNT, [1])
    ids = sorted((row["item"] for row in rows), key=lambda item: digest(f"spot check\0{SEED}\0math500\0{item}\00"))
    for row in rows:
        row["text"] += " Done." * (row["item"] in ids[:spoilt])
    write_jsonl(folder / "again.jsonl", rows)
    return write_yaml(path, document)


SEED = (
    parse_study("{study: s, variants: {a: {model: x/y}}, benchmarks: [math500]}", "", Path())
    .benchmarks[0]
    .protocol.seed
)


def results(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "results.json").read_text())
    return found


def test_all_the_same(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    ended = cli("run", recorded(tmp_path), "--out", run)
    assert len((run / "samples" / "again" / "math500.jsonl").read_text().splitlines()) == 100
    found = results(run)
    math = found["benchmarks"]["math500"]
    assert math["spot_check"] == {"variant": "again", "asked": 100, "answered": 100, "differing": []}
    assert "not_repeatable" not in {guard["name"] for guard in math["guards"]}
    # no power: nothing is scored by it, and the first run alone is the reference
    assert set(found["variants"]) == set(math["scores"]) == {"bf16", "fp8"}
    assert set(math["comparisons"]) == {"fp8"}
    assert "reference" not in math["comparisons"]["fp8"]
    said = "100 of 100 answers are the same text; 100 were to be asked. It adds no power"
    assert said in (run / "report.md").read_text()
    assert said in " ".join(ended.out.split())
    assert said in (run / "report.html").read_text()
    assert "100 条回答中有 100 条文本相同" in " ".join(cli("report", run, "--lang", "zh").out.split())
    assert cli("status", run).code == 0


def test_three_that_differ_are_an_error_that_names_them(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cli("run", recorded(tmp_path, spoilt=3), "--out", run)
    math = results(run)["benchmarks"]["math500"]
    (guard,) = [guard for guard in math["guards"] if guard["name"] == "not_repeatable"]
    assert (guard["level"], guard["variant"], guard["value"]) == ("error", "again", 0.03)
    assert "3 of 100 differ" in guard["message"]
    assert len(math["spot_check"]["differing"]) == 3
    assert all(item in guard["message"] for item in math["spot_check"]["differing"])
    report = (run / "report.md").read_text()
    assert "only 97 of 100 answers are the same text" in report
    assert "must give the same answers, but 3 of 100 differ (" in report
    cli("report", run, "--lang", "zh")
    assert "应给出相同的回答，但 100 条中有 3 条不同" in (run / "report.zh.md").read_text()


def test_a_check_that_is_not_complete_goes_on(cli: Cli, tmp_path: Path) -> None:
    study, run = recorded(tmp_path), tmp_path / "run"
    cli("run", study, "--out", run)
    whole = results(run)
    samples = run / "samples" / "again" / "math500.jsonl"
    lines = samples.read_text().splitlines(keepends=True)
    samples.write_text("".join(lines[:60]))
    (run / "progress.json").unlink()
    assert cli("status", run).code == 3
    cli("report", run)
    assert results(run)["benchmarks"]["math500"]["spot_check"]["answered"] == 60
    code = cli("run", study, "--out", run).code
    assert results(run)["benchmarks"] == whole["benchmarks"]
    assert sorted(samples.read_text().splitlines(keepends=True)) == sorted(lines)
    assert code == cli("run", study, "--out", run).code


def test_a_run_with_a_whole_second_run_keeps_it(cli: Cli, tmp_path: Path) -> None:
    study, run = recorded(tmp_path), tmp_path / "run"
    cli("run", study, "--out", run)
    stored = yaml.safe_load((run / "study.yaml").read_text())
    stored["study"]["variants"]["again"]["control"] = True  # as versions wrote it that knew no spot check
    write_yaml(run / "study.yaml", stored)
    cli("report", run)
    assert "again" in results(run)["benchmarks"]["math500"]["comparisons"]
    cli("run", study, "--out", run)
    found = results(run)["benchmarks"]["math500"]
    assert found["comparisons"]["again"]["items"] == COUNT
    assert "spot_check" not in found


def test_a_sealed_run_is_verified(cli: Cli, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cli("run", recorded(tmp_path, spoilt=3), "--out", run)
    for options in ([], ["--without-answers"]):
        file = tmp_path / f"sealed{len(options)}"
        assert cli("seal", run, "--out", file, *options).code == 0
        ended = cli("verify", file)
        assert ended.code == 0, ended
        assert "byte for byte" in ended.out


STUDY = """
study: s
engine: {kind: vllm, batch_invariant: true}
variants:
  bf16: {model: x/y, baseline: true, control: true}
  fp8: {model: x/z}
benchmarks: [{name: math500, samples: 2}, {name: aime24, samples: 1}]
"""


def test_only_batch_invariance_makes_it_a_spot_check() -> None:
    study, plain = (parse_study(text, "", Path()) for text in (STUDY, STUDY.replace(", batch_invariant: true", "")))
    assert (study.spot_check, study.control, study.second_run) == ("bf16-control", None, "bf16-control")
    assert (plain.spot_check, plain.control, plain.second_run) == (None, "bf16-control", "bf16-control")
    assert study.candidates == plain.candidates == ["fp8"]
    assert study.fingerprint() == parse_study(STUDY.replace(", control: true", ""), "", Path()).fingerprint()
    assert Study.model_validate(study.model_dump(mode="json")) == study


def exams(study: Study) -> list[Any]:
    def exam(name: str, count: int) -> Exam:
        items = tuple(ExamItem(Item(f"q{n}", (Prompt(text="?"),), "1")) for n in range(count))
        return Exam(name, "math_verify", Sampling(8, 0.6), 5, None, items, count, {})

    return [(spec, exam(spec.name, count)) for spec, count in zip(study.benchmarks, (500, 30), strict=True)]


def test_it_is_drawn_over_all_benchmarks_with_the_seeds_of_the_first_run() -> None:
    study = parse_study(STUDY, "", Path())
    asked = exams(study)
    drawn = drawn_for(study, "bf16-control", asked)
    assert drawn is not None
    assert drawn_for(study, "fp8", asked) is None
    assert {name: len(keys) for name, keys in drawn.items()} == {"math500": 70, "aime24": 30}
    assert {sample for _, sample in drawn["math500"]} == {0, 1}
    alone = drawn_for(study, "bf16-control", asked[:1])
    assert alone is not None
    assert alone["math500"] > drawn["math500"]
    spec, exam = asked[0]
    first = {(r.item, r.sample): r.seed for r in Examinee("bf16").requests(exam, spec)}
    requests = Examinee("bf16-control", control=True, drawn=drawn).requests(exam, spec)
    assert {(r.item, r.sample): r.seed for r in requests} == {key: first[key] for key in drawn["math500"]}
    order = [(r.item, r.sample) for r in requests]
    assert order != [key for key in first if key in drawn["math500"]]
    assert len(requests.unanswered(set(order[:50]))) == 20


def test_a_run_by_the_clock_waits_for_the_answers_drawn_alone() -> None:
    study = parse_study(STUDY, "", Path())
    (spec, exam), *_ = asked = exams(study)
    drawn = drawn_for(study, "bf16-control", asked)
    assert drawn is not None
    blocks = Blocks(spec, exam, [100, 500], drawn)
    early = [key for key in drawn["math500"] if int(key[0][1:]) < 100]
    assert blocks.missing == len(early) == answers_of_items(exam, spec, drawn, 100)
    assert blocks.add((key, False) for key in early)
    assert blocks.complete == 1
    assert blocks.missing == 70 - len(early)


def test_the_plan_counts_a_hundred_answers(cli: Cli, tmp_path: Path) -> None:
    path = write_yaml(tmp_path / "study.yaml", yaml.safe_load(STUDY))
    ended = cli("plan", path, "--rate", "1000")
    assert "bf16-control is a spot check of 100 answers" in " ".join(ended.out.split())
    study = load_study(path)
    plan = make_plan(study, given_rate(study, 1000.0))
    tokens = {name: sum(plan.output_tokens(bench, name) or 0 for bench in plan.benchmarks) for name in study.variants}
    each = {bench.name: bench.output_each for bench in plan.benchmarks}
    assert tokens["bf16"] == tokens["fp8"] == 1000 * each["math500"] + 30 * each["aime24"]
    assert tokens["bf16-control"] == 70 * each["math500"] + 30 * each["aime24"]
    hours = plan.hours_of("bf16-control")
    assert hours is not None
    assert hours[0] == pytest.approx(tokens["bf16-control"] / 1000 / 3600)


def test_what_lies_beyond_the_end_of_the_time_is_not_asked(cli: Cli, tmp_path: Path) -> None:
    path, run = recorded(tmp_path), tmp_path / "run"
    cli("run", path, "--out", run)
    ((spec, exam),) = frozen_exams(Run(run), load_study(path))
    drawn = drawn_for(load_study(path), "again", [(spec, exam)])
    counted = answers_of_items(exam, spec, drawn, 40)
    record = json.loads((run / "environment.json").read_text())
    record["hours"] = {"hours": 1.0, "seconds": 1.0, "asked": {"math500": 40}, "answering": {}}
    (run / "environment.json").write_text(json.dumps(record))
    cli("report", run)
    found = results(run)["benchmarks"]["math500"]["spot_check"]
    assert (found["asked"], found["answered"]) == (counted, counted)
