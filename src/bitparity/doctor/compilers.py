"""Check of the compilers that Triton, FlashInfer and DeepGEMM call at run time: C compiler, Python's headers, nvcc."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.host import Host

_COMPILERS = Topic("compilers")
_OLDEST_NVCC = (12, 9)  # the first whose compiler knows all of compute capability 12.x (vllm#42393, #48956)


def check_compilers(host: Host, users: Sequence[str]) -> Iterator[Finding]:
    """Findings on the compilers; `users` are the kernels of the study's variants that are compiled with nvcc."""
    tools, oldest = host.compilers(), "{}.{}".format(*_OLDEST_NVCC)
    if not tools.c_compiler:
        yield _COMPILERS.error("no_c_compiler")
    if tools.missing_header:
        yield _COMPILERS.error("no_python_headers", place=tools.missing_header)
    needed = bool(users) and host.version("flashinfer-jit-cache") is None
    nvcc = None if tools.nvcc is None else "{}.{}".format(*tools.nvcc)
    if needed and tools.nvcc is None:
        yield _COMPILERS.error("no_nvcc", users=", ".join(users), oldest=oldest)
    elif needed and tools.nvcc is not None and tools.nvcc < _OLDEST_NVCC:
        yield _COMPILERS.error("nvcc_too_old", users=", ".join(users), oldest=oldest, found=nvcc)
    elif tools.c_compiler and not tools.missing_header:
        yield _COMPILERS.ok("compilers", nvcc=f"nvcc {nvcc}" if nvcc else "no nvcc, which nothing here needs,")
