"""What an engine records of its device, on a double of NVML."""

from __future__ import annotations

from typing import Any

import pytest
from doubles import GIB, Device, Nvml

from bitparity.hardware.devices import device_facts, limits_of_slice
from bitparity.hardware.nvml import Machine, read
from bitparity.schema import EngineSpec

SLICED = read(Nvml(Device(uuid="GPU-one"), Device(uuid="GPU-two", slices=[("MIG-a", 24 * GIB), ("MIG-b", 48 * GIB)])))


def spec(**given: Any) -> EngineSpec:
    return EngineSpec(kind="vllm", dtype="auto", batch_size=1, trust_remote_code=False, **given)


def found(uuid: str | None, machine: Machine = SLICED, environ: dict[str, str] | None = None, **given: Any) -> Any:
    return device_facts(uuid, spec(**given), environ or {}, machine)


def test_a_whole_gpu_has_no_slice() -> None:
    assert found("one") == found("GPU-one") == {"device_uuid": "GPU-one", "mig": None}


def test_a_slice_is_named_with_its_profile_and_memory() -> None:
    expected = {
        "device_uuid": "MIG-b",
        "mig": {"profile": "MIG 2g.48gb", "memory": 48 * GIB, "gpu_uuid": "GPU-two"},
    }
    assert found("b") == expected
    # where CUDA tells the GPU only, the slice is the one that was shown
    assert found("GPU-two", environ={"CUDA_VISIBLE_DEVICES": "MIG-b"}) == expected
    assert found("two", device="MIG-b") == expected


def test_what_nvml_does_not_show_is_not_guessed() -> None:
    assert found(None) == found("GPU-three") == {}
    assert found("GPU-one", read(Nvml(fails="no driver"))) == {}
    assert found("GPU-two", environ={"CUDA_VISIBLE_DEVICES": "0"}) == {}  # it was shown another GPU


@pytest.mark.parametrize(("device", "small"), [("MIG-a", True), ("MIG-b", True), ("GPU-one", False), ("cuda:0", False)])
def test_a_small_slice_gets_the_limits_of_its_size(device: str, small: bool) -> None:
    limits = limits_of_slice(spec(device=device), {}, SLICED)
    assert limits == ({"max_num_seqs": 256, "max_num_batched_tokens": 8192} if small else {})


def test_a_large_slice_and_a_host_without_gpus_keep_vllms_own_limits() -> None:
    large = read(Nvml(Device(slices=[("MIG-c", 96 * GIB)])))
    assert limits_of_slice(spec(device="MIG-c"), {}, large) == {}
    assert limits_of_slice(spec(), {}, read(Nvml(fails="no driver"))) == {}
