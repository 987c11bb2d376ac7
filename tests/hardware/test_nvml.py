"""GPUs of which NVML does not tell everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from doubles import GIB, H100, TWO_SLICES, Device, Nvml, NVMLError, host, only, said, study

from bitparity.hardware.devices import device_facts, limits_of_slice
from bitparity.hardware.nvml import Machine, read
from bitparity.schema import EngineSpec


class Refusing(Nvml):
    """NVML that refuses one question, for every device or for the one of a UUID."""

    def __init__(self, question: str, *devices: Device, uuid: str | None = None, why: str = "refused") -> None:
        super().__init__(*devices)
        asked = getattr(self, question)

        def answer(*handles: Any) -> Any:
            if uuid is None or handles[0].uuid == uuid:
                raise NVMLError(why)
            return asked(*handles)

        setattr(self, question, answer)


SLICED = Device(uuid="GPU-parent", slices=TWO_SLICES)


def test_in_a_container_only_the_slice_tells_its_memory(models: Path) -> None:
    nvml = Refusing("nvmlDeviceGetMemoryInfo", SLICED, uuid="GPU-parent", why="Insufficient Permissions")
    on = host(nvml=nvml, environ={"CUDA_VISIBLE_DEVICES": "MIG-one"})
    assert not said(study(models), on, "device", "error")
    assert "20.0 GB of weights on 50.5 GB" in only(study(models), on, "memory of nvfp4", "ok").message


def test_a_gpu_that_shares_the_host_s_memory(models: Path) -> None:
    gb10 = Refusing("nvmlDeviceGetMemoryInfo", Device("NVIDIA GB10", "GPU-gb10", 128 * GIB, capability=(12, 1)))
    given = study(models, {"nvfp4": "nvfp4"})
    assert "GPU 0 NVIDIA GB10 (size unknown)" in only(given, host(nvml=gb10), "device", "ok").message
    assert "NVML does not tell the memory" in only(given, host(nvml=gb10), "device", "warning").message
    found = only(given, host(nvml=gb10), "memory of nvfp4", "warning")
    assert "whether 20.0 GB of weights fit is not known" in found.message
    assert said(given, host(nvml=gb10), "kernels of nvfp4", "warning")


@pytest.mark.parametrize(
    ("question", "uuid", "lost"),
    [("nvmlDeviceGetName", "GPU-2", "GPU 1 (refused)"), ("nvmlDeviceGetUUID", "MIG-two", "slice 1 of GPU 0 (refused)")],
)
def test_what_is_lost_hides_nothing_else(models: Path, question: str, uuid: str, lost: str) -> None:
    nvml = Refusing(question, SLICED, Device(uuid="GPU-2"), uuid=uuid)
    on = host(nvml=nvml, environ={"CUDA_VISIBLE_DEVICES": "MIG-one"})
    assert "MIG-one of GPU 0" in said(study(models), on, "device", "ok")[0].message
    assert f"{lost} does not answer and is passed over" in only(study(models), on, "device", "warning").message


def test_an_unknown_cuda_version_is_said_to_be_unknown(models: Path) -> None:
    on = host(nvml=Refusing("nvmlSystemGetCudaDriverVersion", H100))
    assert "does not tell which CUDA" in only(study(models), on, "driver", "warning").message
    assert only(study(models), on, "device", "ok")


def test_closing_nvml_may_fail() -> None:
    assert [gpu.uuid for gpu in read(Refusing("nvmlShutdown", H100)).gpus] == ["GPU-h100"]


@pytest.mark.parametrize(
    ("machine", "remedy"),
    [
        (read(Nvml(fails="Driver/library version mismatch")), "reboot, or reload the module"),
        (read(Nvml(fails="NVML Shared Library Not Found")), "install the NVIDIA driver"),
        (Machine(problem="not installed", remedy="pip install nvidia-ml-py"), "pip install nvidia-ml-py"),
    ],
)
def test_each_reason_has_its_own_remedy(models: Path, machine: Machine, remedy: str) -> None:
    assert remedy in only(study(models), host(machine=lambda: machine), "device", "error").remedy


def test_an_engine_s_facts_need_no_memory() -> None:
    machine = read(Refusing("nvmlDeviceGetMemoryInfo", SLICED))
    spec = EngineSpec(kind="vllm", dtype="auto", batch_size=1, trust_remote_code=False, device="MIG-one")
    assert limits_of_slice(spec, {}, machine) == {"max_num_seqs": 256, "max_num_batched_tokens": 8192}
    facts = device_facts("one", spec, {}, machine)
    assert facts["device_uuid"] == "MIG-one"
    assert facts["mig"]["memory"] is None
