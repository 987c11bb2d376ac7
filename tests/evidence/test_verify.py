"""Sealing and verifying: the same bytes, the same results, signatures, withheld questions, answers asked again."""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from smoke_runs import smoke_run
from support import SHARED_DATA, Cli, replay_study, write_jsonl, write_yaml
from tampering import edit_rows, members, packed, with_manifest

from bitparity.evidence.seal import seal
from bitparity.grading.passes import grade_run
from bitparity.progress.events import Events
from bitparity.results import build
from bitparity.runner import run_study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two SSH keys."""
    folder = tmp_path_factory.mktemp("keys")
    if shutil.which("ssh-keygen") is None:
        pytest.skip("ssh-keygen is not installed")
    for name in ("mine", "other"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    return {name: folder / name for name in ("mine", "mine.pub", "other", "other.pub")}


def test_the_same_run_gives_the_same_file_and_its_results_again(
    cli: Cli, run: Path, sealed: Path, tmp_path: Path
) -> None:
    copy = shutil.copytree(run, tmp_path / "elsewhere")
    ended = cli("seal", copy, "--out", tmp_path / "again")
    assert (ended.code, (tmp_path / "again").read_bytes()) == (0, sealed.read_bytes()), ended
    ended = cli("verify", tmp_path / "again")
    assert ended.code == 0
    assert "signature: none" in ended.out
    assert "smoke: 176 of 176 questions, 528 answers of 3 variants graded again\n" in ended.out
    assert "results.json: made again, the same byte for byte\nverified: these results follow" in ended.out
    assert ended.out.endswith("that these models gave these answers\n")


def test_what_is_inside_is_a_run(cli: Cli, run: Path, sealed: Path, tmp_path: Path) -> None:
    with tarfile.open(sealed) as archive:
        archive.extractall(tmp_path, filter="data")
    assert (tmp_path / "results.json").read_bytes() == (run / "results.json").read_bytes()
    assert cli("check", tmp_path).code == cli("check", run).code
    assert (tmp_path / "samples/fp8/smoke.jsonl").read_bytes() == (run / "samples/fp8/smoke.jsonl").read_bytes()


def test_grades_of_other_code_are_made_again_before_sealing(cli: Cli, run: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(run, tmp_path / "run")
    edit_rows(copy / "grades/fp8/smoke.jsonl", lambda rows: rows[0].update(grader="0" * 16))
    ended = cli("seal", copy)
    assert ended.err.count("another version of the grader had graded this run; it was graded again") == 1
    assert cli("verify", f"{copy}.evidence.tar.xz").code == 0


def test_a_slow_grader_judges_again_too(cli: Cli, tmp_path: Path) -> None:
    path = run_study(load_study(replay_study(tmp_path, count=4)), tmp_path / "run", Events()).run.path
    file = seal(path).path
    assert "12 answers of 3 variants graded again" in cli("verify", file).out

    def change(folder: Path) -> None:
        wrong = lambda rows: next(row for row in rows if row.get("score") == 0.0)  # noqa: E731
        edit_rows(folder / "grades/nvfp4/math500.jsonl", lambda rows: wrong(rows).update(score=1.0))

    assert "grades of nvfp4 on math500: 1 of 4 differ" in cli("verify", with_manifest(file, tmp_path / "x", change)).err


# ---------------------------------------------------------------- signatures


def test_a_signature_is_that_of_a_key(cli: Cli, run: Path, tmp_path: Path, keys: dict[str, Path]) -> None:
    file = tmp_path / "signed"
    assert "signed" in cli("seal", run, "--out", file, "--key", keys["mine"]).out
    first = file.read_bytes()
    cli("seal", run, "--out", file, "--key", keys["mine"])
    assert file.read_bytes() == first
    plain = cli("verify", file)
    assert plain.code == 0
    assert "signature: good, by the ED25519 key SHA256:" in plain.out
    assert "give --key" in plain.out
    assert "which --key names" in cli("verify", file, "--key", keys["mine.pub"]).out
    both = tmp_path / "both.pub"
    both.write_text("# keys\n" + "".join(keys[name].read_text() for name in ("other.pub", "mine.pub")))
    assert cli("verify", file, "--key", both).code == 0


def test_a_wrong_signature_is_refused(cli: Cli, run: Path, sealed: Path, tmp_path: Path, keys: dict[str, Path]) -> None:
    file = seal(run, tmp_path / "signed", keys["mine"]).path
    other = cli("verify", file, "--key", keys["other.pub"])
    assert (other.code, "is refused: its signature is not" in other.err) == (2, True)
    assert "it is not signed" in cli("verify", sealed, "--key", keys["mine.pub"]).err

    def change(folder: Path) -> None:
        edit_rows(folder / "samples/fp8/smoke.jsonl", lambda rows: rows[1].update(seconds=7.0))

    edited = with_manifest(file, tmp_path / "edited", change)
    assert (cli("verify", edited).code, cli("verify", edited, "--key", keys["mine.pub"]).code) == (2, 2)
    found = members(file)
    for signature in (b"", b"x" * 300, found[1][1][:200], found[1][1].replace(b"A", b"B", 1)):
        found[1] = found[1][0], signature
        (tmp_path / "x").write_bytes(packed(found))
        assert cli("verify", tmp_path / "x").code == 2


@pytest.mark.parametrize("wrong", ["mine", "absent", "empty"])
def test_keys_that_are_none(cli: Cli, run: Path, tmp_path: Path, keys: dict[str, Path], wrong: str) -> None:
    file = seal(run, tmp_path / "signed", keys["mine"]).path
    (tmp_path / "empty").write_text("\n")
    ended = cli("verify", file, "--key", keys.get(wrong, tmp_path / wrong))
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    ended = cli("seal", run, "--out", tmp_path / "no", "--key", tmp_path / "absent")
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert not (tmp_path / "no").exists()


# ---------------------------------------------------------------- withheld questions


def test_without_answers_the_results_follow_from_the_scores(cli: Cli, tmp_path: Path) -> None:
    path = smoke_run(tmp_path)
    edit_rows(path / "samples/fp8/smoke.jsonl", lambda rows: rows[3].update(finish="error", error="The server: Repeat"))
    cli("grade", path)
    assert "without questions and answers: smoke" in cli("seal", path, "--out", tmp_path / "x", "--without-answers").out
    content = lzma.decompress((tmp_path / "x").read_bytes())
    questions = [e["prompts"][0]["messages"][0]["content"] for e in map(json.loads, _lines(path / "exam/smoke.jsonl"))]
    assert not [text for text in questions if text.encode() in content]
    assert b"Repeat" not in content
    ended = cli("verify", tmp_path / "x")
    assert ended.code == 0, ended
    assert "528 answers of 3 variants taken as given: questions and answers are withheld" in ended.out
    assert "taken as given: guards of smoke" in ended.out
    assert "\nverified, but for what was taken as given of smoke: these results follow" in ended.out
    assert "the same byte for byte" in ended.out

    def change(folder: Path) -> None:
        edit_rows(folder / "grades/nvfp4/smoke.jsonl", lambda rows: rows[2].update(score=1.0 - rows[2]["score"]))

    assert "results.json: " in cli("verify", with_manifest(tmp_path / "x", tmp_path / "y", change)).err
    assert "whose question is inside" in cli("verify", tmp_path / "x", "--rerun", 2).err


def _lines(path: Path) -> list[str]:
    return path.read_text("utf-8").splitlines()[1:]


def test_gated_questions_stay_out(cli: Cli, tmp_path: Path) -> None:
    rows = [
        {
            "Question": f"How heavy is stone {n}?",
            "Correct Answer": f"{n} kilograms",
            **{f"Incorrect Answer {k}": f"{n}.{k} kilograms" for k in (1, 2, 3)},
            "High-level domain": "Physics",
            "Record ID": f"rec{n}",
        }
        for n in range(6)
    ]
    write_jsonl(tmp_path / "gpqa.jsonl", rows)
    for name in ("bf16", "fp8"):
        answers = [{"item": f"rec{n}", "text": f"Stone {n}: {name}. ANSWER: A", "tokens": 5} for n in range(6)]
        write_jsonl(tmp_path / f"{name}.jsonl", answers)
    study = {
        "study": "gated",
        "engine": {"kind": "replay"},
        "variants": {name: {"model": f"{name}.jsonl", "baseline": name == "bf16"} for name in ("bf16", "fp8")},
        "benchmarks": [{"name": "gpqa_diamond", "data": "gpqa.jsonl", "samples": 1}],
    }
    path = run_study(load_study(write_yaml(tmp_path / "study.yaml", study)), tmp_path / "run", Events()).run.path
    file = seal(path).path
    content = lzma.decompress(file.read_bytes())
    assert not [word for word in (b"How heavy", b"kilograms", b"ANSWER", b"Stone") if word in content]
    ended = cli("verify", file)
    assert ended.code == 0, ended
    assert "12 answers of 2 variants taken as given" in ended.out


# ---------------------------------------------------------------- answers asked again


def test_answers_are_asked_again_and_compared(cli: Cli, tmp_path: Path) -> None:
    path = smoke_run(tmp_path)
    file = seal(path).path
    assert "rerun: 9 of 9 answers asked again are the same" in cli("verify", file, "--rerun", 9).out
    assert "rerun: 528 of 528" in cli("verify", file, "--rerun", 9999).out
    for name in ("bf16", "fp8", "nvfp4"):
        edit_rows(tmp_path / f"{name}.jsonl", lambda rows: [row.update(text="other") for row in rows if "text" in row])
    ended = cli("verify", file, "--rerun", 400)
    assert ended.code == 3, ended  # the recording is another one, and the facts say so
    assert "what answers here is of another kind" in ended.out


@pytest.mark.slow
def test_a_models_own_answers_are_asked_again(cli: Cli, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the transformers engine is not installed")
    from tiny_model import build_model

    models = {name: str(build_model(tmp_path / name)) for name in ("bf16", "other")}
    study = {
        "study": "tiny",
        "engine": {"kind": "transformers", "dtype": "float32", "device": "cpu", "batch_size": 4},
        "variants": {name: {"model": model, "baseline": name == "bf16"} for name, model in models.items()},
        "benchmarks": [{"name": "smoke", "limit": 10, "max_tokens": 8}],
    }
    path = run_study(load_study(write_yaml(tmp_path / "study.yaml", study)), tmp_path / "run", Events()).run.path
    file = seal(path).path
    assert "rerun: 3 of 3 answers asked again are the same" in cli("verify", file, "--rerun", 3).out
    everything = lambda rows: [row.update(text="other") for row in rows]  # noqa: E731

    def change(folder: Path) -> None:
        edit_rows(folder / "samples/other/smoke.jsonl", everything)
        build.write(_graded(folder))

    ended = cli("verify", with_manifest(file, tmp_path / "x", change), "--rerun", 20)
    assert ended.code == 2, ended
    assert "is refused: rerun: " in ended.err
    assert "installation and device are of the same kind" in ended.err
    shutil.rmtree(models["other"])
    ended = cli("verify", file, "--rerun", 3)
    assert (ended.code, "variant 'other'" in ended.err) == (2, True), ended


def _graded(folder: Path) -> Run:
    """A run directory whose grades are those of its answers, as an honest grader gives them."""
    grade_run(folder, Events(), again=True)
    (folder / ".lock").unlink()
    return Run(folder)


@pytest.mark.parametrize(
    ("engine", "facts", "why"),
    [
        ({"kind": "vllm"}, {"engine": "vllm", "batch_invariant": False}, "without batch invariance"),
        ({"kind": "vllm"}, {"engine": "vllm"}, "without batch invariance"),
        ({"kind": "openai", "base_url": "http://127.0.0.1:9/v1"}, {}, "answered by a server"),
        ({"kind": "vllm", "trust_remote_code": True}, {"batch_invariant": True}, "trust_remote_code"),
    ],
)
def test_what_is_not_repeatable_is_not_asked_again(
    cli: Cli, tmp_path: Path, engine: dict[str, object], facts: dict[str, object], why: str
) -> None:
    path = smoke_run(tmp_path)
    document = {
        "study": "sealed",
        "engine": engine,
        "variants": {name: {"model": "org/model", "baseline": name == "bf16"} for name in ("bf16", "fp8", "nvfp4")},
        "benchmarks": ["smoke"],
    }
    study = load_study(write_yaml(tmp_path / "other.yaml", document))
    stored = {"fingerprint": study.fingerprint(), "study": study.model_dump(mode="json")}
    write_yaml(path / "study.yaml", stored)
    record = Run(path).environment()
    for variant in record.variants.values():
        for entry in variant.engines:
            entry.facts = dict(facts)  # type: ignore[arg-type]
    (path / "environment.json").write_text(json.dumps(record.model_dump(mode="json")))
    ended = cli("verify", seal(path).path, "--rerun", 1)
    assert (ended.code, why in ended.err) == (2, True), ended


# ---------------------------------------------------------------- a run of a real model


@pytest.mark.slow
@pytest.mark.skipif(not (SHARED_DATA / "recorded-1.5b").is_dir(), reason="the recorded run is not on this machine")
def test_a_recorded_run_of_a_real_model(cli: Cli, tmp_path: Path) -> None:
    with tarfile.open(SHARED_DATA / "recorded-1.5b" / "run.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    study = Run(tmp_path / "run").study()
    fast = [spec for spec in study.benchmarks if spec.name == "mmlu_pro"]
    study = study.model_copy(update={"benchmarks": fast})
    write_yaml(
        tmp_path / "run" / "study.yaml", {"fingerprint": study.fingerprint(), "study": study.model_dump(mode="json")}
    )
    ended = cli("seal", tmp_path / "run")
    assert ended.err.count("another version of the grader") == 1
    ended = cli("verify", tmp_path / "run.evidence.tar.xz")
    assert ended.code == 0, ended
    assert "mmlu_pro: 4,000 of 12,032 questions, 16,000 answers of 4 variants graded again" in ended.out
