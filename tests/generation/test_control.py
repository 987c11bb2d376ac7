"""The control: the baseline run a second time, with other seeds and in another order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support import Cli, answers, replay_study, write_jsonl, write_yaml

from bitparity.engines.scheduling import fixed_batches
from bitparity.errors import StudyError
from bitparity.exam.frozen import Exam, ExamItem
from bitparity.exam.requests import Examinee
from bitparity.records import Item, Prompt, Request, Sampling
from bitparity.schema import Study
from bitparity.study.resolve import load_study, parse_study

STUDY = """
study: s
variants:
  bf16: {model: x/y, baseline: true, revision: abc}
  fp8: {model: x/z}
benchmarks: [math500]
"""


def parse(text: str, **options: bool) -> Study:
    return parse_study(text, "study.yaml", Path(), **options)


@pytest.mark.parametrize(
    ("study", "name"),
    [
        (parse(STUDY.replace("fp8: {", "again: {control: true}\n  fp8: {")), "again"),
        (parse(STUDY.replace("baseline: true", "baseline: true, control: true")), "bf16-control"),
        (parse(STUDY, control=True), "bf16-control"),
        (parse(STUDY.replace("fp8: {", "again: {model: x/y, control: true}\n  fp8: {"), control=True), "again"),
    ],
)
def test_the_control_is_the_baseline_and_no_candidate(study: Study, name: str) -> None:
    assert study.control == name
    assert study.candidates == ["fp8"]
    assert study.variants[name] == study.variants["bf16"].model_copy(update={"baseline": False, "control": True})
    assert study.fingerprint() == parse(STUDY).fingerprint()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (STUDY.replace("x/z", "x/z, control: true"), "has another model"),
        (STUDY.replace("model: x/z", "control: true, revision: def"), "has another revision"),
        (STUDY.replace("model: x/z", "control: true, engine: {batch_size: 3}"), "has another engine"),
        (STUDY.replace("model: x/z", "control: true").replace("abc", "abc, control: true"), "2 controls"),
        (STUDY.replace("baseline: true", "control: true").replace("fp8: {model: x/z}", ""), "needs a baseline"),
        (STUDY.replace("{model: x/z}", "{}"), "key 'model' is missing"),
    ],
)
def test_what_is_no_control_is_refused(text: str, said: str) -> None:
    with pytest.raises(StudyError, match=said):
        parse(text)


def made_exam() -> Exam:
    items = tuple(ExamItem(Item(f"q{n}", (Prompt(text="?"),), "1")) for n in range(30))
    return Exam("math500", "math_verify", Sampling(8, 0.6), 5, None, items, 30, {})


def test_the_controls_requests_have_other_seeds_and_another_order() -> None:
    spec = parse(STUDY.replace("[math500]", "[{name: math500, samples: 2}]")).benchmarks[0]
    plain = list(Examinee("bf16").requests(made_exam(), spec))
    control = list(Examinee("again", control=True).requests(made_exam(), spec))
    names = [(r.item, r.sample) for r in plain]
    assert sorted((r.item, r.sample) for r in control) == sorted(names)
    assert [(r.item, r.sample) for r in control] != names
    assert not {r.seed for r in plain} & {r.seed for r in control}
    assert control == list(Examinee("other", control=True).requests(made_exam(), spec))


def test_the_controls_items_meet_other_neighbours_in_their_batches() -> None:
    requests = [Request("b", f"q{n}", 0, Sampling(8), n, token_ids=(1,) * (40 - n)) for n in range(10)]
    plain = fixed_batches(requests, 4, set())
    shifted = fixed_batches(requests, 4, set(), shifted=True)
    assert [r.batch for r in plain] == [0, 0, 0, 0, 1, 1, 1, 1, 2, 2]
    assert [r.batch for r in shifted] == [0, 0, 1, 1, 1, 1, 2, 2, 2, 2]


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Recorded answers with a control of its own: bf16 misses 1 of 12, its second run 3 others."""
    path = replay_study(tmp_path, wrong={"bf16": [1], "fp8": [1, 2]})
    write_jsonl(tmp_path / "again.jsonl", answers(12, [2, 3, 4]))
    return path


def with_control(path: Path, **keys: object) -> Path:
    import yaml

    document = yaml.safe_load(path.read_text()) | keys
    document["variants"]["again"] = {"model": "again.jsonl", "control": True}
    return write_yaml(path.with_name("controlled.yaml"), document)


def test_the_noise_floor_stands_beside_the_candidates(cli: Cli, study: Path, tmp_path: Path) -> None:
    ended = cli("run", with_control(study), "--out", tmp_path / "run")
    found = results(tmp_path / "run")
    control = found["benchmarks"]["math500"]["comparisons"]["again"]
    assert (control["lost"], control["gained"], control["items"]) == (3, 1, 12)
    assert control["flips"] == pytest.approx(4 / 12)
    assert control["control"]
    assert control["verdict"] == "inconclusive"
    assert found["variants"]["again"]["control"]
    assert found["overall"]["again"]["control"]
    assert "4 of 12 items flip on math500" in (tmp_path / "run" / "report.md").read_text()
    assert "4 of 12 items flip on math500" in " ".join(ended.out.split())
    assert "| math500 | again |" in (tmp_path / "run" / "report.md").read_text()


def test_without_a_control_the_report_says_what_is_not_known(cli: Cli, study: Path, tmp_path: Path) -> None:
    cli("run", study, "--out", tmp_path / "run")
    assert "Noise floor: not measured" in (tmp_path / "run" / "report.md").read_text()


def test_the_control_is_a_family_of_its_own(cli: Cli, study: Path, tmp_path: Path) -> None:
    cli("run", study, "--out", tmp_path / "plain")
    cli("run", with_control(study, reference="first"), "--out", tmp_path / "run")
    plain, controlled = (results(tmp_path / name)["benchmarks"]["math500"]["comparisons"] for name in ("plain", "run"))
    assert plain["fp8"] == controlled["fp8"]
    assert controlled["again"]["p_adjusted"] == controlled["again"]["p_value"]


def test_the_mean_of_both_runs_is_the_reference(cli: Cli, study: Path, tmp_path: Path) -> None:
    """bf16 misses 1 of 12 and then 3 others, so the reference is 10 of 12, as good as fp8; alone it is 11."""
    cli("run", with_control(study), "--out", tmp_path / "run")
    found = results(tmp_path / "run")["benchmarks"]["math500"]["comparisons"]
    assert found["fp8"]["reference"] == ["bf16", "again"]
    assert found["fp8"]["difference"] == pytest.approx(0)
    assert found["fp8"]["recovery"] == pytest.approx(1)
    assert (found["fp8"]["lost"], found["fp8"]["gained"]) == (1, 0)
    assert found["again"]["difference"] == pytest.approx(-2 / 12)
    assert "reference" not in found["again"]
    report = (tmp_path / "run" / "report.md").read_text()
    assert "Differences and recovery are from the mean of both runs of the baseline" in report
    cli("run", with_control(study, reference="first"), "--out", tmp_path / "first")
    alone = results(tmp_path / "first")["benchmarks"]["math500"]["comparisons"]
    assert alone["fp8"]["difference"] == pytest.approx(-1 / 12)
    assert "reference" not in alone["fp8"]
    assert alone["again"] == found["again"]


def test_an_incomplete_second_run_is_no_reference_and_it_is_said(cli: Cli, study: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    cli("run", with_control(study), "--out", run)
    for kind in ("samples", "grades"):
        file = run / kind / "again" / "math500.jsonl"
        file.write_text("".join(line + "\n" for line in file.read_text().splitlines()[:-1]))
    cli("report", run)
    found = results(run)["benchmarks"]["math500"]["comparisons"]["fp8"]
    assert (found["reference"], found["difference"]) == (["bf16"], pytest.approx(-1 / 12))
    assert "From its first run alone, since the second is incomplete or invalid" in (run / "report.md").read_text()


def test_a_run_that_began_with_the_first_run_as_reference_keeps_it(cli: Cli, study: Path, tmp_path: Path) -> None:
    import yaml

    run = tmp_path / "run"
    cli("run", study, "--out", run)
    stored = yaml.safe_load((run / "study.yaml").read_text())
    assert stored["study"].pop("reference") == "both"
    (run / "study.yaml").write_text(yaml.safe_dump(stored))  # as a version wrote it that knew no reference
    cli("run", with_control(study), "--out", run)
    found = results(run)["benchmarks"]["math500"]["comparisons"]
    assert "again" in found
    assert found["fp8"]["difference"] == pytest.approx(-1 / 12)
    assert "reference" not in found["fp8"]


def test_a_control_decides_no_exit_code(cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path, count=300, wrong={"bf16": [1], "fp8": [1]})
    write_jsonl(tmp_path / "again.jsonl", answers(300, range(100)))
    assert cli("run", with_control(study), "--out", tmp_path / "run").code == 0
    assert (
        results(tmp_path / "run")["benchmarks"]["math500"]["comparisons"]["again"]["verdict"] == "worse_beyond_margin"
    )


def test_a_control_can_be_added_to_a_finished_run_and_stays(cli: Cli, study: Path, tmp_path: Path) -> None:
    cli("run", study, "--out", tmp_path / "run")
    before = (tmp_path / "run" / "samples" / "fp8" / "math500.jsonl").read_bytes()
    cli("run", with_control(study), "--out", tmp_path / "run")
    assert "again" in results(tmp_path / "run")["variants"]
    assert (tmp_path / "run" / "samples" / "fp8" / "math500.jsonl").read_bytes() == before
    cli("run", study, "--out", tmp_path / "run")
    assert "again" in results(tmp_path / "run")["variants"]
    refused = cli("run", study, "--control", "--out", tmp_path / "run")
    assert refused.code == 2
    assert "has the control 'again' already" in refused.err


def test_the_flag_adds_a_control(study: Path) -> None:
    assert load_study(study, control=True).control == "bf16-control"
