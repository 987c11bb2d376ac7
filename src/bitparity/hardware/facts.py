"""Which device an engine runs on: what the engine's own process reports, named by NVML."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from bitparity.hardware.devices import NoTarget, Target, slice_limits, targets
from bitparity.hardware.nvml import Machine
from bitparity.schema import EngineSpec


def limits_of_slice(spec: EngineSpec, environ: Mapping[str, str], machine: Machine) -> dict[str, int]:
    """Limits for an engine on a MIG slice below 70 GiB; none elsewhere, where vLLM's own choice holds."""
    target = _target(spec, environ, machine)
    return slice_limits(target) if target else {}


def device_facts(
    reported: Mapping[str, Any], spec: EngineSpec, environ: Mapping[str, str], machine: Machine
) -> dict[str, Any]:
    """`device_uuid` as nvidia-smi writes it, and `mig`: the slice's profile, memory in bytes and GPU, or None.

    `reported` holds what CUDA says in the engine's process, `device_uuid` with or without the prefix. Empty where
    NVML shows no such device.
    """
    target = _located(reported.get("device_uuid"), spec, environ, machine)
    if target is None:
        return {}
    if target.slice is None:
        return {"device_uuid": target.gpu.uuid, "mig": None}
    profile = re.search(r"MIG \S+", target.slice.name)
    mig = {"profile": profile[0] if profile else None, "memory": target.slice.memory, "gpu_uuid": target.gpu.uuid}
    return {"device_uuid": target.slice.uuid, "mig": mig}


def _located(uuid: str | None, spec: EngineSpec, environ: Mapping[str, str], machine: Machine) -> Target | None:
    """The slice or GPU with this UUID; of a GPU in MIG mode the slice that the engine was shown."""
    if not uuid:
        return None
    for gpu in machine.gpus:
        for one in gpu.slices:
            if _bare(one.uuid) == _bare(uuid):
                return Target(gpu, one)
        if _bare(gpu.uuid) == _bare(uuid):
            shown = _target(spec, environ, machine) if gpu.mig else Target(gpu)
            return shown if shown and shown.gpu is gpu else None
    return None


def _target(spec: EngineSpec, environ: Mapping[str, str], machine: Machine) -> Target | None:
    try:
        return targets(spec, environ, machine, vllm=True)[0]
    except NoTarget:
        return None


def _bare(uuid: str) -> str:
    return uuid.removeprefix("GPU-").removeprefix("MIG-").lower()
