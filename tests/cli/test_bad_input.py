"""Whatever the user gets wrong: exit code 2 and one clear line, never a traceback."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from support import Cli, math_rows, replay_study, write_jsonl, write_yaml

Damage = Callable[[Path], object]


def edit(**changes: object) -> Damage:
    """Set keys of the study; a dotted key reaches inside, None removes."""

    def damage(folder: Path) -> None:
        study = yaml.safe_load((folder / "study.yaml").read_text())
        for key, value in changes.items():
            *path, last = key.split("__")
            place = study
            for part in path:
                place = place[int(part)] if part.isdigit() else place[part]
            if value is None:
                del place[last]
            else:
                place[last] = value
        write_yaml(folder / "study.yaml", study)

    return damage


def text(name: str, content: str | bytes) -> Damage:
    """Replace a file."""
    raw = content.encode() if isinstance(content, str) else content
    return lambda folder: (folder / name).write_bytes(raw)


def rows(change: Callable[[list[dict[str, object]]], object]) -> Damage:
    """Change the rows of the data file."""

    def damage(folder: Path) -> None:
        made = math_rows(12)
        change(made)
        write_jsonl(folder / "math.jsonl", made)

    return damage


def model_folder(content: dict[str, str]) -> Damage:
    """Make the candidate a model folder with these files, run by the transformers engine."""

    def damage(folder: Path) -> None:
        (folder / "model").mkdir()
        for name, body in content.items():
            (folder / "model" / name).write_text(body)
        edit(variants__fp8__model="model", variants__fp8__engine={"kind": "transformers"})(folder)

    return damage


def truncated_gzip(folder: Path) -> None:
    whole = gzip.compress((folder / "math.jsonl").read_bytes())
    (folder / "math.jsonl.gz").write_bytes(whole[:-20])
    edit(benchmarks__0__data="math.jsonl.gz")(folder)


MMLU_ROW = json.dumps({"question_id": 1, "question": "?", "options": ["a"], "answer": "A", "category": "x"}) + "\n"
CONFIG = json.dumps({"architectures": ["LlamaForCausalLM"], "max_position_embeddings": 64})

CASES: dict[str, tuple[Damage, str]] = {
    "unknown key": (edit(benchmark=["smoke"]), "did you mean 'benchmarks'"),
    "unknown key of a variant": (edit(variants__fp8__modle="x"), "did you mean 'model'"),
    "unknown key of the engine": (edit(engine__bach_size=3), "did you mean 'batch_size'"),
    "unknown key of a benchmark": (edit(benchmarks__0__limits=3), "did you mean 'limit'"),
    "unknown benchmark": (edit(benchmarks__0__name="math50"), "did you mean 'math500'"),
    "unknown profile": (edit(profile="qwen3-thinkin"), "did you mean 'qwen3-thinking'"),
    "unknown engine": (edit(engine__kind="vlm"), "engine.kind"),
    "no study": (lambda folder: (folder / "study.yaml").unlink(), "does not exist"),
    "a folder for a study": (
        lambda folder: ((folder / "study.yaml").unlink(), (folder / "study.yaml").mkdir()),
        "is a folder",
    ),
    "an empty study": (text("study.yaml", ""), "holds no mapping"),
    "broken YAML": (text("study.yaml", "study: [a\n"), "not valid YAML at line"),
    "a data file with a very long name": (edit(benchmarks__0__data="a" * 5000), "does not exist"),
    "a config nested too deep": (model_folder({"config.json": "[" * 100_000}), "cannot be read as JSON"),
    "a recording nested too deep": (text("bf16.jsonl", "[" * 100_000 + "\n"), "line 1 is not valid JSON"),
    "two benchmarks of one file": (edit(benchmarks=["lm_eval:a/b", "lm_eval:a__b"]), "would share their files"),
    "a date that is none": (text("study.yaml", "study: 2026-02-30\n"), "not valid YAML: day is out of range"),
    "a number without an end": (text("study.yaml", "study: " + "9" * 6000 + "\n"), "not valid YAML: Exceeds the limit"),
    "a study in Latin-1": (text("study.yaml", "study: caf\xe9".encode("latin-1")), "not UTF-8"),
    "a study nested too deep": (text("study.yaml", "study: " + "[" * 3000), "nested too deep"),
    "half of a character": (text("study.yaml", 'study: s\nprotocol: {system: "\\ud83d"}\n'), "half of a character"),
    "a tab in YAML": (text("study.yaml", "study: a\n\tvariants: {}\n"), "not valid YAML"),
    "no variants": (edit(variants={}), "'variants' is empty"),
    "no benchmarks": (edit(benchmarks=[]), "'benchmarks' is empty"),
    "no baseline": (edit(variants__bf16__baseline=False), "no variant is the baseline"),
    "two baselines": (edit(variants__fp8__baseline=True), "2 baselines"),
    "a limit of 0": (edit(benchmarks__0__limit=0), "limit"),
    "a negative limit": (edit(benchmarks__0__limit=-3), "limit"),
    "no samples": (edit(benchmarks__0__samples=0), "samples"),
    "a margin of 0": (edit(benchmarks__0__margin=0), "margin"),
    "a negative temperature": (edit(protocol={"temperature": -1}), "temperature"),
    "a benchmark twice": (edit(benchmarks=["math500", "math500"]), "listed twice"),
    "a variant name that is a path": (edit(variants__fp8=None, variants__={"model": "fp8.jsonl"}), "file name"),
    "a model that is not there": (edit(variants__fp8__model="./absent"), "does not exist"),
    "a recording that is not there": (edit(variants__fp8__model="absent.jsonl"), "does not exist"),
    "a model folder without a model": (model_folder({"README.md": ""}), "config.json"),
    "a model folder without weights": (model_folder({"config.json": CONFIG}), "no weights"),
    "a model folder with a broken config": (model_folder({"config.json": "{"}), "config.json"),
    "data that are not there": (edit(benchmarks__0__data="absent.jsonl"), "does not exist"),
    "data that are a folder": (edit(benchmarks__0__data="."), "is a folder"),
    "empty data": (text("math.jsonl", ""), "math.jsonl"),
    "blank data": (text("math.jsonl", "\n\n\n"), "math.jsonl"),
    "broken JSON at line 2": (text("math.jsonl", json.dumps(math_rows(1)[0]) + "\n{broken\n"), "line 2"),
    "a line that is a list": (text("math.jsonl", "[1, 2]\n"), "line 1"),
    "data in Latin-1": (text("math.jsonl", b'{"problem": "caf\xe9"}\n'), "UTF-8"),
    "data of another benchmark": (text("math.jsonl", MMLU_ROW), "another benchmark"),
    "duplicate item ids": (rows(lambda r: r.append(r[0])), "test/sums/0.json"),
    "a field that is missing": (rows(lambda r: r[3].pop("answer")), "answer"),
    "a field of another type": (rows(lambda r: r[3].update(problem=7)), "problem"),
    "a truncated gzip": (truncated_gzip, "math.jsonl.gz"),
    "a gzip that is none": (
        lambda folder: (edit(benchmarks__0__data="x.jsonl.gz")(folder), (folder / "x.jsonl.gz").write_text("no")),
        "x.jsonl.gz",
    ),
    "a broken recording": (text("fp8.jsonl", "{broken\n"), "line 1"),
    "a recording without items": (text("fp8.jsonl", '{"text": "x"}\n'), "'item' is missing"),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_input_ends_with_code_2_and_one_line(name: str, cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path)
    damage, said = CASES[name]
    damage(tmp_path)
    ended = cli("run", study, "--out", tmp_path / "run")
    errors = [line for line in ended.err.splitlines() if line.startswith("error: ")]
    assert ended.code == 2, ended.err
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in ended.err + ended.out


@pytest.mark.parametrize(
    "args",
    [
        ("run",),
        ("run", "study.yaml", "--limit", "0"),
        ("run", "study.yaml", "--limit", "many"),
        ("runn",),
        ("run", "study.yaml", "--nope"),
        ("report", "absent"),
        ("grade", "absent"),
        ("init", "absent/folder/study.yaml"),
        ("run", "study.yaml", "--shard", "٣/٤"),
        ("run", "study.yaml", "--ray", ""),
    ],
)
def test_bad_usage_ends_with_code_2_without_a_traceback(
    args: tuple[str, ...], cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if "--ray" in args or "--shard" in args:
        replay_study(tmp_path)
    ended = cli(*args)
    assert ended.code == 2
    assert ended.err
    assert "Traceback" not in ended.err


def test_init_leaves_a_file_that_is_there(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    assert cli("init", path).code == 0
    path.write_text("mine")
    assert cli("init", path).code == 2
    assert path.read_text() == "mine"


def test_a_run_directory_that_is_a_file_is_refused(cli: Cli, tmp_path: Path) -> None:
    study = replay_study(tmp_path)
    (tmp_path / "run").write_text("")
    ended = cli("run", study, "--out", tmp_path / "run")
    assert ended.code == 2
    assert "--out" in ended.err


def test_all_faults_of_a_study_are_told_at_once(tmp_path: Path, cli: Cli) -> None:
    study = replay_study(tmp_path)
    edit(variants__fp8__model="gone.jsonl", benchmarks=["math50", {"name": "math500", "data": "nowhere.jsonl"}])(
        tmp_path
    )
    ended = cli("run", study, "--out", tmp_path / "out")
    assert ended.code == 2
    assert all(word in ended.err for word in ("gone.jsonl", "math50", "nowhere.jsonl"))
    edit(engine__kind=7, study="a b", variants__fp8__model=["x"])(tmp_path)
    ended = cli("run", study, "--out", tmp_path / "out")
    assert all(word in ended.err for word in ("engine.kind", "'a b'", "variants.fp8.model"))


@pytest.mark.parametrize("name", ["study.yaml", "math.jsonl", "fp8.jsonl"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_a_pipe_or_device_is_refused_at_once(tmp_path: Path, cli: Cli, name: str, kind: str) -> None:
    study = replay_study(tmp_path)
    (tmp_path / name).unlink()
    if kind == "pipe":
        os.mkfifo(tmp_path / name)
    else:
        (tmp_path / name).symlink_to("/dev/zero")
    command = ("compare", tmp_path / name, tmp_path / name) if name == "fp8.jsonl" else ("plan", study)
    ended = cli(*command)
    assert ended.code == 2
    assert "it is a pipe or a device" in ended.err


@pytest.mark.parametrize(("packed", "said"), [(False, "larger than the 1,024 MiB"), (True, "unpacked it is larger")])
def test_a_file_that_would_fill_the_memory_is_refused(tmp_path: Path, cli: Cli, packed: bool, said: str) -> None:
    study = replay_study(tmp_path)
    with (tmp_path / "math.jsonl").open("wb") as file:
        if packed:
            block = gzip.compress(bytes(2**26), 1)  # members one after the other are one gzip file
            file.write(block * 17)
        else:
            file.truncate(2**31)
    ended = cli("plan", study)
    assert (ended.code, said in ended.err) == (2, True)


def test_aliases_that_repeat_a_study_into_billions_of_values_are_refused(tmp_path: Path, cli: Cli) -> None:
    study = replay_study(tmp_path)
    ten = "\n".join(f"    a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10) if n else 'x'}]" for n in range(10))
    study.write_text(study.read_text() + f"protocol:\n  chat_template_args:\n{ten}\n")
    ended = cli("run", study, "--out", tmp_path / "out")
    assert (ended.code, "more than 200,000 values" in ended.err) == (2, True)


@pytest.mark.parametrize("out", ["/proc/x", "a" * 5000, "/dev/null", "/dev/null/x", "loop/x"])
@pytest.mark.parametrize("more", [(), ("--detach",)])
def test_a_place_that_cannot_hold_a_run_is_bad_input(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, out: str, more: tuple[str, ...]
) -> None:
    study = replay_study(tmp_path)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    ended = cli("run", study, "--out", out, *more)
    assert (ended.code, len(ended.err.strip().splitlines())) == (2, 1), ended.err
    assert cli("report", out).code == 2


def test_the_folder_of_the_study_is_no_run(tmp_path: Path, cli: Cli) -> None:
    study = replay_study(tmp_path)
    before = study.read_bytes()
    ended = cli("run", study, "--out", tmp_path)
    assert (ended.code, "is a study file and no run; give --out a folder of its own" in ended.err) == (2, True)
    assert study.read_bytes() == before


@pytest.mark.parametrize("form", ["csv", "parquet", "summary"])
def test_an_export_never_replaces_a_device_and_follows_a_link(tmp_path: Path, cli: Cli, form: str) -> None:
    """As root, /dev/full had become a file."""
    if form == "parquet":
        pytest.importorskip("pyarrow")
    study = replay_study(tmp_path)
    assert cli("run", study, "--out", tmp_path / "run").code in (0, 1, 3)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("pipe")
    (tmp_path / "other").symlink_to("file")
    for name in ("pipe", "link"):
        ended = cli("export", tmp_path / "run", "--format", form, "--out", tmp_path / name)
        assert (ended.code, "is a pipe or a device" in ended.err) == (2, True)
        assert (tmp_path / "pipe").is_fifo()
    assert cli("export", tmp_path / "run", "--format", form, "--out", tmp_path / "other").code == 0
    assert (tmp_path / "other").is_symlink()
    assert (tmp_path / "file").stat().st_size > 0
