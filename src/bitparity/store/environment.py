"""Record of a run's conditions (environment.json): checkpoints, engines, devices, sampling, and times, by variant."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable

from pydantic import Field

import bitparity
from bitparity.hardware.devices import device_of, without_place
from bitparity.models.identity import differing
from bitparity.store.document import Document, JsonObject
from bitparity.store.facts import EngineFacts, Identity

Number = int | float  # written back as it was read: 0 does not become 0.0
Counts = dict[str, dict[str, Number | None]]  # by "generation" and "loads"; None where something was not counted
Facts = JsonObject  # what an engine or a checkpoint tells of itself; which keys there are depends on its kind

INVOCATION = ("bitparity", "python", "platform", "cpus")


class EngineRecord(Document):
    """The engines of one kind that answered for a variant.

    `facts` are those of the first one; `sessions` are the times at which one was loaded; `starts` tells under what
    each was, and `devices` on which devices, where that is known.
    """

    facts: EngineFacts
    sessions: list[str] = Field(default_factory=list)
    starts: list[JsonObject] = Field(default_factory=list)
    devices: list[JsonObject] = Field(default_factory=list)

    def places(self) -> list[JsonObject]:
        """The devices of these engines; where none was noted, the one of their facts."""
        return self.devices or device_of(self.facts)


class Generation(Document):
    """Generation over all sessions: wall seconds, and samples and output tokens in them (None: not counted)."""

    seconds: Number = 0.0
    samples: int | None = 0
    output_tokens: int | None = 0


class Loads(Document):
    """Loads of a variant, on the device of this host or on those of a cluster: how many, their seconds together."""

    count: int | None = 0
    seconds: Number | None = 0.0


class Restart(Document):
    """One restart of a variant's engine: when, why, and which settings were lowered for it."""

    at: str
    reason: str
    lowered: dict[str, int]


class VariantRecord(Document):
    """The conditions of one variant. `exam`, `sampling`, `sent` and `stops` are by benchmark.

    `exam` has the hash of the exam, `sampling` the values that the exam asks for, `sent` the values that the engine
    built of them, one entry for each way in which sessions differ. `stops` are the numbers of items after which the
    grades of that time stopped it.
    """

    identity: Identity = Field(default_factory=dict)
    engines: list[EngineRecord] = Field(default_factory=list)
    exam: dict[str, str | None] = Field(default_factory=dict)
    sampling: dict[str, JsonObject] = Field(default_factory=dict)
    generation: Generation | None = None
    sent: dict[str, list[JsonObject]] = Field(default_factory=dict)
    restarts: list[Restart] = Field(default_factory=list)
    loads: Loads | None = None
    stops: dict[str, int] = Field(default_factory=dict)

    @property
    def sessions(self) -> list[str]:
        """When each engine was loaded for it."""
        return [at for engine in self.engines for at in engine.sessions]


class MergedPart(Document):
    """One run directory that was merged into this one, with what it brought the last time, by variant."""

    source: dict[str, int | str]
    counts: dict[str, Counts]


class ClusterSession(Document):
    """One session on many devices: wall seconds, what was answered, and the seconds of each device."""

    at: str
    seconds: Number
    samples: int
    output_tokens: int | None
    devices: dict[str, dict[str, Number]]


class ReadRecord(Document):
    """Readings of the baseline's answers by one reader, over all sessions: wall seconds, answers and their tokens.

    `reason` says why there is none, where none could be made.
    """

    seconds: Number = 0.0
    answers: int = 0
    tokens: int = 0
    reason: str | None = None


class HoursRecord(Document):
    """The time of a run that ends by the clock: the hours given, and the seconds used by all its sessions so far.

    `answering` are those in which each variant has answered. `asked` has by benchmark the items that every variant has
    answered; it is empty until the time is over.
    """

    hours: Number
    seconds: Number = 0.0
    answering: dict[str, Number] = Field(default_factory=dict)
    asked: dict[str, int] = Field(default_factory=dict)


class RunRecord(Document):
    """The conditions of a run. The fields `bitparity` to `cpus` are of the process that ran it last."""

    shard: dict[str, int] | None = None
    variants: dict[str, VariantRecord] = Field(default_factory=dict)
    bitparity: str | None = None
    python: str | None = None
    platform: str | None = None
    cpus: int | None = None
    not_run: dict[str, str] = Field(default_factory=dict)
    merged: list[MergedPart] = Field(default_factory=list)
    cluster_sessions: list[ClusterSession] = Field(default_factory=list)
    distance: dict[str, ReadRecord] = Field(default_factory=dict)
    hours: HoursRecord | None = None

    def variant(self, name: str) -> VariantRecord:
        """The record of a variant; an empty one where nothing is recorded of it yet."""
        return self.variants.get(name) or VariantRecord()


def join_engine(engines: list[EngineRecord], entry: EngineRecord) -> None:
    """Add an engine to those of a variant, to the entry of its kind or as one of its own; the latest stands last."""
    known = next((e for e in engines if _same_kind(e.facts, entry.facts)), None)
    places = [*(known.places() if known else []), *entry.places()]
    known = known or EngineRecord(facts=entry.facts, sessions=[])
    engines[:] = [*(e for e in engines if e is not known), known]
    known.sessions = sorted({*known.sessions, *entry.sessions})
    known.starts = _once([*known.starts, *entry.starts])
    known.devices = _once(places)


def _once(values: list[JsonObject]) -> list[JsonObject]:
    return [value for number, value in enumerate(values) if value not in values[:number]]


def this_invocation() -> dict[str, str | int | None]:
    """The process that runs bitparity: its version, the interpreter, the operating system and the number of CPUs."""
    return {
        "bitparity": bitparity.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
    }


def join_sent(known: list[JsonObject], sent: Iterable[JsonObject]) -> bool:
    """Add the sampling values that were sent otherwise than any known before; whether there were such."""
    before = len(known)
    for values in sent:
        if _without_request(values) not in map(_without_request, known):
            known.append(values)
    return len(known) > before


def _without_request(sent: JsonObject) -> JsonObject:
    """The sampling values, less what each request has of its own."""
    return {key: value for key, value in sent.items() if key not in ("item", "sample", "seed")}


def _same_kind(one: Facts, other: Facts) -> bool:
    one_model, other_model = one.get("model"), other.get("model")
    if isinstance(one_model, dict) and isinstance(other_model, dict) and differing(one_model, other_model):
        return False
    return without_place(one) == without_place(other)
