"""The history of a folder's runs: lines of the same exam, changes with their noise, and what is left out."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import Cli, replay_study

from bitparity.progress.events import Events
from bitparity.report.history import history, render
from bitparity.report.language import percent
from bitparity.results.build import write
from bitparity.runner import run_study
from bitparity.study.resolve import load_study

COUNT = 40


def run(folder: Path, name: str, wrong: Mapping[str, Iterable[int]], count: int = COUNT, control: bool = False) -> Path:
    """A finished run over recorded answers; with `control` the variant `again` is the baseline's second run."""
    place = folder / f"{name}-study"
    place.mkdir(parents=True)
    path = replay_study(place, count, wrong)
    study = yaml.safe_load(path.read_text())
    if control:
        study["variants"]["again"]["control"] = True
    path.write_text(yaml.safe_dump(study))
    done = run_study(load_study(path), folder / "runs" / name, Events()).run
    write(done)
    return done.path


def told(path: Path, version: str, date: str) -> None:
    """Another engine version and date, and the weights, in a run's conditions, as another vLLM would leave them."""
    environment = json.loads((path / "environment.json").read_text())
    for name, variant in environment["variants"].items():
        variant["identity"] = {"weights": {"sampled_sha256": name.replace("again", "bf16")}}
        for engine in variant["engines"]:
            engine["facts"] |= {"engine": "vllm", "version": version, "device_name": "NVIDIA H200"}
            engine["sessions"] = [date]
    (path / "environment.json").write_text(json.dumps(environment))


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one exam, the second after an update; one of another exam; one unfinished and one broken."""
    folder = tmp_path_factory.mktemp("history")
    first = run(folder, "a", {"bf16": [1], "fp8": [1, 2], "again": [1, 3]}, control=True)
    second = run(folder, "b", {"bf16": [1], "fp8": range(10), "again": [1]}, control=True)
    other = run(folder, "c", {"bf16": [1], "fp8": [1, 2]}, count=30)
    for path, version, date in ((second, "0.26.0", "2026-02-01"), (first, "0.25.1", "2026-01-01")):
        told(path, version, f"{date}T10:00:00Z")
    told(other, "0.26.0", "2026-03-01T10:00:00Z")
    unfinished = shutil.copytree(first, folder / "runs/unfinished")
    lines = (unfinished / "samples/fp8/math500.jsonl").read_text().splitlines(keepends=True)
    (unfinished / "samples/fp8/math500.jsonl").write_text("".join(lines[:-5]))
    broken = shutil.copytree(first, folder / "runs/deep/broken")
    (broken / "study.yaml").write_text("study: [")
    return folder / "runs"


def test_only_runs_of_the_same_exam_stand_on_one_line(runs: Path) -> None:
    found = history(runs, Events())
    lines = {(line.variant, tuple(point.run for point in line.points)) for line in found.lines}
    assert lines == {("bf16", ("a", "b")), ("fp8", ("a", "b")), ("bf16", ("c",)), ("fp8", ("c",))}
    assert [entry.run for entry in found.runs] == ["a", "b", "c"]  # by date


def test_a_run_of_another_grader_is_graded_again(runs: Path, tmp_path: Path) -> None:
    old = shutil.copytree(runs / "a", tmp_path / "a")
    path = old / "grades/fp8/math500.jsonl"
    first, rest = path.read_text().split("\n", 1)
    header = json.loads(first)
    header.pop("crc32", None)
    path.write_text(json.dumps(header | {"grader": "0" * 16}) + "\n" + rest)
    found = history(tmp_path, Events())
    assert found.left_out == {}
    assert found.lines == history(runs / "a", Events()).lines
    assert '"0000' not in path.read_text().split("\n")[0]


def test_a_change_is_paired_by_item_and_shown_with_its_noise(runs: Path) -> None:
    (line,) = (line for line in history(runs, Events()).lines if line.variant == "fp8" and len(line.points) == 2)
    first, second = line.points
    assert first.change is None
    change = second.change
    assert change is not None
    assert (change.since, change.lost, change.gained) == ("a", 8, 0)
    assert change.difference == pytest.approx(-8 / COUNT)
    assert change.flips == 8 / COUNT
    assert change.noise == 1 / COUNT  # of the first run: there one answer of the control flipped
    assert "version: 0.25.1 → 0.26.0" in change.facts
    assert second.difference == pytest.approx(-9 / COUNT)


def test_distances_stand_beside_their_floor(runs: Path) -> None:
    found = history(runs, Events())
    point = found.lines[0].points[0].model_copy(update={"distance": 0.0123, "distance_floor": 0.0004})
    line = found.lines[0].model_copy(update={"points": [point]})
    page = render(found.model_copy(update={"lines": [line]}))
    assert "distance 0.0123, floor 0.0004" in page
    assert "distance 0.0123" not in render(found)


def test_broken_and_unfinished_runs_are_listed_with_the_reason(runs: Path) -> None:
    left = history(runs, Events()).left_out
    assert left.keys() == {"unfinished", "deep/broken"}
    assert "math500 lacks 5 scores of fp8" in left["unfinished"]
    assert "study.yaml" in left["deep/broken"]


def test_the_page_and_the_document_say_the_same(runs: Path, tmp_path: Path, cli: Cli) -> None:
    ended = cli("history", runs, "--out", tmp_path / "page.html", "--json", tmp_path / "page.json")
    assert ended.code == 0, ended
    assert "left out: unfinished: it is unfinished" in ended.out
    document: dict[str, Any] = json.loads((tmp_path / "page.json").read_text())
    assert document == history(runs, Events()).document()
    page = (tmp_path / "page.html").read_text()
    assert page == render(history(runs, Events()))
    noise = f"8 lost, 0 gained: {percent(0.2)} flipped; {percent(0.025)} flip by themselves"
    for words in ("version: 0.25.1 → 0.26.0", noise, "NVIDIA H200"):
        assert words in page, words
    assert "<script" not in page


def test_the_page_in_chinese(runs: Path, cli: Cli) -> None:
    ended = cli("history", runs, "--lang", "zh")
    assert ended.code == 0, ended
    page = (runs / "history.zh.html").read_text()
    words = re.sub(r"<style>.*?</style>|<span class=.quiet code.>.*?</span>|<[^>]*>", "\n", page, flags=re.DOTALL)
    assert "失去 8 题，得到 0 题：翻转 20.0%；自身翻转 2.5%" in words
    own = words.rpartition("未纳入")[0]  # behind it a library tells what is wrong with a file
    assert re.findall(r"[a-z]{2,} [a-z]{2,} [a-z]{2,}", own.replace(str(runs), "")) == []


def test_a_name_cannot_steer_the_page(runs: Path, tmp_path: Path) -> None:
    shutil.copytree(runs / "c", tmp_path / "<script>alert(1)</script>" / "c")
    assert "<script" not in render(history(tmp_path, Events()))


def test_a_folder_without_runs_is_refused_in_one_line(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "study.yaml").write_text("study: x\n")  # a study, no run
    for folder in (tmp_path, tmp_path / "none"):
        ended = cli("history", folder)
        assert (ended.code, ended.err.count("\n")) == (2, 1), ended
