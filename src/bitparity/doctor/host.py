"""The host that is looked at: environment, devices, disks, packages, hub."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import subprocess
import sysconfig
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from bitparity.doctor.hub import Hub
from bitparity.doctor.vllm_inquiry import Installed, ask_vllm
from bitparity.engines.checks import versions
from bitparity.hardware.nvml import Machine, read_machine
from bitparity.schema import Variant


@dataclass(frozen=True, slots=True)
class Disk:
    """A file system: where it is mounted, its free bytes, and whether this user may write there.

    `device` is its number, the same wherever it is mounted; None where it is not known.
    """

    mount: str
    free: int
    writable: bool = True
    device: int | None = None

    @property
    def key(self) -> int | str:
        """The number of the file system, which may be mounted at several places; the place where it is not known."""
        return self.mount if self.device is None else self.device


def disk_of(path: Path) -> Disk:
    """The file system that holds a path, or would.

    Not writable where no folder can be made at that path: below a file, a link that leads nowhere, a folder that this
    user may not enter.
    """
    place, reached = path.absolute(), True
    while not os.path.exists(place):  # noqa: PTH110 - a Path raises where it may not look
        reached = reached and _may_be_made(place)
        place = place.parent
    disk = _disk_at(place)
    return disk if reached and is_folder(place) else replace(disk, writable=False)


def is_folder(place: Path) -> bool:
    """True for a folder that this user may look at."""
    return os.path.isdir(place)  # noqa: PTH112 - a Path raises where it may not look


def _may_be_made(place: Path) -> bool:
    """True where a path that cannot be followed is simply absent, not a link that leads nowhere."""
    try:
        place.lstat()
    except OSError as error:  # another one: it may not be looked at, lies below a file, or is no possible name
        return isinstance(error, FileNotFoundError)
    return False


def _disk_at(place: Path) -> Disk:
    """The file system of a path that exists; no free room where it does not answer."""
    mount = place
    while not mount.is_mount():
        mount = mount.parent
    try:
        free, device = shutil.disk_usage(place).free, place.stat().st_dev
    except OSError:  # a network file system whose server is gone
        return Disk(str(mount), 0, writable=False)
    return Disk(str(mount), free, os.access(place, os.W_OK | os.X_OK), device)


def all_disks() -> list[Disk]:
    """The mounted file systems that could hold files; pseudo ones and those this user may not enter are left out.

    Empty where /proc tells nothing.
    """
    found: dict[str, Disk] = {}
    try:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    for line in lines:
        device, mount, kind, *_ = line.split()
        # network file systems, and ZFS, name no device file
        if device.startswith("/dev/") or kind in ("nfs", "nfs4", "lustre", "ceph", "beegfs", "xfs", "zfs"):
            place = Path(mount.replace("\\040", " "))  # the table parts its columns by spaces
            if is_folder(place):
                found[str(place)] = _disk_at(place)
    return list(found.values())


def _package_file(package: str, name: str) -> str | None:
    """The text of a file of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    try:
        return (Path(spec.origin).parent / name).read_text(encoding="utf-8")
    except OSError:
        return None


def _vllm_variables() -> frozenset[str] | None:
    text = _package_file("vllm", "envs.py")  # to import vLLM would take ten seconds and more
    return None if text is None else frozenset(re.findall(r"\bVLLM_[A-Z0-9_]+\b", text))


def _torch_cuda() -> tuple[int, int] | None:
    text = _package_file("torch", "version.py") or ""
    found = re.search(r"^cuda\b[^=]*= '(\d+)\.(\d+)", text, re.MULTILINE)
    return (int(found[1]), int(found[2])) if found else None


def _serves(variant: Variant) -> Mapping[str, object]:
    import asyncio  # late, as the client is: a study without a server needs neither

    from bitparity.engines.openai_client import about_server

    return asyncio.run(about_server(variant))


@dataclass(frozen=True, slots=True)
class Compilers:
    """Compilers of a host: whether there is one for C, the header of Python that is missing, and nvcc's version."""

    c_compiler: bool = True
    missing_header: str | None = None
    nvcc: tuple[int, int] | None = None


def find_compilers() -> Compilers:
    """The compilers as Triton (CC, gcc, clang) and FlashInfer (CUDA_HOME, the path, /usr/local/cuda) look for them."""
    header = Path(sysconfig.get_paths()["include"]) / "Python.h"
    c_compiler = bool(os.environ.get("CC")) or any(map(shutil.which, ("gcc", "clang", "cc")))
    return Compilers(c_compiler, None if header.exists() else str(header), _nvcc())


def _nvcc() -> tuple[int, int] | None:
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH")
    places = [f"{home}/bin/nvcc"] if home else [shutil.which("nvcc"), "/usr/local/cuda/bin/nvcc"]
    for place in filter(None, places):
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            told = subprocess.run([place, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
            if found := re.search(r"release (\d+)\.(\d+)", told):
                return int(found[1]), int(found[2])
    return None


def _version(package: str) -> str | None:
    return versions(package)[package]


@dataclass(frozen=True, slots=True)
class Host:
    """Everything that the checks need to know of a host: by default this one. Tests make hosts that are not here.

    `disk` gives the file system of a path that may not exist yet, `disks` all file systems that could hold files, and
    `is_folder` is true for a path that is a folder already. `version` gives an installed package's version, `ask_vllm`
    what the installed vLLM answers in a process of its own, `vllm_variables` are the environment variables that the
    installed vLLM knows (None without vLLM), and `torch_cuda` is the CUDA version torch is built for (None: none).
    `serves` asks a variant's server what it is. Nothing heavy is imported here.
    """

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    machine: Callable[[], Machine] = read_machine
    disk: Callable[[Path], Disk] = disk_of
    is_folder: Callable[[Path], bool] = is_folder
    disks: Callable[[], list[Disk]] = all_disks
    version: Callable[[str], str | None] = _version
    ask_vllm: Callable[[], Installed | None] = ask_vllm
    vllm_variables: frozenset[str] | None = field(default_factory=_vllm_variables)
    torch_cuda: tuple[int, int] | None = field(default_factory=_torch_cuda)
    compilers: Callable[[], Compilers] = find_compilers
    hub: Hub = field(default_factory=Hub)
    serves: Callable[[Variant], Mapping[str, object]] = _serves
