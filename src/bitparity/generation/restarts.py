"""What happens after an engine died: it is started again with what is left, a few times, asking for less memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from bitparity.errors import EngineError
from bitparity.generation.prepare import Prepared
from bitparity.progress.events import Events, Noted
from bitparity.schema import EngineSpec
from bitparity.store.environment import Restart

MOST = 3  # restarts of one variant in one session


LEAST_AT_ONCE = 8  # sequences; an engine that runs out of memory with so few is not helped by fewer


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

    def _lowered(self) -> dict[str, Any]:
        engines = self._prepared.environment.variants[self._name].engines
        return less_at_once(self.variant.engine, engines[-1].facts if engines else {})


def less_at_once(engine: EngineSpec, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The settings with which an engine takes half as many sequences at once; {} where that cannot help.

    `facts` are those of the engine that ran, empty where none loaded.
    """
    if engine.kind == "transformers":
        return {"batch_size": engine.batch_size // 2} if engine.batch_size > 1 else {}
    if engine.kind != "vllm":
        return {}
    most = engine.max_num_seqs or facts.get("max_num_seqs")
    if most is None:
        return {"max_num_seqs": 64}  # it never loaded, so its own default is not known
    return {"max_num_seqs": max(LEAST_AT_ONCE, most // 2)} if most > LEAST_AT_ONCE else {}
