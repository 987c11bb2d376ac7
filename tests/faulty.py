"""Engines that die, run out of memory or hang: real processes of the replay engine with a fault planted in them.

A `sitecustomize` on PYTHONPATH changes the replay engine inside the worker process alone. The file named by the
variable FAULTS has one fault a line; each engine that starts takes the first line off: `kill 3`, `memory 3`, `hang 3`
(after 3 samples), `slow 0.2` (seconds before each sample), `load`, `load kill`, `load hang` (while loading) or `none`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

SITECUSTOMIZE = """
import os, sys
if "bitparity.engines.worker" in sys.orig_argv:
    import asyncio, signal
    import bitparity.engines.replay_engine as replay

    with open(os.environ["FAULTS"], "r+") as file:
        first, *others = file.read().splitlines() or ["none"]
        file.seek(0)
        file.truncate()
        file.write("".join(line + "\\n" for line in others))
    kind, _, value = first.partition(" ")
    inner, construct = replay.ReplayEngine.stream, replay.ReplayEngine.__init__

    def load(self, variant):
        construct(self, variant)
        if first == "load":
            raise RuntimeError("a kernel could not be built")
        if first == "load kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if first == "load hang":
            os.kill(os.getpid(), signal.SIGSTOP)

    async def stream(self, requests):
        given = 0
        async for sample in inner(self, requests):
            if kind == "slow":
                await asyncio.sleep(float(value))
            elif kind not in ("none", "load") and given == int(value):
                await asyncio.sleep(0.3)  # what was given is on its way to the host
                if kind == "kill":
                    os.kill(os.getpid(), signal.SIGKILL)
                if kind == "memory":
                    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
                await asyncio.sleep(600)
            given += 1
            yield sample

    replay.ReplayEngine.__init__, replay.ReplayEngine.stream = load, stream
    replay.ReplayEngine.progress = lambda self: 7  # it counts, and the count stands still
"""


def plant(folder: Path, faults: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Plant one fault for each engine that starts; the file that says which are left."""
    place = folder / "planted"
    place.mkdir()
    (place / "sitecustomize.py").write_text(SITECUSTOMIZE)
    file = folder / "faults"
    file.write_text("".join(f"{fault}\n" for fault in faults))
    monkeypatch.setenv("PYTHONPATH", str(place), prepend=os.pathsep)
    monkeypatch.setenv("FAULTS", str(file))
    return file
