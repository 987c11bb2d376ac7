"""Measured rates: each variant is loaded and answers real prompts of the study for some seconds; nothing is kept."""

from __future__ import annotations

import contextlib
import itertools
import math
import random
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from scipy.special import stdtrit

from bitparity.doctor.rates import Rate, Rates
from bitparity.engines.host import EngineProcess
from bitparity.engines.registry import engine_of
from bitparity.errors import UserInputError
from bitparity.generation.plan import plan_variant
from bitparity.generation.prepare import Prepared, prepare
from bitparity.progress.events import Events
from bitparity.schema import Study
from bitparity.store.run import WritableRun

LEAST_S = 30  # an engine tells its progress every five seconds
WARM_UP = 0.2  # share of the time that is left out: places fill, kernels are compiled
PARTS = 5  # of the rest, whose rates give the interval
Tick = tuple[float, float]
"""Seconds by a clock, and output tokens until then."""


class _EnoughError(Exception):
    """The time is over."""


def measured_rates(study: Study, seconds: float) -> Rates:
    """The rate of each variant over so many seconds after loading; the control takes the baseline's.

    Raises UserInputError for a time under 30 seconds, EngineError where an engine fails, and what preparing raises.
    """
    if not (seconds >= LEAST_S and math.isfinite(seconds)):
        raise UserInputError(f"--measure is {seconds:g}; give the seconds for each variant, {LEAST_S} or more")
    measured: dict[str, Rate] = {}
    with tempfile.TemporaryDirectory(prefix="bitparity-") as folder:
        path = Path(folder) / "run"
        with WritableRun(path, study) as run, prepare(study, run, Events()) as prepared:
            for name, variant in study.variants.items():
                if not variant.control and not engine_of(variant.engine).recorded:
                    measured[name] = rate_of(_ticks(prepared, name, seconds))
    if not measured:
        raise UserInputError("--measure: this study has recorded answers only, which no engine computes")
    of = {name: measured.get(name, measured.get(study.baseline, min(measured.values()))) for name in study.variants}
    return Rates(of, f"measured over {seconds:g} seconds of each variant, with answers that had just begun")


def _ticks(prepared: Prepared, name: str, seconds: float) -> list[Tick]:
    """The tokens of a variant over time, from its first token until the time is over or all is answered."""
    plan = plan_variant(prepared, name)
    requests = list(plan.requests)
    if plan.batches is None:  # an engine with fixed batches keeps them
        # a mixture: in the plan's order the time might be over before the second benchmark begins
        random.Random(0).shuffle(requests)
    ticks: list[Tick] = []
    with EngineProcess(prepared.loadable(name), prepared.run.log_path(name)) as engine:

        def tick(tokens: float) -> None:
            if not tokens:  # the first prompts are read, or kernels compiled: the time begins with the first token
                ticks.clear()
            ticks.append((time.monotonic(), tokens))
            if ticks[-1][0] - ticks[0][0] > seconds:
                raise _EnoughError

        engine.on_progress = tick
        with contextlib.suppress(_EnoughError):
            ended = 0
            for burst in engine.run(requests):
                ended += sum(sample.tokens or 0 for sample in burst)
                if burst:  # a server's engine tells no progress of its own
                    tick(max(ended, ticks[-1][1] if ticks else 0))
        engine.close(at_once=True)
    return ticks


def rate_of(ticks: Sequence[Tick]) -> Rate:
    """Tokens a second after the warm-up, with a 95 % interval (Student's t) from the rates of its parts.

    Raises UserInputError where fewer than two looks came after the warm-up.
    """
    begun = ticks[0][0] + WARM_UP * (ticks[-1][0] - ticks[0][0]) if ticks else 0.0
    kept = [tick for tick in ticks if tick[0] >= begun]
    if len(kept) < 2 or kept[-1][1] <= kept[0][1]:
        raise UserInputError("--measure: no token was written in that time; give more seconds")
    parts = min(PARTS, len(kept) - 1)
    edges = [kept[round(part * (len(kept) - 1) / parts)] for part in range(parts + 1)]
    rates = [(after[1] - before[1]) / (after[0] - before[0]) for before, after in itertools.pairwise(edges)]
    middle = (kept[-1][1] - kept[0][1]) / (kept[-1][0] - kept[0][0])
    if parts < 2:
        return Rate(middle, middle, middle)
    half = float(stdtrit(parts - 1, 0.975)) * statistics.stdev(rates) / math.sqrt(parts)
    return Rate(middle, max(0.0, middle - half), middle + half)
