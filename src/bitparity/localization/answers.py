"""Answers of the baseline on which a candidate is taken apart: those with the shortest prompts, their beginnings."""

from __future__ import annotations

from dataclasses import replace

from bitparity.distance.texts import Answer, answers_of
from bitparity.exam.frozen import load_if_frozen
from bitparity.exam.rendering import Renderer
from bitparity.exam.spot_check import shares
from bitparity.models.checkpoint import resolve_tokenizer
from bitparity.schema import Study
from bitparity.store.run import Run

LOOKED_AT = 10  # times as many answers as are taken


def chosen_answers(run: Run, study: Study, most: int, tokens: int) -> list[Answer]:
    """At most `most` answers of a run's baseline, a similar number of every benchmark, cut after `tokens` tokens.

    Empty where the run has none: no sample yet, or only choices and prompts that are built on earlier answers.
    """
    baseline = study.variants[study.baseline]
    renderer = Renderer(resolve_tokenizer(baseline), trust_remote_code=baseline.engine.trust_remote_code)
    found: dict[str, list[Answer]] = {}
    for spec in study.benchmarks:
        exam = load_if_frozen(run, spec.name)
        if exam is not None and exam.rendered and not exam.chained:
            samples = run.samples(study.baseline, spec.name)
            there = list(answers_of(exam, spec, samples, study.baseline, renderer, LOOKED_AT * most))
            found[spec.name] = sorted(there, key=lambda answer: len(answer.context))
    taken = shares({name: len(there) for name, there in found.items()}, most)
    chosen = [answer for name, there in found.items() for answer in there[: taken[name]]]
    # what is measured on the first ones only is measured on every benchmark then
    mixed = sorted(chosen, key=lambda answer: found[answer.benchmark].index(answer) / taken[answer.benchmark])
    return [replace(answer, ids=answer.ids[:tokens]) for answer in mixed]
