"""Bad files and options for every command: an exit code of the design and clear lines, no traceback, no wait."""

from __future__ import annotations

import gzip
import json
import lzma
import os
import shutil
import tarfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from support import Cli, replay_study, write_jsonl

from bitparity.evidence.seal import seal
from bitparity.progress.events import Events
from bitparity.results import build as results
from bitparity.runner import run_study
from bitparity.study.resolve import load_study

MOST_SECONDS = 20.0
Prepare = Callable[[Path], object]
DEEP, LONG, HUGE = "[" * 100_000, "a" * 5000, "9" * 6000


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a study, its run, its sealed bundle, rows and a log."""
    folder = tmp_path_factory.mktemp("made")
    study = replay_study(folder, 12, {"fp8": range(3)})
    run = run_study(load_study(study), folder / "run", Events()).run
    results.write(run)
    seal(run.path, folder / "sealed.tar.xz")
    for name in ("one", "two"):
        write_jsonl(folder / f"{name}.jsonl", [{"item": str(n), "score": n % 2} for n in range(20)])
    row = {"doc_id": 0, "doc": {"question": "?"}, "target": "1", "resps": [["1"]], "filtered_resps": ["1"]}
    logged = {**row, "filter": "none", "metrics": ["acc"], "acc": 1.0, "doc_hash": "x", "prompt_hash": "y"}
    (folder / "log").mkdir()
    write_jsonl(folder / "log" / "samples_gsm8k_2026-01-01T00-00-00.000000.jsonl", [logged])
    (folder / "table.md").write_text("| a | bf16 |\n|---|---|\n| MATH-500 | |\n")
    os.mkfifo(folder / "pipe")
    (folder / "zero").symlink_to("/dev/zero")
    (folder / "loop").symlink_to("loop")
    (folder / "empty").write_bytes(b"")
    (folder / "folder").mkdir()
    return folder


def text(name: str, content: str | bytes) -> Prepare:
    """Write a file."""
    raw = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    return lambda folder: (folder / name).parent.mkdir(parents=True, exist_ok=True) or (folder / name).write_bytes(raw)


def changed(name: str, *keys: object, value: object) -> Prepare:
    """Change one value of a JSON document, or of the first line of a JSONL file."""

    def prepare(folder: Path) -> None:
        lines = (folder / name).read_text().splitlines()
        whole = name.endswith(".jsonl")
        document = json.loads(lines[0] if whole else "\n".join(lines))
        place = document
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value
        rest = lines[1:] if whole else []
        (folder / name).write_text("\n".join([json.dumps(document), *rest]) + "\n")

    return prepare


def without(name: str) -> Prepare:
    """Take a file away."""
    return lambda folder: (folder / name).unlink()


def swapped(name: str, other: str) -> Prepare:
    """Put a link to something else in the place of a file."""
    return lambda folder: ((folder / name).unlink(missing_ok=True), (folder / name).symlink_to(folder / other))


def bundle(name: str, content: bytes) -> Prepare:
    """A compressed tar file with one member."""

    def prepare(folder: Path) -> None:
        with tarfile.open(folder / "bad.tar.xz", "w:xz") as archive:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, BytesIO(content))

    return prepare


nothing: Prepare = lambda folder: None  # noqa: E731
LOG = "log/samples_gsm8k_2026-01-01T00-00-00.000000.jsonl"
GRADES, SAMPLES = "run/grades/fp8/math500.jsonl", "run/samples/fp8/math500.jsonl"
EXAM, ENVIRONMENT, STUDY = "run/exam/math500.jsonl", "run/environment.json", "run/study.yaml"
CASES: list[tuple[str, Prepare]] = [
    # run, plan, doctor, init
    ("run pipe", nothing),
    ("run zero", nothing),
    ("run loop", nothing),
    ("run study.yaml --out run/study.yaml", nothing),
    ("run study.yaml --limit -3", nothing),
    (f"run study.yaml --limit {HUGE}", nothing),
    ("run study.yaml --hours nan", nothing),
    ("run study.yaml --hours -1", nothing),
    ("run study.yaml --hours inf", nothing),
    ("run study.yaml --hours 1e-9 --out again", nothing),
    ("run study.yaml --shard 3/2", nothing),
    (f"run study.yaml --shard 1/{HUGE}", nothing),
    ("run study.yaml --shard 0/0", nothing),
    ("run study.yaml --ray http://nowhere", nothing),
    ("run study.yaml --control --out again", nothing),
    ("run study.yaml", text("study.yaml", "study: x\nvariants: [1, 2]\nbenchmarks: {a: b}\n")),
    ("run study.yaml", text("study.yaml", "study: &a [*a]\n")),
    ("run study.yaml", text("study.yaml", "!!python/object/apply:os.system [true]\n")),
    ("run study.yaml", text("study.yaml", "\ufeffstudy: x\n")),
    ("run study.yaml", text("study.yaml", "--- a\n--- b\n")),
    ("run study.yaml", text("study.yaml", "? {a: b}\n: c\n")),
    ("plan study.yaml --rate nan", nothing),
    ("plan study.yaml --rate 1e400", nothing),
    ("plan study.yaml --hours 0", nothing),
    ("plan study.yaml --hours nan", nothing),
    ("plan study.yaml --hours 1e308", nothing),
    ("plan study.yaml --rate 100 --hours 1 --write run", nothing),
    ("plan study.yaml --rate 100 --hours 1 --write pipe", nothing),
    ("plan study.yaml --rate 100 --hours 1 --write nowhere/study.yaml", nothing),
    ("plan study.yaml --run one.jsonl", nothing),
    ("plan study.yaml --run run", changed(ENVIRONMENT, "variants", value=7)),
    ("plan study.yaml --measure -5", nothing),
    ("plan study.yaml --measure nan", nothing),
    ("doctor folder", nothing),
    ("doctor pipe", nothing),
    ("doctor study.yaml --limit 0", nothing),
    ("doctor study.yaml --lang fr", nothing),
    ("doctor study.yaml --out pipe", nothing),
    ("init pipe", nothing),
    ("init folder", nothing),
    ("init loop", nothing),
    (f"init {LONG}", nothing),
    ("init nowhere/a/b.yaml", nothing),
    # grade, report, export, check, status
    ("grade pipe", nothing),
    ("grade run", text(GRADES, "[" * 50_000 + "\n")),
    ("grade run", swapped(SAMPLES, "pipe")),
    ("grade run", swapped(EXAM, "zero")),
    ("grade run", text(STUDY, "study: 7\n")),
    ("grade run", changed(EXAM, "sampling", value=None)),
    ("grade run", changed(EXAM, "seed", value="x")),
    ("report run", swapped(GRADES, "loop")),
    ("report run", changed(ENVIRONMENT, "variants", value=[1, 2])),
    ("report run", text(ENVIRONMENT, '{"a": ' * 5000)),
    ("report run", text(ENVIRONMENT, b"\xff\xfe\x00")),
    ("report run --lang fr", nothing),
    ("report run --fill pipe", nothing),
    ("report run --fill folder", nothing),
    ("report run --fill zero", nothing),
    ("report run --fill empty", nothing),
    ("report run --fill table.md", text("table.md", b"\xff\xfe|a|b|")),
    ("report run --fill table.md", text("table.md", "|" * 100_000 + "\n" + "|-" * 50_000 + "\n")),
    ("report run --include-gated --without-answers", nothing),
    ("report run", lambda folder: ((folder / "run/report.md").mkdir(),)),
    ("report run", lambda folder: ((folder / "run/results.json").unlink(), os.mkfifo(folder / "run/results.json"))),
    ("export run --format csv --out folder", nothing),
    ("export run --format csv --out nowhere/a/b.csv", nothing),
    ("export run --format nope", nothing),
    ("export run --format lm-eval --out pipe", nothing),
    ("export run --format lm-eval --out one.jsonl", nothing),
    ("export run --format eval-results --out pipe", nothing),
    ("export run --format eval-results --out study.yaml/x", nothing),
    ("export run --format model-card --out loop", nothing),
    ("check run --junit folder", nothing),
    ("check run --junit pipe", nothing),
    ("check run --summary pipe", nothing),
    ("check run --badge loop", nothing),
    ("check run --benchmark nope", nothing),
    ("check run --require overall --benchmark math500", nothing),
    ("check run --margin 3", nothing),
    ("check run --allow everything", nothing),
    ("check run", swapped(STUDY, "zero")),
    ("status nowhere", nothing),
    ("status one.jsonl", nothing),
    ("status run --json", text("run/progress.json", '{"schema": 7, "variants": "x"}')),
    ("status run", text("run/progress.json", '{"schema": "bitparity/progress/1", "variants": [3], "seconds": "x"}')),
    ("status run", swapped("run/progress.json", "pipe")),
    ("status run", swapped("run/progress.json", "zero")),
    # compare
    ("compare pipe one.jsonl", nothing),
    ("compare one.jsonl zero", nothing),
    ("compare one.jsonl folder", nothing),
    ("compare one.jsonl two.jsonl --margin nan", nothing),
    ("compare one.jsonl two.jsonl --margin -1", nothing),
    ("compare one.jsonl two.jsonl --margin 1e308", nothing),
    ("compare one.jsonl two.jsonl --json pipe", nothing),
    ("compare one.jsonl two.jsonl --json folder", nothing),
    ("compare one.jsonl two.jsonl --html nowhere/x.html", nothing),
    ("compare one.jsonl two.jsonl --html pipe", nothing),
    ("compare one.jsonl two.jsonl --report loop", nothing),
    ("compare one.jsonl two.jsonl --junit pipe", nothing),
    ("compare one.jsonl two.jsonl --regrade nope", nothing),
    ("compare one.jsonl two.jsonl --regrade math500", nothing),
    ("compare one.jsonl two.jsonl --filter nope --metric nope", nothing),
    ("compare one.jsonl two.jsonl --control one.jsonl", nothing),
    ("compare one.jsonl one.jsonl", nothing),
    ("compare run:nope run:fp8", nothing),
    ("compare run: run:fp8", nothing),
    ("compare one.jsonl two.jsonl", text("two.jsonl", '{"item": "1", "score": 1e999}\n')),
    ("compare one.jsonl two.jsonl", text("two.jsonl", '{"item": "1", "score": NaN}\n')),
    ("compare one.jsonl two.jsonl", text("two.jsonl", '{"item": ["1"], "score": 1}\n')),
    ("compare one.jsonl two.jsonl", text("two.jsonl", f'{{"item": "1", "score": {HUGE}}}\n')),
    ("compare one.jsonl two.jsonl", text("two.jsonl", '{"item": "1", "score": "yes"}\n')),
    ("compare one.jsonl two.jsonl", text("two.jsonl", DEEP + "\n")),
    (
        "compare one.jsonl two.jsonl --html x.html",
        text("two.jsonl", '{"item": "\\ud800", "score": 1, "text": "\\udfff"}\n'),
    ),
    ("compare one.jsonl two.jsonl", text("two.jsonl", gzip.compress(b"x" * 100)[:40])),
    ("compare log log", changed(LOG, "acc", value="x")),
    ("compare log log", changed(LOG, "acc", value=[1, None])),
    ("compare log log", changed(LOG, "filtered_resps", value={"a": 1})),
    ("compare log log", changed(LOG, "metrics", value="acc")),
    ("compare log log", changed(LOG, "doc_id", value=None)),
    ("compare log log", changed(LOG, "doc_id", value={"a": []})),
    ("compare log log", text("log/results_2026-01-01T00-00-00.000000.json", DEEP)),
    ("compare log log", text("log/results_2026-01-01T00-00-00.000000.json", '{"configs": 7, "results": []}')),
    ("compare log log", text(LOG, "7\n")),
    ("compare log log", swapped(LOG, "zero")),
    ("compare eval.eval eval.eval", text("eval.eval", b"PK\x03\x04" + b"\0" * 60)),
    ("compare eval.json eval.json", text("eval.json", '{"version": 2, "status": "success", "eval": [], "samples": 3}')),
    ("compare x/reviews x/reviews", text("x/reviews/m/d.jsonl", '{"index": null, "choices": 3}\n')),
    # merge
    ("merge whole run pipe", nothing),
    ("merge whole run one.jsonl", nothing),
    ("merge one.jsonl run", nothing),
    ("merge run run", nothing),
    ("merge whole run", text(SAMPLES, '{"item": 3}\n')),
    ("merge whole run", swapped(GRADES, "zero")),
    ("merge whole run", swapped(EXAM, "pipe")),
    ("merge pipe run", nothing),
    # distance, locate
    ("distance pipe", nothing),
    ("distance nowhere alsonowhere", nothing),
    ("distance folder folder", nothing),
    ("distance study.yaml", nothing),
    ("distance study.yaml --text pipe", nothing),
    ("distance study.yaml --text empty", nothing),
    ("distance run", nothing),
    ("locate study.yaml --candidate fp8", nothing),
    ("locate study.yaml --candidate nope", nothing),
    ("locate pipe --candidate fp8", nothing),
    ("locate folder --candidate x", nothing),
    # seal, verify, history
    ("seal nowhere", nothing),
    ("seal one.jsonl", nothing),
    ("seal run --out folder", nothing),
    ("seal run --out nowhere/a/b.tar.xz", nothing),
    ("seal run --key pipe", nothing),
    ("seal run --key one.jsonl", nothing),
    ("seal run", swapped(SAMPLES, "pipe")),
    ("seal run", changed(ENVIRONMENT, "variants", value={"fp8": 3})),
    ("verify pipe", nothing),
    ("verify zero", nothing),
    ("verify run", nothing),
    ("verify empty", nothing),
    ("verify one.jsonl", nothing),
    ("verify sealed.tar.xz --key pipe", nothing),
    ("verify sealed.tar.xz --key empty", nothing),
    ("verify bad.tar.xz", bundle("../../etc/x", b"x")),
    ("verify bad.tar.xz", bundle("manifest.json", b"{}")),
    ("verify bad.tar.xz", bundle("manifest.json", DEEP.encode())),
    ("verify bad.tar.xz", text("bad.tar.xz", lzma.compress(bytes(2**26)))),
    (
        "verify bad.tar.xz",
        lambda folder: (
            shutil.copy(folder / "sealed.tar.xz", folder / "bad.tar.xz") and os.truncate(folder / "bad.tar.xz", 700)
        ),
    ),
    ("history pipe", nothing),
    ("history one.jsonl", nothing),
    ("history nowhere", nothing),
    ("history folder", nothing),
    ("history . --out folder", nothing),
    ("history . --out x.html --json pipe", nothing),
    ("history . --out x.html", text("run/results.json", DEEP)),
    ("history . --out x.html", text("run/results.json", '{"schema": "bitparity/results/1", "variants": 3}')),
    ("history . --out x.html", swapped("run/results.json", "pipe")),
]


@pytest.mark.parametrize(("words", "prepare"), CASES, ids=[f"{n}-{words[:60]}" for n, (words, _) in enumerate(CASES)])
def test_no_traceback_no_wait_one_clear_line(
    made: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, words: str, prepare: Prepare
) -> None:
    folder = tmp_path / "here"
    shutil.copytree(made, folder, symlinks=True, copy_function=copied)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    prepare(folder)
    began = time.monotonic()
    ended = cli(*words.split())
    took = time.monotonic() - began
    told = f"{words[:200]}: exit {ended.code} after {took:.1f} s\n{ended.out[-600:]}\n{ended.err[-1500:]}"
    assert ended.code in {0, 1, 2, 3, 130}, told
    assert "Traceback" not in ended.err + ended.out, told
    assert took < MOST_SECONDS, told
    if ended.code == 2:
        assert ended.err.strip(), told
        longest = max(map(len, ended.err.splitlines()))
        assert longest < 2000, told


def copied(source: str, target: str) -> None:
    """Copy a file, or make the pipe that it is."""
    if Path(source).is_fifo():
        os.mkfifo(target)
    else:
        shutil.copy2(source, target)
