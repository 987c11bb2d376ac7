"""Engines: the contract. One file an engine; each runs in a process of its own.

An engine takes a stream of requests and gives samples as they end, in any order. `facts` tells what
really ran. `host.EngineProcess` starts the process, `worker` is what runs in it.
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from typing import Any

from bitparity.records import Request, Sample
from bitparity.schema import Variant

# kind -> module with a class `ENGINE`; imported only in the engine's process
_MODULES = {
    "transformers": "bitparity.engines.transformers_engine",
    "vllm": "bitparity.engines.vllm_engine",
    "openai": "bitparity.engines.openai_engine",
    "replay": "bitparity.engines.replay",
}


class Engine(ABC):
    """The contract. The constructor loads the model and raises ModelError or EngineError where it cannot."""

    @abstractmethod
    def __init__(self, variant: Variant) -> None: ...

    async def prepare(self) -> None:
        """What of loading needs the event loop; called once, before `facts`."""

    @abstractmethod
    def facts(self) -> dict[str, Any]:
        """What really runs, from the running engine and not from its arguments (JSON values)."""

    @abstractmethod
    def stream(self, requests: AsyncIterator[Request]) -> AsyncIterator[Sample]:
        """Samples as they end, each request answered exactly once."""

    def sent(self, request: Request) -> dict[str, Any] | None:
        """The sampling values with which a request is computed, as the engine builds them (JSON values).

        Asked for the first request of each benchmark, to be written down; None: the engine does not tell.
        """
        return None

    def progress(self) -> int | None:
        """How much the engine has computed: output tokens, of unfinished answers too, and one for each scored text.

        Called from a thread of its own. Where it stands still for the study's `stall_timeout` with requests waiting,
        the engine is taken to hang. None: it cannot tell, and is trusted to end by itself (a server's requests have
        time-outs of their own).
        """
        return None

    def close(self) -> None:
        """Free what the engine holds."""


def import_engine(kind: str) -> type[Engine]:
    """The class of an engine, its libraries imported. Raises MissingDependencyError."""
    found: type[Engine] = importlib.import_module(_MODULES[kind]).ENGINE
    return found


def load_engine(variant: Variant) -> Engine:
    """Load a variant's engine in this process."""
    return import_engine(variant.engine.kind)(variant)
