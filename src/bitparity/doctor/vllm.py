"""vLLM as the doctor knows it: its own tables (`vllm.toml`, for the versions named there), and the installed one.

The installed vLLM is asked in a process of its own: kernels on this device, quantizations, kinds of caches.
`python -m bitparity.doctor.vllm` prints the answers as one line of JSON. vLLM's modules move between versions: what
cannot be asked is left out, and the doctor falls back on `vllm.toml` there.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

from pydantic import Field

from bitparity.inputs.packaged import packaged_toml
from bitparity.schema import Strict

Capability = tuple[int, int]
LIMIT_S = 180.0  # importing vLLM takes 10 to 60 s
_LAYER = (4096, 4096)  # a usual size: kernels refuse odd ones


class Kernel(Strict):
    """A kernel, the compute capability from which on vLLM chooses it, and the key of a remedy ("": none is needed).

    `compiled`: with nvcc, at run time.
    """

    since: Capability
    kernel: str
    remedy: str = ""
    compiled: bool = False


class Fault(Strict):
    """A fault of some versions of vLLM, those whose number begins with `versions`."""

    versions: str
    fault: str
    remedy: str

    def has(self, version: str) -> bool:
        """True for a version with this fault."""
        return f"{version}.".startswith(f"{self.versions}.")


class ChipFault(Fault):
    """A fault with a precision, on the compute capabilities from `since` to before `until`."""

    precision: str
    since: Capability
    until: Capability


class Tables(Strict):
    """The tables of `vllm.toml`, which explains each."""

    read_in: tuple[str, ...]
    oldest: tuple[int, int]
    gpu_memory_utilization: float
    max_num_seqs: int
    length_keys: tuple[str, ...]
    scaled_ropes: tuple[str, ...]
    unchecked_quantizations: tuple[str, ...]
    takes_plain: tuple[str, ...]
    at_load: dict[str, str]
    quantizations: dict[str, tuple[str, ...]]
    cache_bytes: dict[str, float]
    replaced_variables: dict[str, str]
    kernels: dict[str, tuple[Kernel, ...]]
    remedies: dict[str, str]
    faults: tuple[ChipFault, ...]
    slice_faults: tuple[Fault, ...]


VLLM = Tables.model_validate(packaged_toml(__package__, "vllm.toml"))


class Installed(Strict):
    """Answers of the installed vLLM; empty where it could not be asked.

    `kernels` has the class of the kernel that it chooses on this device, by the kinds of weights of `vllm.toml`.
    """

    version: str
    kernels: dict[str, str] = Field(default_factory=dict)
    quantizations: tuple[str, ...] = ()
    cache_kinds: tuple[str, ...] = ()


def ask_vllm(python: str = sys.executable, limit_s: float = LIMIT_S) -> Installed | None:
    """The answers of the vLLM of an interpreter; None where it has none, or none within the limit (seconds)."""
    command = [python, "-m", "bitparity.doctor.vllm"]
    # its log would stand between the answers, and its usage report goes to the network
    environ = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR", "VLLM_NO_USAGE_STATS": "1"}
    with contextlib.suppress(OSError, subprocess.SubprocessError, ValueError):
        told = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=True, env=environ).stdout
        return Installed.model_validate_json(told.strip().rpartition("\n")[2])  # warnings may stand before it
    return None


def answers() -> Iterator[tuple[str, Any]]:
    """(field of `Installed`, answer) of the vLLM of this process. Raises ImportError without vLLM."""
    from vllm import __version__

    yield "version", __version__
    for name, ask in (("kernels", _kernels), ("quantizations", _quantizations), ("cache_kinds", _cache_kinds)):
        with contextlib.suppress(Exception):  # another version has it elsewhere
            yield name, ask()


def _quantizations() -> list[str]:
    from vllm.model_executor.layers import quantization

    refused = getattr(quantization, "DEPRECATED_QUANTIZATION_METHODS", ())
    return [name for name in quantization.QUANTIZATION_METHODS if name not in refused]


def _cache_kinds() -> list[str]:
    from typing import get_args

    from vllm.config.cache import CacheDType

    return list(get_args(CacheDType))


def _kernels() -> dict[str, str]:
    """The class of the kernel that vLLM's own selection takes, by kind of weights; a kind without one is left out."""
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.model_executor.kernels import linear
    from vllm.model_executor.layers.quantization.utils import quant_utils as keys

    values = {"input_dtype": torch.bfloat16, "out_dtype": torch.bfloat16, "weight_shape": _LAYER}

    def fp8(activation: Any, weight: Any) -> Any:
        return linear.init_fp8_linear_kernel(activation_quant_key=activation, weight_quant_key=weight, **values)

    selections: dict[str, Callable[[], Any]] = {
        "NVFP4": linear.init_nvfp4_linear_kernel,
        "MXFP4": linear.init_mxfp4_linear_kernel,
        "FP8": lambda: fp8(keys.kFp8DynamicTokenSym, keys.kFp8StaticChannelSym),
        "FP8 with scales for blocks": lambda: fp8(keys.kFp8Dynamic128Sym, keys.kFp8Static128BlockSym),
        "MXFP8": lambda: linear.init_mxfp8_linear_kernel(weight_shape=_LAYER),
        "INT8": lambda: linear.init_int8_linear_kernel(
            is_channelwise=True, is_static_input_scheme=False, input_symmetric=True, module_name="doctor"
        ),
    }
    found = {}
    with set_current_vllm_config(VllmConfig()):
        for kind, select in selections.items():
            with contextlib.suppress(Exception):  # no kernel for it on this device, or a newer signature
                found[kind] = type(select()).__name__
    return found


if __name__ == "__main__":
    print(json.dumps(dict(answers())))
