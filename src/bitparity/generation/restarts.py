"""What happens after an engine died: it is started again with what is left, a few times, asking for less memory."""

from __future__ import annotations

import time

from bitparity.engines.registry import engine_of
from bitparity.errors import EngineError
from bitparity.generation.prepare import Prepared
from bitparity.progress.events import Events, Noted
from bitparity.store.environment import Restart

MOST = 3  # restarts of one variant in one session


class Restarts:
    """Decides whether a variant's engine is started again, and as what: `variant` is what to load."""

    def __init__(self, prepared: Prepared, name: str, events: Events) -> None:
        self.variant = prepared.loadable(name)
        self._prepared, self._name, self._events = prepared, name, events
        self._count = 0

    def again(self, error: EngineError) -> bool:
        """Whether to try once more after this error; it is noted in environment.json either way.

        An engine that could not even load is tried again only where it was killed or hung, where memory was what it
        lacked and less can be asked for, or where it had loaded before.
        """
        lowered = self._lowered() if error.out_of_memory else {}
        hopeful = error.again or bool(lowered if error.out_of_memory else self._count)
        if self._count == MOST or not hopeful:
            return False
        self._count += 1
        self.variant = self.variant.model_copy(update={"engine": self.variant.engine.model_copy(update=lowered)})
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        restart = Restart(at=at, reason=str(error), lowered=lowered)
        self._prepared.environment.variants[self._name].restarts.append(restart)
        self._prepared.note()
        less = "".join(f", {key} {value}" for key, value in lowered.items())
        self._events.emit(Noted(f"{self._name}: engine restarted ({self._count} of {MOST}{less}): {error}"))
        return True

    def _lowered(self) -> dict[str, int]:
        engines = self._prepared.environment.variants[self._name].engines
        spec = self.variant.engine
        return engine_of(spec).less_at_once(spec, engines[-1].facts if engines else {})
