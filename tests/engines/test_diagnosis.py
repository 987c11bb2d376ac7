"""Diagnosis of engines that failed: likely causes and telling lines of their logs."""

from __future__ import annotations

import pytest

from bitparity.engines.diagnosis import likely_cause, telling_lines


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB", "device memory"),
        ("RuntimeError: [enforce fail] DefaultCPUAllocator: can't allocate memory", "main memory"),
        ("RuntimeError: No CUDA GPUs are available", "nvidia-smi"),
        ("RuntimeError: CUDA error: an illegal memory access was encountered", "attention_backend"),
        ("OSError: [Errno 28] No space left on device", "disk is full"),
        ("ModuleNotFoundError: No module named 'vllm._C'", "reinstall"),
        ("the engine process was killed by signal 9 (SIGKILL)", "see dmesg"),
        ("RuntimeError: Engine core initialization failed. Failed core proc(s): {'EngineCore_0': -9}", "see dmesg"),
        ("the engine process was killed by signal 11 (SIGSEGV)", ""),
        ("something else", ""),
    ],
)
def test_likely_causes(text: str, words: str) -> None:
    assert words in likely_cause(text).told
    assert bool(words) == bool(likely_cause(text).told)
    assert likely_cause(text).memory == any(kind in likely_cause(text).told for kind in ("memory does not", "dmesg"))


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
