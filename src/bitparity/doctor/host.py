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
from typing import Literal

from bitparity.doctor.vllm import Installed, ask_vllm
from bitparity.engines.checks import versions
from bitparity.hardware.nvml import Machine, read_machine
from bitparity.models.hub import TIMEOUT, told_offline, unreachable
from bitparity.schema import Variant

Kind = Literal["model", "dataset"]

SMALL_FILES = (
    "config.json",
    "hf_quant_config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
_WEIGHTS = (".safetensors", ".bin")
NO_ANSWER = "the hub did not answer"


class Hub:
    """The hub through `huggingface_hub`, which is imported late: many studies need nothing from it."""

    # methods, since another hub may answer differently
    offline = staticmethod(told_offline)
    unreachable = staticmethod(unreachable)

    def token(self) -> bool:
        """True where HF_TOKEN or a stored login gives a token."""
        from huggingface_hub import get_token

        return get_token() is not None

    def cache(self) -> Path:
        """The folder of downloads: HF_HUB_CACHE, or `hub` in HF_HOME, which is in XDG_CACHE_HOME by default."""
        home = os.environ.get("HF_HOME") or cache_home(os.environ.get("XDG_CACHE_HOME")) / "huggingface"
        return Path(os.environ.get("HF_HUB_CACHE") or Path(home) / "hub").expanduser()

    def cached(self, repo: str, kind: Kind, revision: str | None) -> Path | None:
        """The folder of a repository in the cache; None where nothing of it is there."""
        try:
            from huggingface_hub import snapshot_download

            return Path(snapshot_download(repo, repo_type=kind, revision=revision, local_files_only=True))
        except Exception:  # not installed, not cached, or no repository's name: the library raises several kinds
            return None

    def small_files(self, repo: str, revision: str | None) -> Path | None:
        """A folder with the model's configuration files, fetched where needed; None where that fails."""
        from huggingface_hub import hf_hub_download

        folder = None
        for name in SMALL_FILES:
            with contextlib.suppress(Exception):  # absent, gated or unreachable: access is told apart by `refusal`
                folder = Path(hf_hub_download(repo, name, revision=revision, etag_timeout=TIMEOUT)).parent
        return folder if folder and (folder / "config.json").exists() else None

    def weight_bytes(self, repo: str, revision: str | None) -> int | None:
        """The size of a model's weights on the hub, in bytes; None where it does not tell."""
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(repo, revision=revision, files_metadata=True, timeout=TIMEOUT)
        except Exception:  # no metadata, no answer: an unknown size is said to be unknown
            return None
        # the files of the model itself: in folders lie other formats of the same weights
        files = [f for f in info.siblings or [] if "/" not in f.rfilename and f.rfilename.endswith(_WEIGHTS)]
        safe = [f for f in files if f.rfilename.endswith(".safetensors")]
        return sum(f.size or 0 for f in safe or files) or None

    def refusal(self, repo: str, kind: Kind) -> str | None:
        """The reason why this account cannot read a repository; None where it can."""
        from huggingface_hub import HfApi
        from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

        try:
            HfApi().auth_check(repo, repo_type=kind)
        except GatedRepoError:
            return "it is gated and this account has no access"
        except RepositoryNotFoundError:
            return "it is not on the hub, or is private"
        except Exception as error:  # a network's fault may come as anything
            return f"{NO_ANSWER} ({type(error).__name__})"
        return None


def cache_home(value: str | None) -> Path:
    """The folder of caches: the value of XDG_CACHE_HOME, or its default."""
    return Path(value) if value else Path.home() / ".cache"


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
