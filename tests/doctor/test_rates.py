"""Rates of variants: estimated for a device, and measured over some seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Self

import pytest
from doubles import GIB, H100, Device, host, study
from support import math_rows, write_jsonl, write_yaml
from tiny_model import build_model

from bitparity.doctor import measure
from bitparity.doctor.measure import measured_rates, rate_of
from bitparity.doctor.plan import make_plan
from bitparity.doctor.rates import estimated_rates, given_rate
from bitparity.errors import UserInputError
from bitparity.hardware.devices import VisibleDevice, bandwidth
from bitparity.hardware.nvml import Gpu, Slice
from bitparity.records import Request, Sample
from bitparity.schema import Variant
from bitparity.study.resolve import load_study

WHOLE = Device("NVIDIA RTX Pro 6000 Blackwell DC-4-96Q".replace("Pro", "PRO"), slices=(("MIG-one", 96 * GIB),))
THREE = {"bf16": "bf16", "fp8": "fp8", "nvfp4": "nvfp4"}
# tokens a second of Qwen3-32B at 16 requests, as published by a user of two such slices
SEEN = {"bf16": 322, "fp8": 382, "nvfp4": 606}


def test_the_estimate_is_within_30_percent_of_what_was_seen(models: Path) -> None:
    given = study(models, THREE, max_num_seqs=16)
    found = estimated_rates(given, host(WHOLE), 200, 500)
    assert found.of.keys() == SEEN.keys()
    for name, seen in SEEN.items():
        assert 0.7 * seen <= found.of[name].middle <= 1.3 * seen
        assert found.of[name].low <= seen <= found.of[name].high
    assert "an estimate from weights" in found.source


def test_the_cache_bounds_how_many_run_at_once(models: Path) -> None:
    def rate(name: str, answer: float) -> float:
        return estimated_rates(study(models, {name: name}), host(WHOLE), 300, answer).of[name].middle

    assert rate("bf16", 500) > rate("bf16", 6_000) > rate("bf16", 30_000)
    assert rate("nvfp4", 6_000) > 2 * rate("bf16", 6_000)  # less to read, and more room


@pytest.mark.parametrize("device", [replace(H100, name="Some New GPU"), replace(H100, memory=24 * GIB)])
def test_what_is_not_known_is_not_estimated(models: Path, device: Device) -> None:
    found = estimated_rates(study(models, THREE), host(device), 200, 500)
    assert not found.of
    assert "--measure SECONDS" in found.source


def test_a_plan_estimates_hours_by_variant(models: Path) -> None:
    plan = make_plan(study(models, THREE, max_num_seqs=64), host=host(WHOLE))
    hours = {name: plan.hours_of(name) for name in THREE}
    for found in hours.values():
        assert found is not None
        assert found[1] < found[0] < found[2]
    assert hours["nvfp4"] < hours["bf16"]  # type: ignore[operator]


def test_bandwidths_of_gpus_and_slices() -> None:
    gpu = Gpu(0, "NVIDIA RTX PRO 6000 Blackwell Server Edition", "GPU-a", 96 * GIB, 96 * GIB, (12, 0), mig=True)
    assert bandwidth(VisibleDevice(gpu)) == 1792e9
    half = Slice("MIG-a", "MIG 2g.48gb", 48 * GIB, 48 * GIB)
    assert bandwidth(VisibleDevice(gpu, half)) == 896e9
    assert bandwidth(VisibleDevice(replace(gpu, name="NVIDIA H200"))) == 4800e9
    assert bandwidth(VisibleDevice(replace(gpu, name="NVIDIA H20"))) == 4000e9
    assert bandwidth(VisibleDevice(replace(gpu, name="Tesla K80"))) is None


def test_a_measured_rate_leaves_the_warm_up_out() -> None:
    slow = [(float(second), 10.0 * second) for second in range(10)]
    steady = [(float(second), 90 + 100.0 * (second - 9)) for second in range(10, 51)]
    found = rate_of([*slow, *steady])
    assert found.middle == pytest.approx(100)
    assert found.low == pytest.approx(100)
    jumping = [(float(second), 100.0 * second + 20 * (second % 3)) for second in range(51)]
    spread = rate_of(jumping)
    assert spread.low < 100 < spread.high


@pytest.mark.parametrize("ticks", [[], [(0.0, 0.0), (60.0, 0.0)], [(0.0, 0.0), (60.0, 5000.0)]])
def test_a_time_too_short_to_measure(ticks: list[tuple[float, float]]) -> None:
    with pytest.raises(UserInputError, match="give more seconds"):
        rate_of(ticks)


@pytest.mark.parametrize("seconds", [0, 29, -1, float("nan"), float("inf")])
def test_seconds_that_measure_nothing(models: Path, seconds: float) -> None:
    with pytest.raises(UserInputError, match="30 or more"):
        measured_rates(study(models), seconds)


class Engine:
    """An engine process that writes 100 tokens a second, by a clock of the test's own, and never ends an answer."""

    now = 0.0

    def __init__(self, variant: Variant, log: Path) -> None:
        self.on_progress: Callable[[int], None] = lambda count: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        assert requests
        while True:
            Engine.now += 5
            self.on_progress(round(100 * Engine.now))
            yield []

    def close(self, at_once: bool) -> None:
        Engine.now = 0.0


def test_each_variant_is_measured_on_the_study_s_prompts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_jsonl(tmp_path / "math.jsonl", math_rows(3))
    model = build_model(tmp_path / "model")
    document = {
        "study": "s",
        "variants": {"a": {"model": str(model), "baseline": True, "control": True}, "b": {"model": str(model)}},
        "engine": {"kind": "transformers"},
        "protocol": {"max_tokens": 32},
        "benchmarks": [{"name": "math500", "data": "math.jsonl"}],
    }
    monkeypatch.setattr(measure, "EngineProcess", Engine)
    monkeypatch.setattr(measure.time, "monotonic", lambda: Engine.now)
    given = load_study(write_yaml(tmp_path / "study.yaml", document))
    found = measured_rates(given, 60)
    assert set(found.of) == {"a", "b", "a-control"} == set(given.variants)
    assert all(rate.middle == pytest.approx(100) for rate in found.of.values())
    assert "measured over 60 seconds" in found.source


@pytest.mark.parametrize("rate", [0, -5, float("nan"), float("inf")])
def test_no_rate(models: Path, rate: float) -> None:
    with pytest.raises(UserInputError, match="above 0"):
        given_rate(study(models), rate)
