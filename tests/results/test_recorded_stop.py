"""A recorded run (../shared/data/recorded-1.5b) replayed with stop_early stops where an offline reading says."""

from __future__ import annotations

import math
import tarfile

import pytest
import yaml
from support import SHARED_DATA

from bitparity.exam.frozen import load_exam
from bitparity.progress.events import Events
from bitparity.results.build import build
from bitparity.runner import run_study
from bitparity.store.run import Run
from bitparity.study.resolve import load_study

ARCHIVE = SHARED_DATA / "recorded-1.5b" / "run.tar.xz"
MARGIN = 0.02
# alpha t^2, 10 looks: one-sided 0.05, and 0.025 over a family of two comparisons is stricter than these for 0.025
WITHIN = [3.291, 2.940, 2.721, 2.548, 2.401, 2.271, 2.154, 2.045, 1.944, 1.848]
BEYOND = [3.481, 3.152, 2.951, 2.794, 2.661, 2.545, 2.441, 2.345, 2.257, 2.174]


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    if not ARCHIVE.is_file():
        pytest.skip("the recorded run (../shared/data/recorded-1.5b) is not here")
    folder = tmp_path_factory.mktemp("recorded")
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(folder, filter="data")
    samples = folder / "run" / "samples"
    data = {
        "data": str(SHARED_DATA / "mmlu_pro_test.jsonl.gz"),
        "fewshot_data": str(SHARED_DATA / "mmlu_pro_validation.jsonl"),
    }
    study = {
        "study": "recorded",
        "engine": {"kind": "replay"},
        "stop_early": True,
        "variants": {
            name: {"model": str(samples / name), "baseline": name == "bf16"} for name in ("bf16", "fp8", "nvfp4")
        },
        "benchmarks": [{"name": "mmlu_pro", "limit": 4000, "margin": 100 * MARGIN, "max_tokens": 2048, **data}],
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    run_study(load_study(folder / "study.yaml"), folder / "out", Events())
    return Run(folder / "out")


def counts(run: Run, candidate: str, items: list[str]) -> tuple[int, int]:
    before, after = (run.grades(name, "mmlu_pro") for name in ("bf16", candidate))
    pairs = [(before[item, 0].score, after[item, 0].score) for item in items]
    return sum(b == 1 and a == 0 for b, a in pairs), sum(b == 0 and a == 1 for b, a in pairs)


def score_statistic(lost: int, gained: int, n: int) -> float:
    """Tango's z at a difference of -MARGIN: its restricted estimate solves 2 n x^2 + b x + c = 0."""
    v = -MARGIN
    b, c = (2 * n + lost - gained) * v - lost - gained, -lost * v * (1 - v)
    rate = (math.sqrt(b * b - 8 * n * c) - b) / (4 * n)
    return (gained - lost - n * v) / math.sqrt(n * (2 * rate + v * (1 - v)))


@pytest.mark.slow
def test_it_stops_where_an_offline_reading_says(replayed: Run) -> None:
    exam = load_exam(replayed.exam_path("mmlu_pro"))
    order = [entry.item.id for entry in exam.items]
    found = build(replayed).benchmarks["mmlu_pro"].comparisons
    for candidate in ("fp8", "nvfp4"):
        expected = None
        for look, items in enumerate(range(400, 4001, 400)):
            z = score_statistic(*counts(replayed, candidate, order[:items]), items)
            if z > WITHIN[look] or z < -BEYOND[look]:
                expected = expected or (look + 1, items)
        stopped = found[candidate].stopped
        told = None if stopped is None else (stopped.look, stopped.items)
        assert told == (None if expected is not None and expected[1] == 4000 else expected), candidate
    assert found["fp8"].stopped is not None
    assert found["fp8"].verdict in ("equivalent", "non_inferior")
