"""Localization of one candidate: its answers, passes over the layers, figures, the recipe, localization.json."""

from __future__ import annotations

import fnmatch
import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np

from bitparity.distance.texts import Answer, answers_of
from bitparity.engines.transformers_loading import choose_device
from bitparity.errors import ModelError
from bitparity.exam import frozen, rendering, spot_check
from bitparity.localization import recipe as recipes
from bitparity.localization.document import Figure, InFp8, Kernels, Layer, Localization, Module, Point, Recipe, Rule
from bitparity.localization.layers import ModelPair
from bitparity.localization.passes import Arm, Floats, Passes
from bitparity.localization.shares import ERROR_RATE, LEAST_SHARE, Shares, stand_out
from bitparity.localization.state import State
from bitparity.models.checkpoint import resolve_model, resolve_tokenizer, weight_bytes, weight_files
from bitparity.progress.events import Advance, Events
from bitparity.schema import Study, Variant
from bitparity.store.run import Run

LOOKED_AT = 10  # times as many answers as are taken
TESTED = 8  # modules that are given back one by one: those with the largest shares by the gradient
IN_FULL = 3  # of these, on all answers: the others are told on fewer
Found = TypeVar("Found")


class Names(NamedTuple):
    """Names in the document: the study, its baseline and candidate, and the models as the study names them."""

    study: str
    baseline: str
    candidate: str
    models: dict[str, str]


def chosen_answers(run: Run, study: Study, most: int, tokens: int) -> list[Answer]:
    """At most `most` answers of a run's baseline, a similar number of every benchmark, cut after `tokens` tokens.

    Empty where the run has none: no sample yet, or only choices and prompts that are built on earlier answers.
    """
    baseline = study.variants[study.baseline]
    renderer = rendering.Renderer(resolve_tokenizer(baseline), trust_remote_code=baseline.engine.trust_remote_code)
    found: dict[str, list[Answer]] = {}
    for spec in study.benchmarks:
        exam = frozen.load_if_frozen(run, spec.name)
        if exam is not None and exam.rendered and not exam.chained:
            samples = run.samples(study.baseline, spec.name)
            there = list(answers_of(exam, spec, samples, study.baseline, renderer, LOOKED_AT * most))
            found[spec.name] = sorted(there, key=lambda answer: len(answer.context))
    taken = spot_check.shares({name: len(there) for name, there in found.items()}, most)
    chosen = [answer for name, there in found.items() for answer in there[: taken[name]]]
    # what is measured on the first ones only is measured on every benchmark then
    mixed = sorted(chosen, key=lambda answer: found[answer.benchmark].index(answer) / taken[answer.benchmark])
    return [replace(answer, ids=answer.ids[:tokens]) for answer in mixed]


def open_pair(baseline: Variant, candidate: Variant, kernels: Kernels = "checkpoint") -> ModelPair:
    """Both models, on the device of the candidate's engine. Raises ModelError where they cannot be taken apart."""
    folders = [resolve_model(variant) for variant in (baseline, candidate)]
    device = choose_device(candidate.engine.device)
    return ModelPair(folders[0], folders[1], device, kernels, code=baseline.engine.trust_remote_code)


def locate(names: Names, answers: Sequence[Answer], pair: ModelPair, folder: Path, events: Events) -> Localization:
    """Take a candidate apart on some of the baseline's answers; a state left in `folder` is gone on with.

    Raises ModelError where a module gives no numbers.
    """
    started = time.monotonic()
    state = State(folder, _key(pair, answers))
    findings = _Findings(Passes(pair, answers, state), pair, answers, events, names.candidate)
    document = findings.document(names, started)
    state.clear()
    return document


class _Findings:
    """The findings of the passes, as the document has them."""

    def __init__(self, passes: Passes, pair: ModelPair, answers: Sequence[Answer], events: Events, name: str) -> None:
        self._passes, self._pair, self._events, self._candidate = passes, pair, events, name
        self._count = len(pair.layers)
        self._over_layers("both models", passes.forward)
        self._check_numbers()
        self._over_layers("gradient", passes.backward)
        items = [f"{answer.benchmark}\n{answer.item}" for answer in answers]
        self._shares = Shares(passes.measured, np.unique(items, return_inverse=True)[1].astype(np.intp))
        self._whole = weight_bytes(pair.checkpoints[0].folder)
        base, own = pair.checkpoints
        self._sizes = {name: (base.size(name), own.size(name)) for name in passes.measured.error}
        through = {} if self._shares.nothing else {name: part.sum() for name, part in passes.measured.through.items()}
        self._tested = sorted(sorted(through), key=through.__getitem__, reverse=True)[:TESTED]
        units = recipes.units({name: self._sizes[name] for name in through})
        self._order = recipes.greedy(units, through)
        self._prefixes = recipes.prefixes(self._order, self._whole)
        self._given = {} if self._shares.nothing else self._give_back()

    def _over_layers(self, what: str, step: Callable[[Advance], Found]) -> Found:
        with self._events.task(f"{self._candidate}: {what}", self._count, "layers") as advance:
            return step(advance)

    def _check_numbers(self) -> None:
        """Raise ModelError where the candidate gives no numbers: then the first modules without one are the answer."""
        measured = self._passes.measured
        broken = [name for name, error in measured.error.items() if not np.isfinite(error).all()]
        if broken or not np.isfinite(measured.divergence).all():
            where = f"; on the baseline's own input so do {', '.join(broken[:5])}" if broken else ""
            raise ModelError(
                f"candidate '{self._candidate}' gives NaN or infinity in the place of numbers{where}. Its scales or "
                "weights are broken: quantize it again"
            )

    def _arm(self, modules: Sequence[str], *, sampled: bool = False) -> Arm:
        places = [self._pair.place_of(name)[0] for name in modules]
        first = min(self._count if layer is None else layer for layer in places)
        return Arm(modules=frozenset(modules), first=first, sampled=sampled)

    def _give_back(self) -> dict[str, Floats]:
        arms = {name: self._arm([name], sampled=place >= IN_FULL) for place, name in enumerate(self._tested)}
        arms |= {f"layer {n}": Arm(frozenset({n}), first=n, sampled=True) for n in range(self._count)}
        arms |= {f"point {n}": self._arm(_names(each), sampled=True) for n, each in enumerate(self._prefixes)}
        return self._over_layers("parts given back", partial(self._passes.given_back, arms))

    def document(self, names: Names, started: float) -> Localization:
        """The whole document."""
        measured, shares = self._passes.measured, self._shares
        modules = [self._module(name) for name in measured.error]
        standing = stand_out({each.name: each.at_least for each in modules})
        tested = {each.name: each.regained.value for each in modules if each.regained is not None}
        best = max(tested, key=tested.__getitem__, default=None)
        curve = [self._point(number) for number in range(len(self._prefixes))]
        end = sum(base for base, _ in self._sizes.values()) / self._whole
        bend = recipes.bend([(point.share_of_bytes, point.regained.value) for point in curve], end)
        return Localization(
            **names._asdict(),
            kernels=self._pair.kernels,
            answers=len(measured.tokens),
            sampled=self._passes.sampled,
            tokens=int(measured.tokens.sum()),
            divergence=shares.divergence(),
            stands_out=standing,
            rule=Rule(least_share=LEAST_SHARE, error_rate=ERROR_RATE, modules=len(modules), tested=len(self._tested)),
            best=best,
            unexplained=None if best is None else shares.regained(measured.divergence - self._given[best]),
            modules=sorted(modules, key=lambda m: (-(m.through.value if m.through else -1.0), m.name)),
            layers=[self._layer(number) for number in range(self._count)] if not shares.nothing else [],
            curve=curve,
            bend=bend,
            recipe=self._recipe(curve),
            seconds=round(time.monotonic() - started, 1),
        )

    def _module(self, name: str) -> Module:
        (layer, kind), (base, own), given = self._pair.place_of(name), self._sizes[name], self._given.get(name)
        return Module(
            name=name,
            layer=layer,
            kind=kind,
            bytes_baseline=base,
            bytes_candidate=own,
            error=self._shares.error(name),
            through=self._shares.through([name]),
            regained=None if given is None else self._shares.regained(given),
            at_least=None if given is None else self._shares.at_least(given, len(self._sizes)),
        )

    def _layer(self, number: int) -> Layer:
        through = self._shares.through([name for name in self._sizes if self._pair.place_of(name)[0] == number])
        given, folded = self._given[f"layer {number}"], number in self._passes.measured.folded
        return Layer(layer=number, folded=folded, through=through, regained=self._shares.regained(given))

    def _point(self, number: int) -> Point:
        return _point(self._prefixes[number], 1.0, self._whole, self._shares.regained(self._given[f"point {number}"]))

    def _recipe(self, curve: Sequence[Point]) -> Recipe | None:
        """The recommended point of the curve; what it regains is measured on all answers."""
        seen = [(each.share_of_bytes, (each.regained.ci95 or (each.regained.value,))[0]) for each in curve]
        chosen = recipes.recommended(seen)
        if chosen is None:
            return None
        inside = [unit for unit in self._order if self._pair.place_of(unit.modules[0])[0] is not None]  # of a layer
        point, eighth = curve[chosen], recipes.in_fp8(inside, self._whole)
        arms = {"recipe": self._arm(point.modules)}
        if eighth:
            arms["fp8"] = replace(self._arm(_names(eighth)), modules=frozenset(), fp8=frozenset(_names(eighth)))
        given = self._over_layers("recipe", partial(self._passes.given_back, arms))
        return Recipe(
            **point.model_dump(exclude={"regained"}),
            regained=self._shares.regained(given["recipe"]),
            in_fp8=self._in_fp8(eighth, self._shares.regained(given["fp8"])) if eighth else None,
            llm_compressor_ignore=[*dict.fromkeys([*_ignored(self._pair), *point.modules])],
            modelopt_quant_cfg={f"{name}.*": {"enable": False} for name in point.modules},
        )

    def _in_fp8(self, units: Sequence[recipes.Unit], regained: Figure) -> InFp8:
        others = sorted(set(self._sizes) - set(_names(units)))
        return InFp8(**_point(units, 0.5, self._whole, regained).model_dump(), others=others)


def _point(units: Sequence[recipes.Unit], stored: float, whole: int, regained: Figure) -> Point:
    """Units that are stored with a part of the baseline's bytes, as the document has them."""
    return Point(
        modules=_names(units),
        share_of_bytes=stored * sum(unit.baseline for unit in units) / whole,
        extra_bytes=round(sum(stored * unit.baseline - unit.candidate for unit in units)),
        regained=regained,
    )


def _names(units: Sequence[recipes.Unit]) -> list[str]:
    return [name for unit in units for name in unit.modules]


def _key(pair: ModelPair, answers: Sequence[Answer]) -> str:
    """A hash of what a localization is of: both checkpoints' files as they are now, the tokens, the kernels."""
    files = [file for checkpoint in pair.checkpoints for file in weight_files(checkpoint.folder)]
    seen = [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    what = (seen, [answer.fingerprint for answer in answers], pair.kernels)
    return hashlib.sha256(repr(what).encode()).hexdigest()[:16]


def _ignored(pair: ModelPair) -> list[str]:
    """The modules that the candidate left out already, as llm-compressor wants them."""
    declared = pair.checkpoints[1].declared
    named = [declared.items(key) for key in ("ignore", "modules_to_not_convert", "exclude_modules")]
    found = map(str, next((each for each in named if each), ["lm_head"]))
    # ModelOpt names modules by shell patterns, llm-compressor by regular expressions
    return [each if "*" not in each or each.startswith("re:") else f"re:{fnmatch.translate(each)}" for each in found]
