"""Planted differences on a real small model: is a disturbed layer found, and is the model itself never called another?

    python perf/distance_planted.py MODEL_FOLDER [--trials 100] [--device cuda] [--out planted.json]

Each trial reads the model again in other batches (its noise floor), once more in yet other ones, and with one layer's
weights disturbed so that the mean KL is about three times the floor (or three times LEAST, where another batch gives
the very same numbers). `--out` is written after every trial.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bitparity.distance.figures import Tokens, against, exact, join
from bitparity.engines.token_numbers import token_numbers
from bitparity.engines.transformers_loading import choose_device, device_name, load_model
from bitparity.schema import EngineSpec

LEAST = 1e-4  # nats: a smaller change of bfloat16 weights either vanishes or jumps beyond
FORMS = (
    "{0} apples and {1} pears are {2} pieces of fruit; {0} people share them.",
    "A train of {0} cars takes {1} minutes to the coast, and {2} passengers leave it there.",
    "In the year {2} the town had {1} houses, {0} wells and one school.",
    "She read {0} pages on Monday and {1} on Tuesday, which makes {2} pages of the book.",
    "The recipe needs {0} grams of salt, {1} grams of sugar and {2} grams of flour.",
)
TEXTS = [form.format(n, n + 28, 2 * n + 28) for n in range(2, 26) for form in FORMS]
TOGETHER, OTHERWISE = 8, 6  # texts in a batch: of what is compared, and where the batches are to be others


class Readings:
    """One model's readings of the texts, each compared with the first."""

    def __init__(self, model: Any, rows: list[list[int]], device: torch.device) -> None:
        self._model, self._rows, self._device = model, rows, device
        self._lengths = [len(row) - 1 for row in rows]
        self._targets = [token for row in rows for token in row[1:]]
        self._first = self._read(list(range(len(rows))), TOGETHER)

    def _read(self, order: list[int], together: int) -> torch.Tensor:
        """Logits at all positions of all rows but each row's last one, read in this order."""
        found: dict[int, torch.Tensor] = {}
        with torch.inference_mode():
            for first in range(0, len(order), together):
                part = order[first : first + together]
                batch = [torch.tensor(self._rows[number], device=self._device) for number in part]
                logits = self._model(torch.nn.utils.rnn.pad_sequence(batch, batch_first=True)).logits
                found |= {number: logits[at, : self._lengths[number]] for at, number in enumerate(part)}
        return torch.cat([found[number] for number in range(len(order))])

    def again(self, order: list[int] | None = None) -> Tokens:
        """The exact distances of another reading from the first: in an order of its own, or in the same batches."""
        same = order is None
        logits = self._read(list(range(len(self._rows))) if order is None else order, TOGETHER if same else OTHERWISE)
        arrays = token_numbers(logits, self._first, self._targets, 20)
        found, start = [], 0
        for number, length in enumerate(self._lengths):
            own = {name: values[start : start + length] for name, values in arrays.items()}
            found.append((str(number), exact(own)[0], -own["chosen"].astype(np.float64)))
            start += length
        return join(found)


def mean(tokens: Tokens) -> float:
    """The mean divergence in nats a token."""
    return float(tokens.divergence.mean())


class Disturbance:
    """Noise on one layer's weights, of a size that makes the mean divergence about a target."""

    def __init__(self, model: Any, readings: Readings) -> None:
        self._readings = readings
        self._weights = {n: p for n, p in model.named_parameters() if p.ndim == 2 and ".layers." in n}
        self._scales: dict[str, float] = {}  # by the kind of layer: where to begin

    def read(self, trial: int, target: float) -> tuple[str, Tokens]:
        """(the layer, the distances with it disturbed); its weights are then as they were.

        Another layer is drawn where a disturbance vanishes, as noise that is too small for bfloat16 weights does.
        """
        draw, names = np.random.default_rng((21, trial)), list(self._weights)
        generator = torch.Generator().manual_seed(trial)
        while True:
            name = names[int(draw.integers(len(names)))]
            if mean(tokens := self._disturbed(name, generator, target)) > target / 2:
                return name, tokens

    def _disturbed(self, name: str, generator: torch.Generator, target: float) -> Tokens:
        weight, kind = self._weights[name], ".".join(name.split(".")[-3:-1])
        kept = weight.detach().clone()
        noise = torch.randn(kept.shape, generator=generator).to(kept.device) * kept.float().std()
        scale = self._scales.get(kind, 0.02)
        for _ in range(8):  # KL grows with the square of the noise
            with torch.no_grad():
                weight.copy_((kept.float() + scale * noise).to(kept.dtype))
            tokens = self._readings.again()
            if 0.8 * target < mean(tokens) < 1.25 * target:
                break
            scale *= float(np.clip(np.sqrt(target / max(mean(tokens), 1e-12)), 0.3, 3))
        self._scales[kind] = scale
        with torch.no_grad():
            weight.copy_(kept)
        return tokens


def one_trial(readings: Readings, disturbance: Disturbance, trial: int, count: int) -> dict[str, Any]:
    """A floor, a disturbed layer and the model itself, as one entry of the document."""
    draw = np.random.default_rng((7, trial))
    floor, same = (readings.again(draw.permutation(count).tolist()) for _ in range(2))
    name, other = disturbance.read(trial, 3 * max(mean(floor), LEAST))
    planted, itself = against(other, floor), against(same, floor)
    return {
        "layer": name,
        "floor": mean(floor),
        "planted": mean(other),
        "found": planted is not None and planted.farther,
        "planted_standard_errors": None if planted is None else planted.standard_errors,
        "itself": mean(same),
        "alarm": itself is not None and itself.farther,
        "itself_standard_errors": None if itself is None else itself.standard_errors,
    }


def main() -> None:
    """Run the trials and print what was found."""
    from transformers import AutoTokenizer

    parser = argparse.ArgumentParser()
    parser.add_argument("model", type=Path)
    parser.add_argument("--trials", type=int, default=100)
    parser.add_argument("--device")
    parser.add_argument("--out", type=Path, default=Path("planted.json"))
    given = parser.parse_args()
    device, started = choose_device(given.device), time.monotonic()
    spec = EngineSpec(kind="transformers", dtype="auto", batch_size=1, trust_remote_code=False)
    model, _ = load_model(given.model, spec, device)
    tokenizer = AutoTokenizer.from_pretrained(str(given.model))
    rows = [tokenizer.encode(text) for text in TEXTS]
    readings = Readings(model, rows, device)
    disturbance, trials = Disturbance(model, readings), list[dict[str, Any]]()
    for trial in range(given.trials):
        trials.append(one_trial(readings, disturbance, trial, len(rows)))
        print(trial + 1, json.dumps(trials[-1]), flush=True)
        document = {
            "model": given.model.name,
            "device": device_name(device),
            "tokens": sum(len(row) - 1 for row in rows),
            "of": len(trials),
            "found": sum(each["found"] for each in trials),
            "alarms": sum(each["alarm"] for each in trials),
            "seconds": round(time.monotonic() - started, 1),
            "trials": trials,
        }
        given.out.write_text(json.dumps(document, indent=1), encoding="utf-8")
    print(json.dumps({name: value for name, value in document.items() if name != "trials"}))


if __name__ == "__main__":
    main()
