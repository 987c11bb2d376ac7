"""Diagnosis of engines that failed: likely causes and telling lines of their logs."""

from __future__ import annotations

import pytest

from bitparity.engines.diagnosis import likely_cause, telling_lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "device memory"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "main memory"),
        ("torch.AcceleratorError: CUDA error: out of memory", "device memory"),
        ("RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate`", "device memory"),
        ("RuntimeError: Triton Error [CUDA]: out of memory", "device memory"),
        ("RuntimeError: No CUDA GPUs are available", "nvidia-smi"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "attention_backend"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ModuleNotFoundError: No module named 'vllm._C'", "reinstall"),
        ("the engine process was killed by signal 9 (SIGKILL)", "see dmesg"),
        ("RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore_0': -9}", "see dmesg"),
        ("the engine process was killed by signal 11 (SIGSEGV)", ""),
        ("AttributeError: 'QKVParallelLinear' object has no attribute 'data'", "names of all modules"),
        ("something else", ""),
    ],
)
def test_likely_causes(text: str, words: str) -> None:
    assert words in likely_cause(text).told
    assert bool(words) == bool(likely_cause(text).told)
    assert likely_cause(text).memory == any(kind in likely_cause(text).told for kind in ("memory does not", "dmesg"))


# log tails as engines write them, shortened, and words of the remedy that must be told
TAILS = {
    "no nvcc": (
        '(EngineCore pid=71) ERROR 12-01 [core.py:1330] File "flashinfer/jit/cpp_ext.py", line 51, in get_cuda_path\n'
        "(EngineCore pid=71) ERROR 12-01 [core.py:1330] RuntimeError: Could not find nvcc and default "
        "cuda_home='/usr/local/cuda' doesn't exist",
        "VLLM_USE_FLASHINFER_SAMPLER=0",
    ),
    "no nvcc, from the shell": (
        "/bin/sh: 1: /usr/local/cuda/bin/nvcc: not found\nninja: build stopped",
        "no CUDA compiler",
    ),
    "no nvcc, from Python": ("FileNotFoundError: [Errno 2] No such file or directory: 'nvcc'", "no CUDA compiler"),
    "nvcc too old": (
        "RuntimeError: No supported CUDA architectures found for major versions [12].",
        "12.9 or newer",
    ),
    "nvcc too old, by an option": ("nvcc fatal   : Unknown option '-static-global-template-stub=false'", "too old"),
    "ptxas too old": ("ptxas fatal   : Value 'sm_121a' is not defined for option 'gpu-name'", "too old"),
    "no C compiler": (
        "RuntimeError: Failed to find C compiler. Please specify via CC environment variable or set triton.knobs.",
        "apt-get install gcc",
    ),
    "no headers": (
        "/tmp/tmpx/cuda_utils.c:5:10: fatal error: Python.h: No such file or directory\ncompilation terminated.\n"
        "subprocess.CalledProcessError: Command '['/usr/bin/gcc', '/tmp/x.c']' returned non-zero exit status 1.",
        "python3-dev",
    ),
    "NVML hides that memory ran out": (
        'RuntimeError: NVML_SUCCESS == r INTERNAL ASSERT FAILED at "../c10/cuda/CUDACachingAllocator.cpp":1131',
        "expandable_segments:False",
    ),
    "NVML and a slice": ("vllm.third_party.pynvml.NVMLError_InvalidArgument: Invalid Argument", "whole UUID"),
    "FlashInfer's compilation": (
        "FAILED: sampling.o\nninja: build stopped: subcommand failed.\n"
        "subprocess.CalledProcessError: Command '['ninja', '-v', '-C', '/home/u/.cache/flashinfer']' returned 1.",
        "clear FlashInfer's cache",
    ),
    "DeepGEMM": (
        "RuntimeError: Assertion error (/deps/deepgemm-src/csrc/apis/layout.hpp:60): Unknown SF transformation",
        "VLLM_USE_DEEP_GEMM=0",
    ),
    "E8M0": ("RuntimeError: scale tensor must be packed UE8M0 on this arch", "DeepGEMM"),
    "FP4": (
        "RuntimeError: [FP4 gemm Runner] Failed to run cutlass FP4 gemm on sm120. Error: Error Internal",
        "linear_backend: marlin",
    ),
    "no kernel": ("RuntimeError: CUDA error: no kernel image is available for execution on the device", "capability"),
    "full disk": (
        "torch._inductor.exc.InductorError: OSError: [Errno 28] No space left on device: '/home/u/.cache/vllm/torch'",
        "A disk is full",
    ),
    "read-only disk": ("OSError: [Errno 30] Read-only file system: '/home/u/.cache/vllm'", "cannot be written"),
    "somebody else's cache": (
        "PermissionError: [Errno 13] Permission denied: '/tmp/torchinductor_root/x'",
        "somebody else",
    ),
    "torch.compile": (
        "torch._dynamo.exc.BackendCompilerFailed: backend='vllm' raised: KeyError",
        "torch_compile_cache",
    ),
    "old driver": (
        "RuntimeError: The NVIDIA driver on your system is too old (found version 12020).",
        "update the driver",
    ),
    "ECC": ("RuntimeError: CUDA error: uncorrectable ECC error encountered", "nvidia-smi -q"),
    "Xid": ("NVRM: Xid (PCI:0000:01:00): 79, GPU has fallen off the bus.", "dmesg"),
    "shared memory": ("RuntimeError: DataLoader worker is killed by signal: Bus error.", "--shm-size"),
    "gated": ("huggingface_hub.errors.GatedRepoError: 401 Client Error. Cannot access gated repo", "accept its terms"),
    "no model": ("huggingface_hub.errors.RepositoryNotFoundError: 404 Client Error.", "'model' and 'revision'"),
    "no network": ("huggingface_hub.errors.LocalEntryNotFoundError: An error happened while trying to", "hf download"),
    "NCCL": (
        "torch.distributed.DistBackendError: NCCL error in: NCCLUtils.hpp:268, unhandled cuda",
        "NCCL_P2P_DISABLE",
    ),
    # the same kinds in other wordings
    "nvcc under DeepGEMM": (
        "NVCC compilation failed: nvcc fatal   : Unsupported gpu architecture 'sm_120f'\n"
        'RuntimeError: Assertion error (csrc/jit/compiler.hpp:176): false and "NVCC compilation failed"',
        "too old",
    ),
    "no nvcc, looked for by DeepGEMM": (
        'File "deep_gemm/__init__.py", line 71, in _find_cuda_home\n    assert cuda_home is not None\nAssertionError',
        "no CUDA compiler",
    ),
    "nvcc without its headers": ("sampling.cu:17:10: fatal error: curand.h: No such file or directory", "CUDA_HOME"),
    "nvcc too old, as FlashInfer says it": ("RuntimeError: SM 12.x requires CUDA >= 12.9.", "too old"),
    "no ninja": ("RuntimeError: Ninja is required to load C++ extensions (pip install ninja to get it)", "with ninja"),
    "half a C compiler": ("gcc: error trying to exec 'cc1plus': execvp: No such file or directory", "install gcc g++"),
    "a C compiler that failed": (
        "subprocess.CalledProcessError: Command '['/usr/bin/gcc', '/tmp/x/cuda_utils.c', '-O3', '-lcuda', "
        "'-I/usr/include/python3.12']' returned non-zero exit status 1.",
        "python3-dev",
    ),
    "NVML and a slice's UUID": (
        "ValueError: invalid literal for int() with base 10: 'MIG-5e8d3c0a-1234-5f6a-9bcd-0123456789ab'",
        "whole UUID",
    ),
    "NVML after an update": ("Failed to initialize NVML: Driver/library version mismatch", "restart the host"),
    "FP4 by cuDNN": ("cudnnGraphNotSupportedError: No execution plans support the graph.", "linear_backend: marlin"),
    "FP4 by TensorRT-LLM": (
        "BackendSupportedError: mm_fp4 does not support backend 'trtllm' with capability 120",
        "linear_backend: marlin",
    ),
    "FP8 not compiled": (
        "NotImplementedError: No compiled cutlass_scaled_mm for CUDA device capability: 120.",
        "linear_backend: marlin",
    ),
    "no FP8 units": ("ValueError: type fp8e4nv not supported in this architecture.", "8.9"),
    "a kernel too large": (
        "triton.runtime.errors.OutOfResources: out of resource: shared memory, Required: 131072",
        "attention_backend",
    ),
    "a broken entry of the cache": (
        "RuntimeError: vLLM failed to compile the model. The most likely reason is a corrupted compilation artifact.",
        "torch_compile_cache",
    ),
    "a stale entry of the cache": (
        'File "torch/_inductor/utils.py", in copy_misaligned_inputs\nAssertionError: Expected tensors only',
        "torch_compile_cache",
    ),
    "a cut entry of the cache": (
        'File "torch/_dynamo/aot_compile.py", line 224\nEOFError: Ran out of input',
        "torch_compile_cache",
    ),
    "a driver of another kind": (
        "RuntimeError: Unexpected error from cudaGetDeviceCount(). Error 804: forward compatibility was attempted on "
        "non supported HW",
        "update the driver",
    ),
    "no fabric manager": ("RuntimeError: Error 802: system not yet initialized", "nvidia-fabricmanager"),
    "a hidden device": (
        "RuntimeError: CUDA unknown error - this may be due to an incorrectly set up environment",
        "smi",
    ),
    "a device twice": ("Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 1000", "each device once"),
    "NVLink": ("CUDA error: Invalid access of peer GPU memory over nvlink or a hardware error", "nvidia-smi -q"),
    "shared memory of torch": (
        "RuntimeError: unable to write to file </torch_4321_12_0>: No space left on device (28)",
        "--shm-size",
    ),
    "shared memory of Python": ("OSError: [Errno 28] No space left on device: '/dev/shm/psm_9f3a'", "--shm-size"),
    "shared memory, by signal": ("the engine process was killed by signal 7 (SIGBUS)", "--shm-size"),
    "gated, as transformers says it": ("OSError: You are trying to access a gated repo.", "accept its terms"),
    "the hub's certificate": ("httpx.ConnectError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed", "SSL_CERT_FILE"),
    "the hub is slow": ("httpx.ReadTimeout: The read operation timed out", "hf download"),
    "the hub has no address": ("httpx.ConnectError: [Errno -2] Name or service not known", "hf download"),
    "half a checkpoint": (
        "safetensors_rust.SafetensorError: Error while deserializing header: MetadataIncompleteBuffer",
        "--force-download",
    ),
    "a network disk": ("OSError: [Errno 116] Stale file handle", "network disk"),
    "no programs on a disk": ("ImportError: /tmp/t/c.so: failed to map segment from shared object", "noexec"),
    "too few threads": ("RuntimeError: can't start new thread", "ulimit -u"),
    "a port": ("torch.distributed.DistNetworkError: failed to listen, code: -98, name: EADDRINUSE", "VLLM_PORT"),
    "Gloo": ("RuntimeError: Gloo connectFullMesh failed with [gloo/transport/tcp/pair.cc:144]", "GLOO_SOCKET_IFNAME"),
    "NCCL waits": (
        "[Rank 1] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=3, OpType=ALLREDUCE)",
        "NCCL_P2P_DISABLE",
    ),
    "an unknown architecture": (
        "ValueError: model type `qwen9` but Transformers does not recognize this architecture.",
        "newer version",
    ),
    "a length beyond the model": (
        "Value error, User-specified max_model_len (65536) is greater than the derived max_model_len (40960)",
        "max_model_len is longer",
    ),
}


@pytest.mark.parametrize("kind", TAILS)
def test_causes_of_the_first_day(kind: str) -> None:
    tail, words = TAILS[kind]
    noise = (
        "(EngineCore pid=7) INFO 12-01 [deep_gemm.py:9] DeepGEMM E8M0 enabled on current platform.\n"
        "(Worker pid=8) (Worker_TP0 pid=8) WARNING 12-01 [custom_all_reduce.py:4] NCCL error is not what this is.\n"
    )
    assert words in likely_cause(noise + tail + "\nRuntimeError: Engine core initialization failed.").told
    assert not likely_cause(noise).told


def test_the_root_cause_is_told_from_what_was_passed_on() -> None:
    log = (
        "(Worker pid=1) ERROR 11-22 [executor.py:953] ValueError: Available memory on node 0 (11.3/13.96 GiB) on "
        "startup is less than desired CPU memory utilization (0.92, 12.85 GiB).\n"
        "(Core pid=2) ERROR [core.py] Exception: WorkerProc initialization failed. See stack trace for root cause.\n"
        "RuntimeError: Engine core initialization failed. See root cause above.\n"
    )
    (line,) = telling_lines(log)
    assert line.startswith("ValueError: Available memory")
    assert "lower gpu_memory_utilization" in likely_cause(log).told
    assert not likely_cause(log).memory
    assert telling_lines("loading\nKilled") == ["Killed"]
    log = (
        "(Worker pid=1) WARNING 11-22 [utils.py:7] RuntimeError: could not create a primitive descriptor\n"
        "INFO 11-22 [platform.py:3] ImportError: no such plugin\n"
        "(Worker pid=1) ERROR 11-22 [executor.py:9] NotImplementedError: FP8 KV cache on CPU requires AVX-512\n"
    )
    assert telling_lines(log) == ["NotImplementedError: FP8 KV cache on CPU requires AVX-512"]
    assert telling_lines("one\ntwo\nthree") == ["two", "three"]
