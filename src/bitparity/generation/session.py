"""Runs a study: what is missing -> engine -> store -> grades. The same call continues an unfinished run.

run_study(load_study(Path("study.yaml")), Path("artifacts/my-study"), make_progress())
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from pydantic_core import to_jsonable_python

from bitparity.errors import ChangedModelError, DiskFullError
from bitparity.exam.frozen import groups_of, samples_asked
from bitparity.generation.prepare import Prepared
from bitparity.models.identity import differing
from bitparity.progress.events import LOADING, BenchmarkSkipped, Events, ExamFrozen, Noted, PhaseChanged, VariantStarted
from bitparity.store.environment import EngineRecord, device_of, join_engine, this_invocation


def show_exams(prepared: Prepared, events: Events) -> None:
    """Tell what is asked."""
    for spec in prepared.study.benchmarks:
        if (exam := prepared.exams.get(spec.name)) is not None:
            ids = [entry.item.id for entry in exam.items]
            samples, budget = samples_asked(exam, spec), exam.sampling.max_tokens
            events.emit(ExamFrozen(spec.name, ids, samples, groups_of(exam), budget))
    for name, reason in prepared.outcome.not_run.items():
        events.emit(BenchmarkSkipped(name, reason))


def show_start(prepared: Prepared, name: str, events: Events) -> None:
    """Tell that a variant begins, and note which exams it sits with which sampling values."""
    stored = prepared.environment.variants[name]
    for spec in prepared.study.benchmarks:
        if (exam := prepared.exams.get(spec.name)) is not None:
            stored.exam.setdefault(spec.name, exam.sha256)
            stored.sampling.setdefault(spec.name, to_jsonable_python(asdict(exam.sampling)))
    events.emit(VariantStarted(name))
    events.emit(PhaseChanged(name, LOADING))


def record_engine(prepared: Prepared, name: str, facts: dict[str, Any], place: dict[str, Any] | None = None) -> None:
    """Note what really runs, and at which `place` of several; a run on another kind of device has a second entry.

    Raises ChangedModelError where the engine has loaded other files than those that were looked at before.
    """
    _check_loaded(name, prepared.models[name].identity, facts.get("model", {}))
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    devices = device_of(facts) if place is None else [place]
    here = this_invocation()
    for key, value in here.items():
        setattr(prepared.environment, key, value)
    start = {"at": at, "host": platform.node(), **here, **(devices[0] if devices else {})}
    entry = EngineRecord(facts=facts, sessions=[at], starts=[start], devices=devices)
    join_engine(prepared.environment.variants[name].engines, entry)
    prepared.note()


def _check_loaded(name: str, seen: Mapping[str, Any], loaded: Mapping[str, Any]) -> None:
    if changed := differing(seen, loaded):
        raise ChangedModelError(
            f"variant '{name}': the files in {loaded.get('path')} changed while the run went on ({', '.join(changed)} "
            "differ between what was looked at and what the engine loaded), so no answer was taken from it. Put back "
            "the files that the run was started with and run the same command, or start a new run with --out"
        )


def tell_full_disk(events: Events, error: DiskFullError | None) -> None:
    """Tell that the run waits for room on the disk (the error), or that it goes on (None)."""
    if error is None:
        events.emit(PhaseChanged(None, None))
        events.emit(Noted("there is room on the disk again: going on"))
    else:
        events.emit(PhaseChanged(None, "waiting: the disk is full"))
        full = str(error).partition(";")[0]
        events.emit(Noted(f"{full}: paused; the run goes on as soon as there is room"))
