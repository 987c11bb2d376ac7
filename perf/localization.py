"""`locate` on real checkpoints: planted damage, sound checkpoints, time and memory, and what its recipe is worth.

    python perf/localization.py damaged BF16 FP8 --trials 100        # one linear module damaged: is it found?
    python perf/localization.py unharmed BF16 FP8 --trials 50        # "no module stands out" is expected
    python perf/localization.py same BF16 --trials 50                # A/A: the model and itself
    python perf/localization.py whole BF16 CANDIDATE ...             # seconds and memory of one localization of each
    python perf/localization.py quantize BF16 OUT NVFP4 [FOUND.json] # by llm-compressor, the modules of a recipe spared
    python perf/localization.py recipe BF16 FOLDER NVFP4             # quantize, locate, quantize with the recipe
    python perf/localization.py recipe BF16 FOLDER NVFP4+FP8_DYNAMIC # the same, with the recipe in FP8

`--device`, `--seed` (others make other trials), `--seconds` (then it ends, whatever it does), `--answers` and
`--tokens` of each. Every result is one JSON line, printed as it comes.

A damaged trial draws a module and a kind of damage (noise on its weights, a wrong scale, two blocks of rows swapped),
as strong as makes the mean KL about twice as large, and takes the checkpoint apart as `bitparity locate` does.
`regained` is the share of the damage's own part of the KL that giving the module back takes away; `rank` the module's
row in the table. An unharmed trial takes the checkpoint as it is; each trial draws its answers from 192. `recipe`
measures the KL on the answers that the recipe was found on, and on sets of as many others.
"""

from __future__ import annotations

import argparse
import gc
import json
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitparity.distance.texts import Answer
from bitparity.localization import layers
from bitparity.localization.document import Localization
from bitparity.localization.layers import LinearWeights, Located, ModelPair
from bitparity.localization.locate import Names, locate
from bitparity.localization.number_formats import round_numbers
from bitparity.localization.passes import Arm, Measured, Passes
from bitparity.localization.shares import Shares
from bitparity.localization.state import State
from bitparity.models.checkpoint import weight_bytes
from bitparity.progress.events import Events
from bitparity.report.localization import worst

NAMES = Names("measured", "baseline", "candidate", {})
KINDS = ("noise", "scale", "rows")
STARTS = (
    *("The capital of {} is", "The best food from {} is", "People in {} like to", "The weather in {} is"),
    *("A short history of {}:", "To travel to {} you", "The language of {} is", "A famous song about {} is"),
)
PLACES = (
    *("France", "Japan", "Egypt", "Brazil", "Norway", "India", "Canada", "Greece", "Kenya", "Peru", "Italy", "China"),
    *("Spain", "Mexico", "Poland", "Turkey", "Sweden", "Chile", "Vietnam", "Morocco", "Ireland", "Portugal", "Cuba"),
    "Finland",
)


class OutOfTimeError(Exception):
    """The seconds that were given are over."""


def say(**row: Any) -> None:
    """Print a result."""
    print(json.dumps(row), flush=True)


def written(folder: Path, device: torch.device, tokens: int) -> list[Answer]:
    """The model's own answers to 192 short prompts, greedily, in a fixed random order."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval().to(device)
    prompts = [start.format(place) for place in PLACES for start in STARTS]
    padded = tokenizer(prompts, return_tensors="pt", padding=True).to(device)
    length = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    with torch.inference_mode():
        whole = model.generate(**padded, **length, do_sample=False, pad_token_id=tokenizer.eos_token_id)
    own = whole[:, padded.input_ids.shape[1] :].tolist()
    found = [
        Answer("measured", prompt, 0, tuple(tokenizer(prompt).input_ids), tuple(answer), "")
        for prompt, answer in zip(prompts, own, strict=True)
    ]
    return [found[n] for n in np.random.default_rng(0).permutation(len(found))]


class Clock:
    """Seconds of the wall and of the processor, and the most memory in GB, since its start.

    On CUDA the memory is the device's: `peak_gb` what tensors took, `reserved_gb` what torch had of the device for it.
    """

    def __init__(self, device: torch.device) -> None:
        gc.collect()  # a model that nobody needs any more would count
        self._device, self._wall, self._cpu = device, time.monotonic(), time.process_time()
        if device.type == "cuda":
            torch.cuda.init()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(device)

    def row(self) -> dict[str, float]:
        """The figures now."""
        wall, cpu = time.monotonic() - self._wall, time.process_time() - self._cpu
        memory = {"peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}
        if self._device.type == "cuda":
            memory = {
                "peak_gb": torch.cuda.max_memory_allocated(self._device),
                "reserved_gb": torch.cuda.max_memory_reserved(self._device),
            }
        gigabytes = {name: round(most / 1e9, 3) for name, most in memory.items()}
        return {"seconds": round(wall, 2), "cpu_seconds": round(cpu, 2), **gigabytes}


# damage


def damaged(weights: LinearWeights, kind: str, strength: float, rng: np.random.Generator) -> LinearWeights:
    """A module's weights with a damage; `strength` grows from 0, and at 1 the damage is as large as the weights."""
    weight = weights.weight.clone()
    if kind == "noise":
        noise = torch.from_numpy(rng.normal(size=tuple(weight.shape))).to(weight)
        weight += strength * weight.std() * noise
        scale = weight.abs().amax(1, keepdim=True) / 448
        weight = round_numbers(weight / scale, "fp8") * scale
    elif kind == "scale":
        weight *= 1 + strength
    else:
        rows = max(1, min(len(weight) // 2, round(strength * len(weight) / 2)))
        first = int(rng.integers(0, len(weight) - 2 * rows + 1))
        weight[first : first + 2 * rows] = torch.roll(weight[first : first + 2 * rows], rows, 0)
    return LinearWeights(weight, weights.bias, weights.activations)


def plant(plain: Passes, located: Located, layer: int, kind: str, trial: int) -> tuple[float, float]:
    """Damage a module so that the mean KL doubles; (strength, how many times the KL it is now, on all answers)."""
    own, strength, ratio, sampled = located.candidate, 0.03, 0.0, True
    assert own is not None
    for step in range(10):
        located.candidate = damaged(own, kind, strength, np.random.default_rng(trial))
        name = f"{trial} {step}"  # a name of its own: an unfinished pass of that name would be gone on with
        after = plain.given_back({name: Arm(first=layer, sampled=sampled)}, lambda _: None)[name]
        ratio = float(np.nansum(after) / plain.measured.divergence[np.isfinite(after)].sum())
        if 1.7 < ratio < 2.4:  # found on a few answers, it is looked at on all
            if not sampled:
                break
            sampled = False
        else:  # the excess grows with the square of the damage
            strength = min(1.0, strength * float(np.clip(np.sqrt(1.0 / max(ratio - 1, 1e-3)), 0.25, 5)))
    return strength, ratio


def found_in(found: Localization) -> dict[str, Any]:
    """A localization in a few figures."""
    table = worst(found.modules)
    regained = None if not table or table[0].regained is None else table[0].regained.value
    return {
        **{"answers": found.answers, "tokens": found.tokens, "kl": found.divergence.value},
        **{"stands_out": found.stands_out, "first": table[0].name if table else None, "first_regains": regained},
    }


def damaged_trials(pair: ModelPair, answers: list[Answer], options: argparse.Namespace, place: Path) -> Iterator[bool]:
    """True for each damage that is found: among the first three, and given back 80 % of the excess are gone."""
    plain = Passes(pair, answers, State(place / "plain", ""))
    plain.forward(lambda _: None)
    for trial in range(1000 * options.seed, 1000 * options.seed + options.trials):
        rng, kind = np.random.default_rng(trial), KINDS[trial % len(KINDS)]
        numbers = rng.permutation(len(answers))[: options.answers]
        layer = int(rng.integers(len(pair.layers)))
        with pair.layer(layer) as part:
            changed = [each for each in part.linears.values() if each.changed]
            located = changed[int(rng.integers(len(changed)))]
        own = located.candidate
        strength, ratio = plant(plain, located, layer, kind, trial)
        clock = Clock(pair.device)
        found = locate(NAMES, [answers[n] for n in numbers], pair, place / "state", Events())
        took = clock.row()
        located.candidate = own
        kl, before = found.divergence.value, plain.measured.divergence[numbers].sum() / found.tokens
        order = [module.name for module in worst(found.modules)]
        given = next(module.regained for module in found.modules if module.name == located.name)
        rank = order.index(located.name) + 1 if located.name in order else None
        regained = None if given is None else float(given.value * kl / (kl - before))
        say(
            **{"trial": trial, "module": located.name, "kind": kind, "strength": strength, "times": ratio},
            **{"rank": rank, "regained": regained, "kl_before": float(before)},
            **found_in(found),
            **took,
        )
        yield rank is not None and rank <= 3 and regained is not None and regained >= 0.8


def sound_trials(pair: ModelPair, answers: list[Answer], options: argparse.Namespace, place: Path) -> Iterator[bool]:
    """True for each trial in which no module stands out, as it should be."""
    for trial in range(1000 * options.seed, 1000 * options.seed + options.trials):
        numbers, clock = np.random.default_rng(trial).permutation(len(answers))[: options.answers], Clock(pair.device)
        found = locate(NAMES, [answers[n] for n in numbers], pair, place / "state", Events())
        say(trial=trial, **found_in(found), **clock.row())
        yield not found.stands_out


def trials(options: argparse.Namespace, place: Path) -> None:
    """Trials of one kind, and a line that counts them."""
    device, (baseline, *others) = torch.device(options.device), options.paths
    answers = written(baseline, device, options.tokens)
    layers.KEPT_BYTES = 1 << 40  # a damage is planted in memory, and must be there in the next pass
    pair, right, done = ModelPair(baseline, (others or [baseline])[0], device), 0, 0
    run = damaged_trials if options.what == "damaged" else sound_trials
    try:
        for good in run(pair, answers, options, place):
            right, done = right + good, done + 1
    finally:
        say(what=options.what, trials=done, right=right, device=options.device, seed=options.seed)


# time, memory, recipe


def whole(options: argparse.Namespace, place: Path) -> None:
    """One localization of each candidate, with its seconds and memory; opening both checkpoints counts."""
    device, (baseline, *candidates) = torch.device(options.device), options.paths
    answers = written(baseline, device, options.tokens)[: options.answers]
    for candidate in candidates:
        located(baseline, candidate, answers, device, place)


def located(baseline: Path, candidate: Path, answers: list[Answer], device: torch.device, place: Path) -> Localization:
    """The localization of a checkpoint, told with its recipe and the bytes that this is about."""
    clock = Clock(device)
    found = locate(NAMES, answers, ModelPair(baseline, candidate, device), place / "state", Events())
    recipe = found.recipe
    spared = [] if recipe is None else [module for module in found.modules if module.name in recipe.modules]
    say(
        what="located",
        candidate=str(candidate),
        **found_in(found),
        layers=len(found.layers),
        modules=len(found.modules),
        spared=len(spared),
        regained=None if recipe is None else recipe.regained.model_dump(),
        baseline_bytes=weight_bytes(baseline),
        baseline_bytes_of_linear_modules=sum(module.bytes_baseline for module in found.modules),
        baseline_bytes_spared=sum(module.bytes_baseline for module in spared),
        candidate_bytes=weight_bytes(candidate),
        candidate_bytes_spared=sum(module.bytes_candidate for module in spared),
        **clock.row(),
    )
    return found


def recipe(options: argparse.Namespace, place: Path) -> None:
    """A checkpoint, its localization, a checkpoint by the recipe, and the KL of both on sets of answers.

    What lies in the folder already is not made again.
    """
    device, (baseline, folder, scheme) = torch.device(options.device), options.paths
    folder.mkdir(parents=True, exist_ok=True)
    answers = written(baseline, device, options.tokens)
    before, after, document = folder / "before", folder / "after", folder / "localization.json"
    quantize_in_process(baseline, before, options)
    if not document.exists():
        found = located(baseline, before, answers[: options.answers], device, place)
        document.write_text(json.dumps(found.document()))
    quantize_in_process(baseline, after, options, document)
    clock = Clock(device)
    both = [measured(baseline, candidate, answers, device, place) for candidate in (before, after)]
    say(what="measured", answers=len(answers), bytes=[weight_bytes(before), weight_bytes(after)], **clock.row())
    for first in range(0, len(answers), options.answers):
        part = slice(first, first + options.answers)
        old, new = (Measured(each.tokens[part], each.divergence[part]) for each in both)
        before_and_after = [Shares(each, np.arange(len(each.tokens), dtype=np.intp)) for each in (old, new)]
        kl_before, kl_after = (shares.divergence().model_dump() for shares in before_and_after)
        say(
            **{"what": "recipe", "scheme": str(scheme), "answers": "others" if first else "of the recipe"},
            **{"count": len(old.tokens), "kl_before": kl_before, "kl_after": kl_after},
            cut=before_and_after[0].regained(new.divergence).model_dump(),
        )


def measured(baseline: Path, candidate: Path, answers: list[Answer], device: torch.device, place: Path) -> Measured:
    """The KL of a checkpoint on some answers."""
    pair, state = ModelPair(baseline, candidate, device), State(place / "divergence", str(time.time()))
    passes = Passes(pair, answers, state)
    passes.forward(lambda _: None)
    return passes.measured


def quantize_in_process(baseline: Path, out: Path, options: argparse.Namespace, *documents: Path) -> None:
    """Quantize in a process of its own: llm-compressor patches what it touches, and logs on stdout."""
    if not out.exists():
        part = out.with_suffix(".part")
        paths = map(str, (baseline, part, options.paths[2], *documents))
        command = [sys.executable, __file__, "quantize", *paths, "--device", options.device]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        print(done.stdout.splitlines()[-1], flush=True)
        part.rename(out)


def quantize(options: argparse.Namespace, _: Path) -> None:
    """Quantize with llm-compressor as the demo does; a localization's recipe names the modules that are spared."""
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from torch.utils.data import DataLoader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from bitparity.demo.build import CALIBRATION_TOKENS, calibration_text

    clock, (baseline, out, scheme, *documents) = Clock(torch.device(options.device)), options.paths
    found = [Localization.model_validate_json(document.read_bytes()).recipe for document in documents]
    ignored = found[0].llm_compressor_ignore if found and found[0] else ["lm_head"]
    name, _, other = str(scheme).partition("+")
    how: dict[str, Any] = {"scheme": name, "targets": "Linear"}
    if other and found and found[0] and found[0].in_fp8:
        how, ignored = {"scheme": {name: found[0].in_fp8.others, other: found[0].in_fp8.modules}}, ["lm_head"]
    model = AutoModelForCausalLM.from_pretrained(baseline, dtype=torch.bfloat16).to(options.device)
    tokenizer = AutoTokenizer.from_pretrained(baseline)
    data: dict[str, Any] = {}
    if str(scheme).startswith("NVFP4"):  # FP8_DYNAMIC needs no data
        ids = torch.tensor(
            tokenizer(calibration_text(tokenizer), add_special_tokens=False)["input_ids"][:CALIBRATION_TOKENS]
        )
        loader = DataLoader([{"input_ids": ids, "attention_mask": torch.ones_like(ids)}])
        data = {"dataset": loader, "tokenizer": tokenizer, "pipeline": "basic"}
    oneshot(model=model, recipe=QuantizationModifier(**how, ignore=ignored), **data)
    model.save_pretrained(out, save_compressed=True)
    tokenizer.save_pretrained(out)
    say(
        what="quantized", out=str(out), scheme=str(scheme), ignored=len(ignored), bytes=weight_bytes(out), **clock.row()
    )


def main() -> None:
    """Do what the command line says."""
    does = {"damaged": trials, "unharmed": trials, "same": trials}
    does |= {"whole": whole, "quantize": quantize, "recipe": recipe}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=list(does))
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--device", default="cpu")
    for name, default in (("trials", 20), ("seed", 0), ("answers", 64), ("tokens", 16), ("seconds", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()

    def stop(*_: object) -> None:
        raise OutOfTimeError

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(options.seconds)
    with tempfile.TemporaryDirectory() as place:
        try:
            does[options.what](options, Path(place))
        except OutOfTimeError:
            say(what="out of time", seconds=options.seconds)


if __name__ == "__main__":
    main()
