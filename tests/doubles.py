"""Hosts that are not here: GPUs behind a double of NVML, disks, a hub."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support import math_rows, write_jsonl, write_yaml

from bitparity.doctor.examine import examine
from bitparity.doctor.findings import Finding
from bitparity.doctor.host import Compilers, Disk, Host
from bitparity.hardware.nvml import read
from bitparity.schema import Study, Variant
from bitparity.study.resolve import load_study

GB = 10**9
GIB = 2**30
QWEN3_32B = {  # of Qwen/Qwen3-32B's config.json
    "architectures": ["Qwen3ForCausalLM"],
    "num_hidden_layers": 64,
    "num_attention_heads": 64,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "hidden_size": 5120,
    "max_position_embeddings": 40960,
    "torch_dtype": "bfloat16",
}
NVFP4 = {
    "quant_method": "compressed-tensors",
    "config_groups": {
        "group_0": {
            "weights": {"type": "float", "num_bits": 4, "strategy": "tensor_group", "group_size": 16},
            "input_activations": {"type": "float", "num_bits": 4, "strategy": "tensor_group", "group_size": 16},
        }
    },
}
FP8 = {"quant_method": "fp8", "weight_block_size": [128, 128]}


PROFILES = {24 * GIB: "1g.24gb", 48 * GIB: "2g.48gb", 96 * GIB: "4g.96gb"}  # of an RTX PRO 6000, by memory


class NVMLError(Exception):
    pass


@dataclass
class Device:
    """A GPU of the double; `slices` are (uuid, bytes); None: no MIG on this GPU, () : MIG on without a slice."""

    name: str = "NVIDIA RTX PRO 6000 Blackwell"
    uuid: str = "GPU-aaaa"
    memory: int = 96 * GIB
    used: int = 0
    capability: tuple[int, int] = (12, 0)
    slices: Sequence[tuple[str, int]] | None = None
    instance: int = 0


class Nvml:
    """The functions of pynvml that are asked, over a list of devices; as `nvidia-ml-py` gives them."""

    NVMLError = NVMLError

    def __init__(self, *devices: Device, driver: str = "580.95.05", cuda: int = 13000, fails: str = "") -> None:
        self.devices, self.driver, self.cuda, self.fails = devices, driver, cuda, fails
        self.open = 0

    def nvmlInit(self) -> None:  # noqa: N802
        if self.fails:
            raise NVMLError(self.fails)
        self.open += 1

    def nvmlShutdown(self) -> None:  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> Device:  # noqa: N802
        return self.devices[index]

    def nvmlDeviceGetMemoryInfo(self, handle: Device) -> Any:  # noqa: N802
        return SimpleNamespace(total=handle.memory, free=handle.memory - handle.used)

    def nvmlDeviceGetCudaComputeCapability(self, handle: Device) -> tuple[int, int]:  # noqa: N802
        return handle.capability

    def nvmlDeviceGetName(self, handle: Device) -> str:  # noqa: N802
        return handle.name

    def nvmlDeviceGetUUID(self, handle: Device) -> str:  # noqa: N802
        return handle.uuid

    def nvmlDeviceGetMigMode(self, handle: Device) -> list[int]:  # noqa: N802
        if handle.slices is None:
            raise NVMLError("Not Supported")
        return [1, 1]

    def nvmlDeviceGetMaxMigDeviceCount(self, handle: Device) -> int:  # noqa: N802
        return 7

    def nvmlDeviceGetMigDeviceHandleByIndex(self, handle: Device, index: int) -> Device:  # noqa: N802
        made = [*(handle.slices or ())]
        if index >= len(made):
            raise NVMLError("Not Found")
        uuid, memory = made[index]
        return Device(f"{handle.name} MIG {PROFILES.get(memory, '1g.12gb')}", uuid, memory, instance=index + 1)

    def nvmlDeviceGetGpuInstanceId(self, handle: Device) -> int:  # noqa: N802
        return handle.instance

    def nvmlDeviceGetComputeInstanceId(self, handle: Device) -> int:  # noqa: N802
        return 0

    def nvmlSystemGetDriverVersion(self) -> str:  # noqa: N802
        return self.driver

    def nvmlSystemGetCudaDriverVersion(self) -> int:  # noqa: N802
        return self.cuda


@dataclass
class Shelf:
    """A hub: sizes and configurations of models by name, what is refused, what is cached."""

    sizes: Mapping[str, int] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    held: Mapping[str, Path] = field(default_factory=dict)
    configs: Mapping[str, Path] = field(default_factory=dict)
    is_offline: bool = False
    away: str | None = None
    place: Path = Path("/home/user/.cache/huggingface/hub")

    def offline(self) -> bool:
        return self.is_offline

    def unreachable(self) -> str | None:
        return self.away

    def token(self) -> bool:
        return True

    def cache(self) -> Path:
        return self.place

    def cached(self, repo: str, kind: str, revision: str | None) -> Path | None:
        return self.held.get(repo)

    def small_files(self, repo: str, revision: str | None) -> Path | None:
        return self.configs.get(repo)

    def weight_bytes(self, repo: str, revision: str | None) -> int | None:
        return self.sizes.get(repo)

    def refusal(self, repo: str, kind: str) -> str | None:
        return self.refused.get(repo)


INSTALLED = {"vllm": "0.32.0", "torch": "2.13.0", "transformers": "5.17.0", "lm-eval": "0.4.13", "httpx": "0.28.1"}
KNOWN = frozenset({"VLLM_BATCH_INVARIANT", "VLLM_LOGGING_LEVEL", "VLLM_USE_FLASHINFER_SAMPLER"})


def _serves(variant: Variant) -> Mapping[str, Any]:
    raise AssertionError("no server was to be asked")


def host(*devices: Device, nvml: Nvml | None = None, environ: Mapping[str, str] | None = None, **given: Any) -> Host:
    """A host with these GPUs, a terabyte of disk, and everything installed."""
    values: dict[str, Any] = {
        "environ": environ or {},
        "machine": lambda: read(nvml or Nvml(*devices)),
        "disk": lambda path: Disk("/", 1000 * GB),
        "is_folder": lambda path: True,
        "disks": lambda: [Disk("/", 1000 * GB)],
        "version": INSTALLED.get,
        "ask_vllm": lambda: None,
        "vllm_variables": KNOWN,
        "torch_cuda": (13, 0),
        "compilers": lambda: Compilers(nvcc=(12, 9)),
        "hub": Shelf(),
        "serves": _serves,
    }
    return Host(**{**values, **given})


def checkpoint(folder: Path, size: int, quantization: Mapping[str, Any] | None = None, **config: Any) -> Path:
    """A model folder with so many bytes of (empty) weights."""
    folder.mkdir(parents=True)
    content = {**QWEN3_32B, **config} | ({"quantization_config": quantization} if quantization else {})
    (folder / "config.json").write_text(json.dumps(content), encoding="utf-8")
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(size)  # a hole: takes no room on the disk
    return folder


BF16_SIZE, NVFP4_SIZE = 65_500_000_000, 20_000_000_000  # Qwen3-32B
H100 = Device("NVIDIA H100 80GB HBM3", "GPU-h100", 80 * GIB, capability=(9, 0))
TWO_SLICES = (("MIG-one", 47 * GIB), ("MIG-two", 47 * GIB))


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Qwen3-32B in BF16, FP8 and NVFP4, as far as a doctor looks, and three rows of MATH-500."""
    checkpoint(tmp_path / "bf16", BF16_SIZE)
    checkpoint(tmp_path / "fp8", BF16_SIZE // 2, FP8)
    checkpoint(tmp_path / "nvfp4", NVFP4_SIZE, NVFP4)
    write_jsonl(tmp_path / "math.jsonl", math_rows(3))
    return tmp_path


def study(
    folder: Path,
    variants: Mapping[str, str | Mapping[str, Any]] | None = None,
    profile: str = "qwen3-thinking",
    benchmarks: list[Any] | None = None,
    protocol: Mapping[str, Any] | None = None,
    **engine: Any,
) -> Study:
    """A study over these models with engine vllm."""
    named = variants or {"bf16": "bf16", "nvfp4": "nvfp4"}
    document = {
        "study": "s",
        "variants": {
            n: {**({"model": m} if isinstance(m, str) else m), "baseline": n == next(iter(named))}
            for n, m in named.items()
        },
        "engine": {"kind": "vllm", "max_model_len": 40960, **engine},
        "profile": profile,
        "protocol": dict(protocol or {}),
        "benchmarks": benchmarks or [{"name": "math500", "data": "math.jsonl"}],
    }
    return load_study(write_yaml(folder / "study.yaml", document))


def said(given: Study, on: Host, topic: str, level: str | None = None) -> list[Finding]:
    """What is said of a topic."""
    found = [f for f in examine(given, on, Path("artifacts/s")) if f.topic.startswith(topic)]
    return [f for f in found if level is None or f.level == level]


def only(given: Study, on: Host, topic: str, level: str) -> Finding:
    (found,) = said(given, on, topic, level)
    assert found.level == "ok" or found.remedy
    return found
