"""Facts of the device that an engine runs on: reported by the engine's own process, named by NVML."""

from __future__ import annotations

import re
from collections.abc import Mapping

from pydantic import JsonValue

from bitparity.hardware.devices import NoDeviceError, VisibleDevice, visible_devices
from bitparity.hardware.nvml import Machine
from bitparity.schema import EngineSpec


def limits_of_slice(spec: EngineSpec, environ: Mapping[str, str], machine: Machine) -> dict[str, int]:
    """Limits for vLLM on a MIG slice below 70 GiB; none elsewhere, where vLLM's own choice holds."""
    device = _first(spec, environ, machine)
    return device.limits() if device else {}


def device_facts(uuid: str | None, spec: EngineSpec, environ: Mapping[str, str], machine: Machine) -> dict[str, object]:
    """`device_uuid` as nvidia-smi writes it, and `mig`: the slice's profile, memory in bytes and GPU, or None.

    `uuid` is what CUDA says in the engine's process, with or without the prefix. Empty where NVML shows no such
    device.
    """
    device = _located(uuid, spec, environ, machine)
    if device is None:
        return {}
    if device.slice is None:
        return {"device_uuid": device.gpu.uuid, "mig": None}
    profile = re.search(r"MIG \S+", device.slice.name)
    mig = {"profile": profile[0] if profile else None, "memory": device.slice.memory, "gpu_uuid": device.gpu.uuid}
    return {"device_uuid": device.slice.uuid, "mig": mig}


def _located(uuid: str | None, spec: EngineSpec, environ: Mapping[str, str], machine: Machine) -> VisibleDevice | None:
    """The slice or GPU with this UUID; of a GPU in MIG mode the slice that the engine was shown."""
    for gpu in machine.gpus if uuid else ():
        for each in gpu.slices:
            if _bare(each.uuid) == _bare(uuid):
                return VisibleDevice(gpu, each)
        if _bare(gpu.uuid) == _bare(uuid):
            # with MIG on, CUDA may name the parent GPU: the slice is then the one that the engine was shown
            shown = _first(spec, environ, machine) if gpu.mig else VisibleDevice(gpu)
            return shown if shown and shown.gpu is gpu else None
    return None


def _first(spec: EngineSpec, environ: Mapping[str, str], machine: Machine) -> VisibleDevice | None:
    """The first device that vLLM sees; None where there is none."""
    try:
        return visible_devices(spec, environ, machine, vllm=True)[0]
    except NoDeviceError:
        return None


def _bare(uuid: str | None) -> str:
    return (uuid or "").removeprefix("GPU-").removeprefix("MIG-").lower()


def device_of(facts: Mapping[str, JsonValue]) -> list[dict[str, JsonValue]]:
    """The device that an engine names, as one entry; none where it names none."""
    found = {key: facts[key] for key in ("device_uuid", "mig") if facts.get(key) is not None}
    return [found] if found else []


def without_place(facts: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """The facts that may change a number: not which of several equal devices it is, nor how much room it has.

    The model is left out: of what checkpoints differ in, `models.differing` decides.
    """
    kind = str(facts.get("device", "")).partition(":")[0]
    others = {k: v for k, v in facts.items() if k not in ("device_uuid", "kv_cache_tokens", "model")}
    return {**others, "device": kind, "mig": slice_kind(facts.get("mig"))}


def slice_kind(mig: JsonValue) -> JsonValue:
    """The facts of a MIG slice, less which of several equal GPUs it is on."""
    return mig if not isinstance(mig, dict) else {key: value for key, value in mig.items() if key != "gpu_uuid"}
