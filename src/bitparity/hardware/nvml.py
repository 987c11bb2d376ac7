"""GPUs as NVML shows them: names, memory, compute capability, MIG slices. Read only; no CUDA context is made.

One answer that is refused hides nothing else: inside a container the GPU of a MIG slice gives no memory
(NO_PERMISSION), one that shares the host's memory gives none at all (NOT_SUPPORTED on GB10), and a lost one nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

_RELOAD = (
    "the driver was updated while its old kernel module is loaded: reboot, or reload the module "
    "(sudo rmmod nvidia_uvm nvidia_drm nvidia_modeset nvidia; sudo modprobe nvidia)"
)


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

    def unusable(self) -> tuple[str, str] | None:
        """(why nothing of it can be used, remedy) where MIG mode is on and there is no slice; None elsewhere."""
        if not self.mig or self.slices:
            return None
        return f"GPU {self.index} {self.name} has MIG mode on and no slice", (
            f"make one (nvidia-smi mig -i {self.index} -cgi PROFILE -C; profiles: nvidia-smi mig -lgip), or switch "
            f"MIG off where you may (nvidia-smi -i {self.index} -mig 0)"
        )


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
    """The GPUs of this host, through NVML (`nvidia-ml-py`)."""
    import pynvml  # late: most commands look at no GPU

    return read(pynvml)


def read(nvml: Any) -> Machine:
    """The GPUs that an NVML library shows."""
    try:
        nvml.nvmlInit()
    except nvml.NVMLError as error:
        return _unreadable(f"no NVIDIA driver answers ({error})")
    try:
        unread: list[str] = []
        gpus = tuple(gpu for index in range(nvml.nvmlDeviceGetCount()) for gpu in _gpu(nvml, index, unread))
        driver = _answer(nvml, nvml.nvmlSystemGetDriverVersion)
        told = _answer(nvml, nvml.nvmlSystemGetCudaDriverVersion)
        cuda = None if told is None else (int(told) // 1000, int(told) % 1000 // 10)  # 13000 is CUDA 13.0
        return Machine(gpus, driver, cuda, unread=tuple(unread))
    except nvml.NVMLError as error:
        return _unreadable(f"the NVIDIA driver does not answer ({error})")
    finally:
        with contextlib.suppress(nvml.NVMLError):  # all that could be read is read
            nvml.nvmlShutdown()


def _unreadable(problem: str) -> Machine:
    mismatch = "mismatch" in problem.lower()  # NVML_ERROR_LIB_RM_VERSION_MISMATCH
    return Machine(problem=problem, remedy=_RELOAD) if mismatch else Machine(problem=problem)


def _answer(nvml: Any, query: Callable[..., Any], *of: Any) -> Any:
    """The answer of NVML; None where it refuses."""
    try:
        return query(*of)
    except nvml.NVMLError:
        return None


def _gpu(nvml: Any, index: int, unread: list[str]) -> Iterator[Gpu]:
    """One GPU; none, and a word in `unread`, where it does not answer."""
    try:
        handle = nvml.nvmlDeviceGetHandleByIndex(index)
        name, uuid = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle)
        major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    except nvml.NVMLError as error:
        unread.append(f"GPU {index} ({error})")
        return
    mode = _answer(nvml, nvml.nvmlDeviceGetMigMode, handle)  # None: a GPU without MIG
    # the mode now, not the one after the next reset
    mig = mode is not None and mode[0] == 1
    slices = tuple(_slices(nvml, handle, index, unread)) if mig else ()
    yield Gpu(index, name, uuid, *_memory(nvml, handle), (major, minor), mig, slices)


def _slices(nvml: Any, gpu: Any, of: int, unread: list[str]) -> Iterator[Slice]:
    try:
        places = nvml.nvmlDeviceGetMaxMigDeviceCount(gpu)
    except nvml.NVMLError as error:
        unread.append(f"the slices of GPU {of} ({error})")
        return
    for index in range(places):  # places stay empty between slices, so the first empty one is not the end
        handle = _answer(nvml, nvml.nvmlDeviceGetMigDeviceHandleByIndex, gpu, index)
        if handle is None:  # no slice at this place
            continue
        try:
            name, uuid = nvml.nvmlDeviceGetName(handle), nvml.nvmlDeviceGetUUID(handle)
        except nvml.NVMLError as error:
            unread.append(f"slice {index} of GPU {of} ({error})")
            continue
        gpu_instance = _answer(nvml, nvml.nvmlDeviceGetGpuInstanceId, handle)
        compute = _answer(nvml, nvml.nvmlDeviceGetComputeInstanceId, handle)
        instance = None if gpu_instance is None or compute is None else (int(gpu_instance), int(compute))
        yield Slice(uuid, name, *_memory(nvml, handle), instance)


def _memory(nvml: Any, handle: Any) -> tuple[int | None, int | None]:
    """(all, free) in bytes."""
    memory = _answer(nvml, nvml.nvmlDeviceGetMemoryInfo, handle)
    return (None, None) if memory is None else (int(memory.total), int(memory.free))
