"""Studies for `distance` and `locate`: a study cut to short answers of the baseline, or two models given by name."""

from __future__ import annotations

import importlib.util
import json
import math
import re
from collections.abc import Sequence
from pathlib import Path

from bitparity.errors import StudyError
from bitparity.schema import LM_EVAL_PREFIX, BenchmarkSpec, DistanceSpec, Study
from bitparity.study.resolve import parse_study

SMOKE = "smoke"
WRITTEN = 1.5  # questions of the smoke set for each whose answer is written
ITEMS, TOKENS = 100, 256  # answers that the baseline writes, and tokens of each at most


def short_study(study: Study, items: int = ITEMS, tokens: int = TOKENS) -> Study:
    """The study with one short answer to each of about `items` questions, no control, and nothing to grade.

    Tasks of lm-eval are left out: which of them write answers shows only once their data is there. Where nothing else
    is asked, the built-in smoke set takes their place.
    """
    kept = [spec for spec in study.benchmarks if not spec.name.startswith(LM_EVAL_PREFIX)] or _smoke(study)
    variants = {name: variant for name, variant in study.variants.items() if not variant.control}
    if len(variants) < 2:
        raise StudyError("a distance is between two variants: the study needs a baseline and a candidate")
    each = math.ceil(items / len(kept))
    reading = (study.distance or DistanceSpec()).model_copy(update={"items": items})
    return study.model_copy(
        update={
            "name": f"{study.name}-distance",
            "variants": variants,
            "benchmarks": [_short(spec, each, tokens) for spec in kept],
            "distance": reading,
        }
    )


def answers_study(study: Study, items: int, tokens: int) -> Study:
    """The baseline alone, with `items` short answers to the built-in smoke set."""
    asked = study.model_copy(update={"benchmarks": _smoke(study)})
    short = short_study(asked, items, tokens)
    baseline = {study.baseline: study.variants[study.baseline]}
    return short.model_copy(update={"name": f"{study.name}-locate", "variants": baseline, "distance": None})


def _short(spec: BenchmarkSpec, items: int, tokens: int) -> BenchmarkSpec:
    protocol = spec.protocol.model_copy(update={"max_tokens": min(tokens, spec.protocol.max_tokens)})
    # some of its questions are answered by a choice, which nobody writes
    asked = math.ceil(WRITTEN * items) if spec.name == SMOKE else items
    limit = asked if spec.limit is None else min(asked, spec.limit)
    return spec.model_copy(update={"protocol": protocol, "samples": 1, "limit": limit, "stop_early": False})


def _smoke(study: Study) -> list[BenchmarkSpec]:
    variants = {"any": {"model": next(iter(study.variants.values())).model}}
    document = {"study": study.name, "variants": variants, "engine": {"kind": "replay"}, "benchmarks": [SMOKE]}
    # through a study file of its own, so that every default is filled in as for any study
    return parse_study(json.dumps(document), "the smoke set", Path.cwd()).benchmarks


def study_of_models(models: Sequence[str], engine: str | None) -> Study:
    """A study of models by folder or hub id, the first of them the baseline, on the built-in smoke set.

    Without an `engine` it is vLLM where that is installed, else transformers.
    """
    kind = engine or ("vllm" if importlib.util.find_spec("vllm") else "transformers")
    names = _names(models)
    document = {
        "study": "-".join(names)[:50],
        "variants": {
            name: {"model": model, **({"baseline": True} if name == names[0] else {})}
            for name, model in zip(names, models, strict=True)
        },
        "engine": {"kind": kind},
        "benchmarks": [SMOKE],
    }
    return parse_study(json.dumps(document), "the models given", Path.cwd())


def _names(models: Sequence[str]) -> list[str]:
    """A variant's name for each model: the last part of its path, with a number where two are alike."""
    names: list[str] = []
    for model in models:
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(model).name).strip("-._")[:40] or "model"
        taken = {other.casefold() for other in names}
        names.append(name if name.casefold() not in taken else f"{name}-{len(names) + 1}")
    return names
