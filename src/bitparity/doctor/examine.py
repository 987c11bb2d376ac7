"""All checks of the doctor in order: device, memory, kernels, disks, hub, sandbox, budgets.

Nothing heavy is imported and no model is loaded. What cannot be known here (a GPU on another host, sizes without the
hub) is said to be unknown. Each line is ok, a warning, or an error with its remedy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from bitparity.doctor import checkpoints as models
from bitparity.doctor import devices, disks, prompts, software
from bitparity.doctor.checkpoints import Checkpoints, Loading
from bitparity.doctor.findings import Finding
from bitparity.doctor.host import Host, Hub
from bitparity.doctor.hub import check_access, downloads_of, needs_of
from bitparity.doctor.kernels import check_kernels, check_quantization, compiled_kernels
from bitparity.doctor.memory import check_memory
from bitparity.engines.registry import engine_of
from bitparity.hardware.nvml import Machine
from bitparity.schema import Study


def examine(study: Study, host: Host, out: Path) -> Iterator[Finding]:
    """All findings on a study on a host, line by line; `out` is the run directory."""
    yield from software.check_versions(study, host)
    yield from software.check_variables(study, host)
    hub = host.hub
    asks_hub = any(needs_of(study, {}))
    why_not = hub.unreachable() if asks_hub and not hub.offline() else None
    online = not hub.offline() and why_not is None
    # one look at each checkpoint: all checks below speak of the same files
    checkpoints = {
        name: models.find_checkpoint(variant, hub, online)
        for name, variant in study.variants.items()
        if engine_of(variant.engine).has_local_weights
    }
    yield from models.check_folders(checkpoints)
    # variants that share a device have the same findings on it: each is said once
    yield from dict.fromkeys(_check_devices(study, host, checkpoints))
    served, findings = software.check_servers(study, host)
    yield from findings
    needs = list(needs_of(study, checkpoints))
    yield from check_access(needs, hub, why_not)
    yield from disks.check_disks(study, host, downloads_of(study, needs, hub), out)
    yield from models.check_lengths(study, checkpoints, host.environ)
    lengths = {
        name: models.context_of(variant, checkpoints.get(name), served.get(name))
        for name, variant in study.variants.items()
    }
    folder = _tokenizer_folder(study, checkpoints, hub, online)
    yield from prompts.check_budgets(study, folder, checkpoints, lengths)
    yield from prompts.check_prompts(study, folder, lengths)
    yield from models.check_remote_code(study, checkpoints)
    yield from software.check_sandbox(study)


def _tokenizer_folder(study: Study, checkpoints: Checkpoints, hub: Hub, online: bool) -> Path | None:
    """The folder of the baseline's tokenizer, or of its configuration alone where no more is here."""
    own = study.variants[study.baseline].tokenizer
    if own is None:
        return checkpoints[study.baseline].folder if study.baseline in checkpoints else None
    if Path(own).is_absolute():
        return Path(own) if Path(own).is_dir() else None
    return hub.cached(own, "model", None) or (hub.small_files(own, None) if online else None)


def _check_devices(study: Study, host: Host, checkpoints: Checkpoints) -> Iterator[Finding]:
    """Device, memory and kernels of the variants that compute here."""
    specs = {name: study.variants[name].engine for name in checkpoints if not study.variants[name].control}
    on_gpu = {name: spec for name, spec in specs.items() if devices.takes_gpu(spec, host)}
    # NVML is asked only where a GPU may be used: elsewhere a missing driver is no problem
    machine = host.machine() if on_gpu else Machine()
    on_gpu = {name: spec for name, spec in on_gpu.items() if machine.gpus or devices.needs_gpu(spec)}
    if on_gpu:
        yield from devices.check_machine(machine, host)
    elif checkpoints:
        why = f": {machine.problem}" if machine.problem else ""
        yield devices.DEVICE.ok("on_cpu", why=why)
    runs_vllm = any(engine_of(spec).runs_vllm for spec in on_gpu.values())
    installed = host.ask_vllm() if runs_vllm else None
    compiled: dict[str, None] = {}
    for name, spec in on_gpu.items():
        used, findings = devices.find_devices(spec, host, machine)
        yield from findings
        if used:
            needed, version = prompts.longest_sequence(study), host.version("vllm")
            load = Loading(name, study.variants[name], checkpoints[name], used, needed, version, installed)
            yield from _check_loading(load, host)
            compiled |= dict.fromkeys(compiled_kernels(load))
    if runs_vllm:
        yield from software.check_compilers(host, list(compiled))


def _check_loading(load: Loading, host: Host) -> Iterator[Finding]:
    """Quantization, memory and kernels of one variant on its devices."""
    vllm = engine_of(load.spec).runs_vllm
    wrong = check_quantization(load) if vllm else None
    if wrong is not None:
        yield wrong
        if wrong.level == "error":
            return
    yield check_memory(load)
    if vllm:
        yield from devices.check_settings(load.spec, load.used[0], host)
        yield from check_kernels(load)
