"""What NVML says of the GPUs: names, memory, compute capability, MIG slices. Reading only; no CUDA context is made.

One answer that is refused hides nothing else: inside a container the GPU of a MIG slice gives no memory
(NO_PERMISSION), one that shares the host's memory gives none at all (NOT_SUPPORTED on GB10), and a lost one nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Slice:
    """A MIG slice; memory and free in bytes, None where NVML does not say.

    `instance`: its GPU instance and compute instance, by which older names call it.
    """

    uuid: str
    name: str
    memory: int | None
    free: int | None
    instance: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Gpu:
    """A GPU in NVML's order (by PCI bus); memory and free in bytes, None where NVML does not say.

    `mig`: MIG mode is on, with or without slices.
    """

    index: int
    name: str
    uuid: str
    memory: int | None
    free: int | None
    capability: tuple[int, int]
    mig: bool = False
    slices: tuple[Slice, ...] = ()


@dataclass(frozen=True, slots=True)
class Machine:
    """The GPUs, the driver, and the newest CUDA that it runs (None: not told).

    `unread` names each GPU or slice that gave no answer, with the reason. `problem` says why none could be read, and
    `remedy` what helps.
    """

    gpus: tuple[Gpu, ...] = ()
    driver: str | None = None
    cuda: tuple[int, int] | None = None
    problem: str | None = None
    remedy: str = "install the NVIDIA driver (nvidia-smi must list the GPU), or start the container with its GPUs"
    unread: tuple[str, ...] = ()


def read_machine() -> Machine:
    """The GPUs of this host, through NVML (`nvidia-ml-py`, which comes with vLLM and with torch for CUDA)."""
    try:
        import pynvml
    except ImportError:
        return Machine(
            problem="the package nvidia-ml-py is not installed, so no GPU can be looked at",
            remedy="pip install nvidia-ml-py",
        )
    return read(pynvml)


def read(nvml: Any) -> Machine:
    """The GPUs that an NVML library shows."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _none(f"no NVIDIA driver answers ({error})", error)
    try:
        count = nvml.nvmlDeviceGetCount()
    except nvml.NVMLError as error:
        return _none(f"the NVIDIA driver does not answer ({error})", error)
    else:
        unread: list[str] = []
        gpus = tuple(gpu for index in range(count) for gpu in _gpu(nvml, index, unread))
        return Machine(gpus, _driver(nvml), _cuda(nvml), unread=tuple(unread))
    finally:
        with contextlib.suppress(nvml.NVMLError):  # all that could be read is read
            nvml.nvmlShutdown()


def _none(problem: str, error: Exception) -> Machine:
    if "mismatch" in str(error).lower():  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
        return Machine(
            problem=problem,
            remedy="the driver was updated while its old kernel module is loaded: reboot, or reload the module "
            "(sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia; sudo modprobe nvidia)",
        )
    return Machine(problem=problem)


def _driver(nvml: Any) -> str | None:
    try:
        return _text(nvml.nvmlSystemGetDriverVersion())
    except nvml.NVMLError:
        return None


def _cuda(nvml: Any) -> tuple[int, int] | None:
    try:
        cuda = int(nvml.nvmlSystemGetCudaDriverVersion())  # 13000 is CUDA 13.0
    except nvml.NVMLError:
        return None
    return cuda // 1000, cuda % 1000 // 10


def _gpu(nvml: Any, index: int, unread: list[str]) -> Iterator[Gpu]:
    """One GPU; none, and a word in `unread`, where it does not answer."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name, uuid = _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle))
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError as error:
        unread.append(f"GPU {index} ({error})")
        return
    try:
        mig = nvml.nvmlDeviceGetMigMode(handle)[0] == 1
    except nvml.NVMLError:  # a GPU without MIG
        mig = False
    slices = tuple(_slices(nvml, handle, index, unread)) if mig else ()
    yield Gpu(index, name, uuid, *_memory(nvml, handle), (major, minor), mig, slices)


def _slices(nvml: Any, gpu: Any, of: int, unread: list[str]) -> Iterator[Slice]:
    try:
        places = nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)
    except nvml.NVMLError as error:
        unread.append(f"the slices of GPU {of} ({error})")
        return
    for index in range(places):
        try:
            handle = nvml.nvmlDeviceGetMigDeviceHandleByIndex(gpu, index)
        except nvml.NVMLError:  # no slice at this place
            continue
        try:
            name, uuid = _text(nvml.nvmlDeviceGetName(handle)), _text(nvml.nvmlDeviceGetUUID(handle))
        except nvml.NVMLError as error:
            unread.append(f"slice {index} of GPU {of} ({error})")
            continue
        yield Slice(uuid, name, *_memory(nvml, handle), _instance(nvml, handle))


def _memory(nvml: Any, handle: Any) -> tuple[int | None, int | None]:
    """(all, free) in bytes."""
    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    except nvml.NVMLError:
        return None, None
    return int(memory.total), int(memory.free)


def _instance(nvml: Any, handle: Any) -> tuple[int, int] | None:
    try:
        return int(nvml.nvmlDeviceGetGpuInstanceId(handle)), int(nvml.nvmlDeviceGetComputeInstanceId(handle))
    except nvml.NVMLError:
        return None


def _text(value: str | bytes) -> str:
    """Older bindings give bytes."""
    return value.decode() if isinstance(value, bytes) else str(value)
