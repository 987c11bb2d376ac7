"""Damage planted in one linear module of a real FP8 checkpoint: is it found, and is an unharmed checkpoint left alone?

    python perf/localization.py BASELINE FP8 [DAMAGED_TRIALS [UNHARMED_TRIALS [FIRST_TRIAL [ANSWERS [TESTED]]]]]

A damaged trial draws a module and a kind of damage (noise on its weights, a wrong scale, two blocks of rows swapped),
as strong as makes the mean KL about twice as large, and takes the checkpoint apart as `bitparity locate` does. An
unharmed trial takes the checkpoint as it is, on other answers each time. Prints one JSON line a trial, then a summary.
With TESTED only so many modules are given back, and neither layers nor a curve: their same figures in less time.
`regained` is the share of the damage's own part of the KL that giving the module back takes away.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from bitparity.distance.texts import Answer
from bitparity.localization.layers import LinearWeights, Located, ModelPair
from bitparity.localization.locate import Names, locate
from bitparity.localization.number_formats import round_numbers
from bitparity.localization.passes import Arm, Passes, Text
from bitparity.localization.shares import Shares, stand_out
from bitparity.localization.state import State
from bitparity.progress.events import Events
from bitparity.report.localization import worst

TOKENS = 16
NAMES = Names("planted", "bf16", "fp8", {})
STARTS = (
    *("The capital of {} is", "The best food from {} is", "People in {} like to", "The weather in {} is"),
    *("A short history of {}:", "To travel to {} you", "The language of {} is", "A famous song about {} is"),
)
PLACES = (
    *("France", "Japan", "Egypt", "Brazil", "Norway", "India", "Canada", "Greece", "Kenya", "Peru", "Italy", "China"),
    *("Spain", "Mexico", "Poland", "Turkey"),
)


def written(folder: Path) -> list[Answer]:
    """The model's own answers to short prompts, greedily."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    prompts = [start.format(place) for place in PLACES for start in STARTS]
    padded = tokenizer(prompts, return_tensors="pt", padding=True)
    with torch.inference_mode():
        whole = model.generate(**padded, max_new_tokens=TOKENS, do_sample=False, pad_token_id=0)
    own = whole[:, padded.input_ids.shape[1] :].tolist()
    found = [
        Answer("planted", prompt, 0, tuple(tokenizer(prompt).input_ids), tuple(answer), "")
        for prompt, answer in zip(prompts, own, strict=True)
    ]
    return [found[n] for n in np.random.default_rng(0).permutation(len(found))]


def damaged(weights: LinearWeights, kind: str, strength: float, rng: np.random.Generator) -> LinearWeights:
    """A module's weights with a damage; `strength` grows from 0, and at 1 the damage is as large as the weights."""
    weight = weights.weight.clone()
    if kind == "noise":
        noise = torch.from_numpy(rng.normal(size=tuple(weight.shape))).float()
        weight += strength * weight.std() * noise
        scale = weight.abs().amax(1, keepdim=True) / 448
        weight = round_numbers(weight / scale, "fp8") * scale
    elif kind == "scale":
        weight *= 1 + strength
    else:
        rows = max(1, min(len(weight) // 2, round(strength * len(weight) / 2)))
        first = int(rng.integers(0, len(weight) - 2 * rows + 1))
        weight[first : first + 2 * rows] = torch.roll(weight[first : first + 2 * rows], rows, 0)
    return LinearWeights(weight, weights.bias, weights.activations, weights.quantized)


def plant(plain: Passes, located: Located, layer: int, trial: int) -> tuple[str, float, float]:
    """Damage a module so that the mean KL doubles; (kind, strength, how many times the KL it is now)."""
    kind = ("noise", "scale", "rows")[trial % 3]
    own, whole = located.candidate, plain.measured.divergence[: plain.sampled].sum()
    assert own is not None
    strength, ratio = 0.03, 0.0
    for _ in range(8):
        located.candidate = damaged(own, kind, strength, np.random.default_rng(trial))
        after = plain.given_back({"damaged": Arm(first=layer, sampled=True)}, lambda _: None)["damaged"]
        ratio = float(np.nansum(after) / whole)
        if 1.7 < ratio < 2.4:
            break
        # the excess grows with the square of the damage
        strength = min(1.0, strength * float(np.clip(np.sqrt(1.0 / max(ratio - 1, 1e-3)), 0.25, 5)))
    return kind, strength, ratio


class Found(NamedTuple):
    """One trial: modules in the order of the table, the share each regains (None: not measured), the verdict."""

    order: list[str]
    regained: dict[str, float]
    kl: float
    stands_out: list[str]


def taken_apart(pair: ModelPair, answers: list[Answer], folder: Path, tested: int) -> Found:
    """The whole localization, or with `tested` the part of it that is about modules."""
    if not tested:
        found = locate(NAMES, answers, pair, folder / "state", Events())
        regained = {module.name: module.regained.value for module in found.modules if module.regained}
        order = [module.name for module in worst(found.modules)]
        return Found(order, regained, found.divergence.value, found.stands_out)
    state = State(folder / "state", str(time.time()))
    passes = Passes(pair, [Text(a.context, a.ids) for a in answers], state)
    passes.forward(lambda _: None)
    passes.backward(lambda _: None)
    measured = passes.measured
    through = {name: float(part.sum() / measured.divergence.sum()) for name, part in measured.through.items()}
    suspects = sorted(through, key=through.__getitem__, reverse=True)[:tested]
    arms = {name: Arm(modules=frozenset({name}), first=pair.layer_of(name) or 0) for name in suspects}
    shares = Shares(measured, np.arange(len(answers), dtype=np.intp))
    given = {
        name: share
        for name, divergence in passes.given_back(arms, lambda _: None).items()
        if (share := shares.regained(divergence)) is not None
    }
    standing = stand_out({name: shares.at_least(share, len(through)) for name, share in given.items()})
    regained = {name: share.value for name, share in given.items()}
    order = sorted(through, key=lambda name: regained.get(name, through[name]), reverse=True)[:10]
    return Found(order, regained, shares.divergence().value, standing)


def located_of(pair: ModelPair, number: int) -> list[Located]:
    with pair.layer(number) as part:  # kept in memory: the damage is there in the next pass
        return part.changed


def damaged_trial(
    pair: ModelPair, plain: Passes, answers: list[Answer], folder: Path, trial: int, count: int, tested: int
) -> dict[str, Any]:
    rng = np.random.default_rng(1000 + trial)
    numbers = rng.permutation(len(answers))[:count]
    chosen = [answers[n] for n in numbers]
    layer = int(rng.integers(len(pair.layers)))
    located = located_of(pair, layer)[int(rng.integers(len(located_of(pair, layer))))]
    own = located.candidate
    kind, strength, ratio = plant(plain, located, layer, trial)
    started, cpu = time.monotonic(), time.process_time()
    found = taken_apart(pair, chosen, folder, tested)
    seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
    located.candidate = own
    before = float(plain.measured.divergence[numbers].sum() / plain.measured.tokens[numbers].sum())
    given = found.regained.get(located.name)
    return {
        **{"trial": trial, "answers": count, "tested": tested, "module": located.name},
        **{"kind": kind, "strength": strength, "times": ratio, "kl": [before, found.kl]},
        "rank": found.order.index(located.name) + 1 if located.name in found.order else None,
        "regained": None if given is None else given * found.kl / (found.kl - before),
        **{"stands_out": found.stands_out, "seconds": seconds, "cpu_seconds": cpu_seconds},
    }


def unharmed_trial(
    pair: ModelPair, answers: list[Answer], folder: Path, trial: int, count: int, tested: int
) -> dict[str, Any]:
    rng = np.random.default_rng(5000 + trial)
    chosen = [answers[n] for n in rng.permutation(len(answers))[:count]]
    started = time.monotonic()
    found = taken_apart(pair, chosen, folder, tested)
    return {
        **{"trial": trial, "answers": count, "tested": tested, "kl": found.kl, "stands_out": found.stands_out},
        **{"best": found.order[0], "regained": found.regained.get(found.order[0])},
        "seconds": time.monotonic() - started,
    }


def main(baseline: Path, fp8: Path, damages: int, unharmed: int, first: int, count: int, tested: int) -> None:
    answers = written(baseline)
    pair = ModelPair(baseline, fp8, torch.device("cpu"))
    hits, back, quiet = [], [], []
    with tempfile.TemporaryDirectory() as folder:
        plain = Passes(pair, [Text(a.context, a.ids) for a in answers], State(Path(folder) / "plain", ""))
        plain.forward(lambda _: None)
        for trial in range(first, first + damages):
            row = damaged_trial(pair, plain, answers, Path(folder), trial, count, tested)
            hits.append(row["rank"] is not None and row["rank"] <= 3)
            back.append(row["regained"] is not None and row["regained"] >= 0.8)
            print(json.dumps(row), flush=True)
        for trial in range(first, first + unharmed):
            row = unharmed_trial(pair, answers, Path(folder), trial, count, tested)
            quiet.append(not row["stands_out"])
            print(json.dumps(row), flush=True)
    print(
        json.dumps(
            {
                **{"damaged": damages, "among_first_three": sum(hits), "regains_80_percent": sum(back)},
                **{"unharmed": unharmed, "nothing_stands_out": sum(quiet)},
            }
        )
    )


if __name__ == "__main__":
    counts = [int(each) for each in sys.argv[3:]]
    main(Path(sys.argv[1]), Path(sys.argv[2]), *(counts + [20, 20, 0, 64, 0][len(counts) :]))
