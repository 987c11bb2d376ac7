"""Time that a study takes: rates of the variants in output tokens a second, and the seconds beside their answers.

Rates are given, measured by a run or a trial, or estimated for the device; seconds are measured by a run or estimated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

from bitparity.benchmarks.registry import load_benchmark
from bitparity.doctor import devices
from bitparity.doctor.checkpoints import Loading, find_checkpoint
from bitparity.doctor.host import Host
from bitparity.doctor.memory import loaded_bytes, planned_cache, room_for_cache
from bitparity.doctor.vllm import VLLM
from bitparity.engines.registry import engine_of
from bitparity.errors import BitparityError, UserInputError
from bitparity.hardware.cores import usable_cores
from bitparity.hardware.devices import bandwidth
from bitparity.hardware.nvml import Machine
from bitparity.progress.counters import report_seconds
from bitparity.schema import BenchmarkSpec, Study, Variant
from bitparity.store.run import Run

# A step writes one token of every sequence under way. It reads all weights and the cache of those sequences, at most at
# the device's bandwidth, and takes some time of its own. Fitted to Qwen3-32B in BF16, FP8 and NVFP4 at 16 sequences on
# an RTX PRO 6000 (322, 382, 606 tokens a second with vLLM 0.13) and to a 1.5B model at 512 on an H200 (27,000 to 34,500
# with vLLM 0.25.1).
EFFICIENCY = 0.9  # of the bandwidth
STEP_S = 0.012
UNCERTAIN = 0.3  # the estimate may be wrong by so much

UNKNOWN = "hours are not known: give --rate, --measure SECONDS, or --run with a run that measured it"
# Estimates. A 1.5B model was there after 30 to 45 s with vLLM 0.25.1 on an H200, most of it compiling and capturing.
VLLM_START_S, START_S = 60.0, 5.0  # libraries, kernels, graphs
READ_BYTES_S = 1e9  # of weights, from a local disk
TEST_S, JUDGED_S, RULE_S = 1.0, 0.5, 0.002  # an answer whose code is run on one core, one that a judge reads, any other


class Rate(NamedTuple):
    """Output tokens a second over all requests of one variant, with the interval that it lies in."""

    middle: float
    low: float
    high: float


class Rates(NamedTuple):
    """Rates by variant, empty where they are not known, and the words on where they come from."""

    of: Mapping[str, Rate]
    source: str


def given_rate(study: Study, rate: float) -> Rates:
    """One rate for every variant. Raises UserInputError for 0 or less."""
    if not (rate > 0 and math.isfinite(rate)):
        raise UserInputError(f"rate is {rate:g}; give output tokens per second, above 0")
    return Rates(dict.fromkeys(study.variants, Rate(rate, rate, rate)), "given")


def rates_of_run(study: Study, run: Run) -> Rates:
    """The rates that a run measured; a variant that it did not have takes the slowest of them."""
    computed = {name for name, variant in run.study().variants.items() if not engine_of(variant.engine).recorded}
    measured: dict[str, Rate] = {}
    for name, stored in run.environment().variants.items():
        total = stored.generation
        if name in computed and total is not None and total.seconds and total.output_tokens:
            rate = total.output_tokens / total.seconds
            measured[name] = Rate(rate, rate, rate)
    if not measured:
        return Rates({}, f"hours are not known: {run.path} measured no rate (recorded answers have none); give --rate")
    slowest = min(measured.values())
    others = [name for name in study.variants if name not in measured]
    note = f"; the slowest of its rates for {', '.join(others)}" if others else ""
    of = {name: measured.get(name, slowest) for name in study.variants}
    return Rates(of, f"measured in {run.path}{note}")


def estimated_rates(study: Study, host: Host, prompt: float, answer: float) -> Rates:
    """Rates from weights, cache and the bandwidth of this host's device; empty where one of them is not known.

    `prompt` and `answer` are their mean tokens.
    """
    runs_vllm = [v for v in study.variants.values() if engine_of(v.engine).runs_vllm]
    if len(runs_vllm) < len(study.variants) or not all(devices.takes_gpu(v.engine, host) for v in runs_vllm):
        return Rates({}, UNKNOWN)
    machine = host.machine()
    found = {name: _estimated(variant, host, machine, prompt, answer) for name, variant in study.variants.items()}
    rates = {name: rate for name, rate in found.items() if rate is not None}
    if len(rates) < len(found):
        return Rates({}, UNKNOWN)
    return Rates(rates, "an estimate from weights, cache and the device's memory bandwidth; --measure 60 measures it")


def _estimated(variant: Variant, host: Host, machine: Machine, prompt: float, answer: float) -> Rate | None:
    """The rate with as many sequences at once as the study allows and the cache holds."""
    used, _ = devices.find_devices(variant.engine, host, machine)
    if not used:
        return None
    checkpoint = find_checkpoint(variant, host.hub, online=not host.hub.offline())
    load = Loading("", variant, checkpoint, used)
    weights, speed = loaded_bytes(checkpoint, variant.engine), bandwidth(used[0])
    room, cache = room_for_cache(load), planned_cache(load)
    if weights is None or speed is None or room is None or cache is None:
        return None
    held = cache.of(round(prompt + answer / 2)) * len(used)  # on the mean, an answer is half written
    allowed = variant.engine.max_num_seqs or used[0].limits().get("max_num_seqs", VLLM.max_num_seqs)
    places = max(1.0, min(allowed, room / held))
    rate = places / (STEP_S + (weights + places * held) / (EFFICIENCY * speed * len(used)))
    return Rate(rate, rate * (1 - UNCERTAIN), rate * (1 + UNCERTAIN))


def loading_seconds(study: Study, run: Run | None = None, host: Host | None = None) -> dict[str, float]:
    """Seconds until each variant is loaded: as a run measured them, else estimated from its weights."""
    # the estimate stays for a variant that the run has not loaded yet
    found = {name: _estimated_loading(variant, host or Host()) for name, variant in study.variants.items()}
    for name, stored in run.environment().variants.items() if run is not None else ():
        if name in found and stored.loads is not None and stored.loads.count and stored.loads.seconds:
            found[name] = stored.loads.seconds / stored.loads.count
    return found


def _estimated_loading(variant: Variant, host: Host) -> float:
    engine = engine_of(variant.engine)
    if engine.recorded or engine.served:
        return START_S
    weights = loaded_bytes(find_checkpoint(variant, host.hub, online=False), variant.engine)
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
