"""CPU cores that a running engine leaves idle."""

from __future__ import annotations

from collections.abc import Mapping

from bitparity.engines.registry import engine_of
from bitparity.hardware.cores import usable_cores
from bitparity.schema import Variant

ENGINE_CORES = 3  # of an engine on a GPU: its loop, its worker and the process that stores the samples


def idle_cores(variant: Variant, facts: Mapping[str, object]) -> int:
    """The cores that a running engine leaves idle; none beside one that computes on the CPU."""
    cores = usable_cores()
    if not engine_of(variant.engine).has_local_weights:  # nothing is computed here
        return cores
    if str(facts.get("device", "")).startswith("cuda"):
        return max(0, cores - ENGINE_CORES - (variant.engine.tensor_parallel_size or 1))
    threads = facts.get("threads")
    return max(0, cores - threads) if isinstance(threads, int) else 0
