"""An engine made of random tables, that reads answers as a model would."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.special import log_softmax

from bitparity.distance.texts import Answer
from bitparity.engines.readings import Columns, columns_of, pack, reading_sample, split_columns
from bitparity.records import Request, Sample, request_key

VOCABULARY = 60
rng = np.random.default_rng(5)
ANSWERS = [
    Answer(bench, f"{bench}-{n}", 0, (1, 2), tuple(map(int, rng.integers(0, VOCABULARY, 3 + n))), "text")
    for bench in ("one", "two")
    for n in range(6)
]


def columns(scores: np.ndarray, asked: Columns) -> tuple[np.ndarray, np.ndarray]:
    """The columns that are asked for, made by a real engine's own function."""
    import torch

    from bitparity.engines import token_numbers

    ids, logprobs = token_numbers.columns(asked, torch.tensor(scores), 0)
    return ids.numpy().astype(np.int32), logprobs.numpy()


@dataclass
class Table:
    """A "model": the logits of the next token follow from the token before it, with noise of its own on them."""

    noise: float = 0.0
    nan: bool = False
    fails: bool = False
    stops_after: int | None = None
    only: int | None = None  # answers that it reads; it fails on all others
    draws: bool = False  # and tells of drawn and named tokens where it is asked
    asked: list[str] = field(default_factory=list)

    def scores(self, request: Request) -> np.ndarray:
        ((context, answer),) = request.scored or ()
        before = [context[-1], *answer[:-1]]
        base = np.random.default_rng(0).normal(0, 2, (VOCABULARY, VOCABULARY))
        own = base + self.noise * np.random.default_rng(9).normal(0, 1, base.shape)
        return log_softmax(own[before], axis=1)

    def __call__(self, requests: Sequence[Request]) -> Iterator[list[Sample]]:
        for request in requests:
            if self.stops_after is not None and len(self.asked) >= self.stops_after:
                raise RuntimeError("the power is gone")
            self.asked.append(request.item)
            yield [self.sample(request)]

    def sample(self, request: Request) -> Sample:
        if self.fails or (self.only is not None and len(self.asked) > self.only):
            return Sample(*request_key(request), "", "error", 0, 0, 0.0, error="no log-probabilities here")
        ((_, answer),) = request.scored or ()
        scores, at = self.scores(request), np.arange(len(answer))
        assert request.reading is not None
        asked = columns_of(request) if self.draws else None
        if asked is not None:
            chosen = scores[at, list(answer)].astype(np.float32)
            return reading_sample(request, split_columns(*columns(scores, asked), chosen, asked), 0.1)
        ids = np.argsort(-scores, axis=1)[:, : request.reading.top].astype(np.int32)
        arrays = {
            "ids": ids,
            "logprobs": np.take_along_axis(scores, ids, 1).astype(np.float32),
            "chosen": scores[at, list(answer)].astype(np.float32) * (np.nan if self.nan else 1),
        }
        text = base64.b64encode(pack(arrays)).decode()
        return Sample(*request_key(request), "", "stop", 0, 0, 0.1, arrays=text)
