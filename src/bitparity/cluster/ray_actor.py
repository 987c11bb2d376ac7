"""Ray actor that serves one device to the driver."""

from __future__ import annotations

import os
import socket
import tempfile
from pathlib import Path
from typing import TypedDict

import bitparity
from bitparity.cluster.serving import DeviceServer

THREADS = 4  # a long `poll` beside `load` and `send`


class ActorPlace(TypedDict):
    """The host, process, visible devices and version of an actor."""

    host: str
    pid: int
    devices: str | None
    bitparity: str


class EngineActor(DeviceServer):
    """One device of a Ray cluster; Ray shows it the GPUs that are its own and no others."""

    def __init__(self, device: str, threads: str | None) -> None:
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it to 1: an engine on the CPU would crawl
        else:
            os.environ["OMP_NUM_THREADS"] = threads
        self._logs = tempfile.TemporaryDirectory(prefix="bitparity-")
        super().__init__(Path(self._logs.name), device)

    def hello(self) -> ActorPlace:
        """Where this actor is, for the driver to check and to record."""
        devices = os.environ.get("CUDA_VISIBLE_DEVICES") or None
        return ActorPlace(host=socket.gethostname(), pid=os.getpid(), devices=devices, bitparity=bitparity.__version__)

    def close(self) -> None:
        """End the engine."""
        super().close()
        self._logs.cleanup()
