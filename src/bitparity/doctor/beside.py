"""Seconds of a study beside its answers: loading each variant, grading, the report; measured by a run or estimated."""

from __future__ import annotations

from collections.abc import Mapping

from bitparity.benchmarks.registry import load_benchmark
from bitparity.doctor.checkpoints import find_checkpoint
from bitparity.doctor.host import Host
from bitparity.doctor.memory import loaded_bytes
from bitparity.engines.registry import engine_of
from bitparity.errors import BitparityError
from bitparity.hardware.cores import usable_cores
from bitparity.progress.time_left import report_seconds
from bitparity.schema import BenchmarkSpec, Study, Variant
from bitparity.store.run import Run

# Estimates. A 1.5B model was there after 30 to 45 s with vLLM 0.25.1 on an H200, most of it compiling and capturing.
VLLM_START_S, START_S = 60.0, 5.0  # libraries, kernels, graphs
READ_BYTES_S = 1e9  # of weights, from a local disk
TEST_S, JUDGED_S, RULE_S = 1.0, 0.5, 0.002  # an answer whose code is run on one core, one that a judge reads, any other


def loading_seconds(study: Study, run: Run | None = None, host: Host | None = None) -> dict[str, float]:
    """Seconds until each variant is loaded: as a run measured them, else estimated from its weights."""
    found = {name: _estimated(variant, host or Host()) for name, variant in study.variants.items()}
    for name, stored in run.environment().variants.items() if run is not None else ():
        if name in found and stored.loads is not None and stored.loads.count and stored.loads.seconds:
            found[name] = stored.loads.seconds / stored.loads.count
    return found


def _estimated(variant: Variant, host: Host) -> float:
    engine = engine_of(variant.engine)
    if engine.recorded or engine.served:
        return START_S
    weights = loaded_bytes(find_checkpoint(variant, host.hub, online=False), variant)
    return (VLLM_START_S if engine.runs_vllm else START_S) + (weights or 0.0) / READ_BYTES_S


def grading_seconds(spec: BenchmarkSpec) -> float:
    """Seconds that grading an answer takes, once the last engine has left its cores."""
    try:
        benchmark = load_benchmark(spec)
    except BitparityError:  # its data are not here; the run says so
        return RULE_S
    return TEST_S / usable_cores() if benchmark.runs_code else JUDGED_S if benchmark.judge is not None else RULE_S


def seconds_beside(study: Study, loading: Mapping[str, float], answers: Mapping[str, int]) -> float:
    """Seconds of a study beside its answers; `answers` has those of one variant by benchmark.

    Answers are graded beside the next variant's engine, so that those of the last one are counted alone.
    """
    graded = sum(grading_seconds(spec) * answers.get(spec.name, 0) for spec in study.benchmarks)
    report: float = report_seconds(sum(answers.values()) * len(study.variants))
    return sum(loading[name] for name in study.variants) + graded + report
