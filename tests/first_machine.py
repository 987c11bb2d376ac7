"""`bitparity` on a machine that is not here: two slices of RTX PRO 6000, a small root, Qwen3-32B on the hub, no vLLM.

Run as a program by the shell of `test_first_machine.py`. The command line is the real one; the host is a double, and
where a command would compute with vLLM, recorded answers under the study's name and variants take its place.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from doubles import BF16_SIZE, FP8, GB, GIB, INSTALLED, NVFP4, NVFP4_SIZE, Device, Shelf, checkpoint, host
from support import replay_study

SLICES = {
    0: ("GPU-5e8d", "MIG-5e8d3c0a-1111-5f6a-9bcd-0123456789ab"),
    1: ("GPU-6f9e", "MIG-6f9e4d1b-2222-5f6a-9bcd-0123456789ab"),
}
HUB: dict[str, tuple[int, Any]] = {
    "Qwen/Qwen3-32B": (BF16_SIZE, None),
    "Qwen/Qwen3-32B-FP8": (BF16_SIZE // 2, FP8),
    "RedHatAI/Qwen3-32B-NVFP4": (NVFP4_SIZE, NVFP4),
}


def machine(folder: Path) -> partial[Any]:
    """The double of the host."""
    from bitparity.doctor.host import Compilers, Disk, Hub

    configs = {
        name: checkpoint(folder / str(n), 0, quantization) for n, (name, (_, quantization)) in enumerate(HUB.items())
    }
    for config in configs.values():
        (config / "model.safetensors").unlink()
    free = int(os.environ.get("DOUBLE_ROOT_GB", "5"))
    root, data = Disk("/", free * GB, device=1), Disk(os.environ["DOUBLE_DATA"], 4000 * GB, device=2)

    def disk(path: Path) -> Disk:
        return data if path.absolute().is_relative_to(data.mount) else root

    return partial(
        host,
        *(Device(uuid=gpu, slices=((name, 96 * GIB),)) for gpu, name in SLICES.values()),
        environ=os.environ,
        disk=disk,
        disks=lambda: [root, data],
        # the interpreter that uv brings has its headers
        compilers=lambda: Compilers(shutil.which("gcc") is not None, None, None),
        version={**INSTALLED, "huggingface_hub": "1.4.0", "datasets": "4.0.0"}.get,
        hub=Shelf(sizes={name: size for name, (size, _) in HUB.items()}, configs=configs, place=Hub().cache()),
    )


def recorded(folder: Path, study: Any) -> Any:
    """A study of the same name and variants over recorded answers to a few questions."""
    from bitparity.study.resolve import load_study

    names = [study.baseline, *study.candidates]
    folder.mkdir(parents=True, exist_ok=True)
    path = replay_study(folder, 12, {name: range(n) for n, name in enumerate(names)})
    path.write_text(path.read_text().replace("study: toy", f"study: {study.name}"))
    return load_study(path)


def put_doubles(folder: Path) -> None:
    """Put doubles in the place of what needs this machine."""
    made = machine(folder / "hub")

    import bitparity.cli.detach
    import bitparity.doctor.host
    import bitparity.doctor.measure
    import bitparity.doctor.rates
    import bitparity.runner

    run_study = bitparity.runner.run_study

    def run(study: Any, path: Path, events: Any, **given: Any) -> Any:
        given |= {"ray": None, "hours": None}
        outcome = run_study(recorded(Path.home() / "recorded" / study.name, study), path, events, **given)
        (path / "progress.json").unlink(missing_ok=True)  # it counts the questions of the whole study
        return outcome

    def start(study: Any, path: Path, arguments: Sequence[str]) -> int:
        from bitparity.progress.events import Events

        run(study, path, Events())
        return 0

    def computed(*_: object, **__: object) -> None:
        print("computed by vLLM")
        raise SystemExit(0)

    bitparity.doctor.host.Host = made  # type: ignore[assignment,misc]
    bitparity.doctor.measure.measured_rates = lambda study, _: bitparity.doctor.rates.given_rate(study, 300.0)
    bitparity.runner.run_study = run
    bitparity.runner.measure_distance = bitparity.runner.locate_losses = computed  # type: ignore[assignment]
    bitparity.cli.detach.start = start


def main() -> None:
    """The command line on that machine."""
    sys.argv[0] = "bitparity"
    with tempfile.TemporaryDirectory() as folder:
        put_doubles(Path(folder))
        from bitparity.cli.app import main as command_line

        command_line()


if __name__ == "__main__":
    main()
