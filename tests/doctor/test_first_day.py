"""The first day on two slices of RTX PRO 6000: no compiler, MIG, a small root, versions that are known to fail."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from doubles import GIB, H100, INSTALLED, Device, host, only, said, study

from bitparity.doctor.host import Compilers
from bitparity.schema import Study

SLICE = Device(slices=(("MIG-one", 95 * GIB),))
OTHER = Device(uuid="GPU-bbbb", slices=(("MIG-two", 95 * GIB),))
THREE = {"bf16": "bf16", "fp8": "fp8", "nvfp4": "nvfp4"}


def three(models: Path, **engine: Any) -> Study:
    return study(models, THREE, **{"max_num_seqs": 64, "max_num_batched_tokens": 8192, **engine})


def test_no_compiler_at_all(models: Path) -> None:
    on = host(SLICE, compilers=lambda: Compilers(False, "/usr/include/python3.12/Python.h", None))
    compiler, headers, nvcc = said(three(models), on, "compilers", "error")
    assert "apt-get install gcc" in compiler.remedy
    assert "/usr/include/python3.12/Python.h is missing" in headers.message
    assert "the kernels for FP8 with scales for blocks, the kernels for NVFP4 would be compiled" in nvcc.message
    assert "linear_backend: cutlass" in nvcc.remedy


@pytest.mark.parametrize(("nvcc", "level"), [((12, 8), "error"), ((12, 9), "ok"), ((13, 0), "ok")])
def test_an_old_nvcc(models: Path, nvcc: tuple[int, int], level: str) -> None:
    on = host(SLICE, compilers=lambda: Compilers(nvcc=nvcc))
    only(three(models), on, "compilers", level)
    found = said(three(models, linear_backend="cutlass"), on, "compilers")
    assert [f.level for f in found] == ["ok"]  # nothing is compiled with it


def test_no_nvcc_and_nothing_that_needs_it(models: Path) -> None:
    without = Compilers(nvcc=None)
    plain = study(models, {"bf16": "bf16"})
    assert (
        "no nvcc, which nothing here needs"
        in only(plain, host(SLICE, compilers=lambda: without), "compilers", "ok").message
    )
    brought = {**INSTALLED, "flashinfer-jit-cache": "0.6.0"}
    only(three(models), host(SLICE, compilers=lambda: without, version=brought.get), "compilers", "ok")
    only(three(models), host(H100, compilers=lambda: without), "compilers", "ok")  # no kernel of Hopper's is compiled


def test_rounded_scales(models: Path) -> None:
    found = only(three(models), host(SLICE), "kernels of fp8", "warning")
    assert "rounded to powers of two (E8M0)" in found.message
    assert "linear_backend: cutlass" in found.remedy
    assert not said(three(models, linear_backend="cutlass"), host(SLICE), "kernels of fp8", "warning")


@pytest.mark.parametrize("shown", ["0", "1", "0,1"])
def test_a_gpu_by_number_with_one_slice(models: Path, shown: str) -> None:
    on = host(SLICE, OTHER, environ={"CUDA_VISIBLE_DEVICES": shown})
    assert not said(three(models), on, "device", "error")
    name = "MIG-two" if shown == "1" else "MIG-one"
    assert name in only(three(models), on, "device", "ok").message


def test_one_model_over_slices_of_two_gpus(models: Path) -> None:
    on = host(SLICE, OTHER, environ={"CUDA_VISIBLE_DEVICES": "MIG-one,MIG-two"})
    warned = said(three(models, tensor_parallel_size=2), on, "device", "warning")
    assert any("disable_custom_all_reduce: true" in found.remedy for found in warned)
    quiet = three(models, tensor_parallel_size=2, disable_custom_all_reduce=True)
    assert not any("all-reduce" in found.message for found in said(quiet, on, "device"))


def test_a_version_that_fails_on_this_chip(models: Path) -> None:
    known = {**INSTALLED, "vllm": "0.24.0"}
    errors = said(three(models), host(SLICE, version=known.get), "kernels of fp8", "error")
    assert "vllm#47130" in errors[0].message
    assert not said(three(models), host(H100, version=known.get), "kernels of fp8", "error")
    assert not said(three(models), host(SLICE), "kernels of fp8", "error")


def test_a_version_that_cannot_read_slices(models: Path) -> None:
    environ = {"CUDA_VISIBLE_DEVICES": "MIG-one"}
    known = {**INSTALLED, "vllm": "0.20.1"}
    assert (
        "vllm#41848" in only(three(models), host(SLICE, version=known.get, environ=environ), "device", "error").message
    )
    assert not said(three(models), host(SLICE, environ=environ), "device", "error")


def test_a_large_share_with_many_sequences(models: Path) -> None:
    large = three(models, gpu_memory_utilization=0.95, max_num_seqs=None)
    assert "set max_num_seqs" in only(large, host(SLICE), "device", "warning").remedy
    assert not said(three(models, gpu_memory_utilization=0.95), host(SLICE), "device", "warning")
    small = replace(SLICE, slices=(("MIG-one", 47 * GIB),))  # gets limits of its size from bitparity
    assert not any("sequences" in f.message for f in said(large, host(small), "device", "warning"))


def test_an_attention_backend_with_wrong_results(models: Path) -> None:
    given = three(models, attention_backend="TRITON_ATTN")
    assert "vllm#34759" in only(given, host(SLICE), "device", "warning").message
