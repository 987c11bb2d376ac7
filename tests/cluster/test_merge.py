"""Shards of a study on machines that do not know of each other, and their union."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support import Cli, replay_study, stored, write_jsonl, write_yaml

from bitparity.benchmarks.mathematics import MathBenchmark
from bitparity.results import sheet
from bitparity.store.jsonl import checked_line, read_lines
from bitparity.store.run import Run, WritableRun


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A toy study of 12 items and 3 variants."""
    return replay_study(tmp_path_factory.mktemp("study"))


@pytest.fixture
def shards(cli: Cli, study: Path, tmp_path: Path) -> list[Path]:
    """Copies of its three shards, which the first test makes; to be changed at will."""
    copies = []
    for number in (1, 2, 3):
        made = study.parent / f"shard{number}"
        if not made.exists():
            ended = cli("run", study, "--out", made, "--shard", f"{number}/3")
            assert ended.code == 0, ended.err
            assert "bitparity merge" in ended.out
        copies.append(shutil.copytree(made, tmp_path / made.name))
    return copies


def test_the_shards_together_are_the_run_of_one_machine(
    cli: Cli, study: Path, tmp_path: Path, shards: list[Path]
) -> None:
    whole = tmp_path / "whole"
    assert cli("run", study, "--out", whole).code in (0, 1, 3)
    assert [len(stored(s)) for s in shards] == [12, 12, 12]
    merged = cli("merge", tmp_path / "merged", *shards)
    assert merged.code in (0, 1, 3)
    assert "36 samples of 3 directories" in merged.out
    assert "gap" not in merged.err
    assert stored(tmp_path / "merged") == stored(whole)
    ours, theirs = (json.loads((d / "results.json").read_text()) for d in (tmp_path / "merged", whole))
    for part in ("scores", "comparisons"):
        assert ours["benchmarks"]["math500"][part] == theirs["benchmarks"]["math500"][part]
    one = Run(tmp_path / "merged").environment().variants["fp8"]
    (engine,) = one.engines
    assert len(engine.sessions) >= 1
    assert one.generation.samples == 12
    assert (whole / "exam" / "math500.jsonl").read_bytes() == (tmp_path / "merged/exam/math500.jsonl").read_bytes()


def test_the_shards_grades_are_kept_and_only_what_has_none_is_graded(
    cli: Cli, tmp_path: Path, shards: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    graded: list[str] = []
    real = MathBenchmark.grade
    monkeypatch.setattr(MathBenchmark, "slow_grader", False)  # in this process
    monkeypatch.setattr(
        MathBenchmark, "grade", lambda self, item, completion: graded.append(item.id) or real(self, item, completion)
    )
    # counted is what merge grades, not what is tried again when results are made
    monkeypatch.setattr(sheet, "regraded_otherwise", lambda *_: None)
    stale = shards[1] / "grades" / "fp8" / "math500.jsonl"
    stale.write_bytes(stale.read_bytes().replace(b'"grader": "', b'"grader": "older '))
    header, *rows = [
        {k: v for k, v in row.items() if k != "crc32"} for row in map(json.loads, stale.read_bytes().splitlines())
    ]
    stale.write_bytes(b"".join(map(checked_line, (header, *rows))))
    assert cli("merge", tmp_path / "merged", *shards).code in (0, 1, 3)
    assert len(graded) == len(rows)  # another grader's only
    kept = Run(tmp_path / "merged").grades("fp8", "math500")
    assert len(kept) == 12
    for shard in (shards[0], shards[2]):
        assert all(kept[key] == grade for key, grade in Run(shard).grades("fp8", "math500").items())
    graded.clear()
    assert cli("merge", tmp_path / "merged", *shards).code in (0, 1, 3)
    assert graded == []


def test_a_gap_is_named_and_run_completes_it(cli: Cli, study: Path, tmp_path: Path, shards: list[Path]) -> None:
    merged = cli("merge", tmp_path / "merged", shards[0], shards[2])
    assert merged.code == 3
    assert "fp8 on math500: 4 of 12 samples are missing" in merged.err
    assert "nothing was given of shard 2/3" in merged.err
    assert cli("run", study, "--out", tmp_path / "merged").code in (0, 1, 3)
    assert len(stored(tmp_path / "merged")) == 36


def test_merging_again_adds_what_is_new_and_counts_nothing_twice(cli: Cli, tmp_path: Path, shards: list[Path]) -> None:
    out = tmp_path / "merged"
    cli("merge", out, shards[0])
    before = (out / "samples/fp8/math500.jsonl").read_bytes()
    merged = cli("merge", out, *shards)
    assert "24 samples of 3 directories" in merged.out
    assert (out / "samples/fp8/math500.jsonl").read_bytes().startswith(before)
    assert len(stored(out)) == 36
    assert Run(out).environment().variants["fp8"].generation.samples == 12
    assert "0 samples of 3 directories" in cli("merge", out, *shards).out
    assert Run(out).environment().variants["fp8"].generation.samples == 12


def test_a_sum_of_tokens_is_unknown_where_that_of_one_shard_is(cli: Cli, tmp_path: Path, shards: list[Path]) -> None:
    with WritableRun(shards[0]) as run:
        environment = run.environment()
        environment.variants["fp8"].generation.output_tokens = None
        run.update_environment(environment)
    for _ in range(2):
        cli("merge", tmp_path / "merged", *shards)
        found = Run(tmp_path / "merged").environment().variants
        assert found["fp8"].generation.output_tokens is None
        assert found["bf16"].generation.output_tokens == 12 * 12


def test_the_same_answer_twice_is_fine_another_one_is_refused_by_name(
    cli: Cli, tmp_path: Path, shards: list[Path]
) -> None:
    double = tmp_path / "double"
    shutil.copytree(shards[1], double)
    path = double / "samples/fp8/math500.jsonl"
    lines = list(read_lines(path))
    write_jsonl(path, [{**row, "seconds": 99.0} for row in lines])
    assert cli("merge", tmp_path / "one", *shards, double).code in (0, 1, 3)
    assert len(stored(tmp_path / "one")) == 36

    write_jsonl(path, [{**row, "text": "otherwise"} for row in lines])
    refused = cli("merge", tmp_path / "two", *shards, double)
    assert refused.code == 2
    assert f"fp8 on math500: different answers to the same question: {lines[0]['item']}#0" in refused.err
    assert not stored(tmp_path / "two")


def test_another_study_another_exam_and_another_checkpoint_are_refused(
    cli: Cli, study: Path, tmp_path: Path, shards: list[Path]
) -> None:
    other = tmp_path / "other"
    cli("run", study, "--out", other, "--limit", 5)
    refused = cli("merge", tmp_path / "merged", shards[0], other)
    assert refused.code == 2
    assert "another study" in refused.err
    assert "limit: None -> 5" in refused.err

    environment = json.loads((shards[1] / "environment.json").read_text())
    environment["variants"]["fp8"]["identity"]["recorded"] = "elsewhere"
    (shards[1] / "environment.json").write_text(json.dumps(environment))
    refused = cli("merge", tmp_path / "merged", *shards)
    assert refused.code == 2
    assert "variant 'fp8'" in refused.err

    exam = shards[2] / "exam/math500.jsonl"
    exam.write_text(exam.read_text().replace("What", "Which", 1))
    assert cli("merge", tmp_path / "merged", shards[0], shards[2]).code == 3  # the exam was changed: a damaged file


def test_a_shard_goes_on_as_it_was_begun_only(cli: Cli, study: Path, tmp_path: Path, shards: list[Path]) -> None:
    ended = cli("run", study, "--out", shards[0])
    assert ended.code == 2
    assert "holds shard 1/3" in ended.err
    assert cli("run", study, "--out", shards[0], "--shard", "2/3").code == 2
    before = stored(shards[0])
    assert cli("run", study, "--out", shards[0], "--shard", "1/3").code == 0
    assert stored(shards[0]) == before


def test_devices_of_two_kinds_are_warned_of(cli: Cli, tmp_path: Path, shards: list[Path]) -> None:
    for number, name in ((0, "H100"), (1, "H100"), (2, "A100")):
        path = shards[number] / "environment.json"
        environment = json.loads(path.read_text())
        for variant in environment["variants"].values():
            variant["engines"][0]["facts"] |= {"device_name": name, "device_uuid": f"GPU-{number}"}
        path.write_text(json.dumps(environment))
    cli("merge", tmp_path / "equal", shards[0], shards[1])
    equal = json.loads((tmp_path / "equal/results.json").read_text())["benchmarks"]["math500"]["guards"]
    assert not [g for g in equal if g["name"] == "mixed_engines"]
    cli("merge", tmp_path / "mixed", *shards)
    mixed = json.loads((tmp_path / "mixed/results.json").read_text())["benchmarks"]["math500"]["guards"]
    assert {g["variant"] for g in mixed if g["name"] == "mixed_engines"} == {"bf16", "fp8", "nvfp4"}
    assert "A100" in next(g["message"] for g in mixed if g["name"] == "mixed_engines")


@pytest.mark.slow
def test_shards_of_a_model_in_fixed_batches_have_the_same_numbers(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the transformers engine is not installed")
    from tiny_model import build_model

    study = write_yaml(
        tmp_path / "study.yaml",
        {
            "study": "batches",
            "variants": {"full": {"model": str(build_model(tmp_path / "model")), "baseline": True}},
            "engine": {"kind": "transformers", "device": "cpu", "batch_size": 5, "dtype": "bfloat16"},
            "benchmarks": [{"name": "smoke", "temperature": 0.8, "limit": 30}],
        },
    )
    assert cli("run", study, "--out", tmp_path / "whole").code in (0, 1, 3)
    for number in (1, 2):
        assert cli("run", study, "--out", tmp_path / f"s{number}", "--shard", f"{number}/2").code == 0
    assert cli("merge", tmp_path / "merged", tmp_path / "s1", tmp_path / "s2").code in (0, 1, 3)
    assert stored(tmp_path / "merged") == stored(tmp_path / "whole")
