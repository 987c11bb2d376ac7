"""Answers of a sealed run asked again: some at random, on a device of the same kind, compared text by text."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from bitparity.engines.registry import engine_of
from bitparity.errors import RunError
from bitparity.evidence.verify import Opened
from bitparity.progress.events import Events
from bitparity.records import Sample
from bitparity.results.guards.facts import differences
from bitparity.runner import answer_missing
from bitparity.schema import Study
from bitparity.store.jsonl import write_records
from bitparity.store.rows import sample_to_row
from bitparity.store.run import Run


class _Key(NamedTuple):
    variant: str
    benchmark: str
    item: str
    sample: int

    def __str__(self) -> str:
        return f"{self.variant}, {self.benchmark}, item {self.item!a:.60}, sample {self.sample}"


def rerun(sealed: Opened, count: int, events: Events) -> None:
    """Ask `count` answers again and say in `sealed.said` how many are the same.

    Raises RunError where the run is not repeatable, EvidenceError where an installation and device of the same kind
    gives another answer, and what a run raises where a model is not here.
    """
    run, study = sealed.run, sealed.study
    if reason := _not_repeatable(run, study):
        raise RunError(f"{sealed.path} cannot be asked again: {reason}")
    asked = [spec for spec in study.benchmarks if spec.name not in sealed.manifest.withheld]
    study = study.model_copy(update={"benchmarks": asked, "distance": None})
    before = {(name, spec.name): run.samples(name, spec.name) for name in study.variants for spec in asked}
    finished = [_Key(*at, *key) for at, samples in before.items() for key, s in samples.items() if s.finish != "error"]
    if not finished:
        raise RunError(f"{sealed.path} cannot be asked again: it has no answer whose question is inside")
    # at random: whoever seals a run must not know which answers will be asked
    chosen = random.SystemRandom().sample(finished, min(count, len(finished)))
    # taken out of the run, which then goes on as one that was killed before these answers
    for (name, bench), samples in before.items():
        kept = [s for key, s in samples.items() if _Key(name, bench, *key) not in chosen]
        write_records(run.samples_path(name, bench), map(sample_to_row, kept))
    (run.path / "study.yaml").unlink()  # the run is now one of fewer benchmarks
    answer_missing(study, run.path, events)
    _compare(sealed, chosen, [before[key.variant, key.benchmark][key.item, key.sample] for key in chosen])


def _not_repeatable(run: Run, study: Study) -> str | None:
    """The reason why another run need not give the same answers, or must not be made; None where there is none."""
    if study.stops_early:
        return "it may stop early, so what is asked depends on all answers before"
    record = run.environment()
    for name, variant in study.variants.items():
        engine = engine_of(variant.engine)
        if variant.engine.trust_remote_code:
            return f"variant '{name}' runs code that comes with its checkpoint (trust_remote_code); look at that first"
        if engine.recorded or engine.fixed_batches:
            continue
        facts = [entry.facts for entry in record.variant(name).engines]
        if engine.served:
            return f"variant '{name}' was answered by a server, which alone knows what it runs"
        if not facts or not all(each.get("batch_invariant") is True for each in facts):
            return (
                f"variant '{name}' ran without batch invariance, so its answers depend on what was computed beside "
                "them; a study with engine: {batch_invariant: true} is repeatable"
            )
    return None


def _compare(sealed: Opened, chosen: Sequence[_Key], before: Sequence[Sample]) -> None:
    """Say how many answers are the same."""
    engines = {name: sealed.run.environment().variant(name).engines for name in {key.variant for key in chosen}}
    other = {name: differences(e[-2].facts, e[-1].facts) for name, e in engines.items() if len(e) > 1}
    again = [sealed.run.samples(key.variant, key.benchmark).get((key.item, key.sample)) for key in chosen]
    pairs = list(zip(chosen, before, again, strict=True))
    changed = [key for key, old, new in pairs if new is None or (new.text, new.logprobs) != (old.text, old.logprobs)]
    said = f"rerun: {len(chosen) - len(changed):,} of {len(chosen):,} answers asked again are the same"
    if not changed:
        sealed.said.append(said)
        return
    said += f", first other one: {changed[0]}"
    name = changed[0].variant
    if not other.get(name):
        raise sealed.refused(f"{said}; installation and device are of the same kind")
    sealed.doubts.append(f"{said}; but what answers here is of another kind ({other[name]})")
