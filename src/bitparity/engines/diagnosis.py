"""Diagnosis of an engine that failed: likely cause and remedy, from its log."""

from __future__ import annotations

import re
from pathlib import Path

from bitparity.errors import EngineError

_TELLING = re.compile(r"\b\w*(Error|Exception|Killed|Aborted|Fatal|Segmentation)\b", re.IGNORECASE)
_RAISED = re.compile(r"(?:^|\s)(\w*(?:Error|Exception): .+)")
_HARMLESS = re.compile(r"^(?:\([^)]*\) ?)?(?:DEBUG|INFO|WARNING)\b")  # vLLM puts its process before the level
_HEARSAY = re.compile(r"See (?:root cause|stack trace)|initialization failed", re.IGNORECASE)


def telling_lines(text: str, count: int = 2) -> list[str]:
    """The first error that was raised and not only passed on; else the last lines that name one, else the last."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    lines = [line for line in lines if not _HARMLESS.search(line)] or lines
    raised = [match[1] for line in lines if not _HEARSAY.search(line) and (match := _RAISED.search(line))]
    found = raised[:1] or [line for line in lines if _TELLING.search(line)] or lines
    return [line[:300] for line in found[-count:]]


_DEVICE_MEMORY = (
    "The device memory does not suffice: lower engine.batch_size (transformers) or max_model_len, "
    "max_num_seqs and max_num_batched_tokens (vllm), or free the device of other processes"
)
_MAIN_MEMORY = "The main memory does not suffice: lower engine.batch_size or use a host with more memory"
_KILLED = (
    "Most often the kernel killed it because the main memory ran out (see dmesg): "
    "lower engine.batch_size or use a host with more memory"
)

_BY_SIGNAL = r"killed by signal {0}\b|Failed core proc\(s\): .*: -{0}\b"  # the second is how vLLM says it of its own
# (pattern in the log, likely cause and remedy); the first match holds
_CAUSES = [
    (
        r"is less than desired (GPU|CPU) memory utilization",
        "Others use this device's memory: lower gpu_memory_utilization (on the CPU it is a share of the main memory), "
        "or free it",
    ),
    (
        r"CUDA out of memory|torch\.(cuda\.)?OutOfMemoryError|No available memory for the cache blocks"
        r"|larger than the (available|maximum number of tokens that can be stored in)",
        _DEVICE_MEMORY,
    ),
    (r"DefaultCPUAllocator|MemoryError|Cannot allocate memory|can't allocate memory", _MAIN_MEMORY),
    (
        r"No CUDA GPUs are available|Found no NVIDIA driver|NVIDIA driver on your system|CUDA driver version",
        "The device cannot be used: check nvidia-smi, CUDA_VISIBLE_DEVICES and that torch fits the driver",
    ),
    (
        r"CUDA error|device-side assert|illegal memory access|CUBLAS_STATUS|CUDNN_STATUS",
        "A CUDA kernel failed: run again (the run goes on where it stopped); if it recurs, try another "
        "attention_backend or linear_backend, or enforce_eager: true",
    ),
    (r"No space left on device", "A disk is full: free space in the temporary and cache folders"),
    (r"ModuleNotFoundError|ImportError", "A package is missing or does not fit the others: reinstall the engine"),
    (_BY_SIGNAL.format("9"), _KILLED),
]
# Not of its own accord: another start may do better. Other signals are an engine's own faults.
_KILLED_FROM_OUTSIDE = re.compile(_BY_SIGNAL.format("(9|15)"))


def likely_cause(text: str) -> str:
    """Likely cause and remedy, from what the engine wrote; "" where nothing is known."""
    return next((cause for pattern, cause in _CAUSES if re.search(pattern, text)), "")


def engine_error(text: str, log: Path, start: int, *, died: bool, had_loaded: bool) -> EngineError:
    """The error `text` with what the log tells from byte `start` on: its last lines, the likely cause, the remedy."""
    tail = _log_tail(log, start)
    cause = likely_cause(text + "\n" + tail)
    unsaid = died or "root cause" in text  # vLLM's own process keeps the cause to its log
    last = "; ".join(telling_lines(tail)) if unsaid else ""
    parts = [text, f"last lines: {last}" if last else "", cause, f"log: {log}"]
    message = ". ".join(part.rstrip(".") for part in parts if part)
    again = had_loaded or _KILLED_FROM_OUTSIDE.search(text) is not None
    return EngineError(message, out_of_memory=cause in (_DEVICE_MEMORY, _MAIN_MEMORY, _KILLED), again=again)


def _log_tail(log: Path, start: int, size: int = 1 << 16) -> str:
    """The end of what this process wrote to the log."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, log.stat().st_size - size))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""
