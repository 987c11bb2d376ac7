"""Start of engine processes, with the next one made ready while another still runs.

Importing vLLM takes ten seconds and more, and touches no device: it can be done while another engine still runs.
"""

from __future__ import annotations

from pathlib import Path

from bitparity.engines.host import EngineProcess
from bitparity.schema import Variant


class EngineStarter:
    """Starts engines, at most one of them before its turn; `close` ends one that is left over."""

    def __init__(self) -> None:
        self._ahead: tuple[Variant, EngineProcess] | None = None

    def ahead(self, variant: Variant, log: Path) -> EngineProcess:
        """The engine whose turn comes next, to be warmed, or launched where the device is free; not to be entered."""
        self.close()
        engine = EngineProcess(variant, log)
        self._ahead = (variant, engine)
        return engine

    def start(self, variant: Variant, log: Path) -> EngineProcess:
        """The variant's engine, to be entered: the one that is ahead, or a new one."""
        # memory that ran out meanwhile may have changed the settings: then the one that was made ready is of no use
        if self._ahead is not None and self._ahead[0] == variant and not self._ahead[1].was_killed:
            (_, engine), self._ahead = self._ahead, None
            return engine
        self.close()
        return EngineProcess(variant, log)

    def close(self) -> None:
        """End the engine that was made ready and never started."""
        if self._ahead is not None:
            (_, engine), self._ahead = self._ahead, None
            engine.close(at_once=True)
