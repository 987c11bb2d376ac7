"""Sampling and stopping in the transformers engine: by row, so that no row depends on its neighbours."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import torch
import transformers
from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

from bitparity.engines.decoding import Decoder, cut_at_stop
from bitparity.records import Finish, Request, Sampling


class Row:
    """One completion while it is written. `ids` holds its tokens, the one that ended it included."""

    def __init__(self, request: Request, ends: frozenset[int], decoder: Decoder) -> None:
        self.request = request
        self.ids: list[int] = []
        self.finish: Finish | None = None
        self.ended = 0.0
        self._ends = ends
        self._decoder = decoder
        self._answering = request.reasoning_end is None
        marks = (*request.sampling.stop, request.reasoning_end or "")
        # a token holds a byte at least; some more for special tokens and pieces at the left edge
        self._tail = max(len(mark.encode()) for mark in marks) + 8

    def add(self, token: int) -> None:
        """Take the next token and see whether it is the last."""
        if self.finish is not None:
            return
        self.ids.append(token)
        if token in self._ends or self._stopped():
            self.finish = "stop"
        elif len(self.ids) >= self.request.sampling.max_tokens:
            self.finish = "length"
        if self.finish is not None:
            self.ended = time.perf_counter()

    def _stopped(self) -> bool:
        """True where a stop string is complete: searched in the tail first, then made sure of in the whole text."""
        r = self.request
        if not r.sampling.stop:
            return False
        tail = self._decoder.text(self.ids[-self._tail :], r.reasoning_end)
        if not self._answering and r.reasoning_end is not None:
            self._answering = r.reasoning_end in tail
        if not self._answering or not any(s in tail for s in r.sampling.stop):
            return False
        return cut_at_stop(self._decoder.text(self.ids, r.reasoning_end), r.sampling.stop, r.reasoning_end)[1]

    def result(self) -> tuple[str, Finish]:
        """(text before the earliest stop string, why it ended)."""
        r = self.request
        text, stopped = cut_at_stop(self._decoder.text(self.ids, r.reasoning_end), r.sampling.stop, r.reasoning_end)
        return text, "stop" if stopped else self.finish or "length"


class RowStops(transformers.StoppingCriteria):  # type: ignore[misc]
    """Ends each row at its own end token, stop string or token budget."""

    eos_token_id: Any = None  # its presence makes `generate` pad rows that have ended

    def __init__(self, rows: Sequence[Row], prompt_width: int) -> None:
        self._rows, self._read = rows, prompt_width

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        """The rows that have ended."""
        for row, tokens in zip(self._rows, input_ids[:, self._read :].tolist(), strict=True):
            for token in tokens:
                row.add(token)
        self._read = input_ids.shape[1]
        return torch.tensor([row.finish is not None for row in self._rows], device=input_ids.device)


class RowSampler(transformers.LogitsProcessor):  # type: ignore[misc]
    """Leaves each row the one token that its own sampling and seed choose.

    Order as in vLLM: repetition penalty over prompt and completion, presence penalty over the
    completion, temperature, min_p, top_k, top_p, then a draw from the row's own generator.
    """

    def __init__(self, rows: Sequence[Row], device: Any) -> None:
        self._rows = rows
        self._groups: dict[Sampling, list[int]] = {}
        for number, row in enumerate(self._rows):
            self._groups.setdefault(row.request.sampling, []).append(number)
        self._generators = [torch.Generator(device).manual_seed(row.request.seed) for row in self._rows]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        """Scores in which only the chosen token is possible (greedy rows keep theirs)."""
        for sampling, numbers in self._groups.items():
            live = [n for n in numbers if self._rows[n].finish is None]
            penalised = sampling.repetition_penalty != 1.0 or sampling.presence_penalty != 0.0
            if not live or (sampling.temperature == 0 and not penalised):
                continue
            part = self._penalised(scores[live].clone(), sampling, live)
            if sampling.temperature > 0:
                # transformers' own warpers do not look at the ids
                part = TemperatureLogitsWarper(sampling.temperature)(None, part)
                cuts = (MinPLogitsWarper, sampling.min_p, 0), (TopKLogitsWarper, sampling.top_k, 0)
                for cut, value, off in (*cuts, (TopPLogitsWarper, sampling.top_p, 1)):
                    if value != off:
                        part = cut(value)(None, part)
                part = self._drawn(part, live)
            scores[live] = part
        return scores

    def _penalised(self, scores: Any, sampling: Sampling, numbers: Sequence[int]) -> Any:
        repetition = sampling.repetition_penalty
        for at, number in enumerate(numbers):
            row = self._rows[number]
            if repetition != 1.0:
                seen = _indices({*(row.request.token_ids or ()), *row.ids}, scores)
                values = scores[at, seen]
                scores[at, seen] = torch.where(values > 0, values / repetition, values * repetition)
            if sampling.presence_penalty != 0.0:
                scores[at, _indices(set(row.ids), scores)] -= sampling.presence_penalty
        return scores

    def _drawn(self, scores: Any, numbers: Sequence[int]) -> Any:
        probabilities = torch.softmax(scores, dim=-1)
        only = torch.full_like(scores, -torch.inf)
        for at, number in enumerate(numbers):
            token = torch.multinomial(probabilities[at], 1, generator=self._generators[number])
            only[at, token] = 0.0
        return only


def _indices(tokens: set[int], like: Any) -> Any:
    return torch.tensor(sorted(tokens), device=like.device, dtype=torch.long)
