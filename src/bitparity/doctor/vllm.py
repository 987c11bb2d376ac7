"""vLLM's own tables, as far as the doctor needs them: `vllm.toml`, which names the versions that they hold for."""

from __future__ import annotations

from bitparity.safe_io.packaged import packaged_toml
from bitparity.schema import Strict

Capability = tuple[int, int]


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
