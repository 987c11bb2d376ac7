"""Distances in results.json, from readings that a table made: figures, pairs, guards, and documents without any."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from distance_doubles import ANSWERS, VOCABULARY, Table

from bitparity.distance.reader import Readers
from bitparity.distance.store import AGAIN
from bitparity.engines.readings import DRAWN
from bitparity.report.distance import rows, sentences
from bitparity.results.distance import build_distance
from bitparity.results.schema import Distance
from bitparity.schema import DistanceSpec, Study, Variant
from bitparity.store.environment import ReadRecord, RunRecord
from bitparity.store.run import Run


def study(*names: str, asked: bool = True) -> Study:
    import tiny_model

    variants: dict[str, Variant] = {
        name: tiny_model.variant(name, "replay").model_copy(update={"baseline": name == names[0]}) for name in names
    }
    distance = DistanceSpec() if asked else None
    return Study(name="s", profile="default", variants=variants, benchmarks=[], distance=distance)


def built(
    path: Path, record: RunRecord | None = None, top: int = VOCABULARY, draws: bool = False, **models: Table
) -> Distance:
    readers = Readers(Run(path), "bf16", ANSWERS, top=top)
    for name in ("bf16", "bf16" + AGAIN):
        readers.read(name, Table(draws=draws), lambda count: None)
    for name, model in models.items():
        readers.read(name, model, lambda count: None)
    found = build_distance(Run(path), study("bf16", *models), record or RunRecord(), ["one", "two"])
    assert found is not None
    return found


def test_figures_by_variant_and_benchmark(tmp_path: Path) -> None:
    found = built(tmp_path, fp8=Table(noise=0.1), nvfp4=Table(noise=0.4))
    assert found.noise_floor.overall is not None
    assert found.noise_floor.overall.divergence.value == 0
    near, far = found.variants["fp8"], found.variants["nvfp4"]
    assert near.overall is not None
    assert far.overall is not None
    assert list(far.benchmarks) == ["one", "two"]
    assert far.overall.answers == 12
    assert sum(part.answers for part in far.benchmarks.values()) == 12
    assert far.against_floor is not None
    assert far.against_floor.farther
    (pair,) = found.pairs
    assert (pair.variant, pair.than, pair.farther) == ("nvfp4", "fp8", True)
    assert pair.times is not None
    assert pair.times.value == pytest.approx(far.overall.divergence.value / near.overall.divergence.value)
    assert found.guards == []
    said = sentences(found)
    assert said[0].startswith("fp8: its next token is at least 0.0")
    assert said[2].startswith("nvfp4 is ")
    assert "no verdict" in said[-1]
    assert [row.floor for row in rows(found)] == [True, False, False]
    assert sentences(found, "zh")[-1].endswith("不据此下结论。")


def test_the_whole_is_estimated_where_every_reader_tells_of_the_drawn_tokens(tmp_path: Path) -> None:
    near, far = Table(noise=0.1, draws=True), Table(noise=0.4, draws=True)
    found = built(tmp_path / "whole", top=4, draws=True, fp8=near, nvfp4=far)
    assert (found.top_k, found.drawn) == (4, DRAWN)
    whole = found.variants["nvfp4"].overall
    assert whole is not None
    assert whole.bound is not None
    assert whole.bound < whole.divergence.value
    assert f"estimated with {DRAWN} drawn tokens" in sentences(found)[0]
    assert f"抽取 {DRAWN} 个 token" in sentences(found, "zh")[0]
    least = built(tmp_path / "part", top=4, draws=True, fp8=replace(near, draws=False), nvfp4=far)
    assert least.drawn is None
    bound = least.variants["nvfp4"].overall
    assert bound is not None
    assert (bound.bound, bound.divergence.value) == (None, pytest.approx(whole.bound, rel=1e-6))
    assert "lower bound" in sentences(least)[0]


def test_a_directory_that_was_copied_without_the_arrays(tmp_path: Path) -> None:
    built(tmp_path, fp8=Table(noise=0.1), nvfp4=Table(noise=0.4))
    for file in (tmp_path / "distance" / "fp8").glob("*.arrays"):
        file.unlink()
    found = build_distance(Run(tmp_path), study("bf16", "fp8", "nvfp4"), RunRecord(), ["one", "two"])
    assert found is not None
    assert found.variants["fp8"].overall is None
    assert found.variants["nvfp4"].overall is not None
    again = built(tmp_path, fp8=Table(noise=0.1), nvfp4=Table(noise=0.4))  # what is missing is read again
    assert again.variants["fp8"].overall is not None


def test_guards(tmp_path: Path) -> None:
    found = built(tmp_path, same=Table(), swapped=Table(noise=50.0), broken=Table(nan=True), mute=Table(fails=True))
    assert [(guard.name, guard.variant, guard.level) for guard in found.guards] == [
        ("distance_broken", "swapped", "error"),
        ("distance_nan", "broken", "error"),
        ("distance_at_floor", "same", "warning"),
    ]
    assert found.broken
    assert found.variants["broken"].status == "not_run"


def test_a_variant_that_could_not_read_says_why(tmp_path: Path) -> None:
    record = RunRecord(distance={"mute": ReadRecord(reason="the server is mute")})
    found = built(tmp_path, record, mute=Table(fails=True))
    assert (found.variants["mute"].status, found.variants["mute"].reason) == ("not_run", "the server is mute")
    assert [guard.name for guard in found.guards] == ["distance_not_run"]
    assert sentences(found)[0] == "mute: its distance was not measured: the server is mute"


def test_nothing_was_asked_or_read(tmp_path: Path) -> None:
    assert build_distance(Run(tmp_path), study("bf16", "fp8", asked=False), RunRecord(), ["one"]) is None
    found = build_distance(Run(tmp_path), study("bf16", "fp8"), RunRecord(), ["one"])
    assert found is not None
    assert found.top_k is None
    assert found.variants["fp8"].reason == "the run has not come to it yet"
    assert found.guards == []


def test_few_answers_do_not_make_a_variant_the_baseline(tmp_path: Path) -> None:
    """A figure far above the noise floor, not shown for want of answers: no word of a lost quantization."""
    found = built(tmp_path, near=Table(noise=0.1), few=Table(noise=0.1, only=1))
    assert [(guard.name, guard.variant) for guard in found.guards] == [("distance_unsure", "few")]
    assert found.variants["few"].overall is not None
    assert "too few" in found.guards[0].message
