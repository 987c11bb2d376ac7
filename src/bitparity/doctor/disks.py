"""Check of the disks: downloads, compiled kernels and records fit the file systems they will go to."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bitparity.doctor.findings import Finding, Topic
from bitparity.doctor.host import Disk, Host, cache_home
from bitparity.doctor.hub import Need
from bitparity.engines.registry import engine_of
from bitparity.hardware.devices import gigabytes
from bitparity.inputs.packaged import packaged_toml
from bitparity.schema import Study

_TABLE = packaged_toml(__package__, "disks.toml")
SIZES: dict[str, int] = _TABLE["bytes"]
CACHES: dict[str, str] = _TABLE["caches"]
ROOM = 1.1  # of what is needed
DISK = Topic("disk")
_FOLDER = {**CACHES, "HF_HUB_CACHE": "huggingface/hub"}


@dataclass(frozen=True, slots=True)
class Use:
    """Bytes for a folder, the option or variable that moves it, and what else goes there whose size is not known."""

    name: str
    place: Path
    size: int
    variable: str
    unknown: tuple[str, ...] = ()

    def __str__(self) -> str:
        # whole sentences, as the Chinese ones are
        where = f"in {self.place} ({self.variable})"
        if not self.unknown:
            return f"{self.name} {gigabytes(self.size)} {where}"
        names = ", ".join(self.unknown)
        if not self.size:
            return f"{self.name} of unknown size ({names}) {where}"
        return f"{self.name} {gigabytes(self.size)} and of unknown size ({names}) {where}"


def check_disks(study: Study, host: Host, downloads: Sequence[Need], out: Path) -> Iterator[Finding]:
    """One line for each file system, and one for each folder that cannot be used."""
    uses = [Use("records", out, SIZES["records"], "--out"), *_engines(study, host)]
    if downloads:
        size, unknown = sum(d.size or 0 for d in downloads), tuple(d.name for d in downloads if d.size is None)
        variable = "HF_HUB_CACHE" if host.environ.get("HF_HUB_CACHE") else "HF_HOME"
        uses.append(Use("downloads", host.hub.cache(), size, variable, unknown))
    # what goes to one file system is added up, wherever it is mounted
    by_disk: dict[int | str, tuple[Disk, list[Use]]] = {}
    for use in uses:
        disk = host.disk(use.place)
        by_disk.setdefault(disk.key, (disk, []))[1].append(use)
        if not disk.writable:
            yield DISK.error("not_writable", name=use.name, place=use.place, variable=use.variable)
        elif use.variable == "TMPDIR" and not host.is_folder(use.place):
            yield DISK.error("no_temporary_folder", place=use.place)
    weights = [d.name for d in downloads if d.weights and d.size is None]
    for disk, here in by_disk.values():
        yield _fits(disk, here, weights if any(use.name == "downloads" for use in here) else [], host)


def exports(host: Host) -> list[str]:
    """Lines for a shell that move all caches which are not moved yet to the widest disk that this user may write.

    Empty where there is none, or all are moved.
    """
    unset = {variable: folder for variable, folder in CACHES.items() if not host.environ.get(variable)}
    widest = max((disk for disk in host.disks() if disk.writable), key=lambda disk: disk.free, default=None)
    if widest is None or not unset:
        return []
    folder = Path(widest.mount) / "bitparity-caches"
    places = {variable: str(folder / name) for variable, name in unset.items()}
    made = [f"mkdir -p {shlex.quote(places['TMPDIR'])}"] if "TMPDIR" in places else []
    return [*made, *(f"export {variable}={shlex.quote(place)}" for variable, place in places.items())]


def _engines(study: Study, host: Host) -> Iterator[Use]:
    """Files that the engines which compute here write beside the records."""
    engines = [engine_of(v.engine) for v in study.variants.values()]
    if any(engine.has_local_weights for engine in engines):
        yield Use("temporary files", Path(host.environ.get("TMPDIR") or "/tmp"), SIZES["scratch"], "TMPDIR")
    if any(engine.runs_vllm for engine in engines):
        own = host.environ.get("VLLM_CACHE_ROOT")  # vLLM 0.32, envs.py
        compiled = Path(own or cache_home(host.environ.get("XDG_CACHE_HOME")) / "vllm").expanduser()
        yield Use("compiled kernels", compiled, SIZES["compiled"], "VLLM_CACHE_ROOT" if own else "XDG_CACHE_HOME")
        # XDG_CACHE_HOME moves neither Triton's nor FlashInfer's (at 05ce648, flashinfer/jit/env.py)
        triton = host.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache"
        yield Use("Triton's kernels", Path(triton).expanduser(), SIZES["triton"], "TRITON_CACHE_DIR")
        base = Path(host.environ.get("FLASHINFER_WORKSPACE_BASE") or Path.home())
        base /= ".cache/flashinfer"
        yield Use("FlashInfer's kernels", base, SIZES["flashinfer"], "FLASHINFER_WORKSPACE_BASE")


def _fits(disk: Disk, uses: Sequence[Use], weights: Sequence[str], host: Host) -> Finding:
    """`weights` are the models of unknown size that go there."""
    needed = sum(use.size for use in uses)
    message = f"{disk.mount} has {gigabytes(disk.free)} free, and needs up to {gigabytes(needed)}"
    if weights:
        message += f" beside what is not known (the size of {', '.join(weights)} is not known here)"
    message += f": {', '.join(map(str, uses))}"
    if disk.free < needed * ROOM:
        return DISK.error("disk", said=message, remedy=_more_room(disk, uses, needed, host))
    if weights:
        return DISK.warning("disk_with_unknown", said=message, cache=host.hub.cache())
    return DISK.ok("disk", said=message)


def _more_room(disk: Disk, uses: Sequence[Use], needed: int, host: Host) -> str:
    others = [d for d in host.disks() if d.key != disk.key and d.writable and d.free > needed * ROOM]
    widest = max(others, key=lambda d: d.free, default=None)
    if widest is None:
        return "free some, or attach a larger disk"
    largest = sorted(uses, key=lambda use: -use.size)
    places = {use.variable: Path(widest.mount) / _FOLDER[use.variable] for use in largest if use.variable in _FOLDER}
    moved = {variable: shlex.quote(str(place)) for variable, place in places.items()}
    has = f"{widest.mount} has {gigabytes(widest.free)}: "
    if not moved:
        return f"{has}give --out a folder in {widest.mount}"
    made = f"mkdir -p {moved['TMPDIR']} && " if "TMPDIR" in moved else ""  # the others are made by those who use them
    return f"{has}{made}export {' '.join(f'{variable}={place}' for variable, place in moved.items())}"
