"""The Ray actor: serves one device to the driver."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import bitparity
from bitparity.cluster.serving import DeviceServer, Message
from bitparity.records import Request
from bitparity.schema import Variant

THREADS = 4  # a long `poll` beside `load` and `send`


class EngineActor:
    """One device of a Ray cluster; Ray shows it the GPUs that are its own and no others."""

    def __init__(self, device: str, threads: str | None) -> None:
        if threads is None:
            os.environ.pop("OMP_NUM_THREADS", None)  # Ray sets it to 1: an engine on the CPU would crawl
        else:
            os.environ["OMP_NUM_THREADS"] = threads
        self._logs = tempfile.TemporaryDirectory(prefix="bitparity-")
        self._server = DeviceServer(Path(self._logs.name), device)

    def hello(self) -> dict[str, Any]:
        """Where this is: host, process, visible devices, version."""
        return {
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "devices": os.environ.get("CUDA_VISIBLE_DEVICES") or None,
            "bitparity": bitparity.__version__,
        }

    def load(self, name: str, variant: dict[str, Any], expected: Mapping[str, Any]) -> None:
        """See DeviceServer."""
        self._server.load(name, Variant.model_validate(variant), expected)

    def warm(self, name: str, variant: dict[str, Any]) -> None:
        """See DeviceServer."""
        self._server.warm(name, Variant.model_validate(variant))

    def send(self, pieces: Sequence[Sequence[Request]]) -> None:
        """See DeviceServer."""
        self._server.send(pieces)

    def poll(self, seconds: float) -> list[Message]:
        """See DeviceServer."""
        return self._server.poll(seconds)

    def close(self) -> None:
        """End the engine."""
        self._server.close()
        self._logs.cleanup()
