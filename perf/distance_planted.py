"""Planted differences on a real small model: is a disturbed layer found, and is the model itself never called another?

    python perf/distance_planted.py MODEL_FOLDER [TRIALS]

Each trial disturbs one layer's weights so that the mean KL is about three times the noise floor of the model, which is
read again in batches of two (or three times LEAST, where that reading gives the very same numbers), and reads the model
itself in other batches. Prints how many disturbed ones were found, and how often the model was taken for another.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from bitparity.distance.divergence import TokenDistances, distances
from bitparity.distance.figures import Tokens, against, figures, join
from bitparity.distance.store import likeliest
from bitparity.engines.readings import Arrays
from bitparity.engines.transformers_loading import load_model
from bitparity.engines.transformers_reading import token_numbers
from bitparity.schema import EngineSpec

LEAST = 1e-4  # nats: a smaller change of bfloat16 weights either vanishes or jumps beyond
TEXTS = [
    f"{n} apples and {n + 28} pears are {2 * n + 28} pieces of fruit; {n} people share them." for n in range(2, 14)
]


def read(model: torch.nn.Module, rows: list[list[int]], together: int) -> list[torch.Tensor]:
    """Logits of each row at all but its last position, `together` rows in a batch."""
    found: list[torch.Tensor] = []
    with torch.inference_mode():
        for first in range(0, len(rows), together):
            part = [torch.tensor(row) for row in rows[first : first + together]]
            logits = model(torch.nn.utils.rnn.pad_sequence(part, batch_first=True)).logits
            found += [logits[at, : len(row) - 1] for at, row in enumerate(part)]
    return found


def compared(base: list[torch.Tensor], other: list[torch.Tensor], rows: list[list[int]]) -> Tokens:
    """The exact distances of all rows as one."""
    found = []
    for number, (one, two, row) in enumerate(zip(base, other, rows, strict=True)):
        arrays: Arrays = token_numbers(two, one, row[1:], 20)
        bound = distances(likeliest(arrays, "base_"), likeliest(arrays))
        whole = TokenDistances(arrays["divergence"], bound.lost, bound.differs, np.ones(len(row) - 1))
        found.append((str(number), whole, -arrays["chosen"].astype(np.float64)))
    return join(found)


def mean(tokens: Tokens) -> float:
    """The mean divergence."""
    told = figures(tokens)
    return told.divergence.value if told else float("nan")


def main(folder: Path, trials: int) -> None:
    """Run the trials and print what was found."""
    from transformers import AutoTokenizer

    spec = EngineSpec(kind="transformers", dtype="auto", batch_size=1, trust_remote_code=False)
    model, _ = load_model(folder, spec, torch.device("cpu"))
    tokenizer = AutoTokenizer.from_pretrained(str(folder))
    rows = [tokenizer.encode(text) for text in TEXTS]
    base = read(model, rows, 1)
    floor = compared(base, read(model, rows[::-1], 2)[::-1], rows)
    print(f"noise floor {mean(floor):.3g} nats a token over {len(floor.answer)} tokens", flush=True)
    layers = [name for name, p in model.named_parameters() if p.ndim == 2 and ".layers." in name]
    weights = dict(model.named_parameters())
    rng = np.random.default_rng(21)
    found = alarms = 0
    for trial in range(trials):
        name = layers[int(rng.integers(len(layers)))]
        kept, target, scale = weights[name].detach().clone(), 3 * max(mean(floor), LEAST), 0.02
        noise = torch.randn(kept.shape, generator=torch.Generator().manual_seed(trial)) * kept.float().std()
        for _ in range(6):  # KL grows with the square of the noise
            with torch.no_grad():
                weights[name].copy_((kept.float() + scale * noise).to(kept.dtype))
            tokens = compared(base, read(model, rows, 1), rows)
            reached = mean(tokens)
            if 0.8 * target < reached < 1.25 * target:
                break
            scale *= float(np.clip(np.sqrt(target / max(reached, 1e-12)), 0.3, 3))
        result = against(tokens, floor)
        found += result is not None and result.farther
        print(f"{name}: {reached:.3g} nats a token, found {result is not None and result.farther}", flush=True)
        with torch.no_grad():
            weights[name].copy_(kept)
        order = list(np.roll(range(len(rows)), trial + 1))
        again = read(model, [rows[n] for n in order], 1 + trial % 3)
        same = against(compared(base, [again[order.index(n)] for n in range(len(rows))], rows), floor)
        alarms += same is not None and same.farther
    print(f"planted at three times the floor: found {found} of {trials}; the model itself: alarms {alarms} of {trials}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 100)
