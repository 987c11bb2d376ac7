"""Restarts of an engine that died, a few times, with fewer sequences at once where memory was short."""

from __future__ import annotations

from bitparity.engines.registry import engine_of
from bitparity.errors import EngineError
from bitparity.generation.prepare import Prepared
from bitparity.generation.session import utc_now
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
        """True if the engine is to be started once more after this error; a restart is recorded in environment.json.

        An engine that could not even load is tried again only where it was killed or hung, where memory was what it
        lacked and less can be asked for, or where it had loaded before.
        """
        engines, spec = self._prepared.environment.variants[self._name].engines, self.variant.engine
        lowered = {}
        if error.out_of_memory:
            lowered = engine_of(spec).less_at_once(spec, engines[-1].facts if engines else {})
        hopeful = error.again or bool(lowered if error.out_of_memory else self._count)
        if self._count == MOST or not hopeful:
            return False
        self._count += 1
        self.variant = self.variant.model_copy(update={"engine": spec.model_copy(update=lowered)})
        restart = Restart(at=utc_now(), reason=str(error), lowered=lowered)
        self._prepared.environment.variants[self._name].restarts.append(restart)
        self._prepared.save_environment()
        less = "".join(f", {key} {value}" for key, value in lowered.items())
        self._events.emit(Noted(f"{self._name}: engine restarted ({self._count} of {MOST}{less}): {error}"))
        return True
