"""The contract of an engine, and what a kind of engine says of itself before it is loaded.

An engine takes a stream of requests and gives samples as they end, in any order. One file an engine; it runs in a
process of its own: `host.EngineProcess` starts the process, `worker` is the program in it.

Every process of bitparity may import an engine's file to read its class variables, so the file imports torch, vLLM
and the like inside its methods only.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, ClassVar, Literal

from bitparity.errors import MissingDependencyError
from bitparity.records import Request, Sample
from bitparity.schema import EngineSpec, Strict, Variant


class Engine(ABC):
    """An engine. The constructor loads the model and raises ModelError or EngineError where it cannot."""

    has_local_weights: ClassVar[bool] = True
    """The variant's `model` is a checkpoint, and this host computes with it."""
    served: ClassVar[bool] = False
    """A server has the model: it renders what it is not given as tokens, and alone knows what runs."""
    recorded: ClassVar[bool] = False
    """The answers were made before; nothing is computed now."""
    fixed_batches: ClassVar[bool] = False
    """Requests are computed in the batches of `scheduling.fixed_batches`, as its numbers depend on the batch."""
    runs_vllm: ClassVar[bool] = False
    """vLLM computes here: its variables and caches, its choice of devices and kernels, its share of the memory."""
    falls_back_to_cpu: ClassVar[bool] = False
    """Where the study names no device and there is no GPU, it computes on the CPU."""
    reads: ClassVar[Literal["nothing", "likeliest", "vocabulary"]] = "nothing"
    """The numbers by token that it tells of an answer that is there already (`Reading`, see `readings.py`): none,
    those of the likeliest tokens, or also a comparison with the baseline's model over the whole vocabulary."""
    takes: ClassVar[tuple[str, ...]] = ()
    """The keys of `EngineSpec` that a study may set for it, beside those that every kind takes."""
    settings: ClassVar[type[Strict]] = Strict
    """A model of the keys that this kind alone has; the constructor finds their values in `variant.engine.own`."""
    libraries: ClassVar[tuple[str, ...]] = ()
    """The modules that loading needs; `extra` is the extra of bitparity that installs them."""
    extra: ClassVar[str] = ""

    @classmethod
    def check(cls, spec: EngineSpec) -> None:
        """Refuse values that the engine cannot follow, when a study is read. Raises UserInputError."""

    @classmethod
    def variables(cls, spec: EngineSpec) -> dict[str, str]:
        """Environment variables of its process, which must be there before its libraries are imported."""
        return {}

    @classmethod
    def check_installed(cls) -> None:
        """Look for the libraries without importing them. Raises MissingDependencyError."""
        for name in {library.partition(".")[0] for library in cls.libraries} - sys.modules.keys():
            if importlib.util.find_spec(name) is None:
                raise MissingDependencyError(name, cls.extra, f"engine {cls.extra}")

    @classmethod
    def get_ready(cls, variant: Variant) -> Callable[[], Engine]:
        """Do what takes long and needs no device, while another engine may still have it; gives what loads the rest.

        Imports `libraries`; raises MissingDependencyError.
        """
        for library in cls.libraries:
            try:
                importlib.import_module(library)
            except ImportError as missing:
                raise MissingDependencyError(missing.name or library, cls.extra, f"engine {cls.extra}") from missing
        return functools.partial(cls, variant)

    @classmethod
    def less_at_once(cls, spec: EngineSpec, facts: Mapping[str, Any]) -> dict[str, int]:
        """The settings with which it takes half as many sequences at once, after memory ran out; {} where none helps.

        `facts` are those of the engine that ran, empty where none loaded.
        """
        return {}

    @abstractmethod
    def __init__(self, variant: Variant) -> None: ...

    async def prepare(self) -> None:
        """The part of loading that needs the event loop; called once, before `facts`."""

    @abstractmethod
    def facts(self) -> dict[str, object]:
        """Facts of what really runs, from the running engine and not from its arguments (JSON values)."""

    @abstractmethod
    def stream(self, requests: AsyncIterator[Request]) -> AsyncIterator[Sample]:
        """Samples as they end, each request answered exactly once."""

    def sent(self, request: Request) -> dict[str, object] | None:
        """The sampling values with which a request is computed, as the engine builds them (JSON values).

        Asked for the first request of each benchmark, to be written down; None: the engine does not tell.
        """
        return None

    def progress(self) -> int | None:
        """The amount computed so far: output tokens, of unfinished answers too, and one for each scored text.

        Called from a thread of its own. Where it stands still for the study's `stall_timeout` with requests waiting,
        the engine is taken to hang. None: it cannot tell, and is trusted to end by itself (a server's requests have
        time-outs of their own).
        """
        return None

    def close(self) -> None:
        """Free what the engine holds."""
